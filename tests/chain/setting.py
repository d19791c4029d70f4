"""What the whole chain shares: where things are, and how fast time runs."""

from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
RULES = sorted((REPOSITORY / "rules").glob("*.yml"))
EXAMPLES = [REPOSITORY / "rules" / "examples" / name for name in ("prometheus.yml", "alertmanager.yml")]
RUNBOOKS = REPOSITORY / "docs" / "runbooks"
DASHBOARD = REPOSITORY / "grafana" / "dashboards" / "solvegate.json"

# 1h is 36 s, 5m is 3 s, and rules are evaluated every 0.6 s. A slower copy would not end within minutes; in a faster
# one the shortest window would hold too few scrapes. It divides every shipped duration into whole milliseconds.
FACTOR = 100
# Prometheus looks five minutes back for a sample: also a duration.
LOOKBACK = f"{300 // FACTOR}s"
# A scrape takes the time that the sidecar takes, which is not compressed: 150 ms, the shipped 15s by the factor, would be
# its time-out as well, and too little on a machine under load. The shortest window still holds six scrapes.
SCRAPE = "500ms"
# How often Prometheus tells Alertmanager again what fires; what is not told for four times as long is taken as resolved.
# Longer than an evaluation, so that a machine under load does not resolve alerts by being slow.
RESEND = "2s"
WATCHDOG = "SolvegateWatchdog"
