"""`headcount analyze`: photos where they are, to the terminal or into a result folder."""

import csv
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any, get_args

import click
from flask.cli import with_appcontext
from rich.console import Console
from rich.progress import Progress
from rich.text import Text

from service.cli.output import show_json, show_table
from service.config import Settings
from service.features.faces import operations
from service.features.faces.analyze import local_photos
from service.features.faces.analyze.analysis import Analysis
from service.features.faces.analyze.local_photos import Analysed, Photo, find_photos
from service.features.faces.analyze.tables import FORMATS
from service.features.faces.annotations import FORMS
from service.features.faces.anonymization import Style, anonymize
from service.features.faces.commands.face_table import add_rows, face_table, printable
from service.features.faces.commands.result_run import SHARD, Wanted, analyze_into, with_engine
from service.features.faces.drawing import Draw, draw_boxes
from service.features.faces.engines.engine import Engine
from service.features.faces.face_members import FACE_MEMBERS, face, numbered
from service.features.faces.representation import SEARCH_MEMBERS
from service.features.faces.tables import harmless
from service.http.services import provided

COLUMNS = ("file", *FACE_MEMBERS)
_LOCAL = click.Path(exists=True, path_type=Path)


@click.command()
@click.argument("sources", metavar="SOURCE…", nargs=-1, required=True)
@click.option("--csv", "as_csv", is_flag=True, help=f"One row a face: {', '.join(COLUMNS)}.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a photo and line.")
@click.option(
    "--boxed",
    metavar="OUT",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write JPEGs of the upright photos into this folder, with boxes, gender and age drawn in; `?` is unknown.",
)
@click.option(
    "--blur",
    metavar="OUT",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write JPEGs of the upright photos into this folder, with the faces hidden that were found.",
)
@click.option("--style", type=click.Choice(get_args(Style)), help="How --blur hides faces.  [default: blurred]")
@click.option(
    "--out",
    metavar="RESULT",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write tables of photos and faces into this folder. A second run looks at what is new or changed.",
)
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="How tables are written into RESULT; without it as they are there, else as Parquet where it is installed.",
)
@click.option(
    "--shard", type=click.IntRange(1), default=SHARD, show_default=True, help="Photos that are written at a time."
)
@click.option("--engine", metavar="ENGINE", help="Another engine than FACE_ENGINE names.")
@click.option("--digest", "digests", is_flag=True, help="Write the SHA-256 of each photo.")
@click.option("--dedupe", is_flag=True, help="Look at the same bytes once; rows of the others refer to the first.")
@click.option(
    "--export",
    "exports",
    multiple=True,
    type=click.Choice(tuple(FORMS)),
    help="Also write photos and boxes for another program, into RESULT/exports. May be given more than once.",
)
@click.option("--crops", is_flag=True, help="Also write each face as an upright JPEG into RESULT/crops.")
@click.option("--xmp", is_flag=True, help="Also write face regions beside each photo of this disk, as PHOTO.xmp.")
@click.option(
    "--ray",
    metavar="[ADDRESS]",
    is_flag=False,
    flag_value="local",
    help="Look at photos on the Ray cluster at this address; without one, on one that is started here.",
)
@click.pass_context
@with_appcontext
def analyze(
    context: click.Context,
    /,
    sources: Sequence[str],
    *,
    as_csv: bool,
    as_json: bool,
    boxed: Path | None,
    blur: Path | None,
    style: Style | None,
    out: Path | None,
    **options: Any,
) -> None:
    """Find the faces in photos where they are: nothing is copied, moved, changed or deleted.

    A SOURCE is a photo, or a folder with all that is in it: JPEG, PNG, WebP, HEIC and AVIF. Without --out the faces
    are shown as a table, or as --csv or --json; photos that cannot be analyzed are named on standard error.

    With --out a SOURCE may also be s3://bucket/prefix, a list of paths or keys as .txt or .csv, or - for such a list on
    standard input.

    The exit status is 0, or 1 where photos failed, or 2 where nothing could be done.
    """
    engine = options.pop("engine")
    if out:
        if as_csv or as_json:
            raise click.UsageError("Give either --out, or --csv or --json.")
        wanted = Wanted(sources=sources, out=out, drawn=_drawn(boxed, blur, style), **options)
        analyze_into(with_engine(provided(Settings), engine), wanted)
        return
    if engine or any(options[name] for name in ("form", "digests", "dedupe", "exports", "crops", "xmp", "ray")):
        raise click.UsageError("--format, --engine, --digest, --dedupe, --export, --crops, --xmp and --ray need --out.")
    if as_csv and as_json:
        raise click.UsageError("Give either --csv or --json, not both.")
    drawn = _drawn(boxed, blur, style)
    paths = [_LOCAL.convert(source, None, context) for source in sources]
    _show_all(paths, "csv" if as_csv else "json" if as_json else None, drawn)


