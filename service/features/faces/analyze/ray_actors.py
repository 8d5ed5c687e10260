"""Photos looked at by actors of a Ray cluster: a Ray Data pipeline from chunks of photos to chunks of rows.

The driver finds photos and writes parts, as on one machine; so a run goes on by the same rule after a crash.
"""

import logging
import pickle
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from itertools import islice
from typing import Any

from service.features.faces.analyze.result_folder import PhotoRow
from service.features.faces.analyze.sources import Found
from service.features.faces.analyze.workers import ChunkT, Looker, Work, WorkersLost

LOCAL = "local"
"""Stands for a cluster of this machine alone, which is started and ended with the run."""
WAVE = 128  # chunks for each actor in one pipeline; its actors load their networks once


class Actor:
    """Looks at photos in a process of the cluster."""

    def __init__(self, work: Work) -> None:
        self._looker = Looker(work)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return the rows of a chunk's photos under its number."""
        photos: Sequence[Found] = pickle.loads(row["photos"])  # noqa: S301 - the driver has written it
        answer = getattr(self._looker, row["method"])(photos)
        return {"number": row["number"], "answer": pickle.dumps(answer)}


class RayActors:
    """The actors, one a core of the cluster, or `WORKERS` of them. A killed one is started again with its chunk."""

    def __init__(self, work: Work, address: str) -> None:
        """Join the cluster at an address, or start one here; raise `WorkersLost` where it cannot be reached."""
        import ray
        from ray.data import DataContext

        own = {"num_cpus": work.processes, "include_dashboard": False} if address == LOCAL else {}
        try:
            ray.init(address=address, logging_level=logging.ERROR, log_to_driver=False, **own)
        except Exception as error:  # its errors have no class in common
            text = str(error).strip().partition("\n")[0]
            raise WorkersLost(f"The Ray cluster at {address} cannot be reached: {text}") from error
        logging.getLogger("ray.data").setLevel(logging.ERROR)
        DataContext.get_current().enable_progress_bars = False
        actors = work.settings.workers or int(ray.cluster_resources().get("CPU", 1))
        self._work = replace(work, processes=actors)

    def look_at(self, chunks: Iterator[ChunkT]) -> Iterator[tuple[ChunkT, list[PhotoRow]]]:
        """Yield chunks with the rows of their photos, as they are done."""
        while wave := list(islice(chunks, WAVE * self._work.processes)):
            for number, rows in self._answers("look_at", (chunk.photos for chunk in wave)):
                yield wave[number], rows

    def digests(self, pages: Iterator[Sequence[Found]]) -> Iterator[tuple[Sequence[Found], list[str | None]]]:
        """Yield pages of photos with the SHA-256 of each, in order."""
        while wave := list(islice(pages, WAVE * self._work.processes)):
            answers = dict(self._answers("digests", wave))
            yield from ((page, answers[number]) for number, page in enumerate(wave))

    def close(self) -> None:
        """Leave the cluster."""
        import ray

        ray.shutdown()

    def _answers(self, method: str, photos: Iterable[Sequence[Found]]) -> Iterator[tuple[int, Any]]:
        import ray.data
        from ray.data import ActorPoolStrategy

        rows = [
            {"number": number, "method": method, "photos": pickle.dumps(some)} for number, some in enumerate(photos)
        ]
        data = ray.data.from_items(rows, override_num_blocks=len(rows))
        actors = ActorPoolStrategy(min_size=1, max_size=self._work.processes)
        done = data.map(Actor, fn_constructor_args=(self._work,), compute=actors)
        for row in done.iter_rows():
            yield row["number"], pickle.loads(row["answer"])  # noqa: S301 - an actor has written it
