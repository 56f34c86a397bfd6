"""Metrics: a few counters in Prometheus' text format.

Belongs here: counting and spelling. Keep out: names of persons, keys and paths as called; labels
are routes, statuses and reasons, of which there are few.

Source: prometheus.io/docs/instrumenting/exposition_formats, text format 0.0.4.
"""

import threading
from collections import defaultdict
from collections.abc import Iterator

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
HELP = {
    "loopdrive_requests_total": "Requests answered, by route and status.",
    "loopdrive_request_seconds": "Seconds from the first byte to the answer, by route.",
    "loopdrive_events_accepted_total": "Events on the disk before their answer, by write key.",
    "loopdrive_events_refused_total": "Events refused, by reason.",
    "loopdrive_webhook_events_total": "Provider events, by provider and what became of them.",
    "loopdrive_webhook_refused_total": "Webhooks refused, by provider and reason.",
    "loopdrive_consent_revoked_total": "Revokes committed, by where they were asked for.",
    "loopdrive_landing_is_failing": "1 while the landing log cannot be written.",
}
BUCKETS = (0.001, 0.0025, 0.005, 0.01, 0.02, 0.05, 0.1, 0.25, 1.0, 5.0)
_Labels = tuple[tuple[str, str], ...]


class Metrics:
    """Counters and one histogram of this process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: dict[tuple[str, _Labels], float] = defaultdict(float)
        self._buckets: dict[_Labels, list[int]] = {}
        self._sums: dict[_Labels, float] = defaultdict(float)

    def count(self, name: str, by: float = 1, **labels: str) -> None:
        """Add to a counter of HELP."""
        with self._lock:
            self._counts[name, tuple(labels.items())] += by

    def value(self, name: str, **labels: str) -> float:
        """What a counter says."""
        return self._counts.get((name, tuple(labels.items())), 0)

    def request(self, route: str, status: int, seconds: float) -> None:
        """Count one answered request."""
        with self._lock:
            labels = (("route", route), ("status", str(status)))
            self._counts["loopdrive_requests_total", labels] += 1
            by_route = (("route", route),)
            row = self._buckets.setdefault(by_route, [0] * (len(BUCKETS) + 1))
            row[next((i for i, top in enumerate(BUCKETS) if seconds <= top), len(BUCKETS))] += 1
            self._sums[by_route] += seconds

    def text(self, is_failing: bool) -> str:
        """All of it, for a scrape."""
        with self._lock:
            counts = dict(self._counts)
            counts["loopdrive_landing_is_failing", ()] = float(is_failing)
            lines = [line for name in HELP for line in self._family(name, counts)]
        return "\n".join(lines) + "\n"

    def _family(self, name: str, counts: dict[tuple[str, _Labels], float]) -> Iterator[str]:
        kind = "counter" if name.endswith("_total") else "gauge"
        is_histogram = name == "loopdrive_request_seconds"
        yield f"# HELP {name} {HELP[name]}"
        yield f"# TYPE {name} {'histogram' if is_histogram else kind}"
        if is_histogram:
            yield from self._histogram(name)
        for (found, labels), value in sorted(counts.items()):
            if found == name:
                yield f"{name}{_spelled(labels)} {value:.15g}"

    def _histogram(self, name: str) -> Iterator[str]:
        for labels, row in sorted(self._buckets.items()):
            total = 0
            for top, count in zip([*map(str, BUCKETS), "+Inf"], row, strict=True):
                total += count
                yield f"{name}_bucket{_spelled((*labels, ('le', top)))} {total}"
            yield f"{name}_sum{_spelled(labels)} {self._sums[labels]:.6f}"
            yield f"{name}_count{_spelled(labels)} {total}"


def _spelled(labels: _Labels) -> str:
    if not labels:
        return ""
    escaped = (
        (name, value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n"))
        for name, value in labels
    )
    return "{" + ",".join(f'{name}="{value}"' for name, value in escaped) + "}"
