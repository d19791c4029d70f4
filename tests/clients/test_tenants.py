"""One tenant's task does not exist for another."""

import pytest

from drivers import ALL, Rucaptcha

CAN_POLL_ANY_ID = [pytest.param(driver, id=driver.name) for driver in ALL if driver is not Rucaptcha]


@pytest.mark.parametrize("driver", CAN_POLL_ANY_ID)
def test_the_task_of_another_tenant_is_unknown(bench, driver):
    stack = bench.stack(acme={}, beta={})
    acme, beta = stack.tenant("acme"), stack.tenant("beta")
    client = bench.client(driver, "beta")
    task_id = acme.submit(solve="500ms")

    bench.refused(client, "ERROR_WRONG_CAPTCHA_ID", lambda: client.fetch("turnstile", task_id))
    assert bench.traffic.codes("poll") == ["ERROR_WRONG_CAPTCHA_ID"]
    expect_same_as_unknown(beta, task_id)
    solved = acme.answer(task_id)
    expect_same_as_unknown(beta, task_id)

    stack.expect_record([solved])


def expect_same_as_unknown(tenant, task_id):
    unknown = str(int(task_id) + 1_000_003)
    for form in ({}, {"json": 1}, {"json": 0}):
        foreign = tenant.poll(task_id, **form)
        assert foreign.without_date() == tenant.poll(unknown, **form).without_date()
        if form.get("json"):
            assert foreign.json()["status"] == 0
            assert foreign.json()["request"] == "ERROR_WRONG_CAPTCHA_ID"
        else:
            assert foreign.text == "ERROR_WRONG_CAPTCHA_ID"
