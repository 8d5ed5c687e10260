"""Which runs of other processes are dead, told without anybody's clock: their leases are not renewed any more."""

from collections.abc import Sequence

from service.jobs.models import Lease


class LeaseWatch:
    """Leases of other processes as this one has seen them. One that is the same for its whole time has run out.

    The times in the rows only have to change. So neither a clock that is set, nor one that is wrong on another machine,
    kills a run or keeps a dead one alive.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: dict[Lease, float] = {}

    def dead(self, leases: Sequence[Lease], monotonic: float) -> list[Lease]:
        """Return those that have run out, or were ended by who knows that the process is dead."""
        self._seen = {lease: self._seen.get(lease, monotonic) for lease in leases}
        over = monotonic - self._seconds
        return [lease for lease, since in self._seen.items() if since <= over or lease.expires_at == 0]
