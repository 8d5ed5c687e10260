"""The commands about the face engine: `flask engine …`."""

import sys
from pathlib import Path

import click

from service.cli.output import Group, plain_table, show_table
from service.features.faces.engines.contract import broken_rules
from service.features.faces.engines.engine import Engine
from service.features.faces.evaluation import BadLabels, evaluate, read_labels
from service.http.services import provided
from service.jobs.operation import Failure

engine = Group("engine", help="The face engine of the settings, without a server.")


@engine.command("evaluate")
@click.argument("labels", metavar="LABELS.csv", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def evaluate_engine(labels: Path) -> None:
    """Measure the engine on labelled photos: faces found, gender by threshold, calibration, age by group.

    LABELS.csv has a header with `file`, relative to its folder, and as known `n_faces`, `gender`, `age`, `group`.
    """
    try:
        reports = evaluate(provided(Engine), read_labels(labels))
    except BadLabels as error:
        raise click.ClickException(str(error)) from error
    except Failure as failure:
        raise click.ClickException(failure.detail) from failure
    for report in reports:
        click.echo(f"\n{report.title}")
        table = plain_table(*report.columns, numbers=report.columns)
        for row in report.rows:
            table.add_row(*row)
        show_table(table)


@engine.command("check")
@click.argument("portrait", metavar="PHOTO", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def check_engine(portrait: Path) -> None:
    """Hold the engine to what every engine keeps to. PHOTO shows one face, which the engine finds.

    Each rule that it breaks is told in a sentence, and the command then ends with 1.
    """
    broken = list(broken_rules(provided(Engine), portrait.read_bytes()))
    for sentence in broken:
        click.echo(sentence)
    if broken:
        sys.exit(1)
    click.echo("The engine keeps to all rules.")
