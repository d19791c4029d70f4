"""A copy of rules/ and its examples in which time runs faster, and nothing else differs.

Durations are divided by a factor: ranges, offsets, intervals, `for`, `keep_firing_for`, Alertmanager's waits, and
the numbers in expressions that are seconds of Prometheus' time. Names and labels that tell a window (`ratio_rate1h`,
`long_window: 1h`) stay: they are names. `compressed` proves its own copy and refuses to hand out one in which
anything else has changed, or in which a number may be a duration and nobody has said whether it is.
"""

import re

UNITS = {"ms": 1, "s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 604_800_000, "y": 31_536_000_000}
DURATION = re.compile(r"(?:\d+(?:ms|[smhdwy]))+")

# Keys whose value is a duration: of rule groups and rules, of Prometheus, of Alertmanager.
KEYS = {
    "interval", "for", "keep_firing_for",
    "scrape_interval", "scrape_timeout", "evaluation_interval",
    "resolve_timeout", "group_wait", "group_interval", "repeat_interval",
}

# Numbers in expressions that are seconds of Prometheus' time, and shrink with it.
SECONDS = {
    r"solvegate_slo_window_seconds:max == (\d+)": "the SLO's window, which the test's config shortens alike",
    r"predict_linear\([^)]*, (\d+)\)": "how far ahead the line is drawn, from a range that shrinks",
    r"solvegate_cost_usd:rate1h(?: > 0\))? \* (\d+)": "seconds of an hour: USD a second to USD an hour",
}
# Numbers that are seconds of the sidecar's own time, which runs as ever.
REAL_SECONDS = {
    r"last_refresh_timestamp_seconds\)(?: > 0\))? > (\d+)": "the sidecar asks for its account every 15 s of real time",
    r"solvegate_store_lag_seconds\) > (\d+)": "a disk is as slow as it is",
}
# A whole number from here on might be seconds, and has to stand in one of the two lists.
SUSPECT = 30

TOKEN = re.compile(
    r"""(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')"""
    r"""|(?P<range>\[[^\]]*\])"""
    r"""|(?P<offset>\boffset\s+-?(?P<by>\w+))"""
    r"""|(?P<name>[A-Za-z_:][\w:]*)"""
    r"""|(?P<number>\d[\w.]*)"""
)


class Refused(Exception):
    """A copy would change something else than durations, or would miss one."""


def milliseconds(text):
    if not DURATION.fullmatch(text):
        raise Refused(f"no duration: {text}")
    return sum(int(number) * UNITS[unit] for number, unit in re.findall(r"(\d+)(ms|[smhdwy])", text))


def duration(ms):
    return f"{ms}ms" if ms % 1_000 else f"{ms // 1_000}s"


def exactly(number, factor):
    if number % factor:
        raise Refused(f"{number} cannot be divided by {factor}: choose another factor")
    return number // factor


def compressed(tree, factor):
    """The copy of a YAML file, as `yaml.safe_load` gives it, whose time is `factor` times as fast."""
    copy = changed(tree, lambda number: exactly(number, factor))
    prove(tree, copy, factor)
    return copy


def prove(tree, copy, factor):
    """Expanded again, the copy is the original; and word by word, only durations differ, each by the factor."""
    expanded = changed(copy, lambda number: number * factor)
    original = changed(tree, lambda number: number)
    if expanded != original:
        wrong = next(f"{path}: {a!r} is {b!r}" for path, a, b in leaves(original, expanded) if a != b)
        raise Refused(f"expanded again, it is not the original: {wrong}")
    for path, before, after in leaves(tree, copy):
        words = [re.findall(r"[\w.]+|\s+|.", str(text)) for text in (before, after)]
        if len(words[0]) != len(words[1]):
            raise Refused(f"{path}: {before!r} became {after!r}")
        for old, new in zip(*words):
            # A number without a unit is seconds; the unit added to both makes it a duration.
            old_ms, new_ms = (milliseconds(f"{w}s" if w.isdigit() else w) if old != new else 0 for w in (old, new))
            if old_ms != new_ms * factor:
                raise Refused(f"{path}: {old} became {new}")


def leaves(a, b, path=""):
    """Pairs of values at the same place."""
    if isinstance(a, dict) and isinstance(b, dict) and list(a) == list(b):
        for key in a:
            yield from leaves(a[key], b[key], f"{path}.{a[key] if key in ('alert', 'record') else key}")
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for n, (one, other) in enumerate(zip(a, b)):
            yield from leaves(one, other, f"{path}[{n}]")
    else:
        yield path, a, b


def changed(tree, change, key=None):
    """A copy with `change` applied to each duration, in milliseconds, and to each listed number of seconds."""
    if isinstance(tree, dict):
        # Labels and annotations are texts: what looks like a duration there is a name.
        return {
            k: v if k in ("labels", "annotations", "external_labels") else changed(v, change, k)
            for k, v in tree.items()
        }
    if isinstance(tree, list):
        return [changed(item, change, key) for item in tree]
    if key in KEYS:
        return duration(change(milliseconds(str(tree))))
    if key == "expr":
        return changed_expression(str(tree), change)
    if isinstance(tree, str) and DURATION.fullmatch(tree):
        raise Refused(f"{key}: {tree} looks like a duration, and `{key}` is not known to be one")
    return tree


def changed_expression(text, change):
    seconds, real = ({m.span(1) for p in patterns for m in re.finditer(p, text)} for patterns in (SECONDS, REAL_SECONDS))

    def replace(token):
        word = token[0]
        if token["range"]:
            return DURATION.sub(lambda found: duration(change(milliseconds(found[0]))), word)
        if token["offset"]:
            return word.replace(token["by"], duration(change(milliseconds(token["by"]))))
        if not token["number"]:
            return word
        if token.span() in seconds:
            return str(change(int(word)))
        if token.span() not in real and (not re.fullmatch(r"[\d.]+", word) or float(word) >= SUSPECT and "." not in word):
            raise Refused(f"{word} in `{text}`: say in SECONDS or REAL_SECONDS whether it is a duration")
        return word

    return TOKEN.sub(replace, text)


def listed_and_absent(trees):
    """Patterns of the two lists that no expression has: what they were for is gone."""
    expressions = [
        rule["expr"] for tree in trees for group in tree.get("groups", ()) for rule in group["rules"]
    ]
    return [p for p in [*SECONDS, *REAL_SECONDS] if not any(re.search(p, text) for text in expressions)]
