"""A job that has lost two runs runs alone: no innocent neighbour dies with it."""

from collections.abc import Mapping, Sequence

from service.jobs.claims import ClaimPolicy, Turn
from service.jobs.operation import Run
from service.jobs.transitions import ALONE


class SuspectIsolation(ClaimPolicy):
    """While others are still under way a suspect goes back, and nothing is claimed until they have ended."""

    def __init__(self) -> None:
        self._drains = False

    def narrow(self, wanted: Mapping[str, int], turn: Turn) -> Mapping[str, int]:
        """Want nothing beside a suspect, nor before it."""
        self._drains &= turn.under_way > 0
        return {} if self._drains or any(_is_suspect(claim.run) for claim in turn.claims) else wanted

    def retain(self, runs: Sequence[Run], turn: Turn) -> Sequence[Run]:
        """Keep one suspect and nothing else, or none while others are under way."""
        suspects = [run for run in runs if _is_suspect(run)]
        if not suspects:
            return runs
        self._drains = turn.under_way > 0
        return [run for run in runs if not _is_suspect(run)] if self._drains else suspects[:1]


def _is_suspect(run: Run) -> bool:
    return run.losses >= ALONE