def _drawn(boxed: Path | None, blur: Path | None, style: Style | None) -> dict[Path, Draw]:
    """Return the folders for copies, and how each is drawn."""
    if style and not blur:
        raise click.UsageError("--style belongs to --blur.")
    if boxed and blur and boxed.resolve() == blur.resolve():
        raise click.UsageError("Give --boxed and --blur two folders.")
    drawn: dict[Path, Draw] = {boxed: draw_boxes} if boxed else {}
    if blur:
        drawn[blur] = partial(anonymize, style=style or "blurred")
    return drawn


def _show_all(paths: Sequence[Path], form: str | None, drawn: Mapping[Path, Draw]) -> None:
    photos = find_photos(paths, drawn)
    if not photos:
        raise click.ClickException("There are no photos here: JPEG, PNG, WebP, HEIC and AVIF are looked for.")
    _refuse_to_overwrite(photos)
    failures: list[Analysed] = []
    analysis, workers = _analysis()
    with closing(local_photos.analyze(analysis, photos, workers)) as results:
        followed: Iterable[Analysed] = _followed(results, len(photos), failures)
        if form is None or sys.stdout.isatty():
            followed = list(followed)  # the bar must be gone before anything is shown
        _show(followed, form)
    if failures:
        sys.exit(1)


def _refuse_to_overwrite(photos: Sequence[Photo]) -> None:
    originals = {photo.path.resolve() for photo in photos}
    for target in (target for photo in photos for target, _ in photo.copies):
        if target.resolve() in originals:
            raise click.UsageError(f"{target} is one of the photos: give --boxed or --blur another folder.")


def _analysis() -> tuple[Analysis, int]:
    settings = provided(Settings)
    # There is this one process, so the embedded engine may have every core.
    workers = settings.workers or (8 if settings.engine == "facecloud" else len(os.sched_getaffinity(0)))
    intake = provided(operations.Services).intake
    return Analysis(provided(Engine), intake.limits, intake.pixels), workers


def _followed(results: Iterable[Analysed], total: int, failures: list[Analysed]) -> Iterator[Analysed]:
    """Pass results on, with a bar on standard error where that is a terminal; tell and collect the failures."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    quiet: dict[str, Any] = {"disable": not console.is_terminal, "redirect_stdout": False, "redirect_stderr": False}
    with Progress(console=console, transient=True, **quiet) as progress:
        for photo, seen in progress.track(results, total, description="Looking for faces"):
            if seen.error:
                failures.append((photo, seen))
                console.print(Text(f"{printable(photo.name)}: {seen.error[1]}"))
            yield photo, seen


def _show(results: Iterable[Analysed], form: str | None) -> None:
    if form == "csv":
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(COLUMNS)
        for photo, seen in results:
            rows.writerows((harmless(photo.name), *members) for members in numbered(seen.found.faces))
            sys.stdout.flush()
    elif form == "json":
        for analysed in results:
            show_json(_document(analysed))
    else:
        table = face_table("Photo")
        for photo, seen in results:
            add_rows(table, photo.name, "failed" if seen.error else None, _shown(analysed=(photo, seen)))
        show_table(table)


def _document(analysed: Analysed) -> dict[str, Any]:
    """Return a photo as the HTTP interface shows an image, with its file's name."""
    photo, seen = analysed
    error = dict(zip(("code", "detail"), seen.error, strict=True)) if seen.error else None
    members = ("media_type", "size", "width", "height")
    picture = {name: getattr(seen.picture, name, None) for name in members}
    search = {name: getattr(seen.found, name) for name in SEARCH_MEMBERS}
    return {"file": photo.name, **picture, "error": error, **search, "faces": _shown(analysed)}


def _shown(analysed: Analysed) -> list[dict[str, Any]]:
    return [face(members) for members in numbered(analysed[1].found.faces)]
