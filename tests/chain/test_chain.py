"""The story of one fleet, told to the people who are paged. Each chapter goes on where the one before ended."""

import json
import re
from urllib.parse import urlsplit

import pytest

import panels
from conftest import eventually
from processes import ACCOUNT_KEY, ADMIN_TOKEN, DAILY_LIMIT, WATCHED
from setting import RUNBOOKS, WATCHDOG
from traffic import FORMS, Client

FAST = "SolvegateErrorBudgetBurnFast"
MOST = "SolvegateMostSolvesFailing"
SLOWER = {"SolvegateErrorBudgetBurnMedium", "SolvegateErrorBudgetBurnSlow"}
UNAVAILABLE = "SolvegateUpstreamUnavailable"
NONE_LEFT = "SolvegateAllAccountsUnavailable"
DOWN = "SolvegateDown"
REACHED = "SolvegateTenantAllocationReached"
STORE = "SolvegateStoreFailing"

# What has fired when the story ends, and what may have, as it takes longer than the chapters that lead to it.
FIRED = {FAST, MOST, *SLOWER, UNAVAILABLE, NONE_LEFT, DOWN, REACHED, STORE, WATCHDOG}
MAY_FIRE = {
    "SolvegateErrorBudgetBurnLongTerm",
    "SolvegateErrorBudgetExhausted",
    "SolvegateAbsent",  # a restart on a slow machine
}


def first(notices):
    return notices[0] if notices else None


def notice(chain, receiver, status, **labels):
    """Waits for that notification."""
    what = f"{labels['alertname']} {status} at {receiver}"
    found = lambda: [n for n in chain.webhook.of(receiver, **labels) if n.status == status]
    return eventually(lambda: first(found()), what)


def is_readable(notice):
    """Texts are rendered, and the runbook is there."""
    texts = {"summary", "description", "runbook_url"}
    assert texts <= notice.annotations.keys(), notice
    for text in notice.annotations.values():
        assert text.strip() and not re.search(r"\{\{|\}\}|<no value>|%!|\bNaN\b|\bInf\b", text), notice
    runbook = urlsplit(notice.annotations["runbook_url"]).path.rsplit("/", 1)[-1]
    assert runbook == f"{notice.name}.md" and (RUNBOOKS / runbook).is_file(), notice


def held_back(chain, source, names):
    """Whether Alertmanager has alerts of each of those names, all held back, and one at least by `source`.

    Where several alerts could hold one back, it names only one of them.
    """
    speakers = {alert["fingerprint"] for alert in chain.alertmanager.alerts(alertname=source)}
    found = [alert for alert in chain.alertmanager.alerts() if alert["labels"]["alertname"] in names]
    return (
        names
        and {alert["labels"]["alertname"] for alert in found} == names
        and {alert["status"]["state"] for alert in found} == {"suppressed"}
        and any(speakers & set(alert["status"]["inhibitedBy"]) for alert in found)
    )


def test_while_all_is_well_only_the_watchdog_speaks(chain):
    prometheus = chain.prometheus
    chain.traffic.start()
    judged = "captcha_type:solvegate_slo_events:increase1h >= 2 * captcha_type:solvegate_slo_min_events:max"
    types = lambda: {labels["captcha_type"] for labels, _ in prometheus.query(judged)}
    eventually(lambda: types() == set(FORMS), f"events of {sorted(FORMS)}")
    before = len(chain.webhook.of("dead-man"))

    eventually(lambda: len(chain.webhook.of("dead-man")) >= before + 4, "four more signs of life")

    assert {n.name for n in chain.webhook.of("dead-man")} == {WATCHDOG}
    assert chain.webhook.of("pager", "tickets") == []
    # Over all the time, not only at this moment.
    fired = prometheus.query('count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1h]))')
    assert {labels["alertname"] for labels, _ in fired} == {WATCHDOG}


