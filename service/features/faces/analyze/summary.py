"""What a result comes to: counts, statistics, failures. A recount of its parts, so it is right whatever happened."""

from collections import Counter
from itertools import starmap
from typing import Any

from service.features.faces.analyze.result_folder import ResultFolder
from service.features.faces.models import Task
from service.features.faces.statistics import COUNTERS, Counted, count, statistics_of

STATUSES = ("done", "failed", "duplicate")


def summarize(result: ResultFolder, engine: str) -> dict[str, Any]:
    """Return the summary of a result that the engine of this name made, a part in memory at a time."""
    statuses: Counter[str] = Counter()
    failures: Counter[str] = Counter()
    examples: dict[str, str] = {}
    counts: Counter[str] = Counter()
    milliseconds = 0.0
    for part in result.parts():
        columns = ("status", "error_code", "error_detail", "milliseconds")
        for status, code, detail, spent in result.photos(part, *columns):
            statuses[status] += 1
            milliseconds += spent or 0.0
            if code:
                failures[code] += 1
                examples.setdefault(code, detail)
        counts += count(starmap(Counted, result.faces(part, *Counted._fields)), engine)
    return {
        "photos": sum(statuses.values()),
        **{status: statuses[status] for status in STATUSES},
        "statistics": statistics_of(Task(**{name: counts[name] for name in COUNTERS})),
        "failures": [
            {"code": code, "photos": number, "example": examples[code]} for code, number in failures.most_common()
        ],
        "milliseconds": round(milliseconds, 3),
    }
