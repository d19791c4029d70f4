"""The fast copy of the rules differs from the shipped ones in durations only."""

import copy

import pytest
import yaml

from compress import Refused, changed_expression, compressed, listed_and_absent, prove
from setting import EXAMPLES, FACTOR, RULES

FILES = [*RULES, *EXAMPLES]


def load(path):
    return yaml.safe_load(path.read_text())


def rule(text, **more):
    return {"groups": [{"name": "g", "interval": "1m", "rules": [{"alert": "A", "expr": text, **more}]}]}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_shipped_file_is_compressed_and_proved(path):
    copy = compressed(load(path), FACTOR)

    assert copy != load(path)


def test_every_listed_number_is_still_in_a_rule():
    assert listed_and_absent([load(path) for path in RULES]) == []


def test_durations_shrink_and_names_stay():
    text = 'a:b:ratio_rate1h{window="5m"} > 3 * rate(c5m[1d:5m] offset 1d) and d > 0.5'

    copy = compressed(rule(text, **{"for": "1m", "labels": {"long_window": "1h"}}), 100)

    group = copy["groups"][0]
    assert group["interval"] == "600ms"
    assert group["rules"][0] == {
        "alert": "A",
        "expr": 'a:b:ratio_rate1h{window="5m"} > 3 * rate(c5m[864s:3s] offset 864s) and d > 0.5',
        "for": "600ms",
        "labels": {"long_window": "1h"},
    }


@pytest.mark.parametrize(
    "tree",
    [
        pytest.param(rule("rate(a[10s])", **{"for": "7ms"}), id="a duration that cannot be divided"),
        pytest.param(rule("a_seconds > 1800"), id="a number that may be seconds"),
        pytest.param(rule("a == 1e6"), id="a number in another form"),
        pytest.param(rule("a > 5m"), id="a duration where none is known"),
        pytest.param({"groups": [], "wait": "5m"}, id="a key that may be a duration"),
    ],
)
def test_what_is_not_known_to_be_a_duration_is_refused(tree):
    with pytest.raises(Refused):
        compressed(tree, 100)


def changes():
    def threshold(rules):
        rules[0]["expr"] = rules[0]["expr"].replace("2.5", "2.4")

    def window(rules):
        rules[0]["expr"] = rules[0]["expr"].replace("[3600ms]", "[7200ms]")

    def slower(rules):
        rules[0]["for"] = "1200ms"

    def label(rules):
        rules[0]["labels"]["long_window"] = "36s"

    def name(rules):
        rules[0]["expr"] = rules[0]["expr"].replace("rate1h", "rate36s")

    def more(rules):
        rules.append(copy.deepcopy(rules[0]))

    def fewer(rules):
        del rules[0]["labels"]["tier"]

    return [threshold, window, slower, label, name, more, fewer]


@pytest.mark.parametrize("change", changes(), ids=lambda change: change.__name__)
def test_any_other_change_is_seen(change):
    labels = {"tier": "fast", "long_window": "1h"}
    tree = rule("a:b:rate1h >= 2.5 and rate(c[6m]) > 1", **{"for": "1m", "labels": labels})
    made = compressed(copy.deepcopy(tree), 100)
    prove(tree, made, 100)

    change(made["groups"][0]["rules"])

    with pytest.raises(Refused):
        prove(tree, made, 100)


def test_the_sidecars_own_seconds_stay():
    text = "time() - max by (a) (solvegate_account_last_refresh_timestamp_seconds) > 1800"

    assert changed_expression(text, lambda number: number // 100) == text