def test_a_failing_type_pages_once_and_fast(chain):
    chain.provider.fail(f"{WATCHED}/unsolvable=1")

    page = notice(chain, "pager", "firing", alertname=FAST)

    assert page.labels == {
        "alertname": FAST,
        "captcha_type": WATCHED,
        "slo": "success",
        "tier": "fast",
        "severity": "critical",
        "long_window": "1h",
        "short_window": "5m",
        "job": "solvegate",
        "cluster": "main",
    }
    is_readable(page)
    eventually(lambda: held_back(chain, FAST, SLOWER), f"{sorted(SLOWER)} held back by {FAST}")
    assert {n.name for n in chain.webhook.of("pager", "tickets")} <= {FAST, MOST}
    assert {n.status for n in chain.webhook.of("pager")} == {"firing"}


def test_the_dashboard_shows_the_incident(chain, board):
    found = panels.look(chain.prometheus, board, chain.started_at, chain.moment())

    assert found.wrong == {}
    assert found.nonsense == {}
    assert found.empty & {"Alerts firing now / A", "Nearest to paging / A", "annotation / Burn alerts"} == set()


def test_recovery_is_told_once(chain):
    chain.provider.fail()

    resolved = notice(chain, "pager", "resolved", alertname=FAST)

    is_readable(resolved)
    told = [n.status for n in chain.webhook.of("pager", alertname=FAST)]
    assert told.count("resolved") == 1 and told[-1] == "resolved"
    # What else pages about that type belongs to the same incident: one message, brought up to date.
    assert len({n.group for n in chain.webhook.of("pager", captcha_type=WATCHED, slo="success")}) == 1


def test_a_dead_provider_pages_once_and_silences_what_follows_from_it(chain):
    chain.provider.kill()

    page = notice(chain, "pager", "firing", alertname=UNAVAILABLE)

    assert page.labels["account"] == "main" and page.labels["severity"] == "critical"
    is_readable(page)
    eventually(lambda: held_back(chain, NONE_LEFT, burning(chain)), "burning types held back")

    chain.start_provider()
    is_readable(notice(chain, "pager", "resolved", alertname=UNAVAILABLE))
    assert [n.status for n in chain.webhook.of("pager", alertname=UNAVAILABLE)] == ["firing", "resolved"]


def burning(chain):
    names = {alert["labels"]["alertname"] for alert in chain.alertmanager.alerts()}
    return {name for name in names if name.startswith("SolvegateErrorBudget")}


def test_a_killed_sidecar_pages_and_comes_back_with_its_error_budget(chain):
    chain.traffic.pause()
    # A solve whose client lost it is polled to its end by the sidecar itself, and counts then.
    in_flight = lambda: sum(chain.sidecar.metrics()["solvegate_solves_in_flight"].values())
    eventually(lambda: in_flight() == 0, "no solve to be in flight")
    events = chain.sidecar.metrics()["solvegate_slo_window_events"]
    # What is recorded is what the sidecar counts, at rest.
    before = eventually(lambda: recorded(chain, events) and error_budgets(chain), "all events to be recorded")
    assert before[WATCHED, "success"] < 0

    chain.sidecar.crash()

    page = notice(chain, "pager", "firing", alertname=DOWN)
    assert page.labels["instance"] == f"127.0.0.1:{chain.ports['admin']}"
    is_readable(page)
    chain.start_sidecar()
    is_readable(notice(chain, "pager", "resolved", alertname=DOWN))
    assert [n.status for n in chain.webhook.of("pager", alertname=DOWN)] == ["firing", "resolved"]
    again = chain.sidecar.metrics()
    slo = lambda samples: {labels: n for labels, n in samples.items() if 'window="slo"' in labels}
    assert slo(again["solvegate_slo_window_events"]) == slo(events)
    assert set(again["solvegate_slo_events_total"].values()) == {0}
    eventually(lambda: error_budgets(chain) == before, f"the error budgets to be {before}")


def error_budgets(chain):
    found = chain.prometheus.query("captcha_type:solvegate_slo_error_budget_remaining:ratio_ledger")
    return {(labels["captcha_type"], labels["slo"]): points[0][1] for labels, points in found}


