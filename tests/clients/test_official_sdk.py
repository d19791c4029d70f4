"""The official SDK backs off where it should, and gives up at once where it should."""

import captchaai
import pytest

from drivers import SDKS
from support.sidecar import PRICES
from support.simulator import page

EACH = pytest.mark.parametrize("driver", [pytest.param(driver, id=driver.name) for driver in SDKS])


@EACH
def test_it_waits_for_a_slot_and_then_succeeds(bench, driver):
    stack = bench.stack(acme={"in_flight_max": 1})
    acme = stack.tenant("acme")
    client = bench.client(driver)
    other = acme.submit(solve="1s")
    finished = []
    bench.clock.before_sleep = lambda: finished or finished.append(acme.answer(other))

    solved = client.solve("turnstile", page())

    expect_one_back_off(bench, stack)
    stack.expect_record([*finished, solved])


@EACH
def test_a_slot_that_frees_before_it_asks_for_threads_is_no_expired_account(bench, driver):
    stack = bench.stack(acme={"in_flight_max": 1})
    acme = stack.tenant("acme")
    client = bench.client(driver)
    other = acme.submit(solve="1s")
    finished = []

    def finish_the_other(exchange):
        if exchange.code == "ERROR_ZERO_BALANCE":
            finished.append(acme.answer(other))

    bench.traffic.after_exchange = finish_the_other
    solved = client.solve("turnstile", page())

    expect_one_back_off(bench, stack)
    stack.expect_record([*finished, solved])


def expect_one_back_off(bench, stack):
    """Refused once, told that all threads are busy, waited 8 to 11 s, admitted."""
    assert bench.traffic.codes("submit") == ["ERROR_ZERO_BALANCE", "OK"]
    submit = bench.traffic.operations().index("submit")
    assert bench.traffic.exchanges[submit + 1].code == "1/1"
    assert 8 <= bench.clock.slept[0] <= 11
    assert bench.traffic.reasons() == ["in_flight"]
    assert stack.sidecar.rejections("acme") == {"in_flight": 1}


@EACH
def test_a_rate_that_recovers_in_its_patience_delays_the_solve(bench, driver):
    # On the SDK's clock one solve in 100 s; it waits 120 s before it gives up.
    stack = bench.stack(acme={"rate_per_minute": 30, "burst": 1})
    client = bench.client(driver)

    first = client.solve("turnstile", page())
    second = client.solve("turnstile", page())

    submits = bench.traffic.codes("submit")
    assert submits[0] == submits[-1] == "OK"
    assert len(submits) >= 3 and set(submits[1:-1]) == {"ERROR_ZERO_BALANCE"}
    assert set(bench.traffic.reasons()) == {"rate"}
    assert stack.sidecar.rejections("acme") == {"rate": len(submits) - 2}
    stack.expect_record([first, second])


@EACH
def test_a_rate_beyond_its_patience_ends_as_busy_and_not_as_expired(bench, driver):
    stack = bench.stack(acme={"rate_per_minute": 1, "burst": 1})
    client = bench.client(driver)

    first = client.solve("turnstile", page())
    with pytest.raises(captchaai.ThreadLimitError, match="^All account threads busy — retries exhausted$"):
        client.solve("turnstile", page())

    # 120 s in steps of 8 to 11 s.
    assert 12 <= bench.traffic.codes("submit").count("ERROR_ZERO_BALANCE") <= 16
    stack.expect_record([first])


@EACH
def test_a_spent_balance_fails_at_once(bench, driver):
    stack = bench.stack(acme={"prepaid": {"opening_balance": float(PRICES["turnstile"])}})
    client = bench.client(driver)

    solved = client.solve("turnstile", page())
    slept = list(bench.clock.slept)
    with pytest.raises(captchaai.NoThreadsError, match="^Account expired or has no active plan$"):
        client.solve("turnstile", page())

    assert bench.clock.slept == slept
    assert bench.traffic.codes("submit") == ["OK", "ERROR_ZERO_BALANCE"]
    assert bench.traffic.operations()[-2:] == ["submit", "threads"]
    assert bench.traffic.reasons() == ["insufficient_balance"]
    assert stack.sidecar.rejections("acme") == {"insufficient_balance": 1}
    stack.expect_record([solved])


@EACH
def test_a_provider_that_comes_back_during_its_back_off_solves(bench, driver):
    stack = bench.stack(acme={"prepaid": {"opening_balance": 1.00}})
    client = bench.client(driver)
    stack.simulator.down()
    # Its second sleep: 5 s have passed, the next 10 s pass with the provider back.
    bench.clock.factor = 20
    bench.clock.before_sleep = lambda: bench.clock.slept and stack.simulator.up()

    solved = client.solve("turnstile", page())

    submits = bench.traffic.codes("submit")
    assert len(submits) >= 3 and submits[-1] == "OK" and set(submits[:-1]) == {"ERROR_SERVER_ERROR"}
    assert 5 <= bench.clock.slept[0] <= 6 and 10 <= bench.clock.slept[1] <= 11
    stack.expect_record([solved])


@EACH
def test_a_provider_that_stays_away_ends_after_five_retries(bench, driver):
    stack = bench.stack(acme={"prepaid": {"opening_balance": 1.00}})
    client = bench.client(driver)
    stack.simulator.down()

    with pytest.raises(captchaai.APIError, match="^Transient server error — retries exhausted$"):
        client.solve("turnstile", page())

    assert bench.traffic.codes("submit") == ["ERROR_SERVER_ERROR"] * 6
    stack.simulator.up()
    stack.expect_record([])


@EACH
def test_threads_are_those_of_the_tenant(bench, driver):
    stack = bench.stack(acme={"in_flight_max": 7}, beta={"in_flight_max": 2})
    acme = stack.tenant("acme")
    client = bench.client(driver)

    assert client.threads() == {"threads": 7, "working_threads": 0}
    task_id = acme.submit(solve="1s")
    assert client.threads() == {"threads": 7, "working_threads": 1}
    assert bench.client(driver, "beta").threads() == {"threads": 2, "working_threads": 0}
    solved = acme.answer(task_id)
    assert client.threads() == {"threads": 7, "working_threads": 0}

    stack.expect_record([solved])


@EACH
def test_its_base_url_may_carry_the_tenant(bench, driver):
    stack = bench.stack(acme={})

    solved = bench.client(driver, prefix="/t/acme").solve("turnstile", page())

    stack.expect_record([solved])
