"""The speed of the code here beside an earlier commit, other programs and bare loops, in one table and one run.

The earlier commit is built as a wheel in the run and served from it. All that a row names takes turns. Prints the table
of docs/performance.md as it comes; the run fails where the 95 % interval of ten pairs with the earlier commit lies
wholly below the row's floor, 0.90 as a rule. Modules of this package that are named are measured alone.
"""

import argparse
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from benchmarks import (
    baseline,
    engine_turns,
    faces_csv,
    pictures,
    pipeline,
    recordings,
    scaling,
    show_task,
    small_tasks,
    stages,
    starts,
    upload,
    watch_task,
)
from benchmarks.row import HEADER, Row

EARLIER = "b01a11f"
"""The commit to compare with until there is a tag."""
MODULES = (
    *(small_tasks, upload, pipeline, scaling, stages, show_task, watch_task, faces_csv),
    *(engine_turns, pictures, recordings, starts),
)
"""Each yields rows, given the folder of the earlier code."""


def main() -> None:
    """Print the table; end with 1 where the code here is slower."""
    measures: dict[str, Callable[[Path], Iterator[Row]]] = {
        module.__name__.rpartition(".")[2]: module.rows for module in MODULES
    }
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*", metavar="MODULE", help=f"of {', '.join(measures)}")
    parser.add_argument("--against", default=EARLIER, help="a commit or tag")
    given = parser.parse_args()
    slower, begin = [], time.monotonic()
    with baseline.installed(given.against) as peer:
        print(HEADER, flush=True)
        for name in given.modules or measures:
            for row in measures[name](peer):
                print(row, flush=True)
                if row.is_slower:
                    slower.append(row.what)
    print(f"\nThe run took {(time.monotonic() - begin) / 60:.0f} minutes.")
    if slower:
        sys.exit(f"Below the floor beside {given.against}: {'; '.join(slower)}.")


if __name__ == "__main__":
    main()
