"""`headcount watch`: what is new in a folder, as soon as it is complete."""

import time
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext

from service.config import Settings
from service.features.faces.analyze.tables import FORMATS
from service.features.faces.commands.result_run import SHARD, ResultRun, Wanted, stopping, tell, told, with_engine
from service.http.services import provided

SUMMARY_SECONDS = 60


@click.command()
@click.argument("folder", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out",
    metavar="RESULT",
    required=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="Where tables of photos and faces are written, as by `analyze --out`.",
)
@click.option("--every", type=click.FloatRange(0.1), default=5, show_default=True, help="Seconds between two looks.")
@click.option("--format", "form", type=click.Choice(FORMATS), help="How tables are written, as for `analyze`.")
@click.option("--engine", metavar="ENGINE", help="Another engine than FACE_ENGINE names.")
@with_appcontext
def watch(folder: Path, out: Path, every: float, engine: str | None, **options: Any) -> None:
    """Look at what is new in a folder, until Ctrl-C or SIGTERM; nothing is deleted or moved.

    A photo is taken once two looks found it with the same size and time: nobody writes it any more. Each look that
    finds something new writes a part of its own.
    """
    settings = with_engine(provided(Settings), engine)
    wanted = Wanted(sources=(str(folder),), out=out, shard=SHARD, **options)
    with told(), stopping() as stopped:
        whole = ResultRun(settings, wanted, stopped)
        summarized = time.monotonic()
        with whole.begun() as run:
            while True:
                if whole.look(run, settled=True) and time.monotonic() - summarized > SUMMARY_SECONDS:
                    whole.hand_on()
                    summarized = time.monotonic()
                if stopped.wait(every):
                    break
        tell(whole.hand_on(), out)
