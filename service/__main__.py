"""The `headcount` command, also `python -m service`."""

from pathlib import Path

import click
from flask.cli import ScriptInfo

from service import __version__, wsgi
from service.cli import serve as servers
from service.cli.first_run import write_password
from service.cli.main import COMMANDS
from service.cli.output import Group
from service.features.catalogue import FEATURES

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
    settings = wsgi.environment(data)
    if not (wsgi.env_file(data).exists() or settings.get("API_PASSWORD") or settings.get("API_PASSWORD_FILE")):
        data.mkdir(parents=True, exist_ok=True)
        write_password(wsgi.env_file(data), "API_PASSWORD=\n")
    servers.serve(wsgi.application(data))


for command in (*COMMANDS, *(one for feature in FEATURES for one in feature.commands)):
    headcount.add_command(command)
    if isinstance(command, click.Group) and command.name == "faces":
        for shortcut in command.commands.values():
            headcount.add_command(shortcut)

if __name__ == "__main__":
    headcount(prog_name="headcount")
