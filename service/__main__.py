"""The `headcount` command, also `python -m service`."""

from pathlib import Path

import click
from flask.cli import ScriptInfo

from service import __version__, wsgi
from service.cli import serve as servers
from service.cli.database import upgrade_tables
from service.cli.first_run import write_password
from service.cli.main import own_commands
from service.cli.output import Group
from service.config import Settings
from service.db.database import Database
from service.features.catalogue import FEATURES
from service.features.faces.analyze import review as sample
from service.features.faces.analyze.result_folder import ResultFolder
from service.features.faces.commands.result_run import told
from service.http.services import provided

HELP = """Find faces in batches of photos, and serve that to people and programs.

Settings are read from the environment, from .env here, or else from .env in the folder of the data.
"""


class Headcount(Group):
    """The commands. `--data DIR` may stand before or behind the name of the command."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        """Take `--data` to the front, wherever it stands before a `--`."""
        end = args.index("--") if "--" in args else len(args)
        front: list[str] = []
        rest: list[str] = []
        words = iter(args[:end])
        for word in words:
            if word == "--data":
                front += [word, *[value for value in [next(words, None)] if value is not None]]
            else:
                (front if word.startswith("--data=") else rest).append(word)
        return super().parse_args(context, [*front, *rest, *args[end:]])


@click.group(cls=Headcount, help=HELP, context_settings={"help_option_names": ["-h", "--help"]})
@click.option(
    "--data",
    type=click.Path(file_okay=False, path_type=Path),
    default=wsgi.DATA,
    show_default=True,
    help="The folder of the database and the files, where DATABASE_URL and STORAGE_URL do not say otherwise. "
    "May also stand behind the command.",
)
@click.version_option(__version__, prog_name="headcount")
@click.pass_context
def headcount(context: click.Context, data: Path) -> None:
    """Choose the application for the command."""
    context.obj = ScriptInfo(create_app=lambda: wsgi.application(data, serving=False), load_dotenv_defaults=False)


@headcount.command(with_appcontext=False)
@click.pass_context
def serve(context: click.Context) -> None:
    """Serve the page and the API, and work on what is handed in.

    The first start generates a password, prints it and keeps it in .env in the folder of the data.
    """
    data: Path = context.find_root().params["data"]
    _ensure_password(data)
    servers.serve(wsgi.application(data))


@headcount.command(with_appcontext=False)
@click.argument("result", metavar="RESULT", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--photos", type=click.IntRange(1, 2_000), default=200, show_default=True, help="How many are drawn.")
@click.option("--seed", type=click.IntRange(0), help="Draws the same photos again, from the same result.")
def review(result: Path, photos: int, seed: int | None) -> None:
    """Serve a page on which you check a random sample of a result of `analyze --out`.

    `report` then has intervals. The photos of the sample are copied into RESULT/review; the next call goes on with the
    same sample.
    """
    with told():
        opened = ResultFolder.open(result)
        data = result / sample.FOLDER
        _ensure_password(data)
        app = wsgi.application(data, alone=True)
        with app.app_context():
            upgrade_tables()
        drawn = sample.Drawn.read(result) or sample.draw(app, opened, photos, seed)
        provided(Database, app).close()
    settings = provided(Settings, app)
    address = f"http://localhost:{settings.port}/tasks/{drawn.task}/review/{drawn.review}"
    click.echo(f"Check the sample at {address}. Ctrl-C ends; `headcount report {result}` has the intervals.")
    servers.serve(app)


def _ensure_password(data: Path) -> None:
    """Generate a password into the folder of the data and print it, where there is none."""
    settings = wsgi.environment(data)
    if not (wsgi.env_file(data).exists() or settings.get("API_PASSWORD") or settings.get("API_PASSWORD_FILE")):
        data.mkdir(parents=True, exist_ok=True)
        write_password(wsgi.env_file(data), "API_PASSWORD=\n")


for command in (*own_commands(), *(one for feature in FEATURES for one in feature.commands())):
    headcount.add_command(command)
    if isinstance(command, click.Group) and command.name == "faces":
        for shortcut in command.commands.values():
            headcount.add_command(shortcut)

if __name__ == "__main__":
    headcount(prog_name="headcount")
