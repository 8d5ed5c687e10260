"""`flask tasks …`: the tasks in the database."""

import sys
from collections.abc import Callable, Iterable, Sequence

import click
from rich.text import Text

from service.cli.output import Group, number, plain_table, show_json, show_table
from service.config import Settings
from service.errors import Conflict, Problem
from service.features.faces import exports, operations
from service.features.faces.annotations import FORMS
from service.features.faces.commands.face_table import add_rows, face_table, printable
from service.http.services import provided

tasks = Group("tasks", help="The tasks in the database. No server is needed; one that runs takes part at once.")


def _services() -> operations.Services:
    return provided(operations.Services)


@tasks.command("list")
@click.option("--status", type=click.Choice(operations.STATUSES), help="Only tasks of this status.")
@click.option("--limit", type=click.IntRange(1), default=20, show_default=True, help="No more than so many.")
@click.option("--json", "as_json", is_flag=True, help="As the HTTP interface has it: an object with `items`.")
def list_tasks(status: str | None, limit: int, as_json: bool) -> None:
    """List the tasks, newest first."""
    items, _ = operations.list_tasks(_services(), status, limit, None)
    if as_json:
        show_json({"items": items})
        return
    counted = ("Done", "Failed", "Of", "Faces")
    table = plain_table("Task", "Made (UTC)", "Status", *counted, "Name", numbers=counted)
    for task in items:
        progress, found = task["progress"], task["statistics"]
        numbers = (progress["done"], progress["failed"], progress["total"], found["faces"])
        made = task["created_at"][:16].replace("T", " ")
        table.add_row(task["id"], made, task["status"], *map(str, numbers), Text(printable(task["name"] or "")))
    show_table(table)


@tasks.command()
@click.argument("task_id", metavar="TASK")
@click.option("--json", "as_json", is_flag=True, help="As the HTTP interface has it.")
def show(task_id: str, as_json: bool) -> None:
    """Show a task with its images and their faces."""
    task = operations.get_task(_services(), task_id)
    if as_json:
        show_json(task)
        return
    progress, found = task["progress"], task["statistics"]
    click.echo(
        f"{task['id']} is {task['status']}: {progress['done']} of {progress['total']} images done, "
        f"{progress['failed']} failed. {found['faces']} faces, {found['men']} men "
        f"({number(found['men_average_age'], '.1f')} years on average), {found['women']} women "
        f"({number(found['women_average_age'], '.1f')}), {found['unknown']} of unknown gender."
    )
    for warning in found["warnings"]:
        click.echo(f"{warning['code']}: {warning['detail']}")
    table = face_table("Image")
    for image in task["images"]:
        status = None if image["status"] == "done" else image["status"]
        add_rows(table, image["name"], status, image["faces"])
    show_table(table)
    for image in task["images"]:
        if image["error"]:
            click.echo(f"{printable(image['name'])}: {image['error']['code']}. {image['error']['detail']}")


@tasks.command("export")
@click.argument("task_id", metavar="TASK")
@click.option("--as", "form", type=click.Choice(tuple(FORMS)), default="coco", show_default=True, help="The program.")
def export_task(task_id: str, form: str) -> None:
    """Print the photos of a task that are done and their boxes, for another program."""
    address = f"{provided(Settings).public_url.rstrip('/')}/api/v1/tasks/{task_id}"
    for piece in exports.annotations(_services(), task_id, form, address).pieces:
        click.echo(piece, nl=False)


@tasks.command()
@click.argument("task_ids", metavar="TASK…", nargs=-1, required=True)
def retry(task_ids: Sequence[str]) -> None:
    """Start tasks again that ended in an error: just the images that failed.

    A server that runs begins at once, else the next one to start. A task that cannot be tried again is named; the
    others are.
    """
    _for_each(task_ids, _retry)


def _retry(task_id: str) -> None:
    task = operations.get_task(_services(), task_id)
    if task["status"] != "error":
        raise Conflict(f"It is {task['status']}: only a task that ended in an error can be tried again.")
    operations.start(_services(), task_id)
    click.echo(f"{task_id}: {task['progress']['failed']} images are processed again.")


@tasks.command()
@click.argument("task_ids", metavar="TASK…", nargs=-1, required=True)
def stop(task_ids: Sequence[str]) -> None:
    """Stop tasks that are processing: what is done stays, and `retry` takes up the rest.

    A task that cannot be stopped is named; the others are.
    """
    _for_each(task_ids, _stop)


def _stop(task_id: str) -> None:
    progress = operations.stop(_services(), task_id).members["progress"]
    click.echo(f"{task_id}: stopped. {progress['done']} of {progress['total']} images are done.")


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
    task = operations.get_task(_services(), task_id)
    if asking:
        images = task["progress"]["total"]
        click.confirm(f"Delete {task_id}, which is {task['status']}, with {images} images?", abort=True)
    operations.delete_task(_services(), task_id)
    deleted.append(task_id)
    click.echo(f"{task_id} is deleted.", err=True)


def _for_each(task_ids: Iterable[str], act: Callable[[str], None]) -> None:
    """Act on every task; name those where it fails, go on with the others, and end with 1 after the last."""
    failed = False
    for task_id in task_ids:
        try:
            act(task_id)
        except Problem as problem:
            click.echo(f"Error: {printable(task_id)}: {problem.detail}", err=True)
            failed = True
    if failed:
        sys.exit(1)
