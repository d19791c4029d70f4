"""PyPI `unicaps`: urlencoded submissions, polls with `action=get2` only."""

from unicaps import CaptchaSolver, CaptchaSolvingService, exceptions
from unicaps._service.base import CaptchaTask
from unicaps.captcha import RecaptchaV2

from support.image import PNG
from support.sidecar import PRICES
from support.stack import Solved

from .base import SITE_KEY, Driver

CALLS = {
    "recaptcha_v2": lambda solver, page: solver.solve_recaptcha_v2(SITE_KEY, page),
    "recaptcha_v2_invisible": lambda solver, page: solver.solve_recaptcha_v2(
        SITE_KEY, page, is_invisible=True
    ),
    "recaptcha_v3": lambda solver, page: solver.solve_recaptcha_v3(SITE_KEY, page, action="login"),
    "image": lambda solver, page: solver.solve_image_captcha(PNG, comment=page),
}

REFUSALS = {
    "ERROR_CAPTCHA_UNSOLVABLE": exceptions.UnableToSolveError,
    "ERROR_KEY_DOES_NOT_EXIST": exceptions.AccessDeniedError,
    "ERROR_WRONG_USER_KEY": exceptions.AccessDeniedError,
    "ERROR_ZERO_BALANCE": exceptions.LowBalanceError,
    "ERROR_NO_SLOT_AVAILABLE": exceptions.ServiceTooBusy,
    "ERROR_WRONG_CAPTCHA_ID": exceptions.MalformedRequestError,
    "ERROR_SERVER_ERROR": exceptions.ServiceError,
}


class Unicaps(Driver):
    name = "unicaps"
    kinds = tuple(CALLS)

    def __init__(self, place):
        super().__init__(place)
        self.solver = CaptchaSolver(CaptchaSolvingService.TWOCAPTCHA, place.key)
        # The library's only way to another server.
        self.solver._service.BASE_URL = place.http

    def solve(self, kind, page):
        return self.solved(kind, CALLS[kind](self.solver, page))

    def fetch(self, kind, task_id):
        task = CaptchaTask(self.solver._service, RecaptchaV2(SITE_KEY, "https://sim.test/"), task_id)
        solution, _, _ = task.get_result()
        return Solved(kind, task_id, solution.token, self.place.tenant)

    def solved(self, kind, result):
        answer = result.solution.text if kind == "image" else result.solution.token
        assert result.cost == float(PRICES[kind]), "get2 adds the tenant's price"
        return Solved(kind, result.captcha_id, answer, self.place.tenant)

    def balance(self):
        return self.solver.get_balance()

    def refusal(self, code):
        return REFUSALS[code], f"^{code}: "
