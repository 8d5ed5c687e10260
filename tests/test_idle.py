"""What a service does while there is nothing to do."""

import time
from pathlib import Path

from tests.conftest import MakeService

MOST_A_SECOND = 5


def wake_ups(pid: int) -> int:
    """Return how often the threads of a process have gone to sleep."""
    statuses = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/status")]
    return sum(int(line.split()[1]) for text in statuses for line in text.splitlines() if line.startswith("voluntary"))


def test_an_idle_process_wakes_at_most_five_times_a_second(make_service: MakeService) -> None:
    service = make_service(WEB_CONCURRENCY=2)
    service.start()
    time.sleep(0.5)  # the work of the start
    before, begin = {pid: wake_ups(pid) for pid in service.workers()}, time.monotonic()
    time.sleep(3)
    seconds = time.monotonic() - begin
    assert {
        pid: wake_ups(pid) - number
        for pid, number in before.items()
        if wake_ups(pid) - number > MOST_A_SECOND * seconds
    } == {}
