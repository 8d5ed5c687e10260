"""`flask faces …`: photos on this disk."""

import csv
import os
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from service.cli.output import Group, show_json, show_table
from service.config import Settings
from service.features.faces import operations
from service.features.faces.analyze import Analysed, Analysis, find_photos
from service.features.faces.commands.face_table import add_rows, face_table, printable
from service.features.faces.engines.engine import Engine
from service.features.faces.representation import FACE_MEMBERS, SEARCH_MEMBERS, face, numbered
from service.features.faces.tables import harmless
from service.http.services import provided

COLUMNS = ("file", *FACE_MEMBERS)

faces = Group("faces", help="Faces in photos on this disk, without a server.")


@faces.command()
@click.argument("paths", metavar="PHOTO|FOLDER…", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--csv", "as_csv", is_flag=True, help=f"One row a face: {', '.join(COLUMNS)}.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a photo and line.")
@click.option(
    "--boxed",
    metavar="OUT",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write JPEGs of the upright photos into this folder, with boxes, gender and age drawn in; `?` is unknown.",
)
def analyze(paths: Sequence[Path], *, as_csv: bool, as_json: bool, boxed: Path | None) -> None:
    """Find the faces in photos, with the engine of the settings.

    Folders are walked with all that is in them, for JPEG, PNG, WebP, HEIC and AVIF. Without --csv or --json the faces
    are shown as a table. Photos that cannot be analyzed are named on standard error, each with a sentence, and the
    command then ends with 1.
    """
    if as_csv and as_json:
        raise click.UsageError("Give either --csv or --json, not both.")
    form = "csv" if as_csv else "json" if as_json else None
    photos = find_photos(paths, boxed)
    if not photos:
        raise click.ClickException("There are no photos here: JPEG, PNG, WebP, HEIC and AVIF are looked for.")
    originals = {photo.path.resolve() for photo in photos}
    for photo in photos:
        if photo.boxed and photo.boxed.resolve() in originals:
            raise click.UsageError(f"{photo.boxed} is one of the photos: give --boxed another folder.")
    failures: list[Analysed] = []
    with closing(_analysis().run(photos)) as results:
        followed: Iterable[Analysed] = _followed(results, len(photos), failures)
        if form is None or sys.stdout.isatty():
            followed = list(followed)  # the bar must be gone before anything is shown
        _show(followed, form)
    if failures:
        sys.exit(1)


def _analysis() -> Analysis:
    settings = provided(Settings)
    # There is this one process, so the embedded engine may have every core.
    workers = settings.workers or (8 if settings.engine == "facecloud" else len(os.sched_getaffinity(0)))
    intake = provided(operations.Services).intake
    return Analysis(provided(Engine), intake.limits, intake.pixels, workers)


def _followed(results: Iterable[Analysed], total: int, failures: list[Analysed]) -> Iterator[Analysed]:
    """Pass results on, with a bar on standard error where that is a terminal; tell and collect the failures."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    quiet: dict[str, Any] = {"disable": not console.is_terminal, "redirect_stdout": False, "redirect_stderr": False}
    with Progress(console=console, transient=True, **quiet) as progress:
        for analysed in progress.track(results, total, description="Looking for faces"):
            if analysed.error:
                failures.append(analysed)
                console.print(Text(f"{printable(analysed.photo.name)}: {analysed.error[1]}"))
            yield analysed


def _show(results: Iterable[Analysed], form: str | None) -> None:
    if form == "csv":
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(COLUMNS)
        for analysed in results:
            rows.writerows((harmless(analysed.photo.name), *members) for members in numbered(analysed.found.faces))
            sys.stdout.flush()
    elif form == "json":
        for analysed in results:
            show_json(_document(analysed))
    else:
        table = face_table("Photo")
        for analysed in results:
            add_rows(table, analysed.photo.name, "failed" if analysed.error else None, _shown(analysed))
        show_table(table)


def _document(analysed: Analysed) -> dict[str, Any]:
    """Return a photo as the HTTP interface shows an image, with its file's name."""
    error = dict(zip(("code", "detail"), analysed.error, strict=True)) if analysed.error else None
    members = ("media_type", "size", "width", "height")
    picture = {name: getattr(analysed.picture, name, None) for name in members}
    search = {name: getattr(analysed.found, name) for name in SEARCH_MEMBERS}
    return {"file": analysed.photo.name, **picture, "error": error, **search, "faces": _shown(analysed)}


def _shown(analysed: Analysed) -> list[dict[str, Any]]:
    return [face(members) for members in numbered(analysed.found.faces)]
