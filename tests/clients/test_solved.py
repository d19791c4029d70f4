"""A solve comes back as the library promises, and is charged exactly once."""

import pytest

from drivers import ALL, Curl, Rucaptcha
from support.clock import wait_until
from support.sidecar import PRICES, micros
from support.simulator import page

EVERY_KIND = [
    pytest.param(driver, kind, id=f"{driver.name}-{kind}") for driver in ALL for kind in driver.kinds
]
WITH_BALANCE = [pytest.param(driver, id=driver.name) for driver in ALL if driver.has_balance]
WITH_REPORT = [pytest.param(driver, id=driver.name) for driver in ALL if driver.has_report]


@pytest.mark.parametrize(("driver", "kind"), EVERY_KIND)
def test_every_kind_is_solved_and_charged_once(bench, driver, kind):
    stack = bench.stack(acme={"prepaid": {"opening_balance": 1.00}})
    client = bench.client(driver)

    solved = client.solve(kind, page())

    assert bench.traffic.accepted() == [solved.task_id]
    assert bench.traffic.codes("poll")[-1] == "OK"
    form = {"json": 1} if client.form == "json" else {}
    again = stack.tenant("acme").poll(solved.task_id, **form)
    assert client.is_answer(solved.answer, again.text), (solved, again)
    stack.expect_record([solved])


@pytest.mark.parametrize("driver", WITH_BALANCE)
def test_balance_is_what_is_left_to_the_tenant(bench, driver):
    stack = bench.stack(
        acme={"prepaid": {"opening_balance": 5.00}}, beta={"prepaid": {"opening_balance": 0.25}}
    )
    client = bench.client(driver)

    assert client.balance() == 5.00
    solved = client.solve(client.usual, page())
    left = 5_000_000 - micros(PRICES[client.usual])
    wait_until(lambda: round(client.balance() * 1_000_000) == left, f"a balance of {left} micro-dollars")
    assert bench.client(driver, "beta").balance() == 0.25
    stack.expect_record([solved])


@pytest.mark.parametrize("driver", WITH_REPORT)
def test_a_solved_task_can_be_reported(bench, driver):
    stack = bench.stack(acme={})
    client = bench.client(driver)

    solved = client.solve(client.usual, page())

    assert client.report(solved.task_id) == "OK_REPORT_RECORDED"
    stack.expect_record([solved])


def test_rucaptcha_solves_in_one_request(bench):
    stack = bench.stack(acme={})

    answer = bench.client(Rucaptcha).solve_at_once(page())

    assert answer and isinstance(answer, str)
    assert bench.traffic.operations() == ["solve"]
    expect_one_synchronous_charge(stack)


def test_curl_solves_in_one_request(bench):
    stack = bench.stack(acme={})

    answer = bench.client(Curl).ask("solve.php", {"method": "post", "textinstructions": page()})

    assert answer and bench.traffic.codes() == ["OK"]
    expect_one_synchronous_charge(stack)


def expect_one_synchronous_charge(stack):
    assert stack.sidecar.stop() == 0
    assert [(c.tenant, c.micros) for c in stack.record.charges()] == [("acme", micros(PRICES["image"]))]
    assert [(s.captcha_type, s.outcome, s.charged, s.delivered) for s in stack.record.solves()] == [
        ("image", "solved", True, True)
    ]
