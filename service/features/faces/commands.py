"""The commands of face tasks: `flask faces …` and `flask tasks …`."""

import csv
import os
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from flask.cli import with_appcontext
from rich.console import Console
from rich.progress import Progress
from rich.table import Table
from rich.text import Text

from service.cli.output import Group, number, plain_table, show_json, show_table
from service.config import Settings
from service.errors import Conflict, Problem
from service.features.faces import operations
from service.features.faces.analyze import Analysed, Analysis, find_photos
from service.features.faces.engines.engine import Detection, Engine
from service.features.faces.webhooks import derived_secret
from service.http.services import provided

COLUMNS = ("file", "x", "y", "width", "height", "gender", "age", "score")
FACE_COLUMNS = ("Faces", "Gender", "Age", "Left, top, width × height", "Score")

faces_commands = Group("faces", help="Faces in photos on this disk, without a server.")
tasks = Group("tasks", help="The tasks in the database. No server is needed; one that runs takes part at once.")


@faces_commands.command()
@click.argument("paths", metavar="PHOTO|FOLDER…", nargs=-1, required=True, type=click.Path(exists=True, path_type=Path))
@click.option("--csv", "as_csv", is_flag=True, help=f"One row a face: {', '.join(COLUMNS)}.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a photo and line.")
@click.option(
    "--boxed",
    metavar="OUT",
    type=click.Path(file_okay=False, path_type=Path),
    help="Write JPEGs of the upright photos into this folder, with boxes, gender and age drawn in.",
)
def analyze(paths: Sequence[Path], *, as_csv: bool, as_json: bool, boxed: Path | None) -> None:
    """Find the faces in photos, with the engine of the settings.

    Folders are walked with all that is in them, for JPEG, PNG and WebP. Without --csv or --json the faces are shown as
    a table. Photos that cannot be analyzed are named on standard error, each with a sentence, and the command then ends
    with 1.
    """
    if as_csv and as_json:
        raise click.UsageError("Give either --csv or --json, not both.")
    form = "csv" if as_csv else "json" if as_json else None
    photos = find_photos(paths, boxed)
    if not photos:
        raise click.ClickException("There are no photos here: JPEG, PNG and WebP are looked for.")
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
    settings: Settings = provided(Settings)
    here: operations.Services = provided(operations.Services)
    # There is this one process, so the embedded engine may have every core.
    workers = settings.workers or (8 if settings.engine == "facecloud" else len(os.sched_getaffinity(0)))
    return Analysis(provided(Engine), here.intake.limits, workers)


def _followed(results: Iterable[Analysed], total: int, failures: list[Analysed]) -> Iterator[Analysed]:
    """Pass results on, with a bar on standard error where that is a terminal; tell and collect the failures."""
    console = Console(stderr=True, soft_wrap=True, highlight=False)
    quiet: dict[str, Any] = {"disable": not console.is_terminal, "redirect_stdout": False, "redirect_stderr": False}
    with Progress(console=console, transient=True, **quiet) as progress:
        for analysed in progress.track(results, total, description="Looking for faces"):
            if analysed.error:
                failures.append(analysed)
                console.print(Text(f"{_printable(analysed.photo.name)}: {analysed.error[1]}"))
            yield analysed


def _show(results: Iterable[Analysed], form: str | None) -> None:
    if form == "csv":
        rows = csv.writer(sys.stdout, lineterminator="\n")
        rows.writerow(COLUMNS)
        for analysed in results:
            rows.writerows((analysed.photo.name, *_cells(face)) for face in analysed.faces)
            sys.stdout.flush()
    elif form == "json":
        for analysed in results:
            show_json(_document(analysed))
    else:
        table = plain_table("Photo", *FACE_COLUMNS, numbers=("Faces", "Age", "Score"))
        for analysed in results:
            _add_rows(table, analysed.photo.name, "failed" if analysed.error else None, map(_shape, analysed.faces))
        show_table(table)


def _cells(face: Detection) -> tuple[Any, ...]:
    return tuple(getattr(face, column) for column in COLUMNS[1:])


def _shape(face: Detection) -> dict[str, Any]:
    """Return a face as the HTTP interface shows it."""
    members = asdict(face)
    return {"bbox": {side: members.pop(side) for side in ("x", "y", "width", "height")}, **members}


def _document(analysed: Analysed) -> dict[str, Any]:
    """Return a photo as the HTTP interface shows an image, with its file's name."""
    error = dict(zip(("code", "detail"), analysed.error, strict=True)) if analysed.error else None
    members = ("media_type", "size", "width", "height")
    picture = {name: getattr(analysed.picture, name, None) for name in members}
    return {"file": analysed.photo.name, **picture, "error": error, "faces": [_shape(face) for face in analysed.faces]}


def _add_rows(table: Table, name: str, status: str | None, faces: Iterable[dict[str, Any]]) -> None:
    """Add a row for each face of a photo, and one for a photo without any."""
    found = list(faces)
    first = [Text(_printable(name)), Text(status or str(len(found)))]
    for face in found:
        box = face["bbox"]
        place = f"{box['x']}, {box['y']}, {box['width']} × {box['height']}"
        table.add_row(*first, face["gender"], number(face["age"], ".1f"), place, number(face["score"], ".3f"))
        first = [Text(""), Text("")]
    if not found:
        table.add_row(*first, *"––––")


