"""The provider is away: a submission fails at once, and an accepted solve survives."""

import time

import pytest

from drivers import ALL, OTHERS
from support.clock import wait_until
from support.simulator import page

EVERY_DRIVER = [pytest.param(driver, id=driver.name) for driver in ALL]
WITHOUT_BACK_OFF = [pytest.param(driver, id=driver.name) for driver in OTHERS]


@pytest.mark.parametrize("driver", WITHOUT_BACK_OFF)
def test_a_submission_while_the_provider_is_down_fails_in_time(bench, driver):
    stack = bench.stack(acme={"prepaid": {"opening_balance": 1.00}})
    client = bench.client(driver)
    stack.simulator.down()

    started = time.monotonic()
    bench.refused(client, "ERROR_SERVER_ERROR", lambda: client.solve(client.usual, page()))
    assert time.monotonic() - started < 5
    assert bench.traffic.codes() == ["ERROR_SERVER_ERROR"]

    stack.simulator.up()
    solved = wait_until(lambda: solve_unless_down(client), "the sidecar to notice the provider again")
    stack.expect_record([solved])


def solve_unless_down(client):
    """The sidecar may keep a provider that failed at arm's length for a moment; it says so by this code."""
    error, _ = client.refusal("ERROR_SERVER_ERROR")
    try:
        return client.solve(client.usual, page())
    except error as refused:
        if "ERROR_SERVER_ERROR" not in str(refused):
            raise
        return None


@pytest.mark.parametrize("driver", EVERY_DRIVER)
def test_a_solve_survives_twenty_seconds_without_the_provider(bench, driver):
    stack = bench.stack(acme={"prepaid": {"opening_balance": 1.00}})
    client = bench.client(driver)
    outage = bench.outage(seconds=20)

    solved = client.solve(client.usual, page(solve="700ms"))

    assert outage.over
    polls = bench.traffic.codes("poll")
    assert polls == ["CAPCHA_NOT_READY"] * (len(polls) - 1) + ["OK"] and len(polls) >= 2
    assert {exchange.status for exchange in bench.traffic} == {200}
    assert bench.traffic.accepted() == [solved.task_id]
    stack.expect_record([solved])
