"""What the provider cannot solve, and what the sidecar refuses, reaches each library as its own error."""

import pytest

from drivers import ALL, OTHERS
from support.clock import wait_until
from support.sidecar import PRICES
from support.simulator import page
from support.stack import made_key

EVERY_DRIVER = [pytest.param(driver, id=driver.name) for driver in ALL]
# The official SDK backs off by itself; how, is in test_official_sdk.py.
WITHOUT_BACK_OFF = [pytest.param(driver, id=driver.name) for driver in OTHERS]


@pytest.mark.parametrize("driver", EVERY_DRIVER)
def test_an_unsolvable_captcha_costs_nothing(bench, driver):
    stack = bench.stack(acme={"prepaid": {"opening_balance": 1.00}})
    client = bench.client(driver)

    unsolvable = page(error="ERROR_CAPTCHA_UNSOLVABLE")
    bench.refused(client, "ERROR_CAPTCHA_UNSOLVABLE", lambda: client.solve(client.usual, unsolvable))

    assert bench.traffic.codes("poll")[-1] == "ERROR_CAPTCHA_UNSOLVABLE"
    assert bench.traffic.reasons() == []
    stack.expect_record([], failed=[("acme", client.usual, "unsolvable")])


@pytest.mark.parametrize("driver", EVERY_DRIVER)
def test_an_unknown_key_is_refused(bench, driver):
    stack = bench.stack(acme={})
    key = made_key("nobody")
    client = bench.client(driver, key=key)

    bench.refused(client, "ERROR_KEY_DOES_NOT_EXIST", lambda: client.solve(client.usual, page()))

    assert bench.traffic.codes() == ["ERROR_KEY_DOES_NOT_EXIST"]
    assert bench.traffic.reasons() == ["unknown_key"]
    assert key not in stack.simulator.log()
    stack.expect_record([])


@pytest.mark.parametrize("driver", EVERY_DRIVER)
def test_a_key_that_is_too_short_is_refused(bench, driver):
    stack = bench.stack(acme={})
    client = bench.client(driver, key="tooshort")

    bench.refused(client, "ERROR_WRONG_USER_KEY", lambda: client.solve(client.usual, page()))

    assert bench.traffic.codes() == ([] if client.checks_key_length else ["ERROR_WRONG_USER_KEY"])
    assert "tooshort" not in stack.simulator.log()
    stack.expect_record([])


@pytest.mark.parametrize("driver", WITHOUT_BACK_OFF)
def test_a_solve_beyond_the_rate_is_refused(bench, driver):
    stack = bench.stack(acme={"rate_per_minute": 1, "burst": 1})
    client = bench.client(driver)

    solved = client.solve(client.usual, page())
    expect_no_slot(bench, client, stack, "rate")

    stack.expect_record([solved])


@pytest.mark.parametrize("driver", WITHOUT_BACK_OFF)
def test_a_solve_beyond_the_concurrency_is_refused(bench, driver):
    stack = bench.stack(acme={"in_flight_max": 1})
    client = bench.client(driver)

    other = stack.tenant("acme").submit(solve="1s")
    expect_no_slot(bench, client, stack, "in_flight")
    first = stack.tenant("acme").answer(other)
    second = client.solve(client.usual, page())

    stack.expect_record([first, second])


@pytest.mark.parametrize("driver", WITHOUT_BACK_OFF)
def test_a_solve_beyond_the_balance_is_refused(bench, driver):
    stack = bench.stack(acme={"prepaid": {"opening_balance": float(PRICES[driver.kinds[0]])}})
    client = bench.client(driver)

    solved = client.solve(client.usual, page())
    wait_until(lambda: client.balance() == 0, "the balance to be spent")
    before = len(bench.traffic.exchanges)
    bench.refused(client, "ERROR_ZERO_BALANCE", lambda: client.solve(client.usual, page()))

    assert [e.code for e in bench.traffic.exchanges[before:]] == ["ERROR_ZERO_BALANCE"]
    assert bench.traffic.reasons() == ["insufficient_balance"]
    assert stack.sidecar.rejections("acme") == {"insufficient_balance": 1}
    stack.expect_record([solved])


@pytest.mark.parametrize("driver", WITHOUT_BACK_OFF)
def test_one_solve_after_another_needs_one_slot(bench, driver):
    stack = bench.stack(acme={"in_flight_max": 1})
    client = bench.client(driver)

    solved = [client.solve(client.usual, page(solve="50ms")) for _ in range(3)]

    assert bench.traffic.reasons() == []
    stack.expect_record(solved)


def expect_no_slot(bench, client, stack, reason):
    """One request, one refusal that says busy and not broke, and no retry."""
    before = len(bench.traffic.exchanges)
    bench.refused(client, "ERROR_NO_SLOT_AVAILABLE", lambda: client.solve(client.usual, page()))
    assert [e.code for e in bench.traffic.exchanges[before:]] == ["ERROR_NO_SLOT_AVAILABLE"]
    assert bench.traffic.reasons() == [reason]
    assert stack.sidecar.rejections("acme") == {reason: 1}