def _printable(text: str) -> str:
    """Return a text in which no terminal finds a command."""
    return "".join(letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text)


# Tasks


def _here() -> operations.Services:
    here: operations.Services = provided(operations.Services)
    return here


@tasks.command("list")
@click.option("--status", type=click.Choice(operations.STATUSES), help="Only tasks of this status.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="No more than so many.")
@click.option("--json", "as_json", is_flag=True, help="As the HTTP interface has it: an object with `items`.")
def list_tasks(status: str | None, limit: int, as_json: bool) -> None:
    """List the tasks, newest first."""
    items, _ = operations.list_tasks(_here(), status, limit, None)
    if as_json:
        show_json({"items": items})
        return
    counted = ("Done", "Failed", "Of", "Faces")
    table = plain_table("Task", "Made (UTC)", "Status", *counted, "Name", numbers=counted)
    for task in items:
        progress, found = task["progress"], task["statistics"]
        numbers = (progress["done"], progress["failed"], progress["total"], found["faces"])
        made = task["created_at"][:16].replace("T", " ")
        table.add_row(task["id"], made, task["status"], *map(str, numbers), Text(_printable(task["name"] or "")))
    show_table(table)


@tasks.command()
@click.argument("task_id", metavar="TASK")
@click.option("--json", "as_json", is_flag=True, help="As the HTTP interface has it.")
def show(task_id: str, as_json: bool) -> None:
    """Show a task with its images and their faces."""
    task, _ = operations.get_task(_here(), task_id)
    if as_json:
        show_json(task)
        return
    progress, found = task["progress"], task["statistics"]
    click.echo(
        f"{task['id']} is {task['status']}: {progress['done']} of {progress['total']} images done, "
        f"{progress['failed']} failed. {found['faces']} faces, {found['men']} men "
        f"({number(found['men_average_age'], '.1f')} years on average), {found['women']} women "
        f"({number(found['women_average_age'], '.1f')})."
    )
    table = plain_table("Image", *FACE_COLUMNS, numbers=("Faces", "Age", "Score"))
    for image in task["images"]:
        status = None if image["status"] == "done" else image["status"]
        _add_rows(table, image["name"], status, image["faces"])
    show_table(table)
    for image in task["images"]:
        if image["error"]:
            click.echo(f"{_printable(image['name'])}: {image['error']['code']}. {image['error']['detail']}")


@tasks.command()
@click.argument("task_ids", metavar="TASK…", nargs=-1, required=True)
def retry(task_ids: Sequence[str]) -> None:
    """Start tasks again that ended in an error: just the images that failed.

    A server that runs begins at once, else the next one to start. A task that cannot be tried again is named; the
    others are.
    """
    _for_each(task_ids, _retry)


def _retry(task_id: str) -> None:
    task, _ = operations.get_task(_here(), task_id)
    if task["status"] != "error":
        raise Conflict(f"It is {task['status']}: only a task that ended in an error can be tried again.")
    operations.start(_here(), task_id)
    click.echo(f"{task_id}: {task['progress']['failed']} images are processed again.")


@tasks.command()
@click.argument("task_ids", metavar="TASK…", nargs=-1, required=True)
@click.option("--yes", is_flag=True, help="Do not ask.")
def delete(task_ids: Sequence[str], *, yes: bool) -> None:
    """Delete tasks in any status, with their images and faces. Whatever is under way for them stops.

    A task that cannot be deleted is named; the others are deleted.
    """
    deleted: list[str] = []
    try:
        _for_each(task_ids, lambda task_id: _delete(task_id, deleted, asking=not yes))
    except click.Abort:
        click.echo("Nothing else was deleted." if deleted else "Nothing was deleted.", err=True)
        sys.exit(1)


def _delete(task_id: str, deleted: list[str], *, asking: bool) -> None:
    task, _ = operations.get_task(_here(), task_id)
    if asking:
        images = task["progress"]["total"]
        click.confirm(f"Delete {task_id}, which is {task['status']}, with {images} images?", abort=True)
    operations.delete_task(_here(), task_id)
    deleted.append(task_id)
    click.echo(f"{task_id} is deleted.", err=True)


def _for_each(task_ids: Iterable[str], act: Callable[[str], None]) -> None:
    """Act on every task; name those where it fails, go on with the others, and end with 1 after the last."""
    failed = False
    for task_id in task_ids:
        try:
            act(task_id)
        except Problem as problem:
            click.echo(f"Error: {_printable(task_id)}: {problem.detail}", err=True)
            failed = True
    if failed:
        sys.exit(1)


# The rest


@click.command("webhook-secret")
@with_appcontext
def webhook_secret() -> None:
    """Print the secret that signs webhooks, for those who receive them."""
    settings = provided(Settings)
    click.echo(settings.webhook_secret or derived_secret(settings.api_password))