def recorded(chain, events):
    """Whether Prometheus has recorded these counts of the SLOs' windows."""
    total = sum(n for labels, n in events.items() if 'window="slo"' in labels)
    return chain.prometheus.value("sum(captcha_type:solvegate_slo_window_events:sum)") == total


def test_a_tenant_at_its_limit_is_a_ticket(chain):
    client = Client(chain.sidecar.url, "small")
    for _ in range(DAILY_LIMIT):
        assert client.submit("recaptcha_v2").startswith("OK|")
    assert client.submit("recaptcha_v2") == "ERROR_ZERO_BALANCE"

    ticket = notice(chain, "tickets", "firing", alertname=REACHED)

    assert (ticket.labels["tenant"], ticket.labels["limit"]) == ("small", "daily_solves")
    assert ticket.labels["severity"] == "warning"
    is_readable(ticket)
    assert chain.webhook.of("pager", alertname=REACHED) == []


def test_a_record_that_cannot_be_written_is_a_page(chain):
    chain.traffic.start()
    with chain.sidecar.locked_record():
        page = notice(chain, "pager", "firing", alertname=STORE)

    assert page.labels["instance"] == f"127.0.0.1:{chain.ports['admin']}"
    is_readable(page)
    is_readable(notice(chain, "pager", "resolved", alertname=STORE))
    assert [n.status for n in chain.webhook.of("pager", alertname=STORE)] == ["firing", "resolved"]


@pytest.fixture(scope="module")
def board():
    return panels.dashboard()


# Nothing at this moment, as all is well again; there was something in the time before.
ONLY_IN_TROUBLE = {"Record: oldest unwritten event / B"}  # failed writes, where there are any
ALL_IS_WELL = [
    f"sum(rate({counter}[{panels.RATE_INTERVAL}])) {state}"
    for counter, state in (
        ('solvegate_solves_total{outcome="solved"}', "> 0"),
        ('solvegate_solves_total{outcome!="solved"}', "== 0"),
        ('solvegate_rejections_total{mode="enforced"}', "== 0"),
        ('solvegate_upstream_requests_total{result!~"ok|api_error"}', "== 0"),
        ("solvegate_store_failures_total", "== 0"),
    )
]


def test_every_panel_has_data_and_no_nonsense(chain, board):
    found = panels.look(chain.prometheus, board, chain.started_at, chain.moment(*ALL_IS_WELL))

    assert found.wrong == {}
    assert found.nonsense == {}
    assert found.never == set()
    assert found.empty == ONLY_IN_TROUBLE


def test_every_variable_offers_values(chain, board):
    for name, query in panels.variables(board).items():
        assert panels.values(chain.prometheus, query, board), f"{name}: {query}"


def test_a_misspelt_metric_is_seen(chain, board):
    name = "solvegate_tenant_balance_usd"
    text = json.dumps(board)
    assert name in text
    misspelt = json.loads(text.replace(name, f"{name}s"))

    found = panels.look(chain.prometheus, misspelt, chain.started_at, chain.moment())

    assert found.never and found.never <= found.empty


def test_every_named_metric_is_exported_or_recorded(chain, board):
    own, recorded = panels.names([*panels.rule_texts(), *(target.text for target in panels.targets(board))])
    exported = chain.sidecar.metrics()
    assert own and recorded

    assert {name for name in own if name not in exported} == set()
    assert {name for name in recorded if not chain.prometheus.query(f"last_over_time({name}[1h])")} == set()


def test_no_other_alert_fired(chain):
    fired = chain.prometheus.query('count by (alertname) (count_over_time(ALERTS{alertstate="firing"}[1h]))')
    fired = {labels["alertname"] for labels, _ in fired}

    assert fired >= FIRED
    assert fired <= FIRED | MAY_FIRE
    assert fired >= {n.name for n in chain.webhook.notices}


def test_no_secret_is_in_what_people_read(chain):
    texts = json.dumps([[n.labels, n.annotations] for n in chain.webhook.of("pager", "tickets", "dead-man")])
    for secret in (ACCOUNT_KEY, ADMIN_TOKEN):
        assert secret not in texts
