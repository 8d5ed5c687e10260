"""`headcount report`: a result as one page, and as a table on the terminal."""

from importlib.resources import files
from pathlib import Path
from typing import Any

import click
from flask import render_template_string
from flask.cli import with_appcontext

from service.cli.output import number, plain_table, show_table
from service.features.faces.analyze.report import bars, distribution_of
from service.features.faces.analyze.result_folder import ResultFolder, read_run
from service.features.faces.analyze.review import CONFIDENCE, estimates
from service.features.faces.analyze.summary import summarize
from service.features.faces.analyze.tables import write_pieces
from service.features.faces.commands.result_run import told
from service.features.faces.engines.engine import EMBEDDED
from service.features.faces.statistics import SMALL


@click.command()
@click.argument("result", metavar="RESULT", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option(
    "--out",
    metavar="PAGE.html",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the page is written; without it as report.html in RESULT.",
)
@with_appcontext
def report(result: Path, out: Path | None) -> None:
    """Write what a result comes to as one page, which needs no other file, and show a table.

    The page has numbers, ages, failures, quality, limits and a paragraph on methods, for people who read or publish the
    figures.
    """
    with told():
        opened, run = ResultFolder.open(result), read_run(result) or {}
        summary = summarize(opened, run["engine"]["name"])
        distribution, found = distribution_of(opened), estimates(opened)
        template = files("service.features.faces.analyze").joinpath("report.html").read_text("utf-8")
        page = render_template_string(
            template,
            summary=summary,
            distribution=distribution,
            bars=bars(distribution),
            small=SMALL,
            estimates=found,
            methods=methods(run, summary),
        )
        page_file = out or result / "report.html"
        write_pieces(page_file, [page.encode()])
    _show(summary)
    _show_estimates(found)
    click.echo(f"The report is {page_file}.")


def methods(run: dict[str, Any], summary: dict[str, Any]) -> str:
    """Return how the figures were made, in sentences that can be published."""
    engine, versions = run["engine"], run["versions"]
    name = "the engine embedded in Headcount" if engine["name"] == EMBEDDED else f"the engine {engine['name']}"
    text = (
        f"Faces were found in {summary['photos']:,} photos by {name} (Headcount {versions['headcount']}, "
        f"Python {versions['python']}), in {len(run['runs'])} runs from {run['runs'][0]['started_at'][:10]} on. "
        "Each photo was decoded in full and its EXIF orientation applied. "
    )
    if engine["name"] == EMBEDDED:
        networks = ", ".join(f"{file} {digest[:12]}" for file, digest in engine["networks"].items())
        text += (
            f"Photos were searched {engine['face_search']}; gender is unknown where the likelier one has a probability "
            f"below {engine['gender_threshold']}, and below {SMALL} pixels of height. The networks are known by the "
            f"first twelve digits of their SHA-256: {networks}. "
        )
    same = " Photos with the same bytes count once." if run["dedupe"] else ""
    return (
        f"{text}Averages are over faces of known gender with an age. "
        f"{summary['failed']:,} photos failed and are left out.{same}"
    )


def _show(summary: dict[str, Any]) -> None:
    found = summary["statistics"]
    known = found["men"] + found["women"]
    table = plain_table("", "Faces", "Share", "Average age", numbers=("Faces", "Share", "Average age"))
    for people, age in (("women", found["women_average_age"]), ("men", found["men_average_age"])):
        share = found[people] / known if known else None
        table.add_row(people.capitalize(), f"{found[people]:,}", number(share, ".1%"), number(age, ".1f"))
    table.add_row("Unknown", f"{found['unknown']:,}", "–", "–")
    table.add_row("All", f"{found['faces']:,}", "", "")
    show_table(table)
    click.echo(
        f"{summary['photos']:,} photos: {summary['done']:,} done, {summary['failed']:,} failed, "
        f"{summary['duplicate']:,} duplicates."
    )


def _show_estimates(found: dict[str, Any] | None) -> None:
    if found is None:
        return
    if not found["is_current"]:
        click.echo("The result has changed since a sample of it was drawn: the review says nothing of it as it is now.")
    for name, figure in found["figures"].items():
        if figure:
            value, low, high = (f"{figure[part]:.3g}" for part in ("value", "low", "high"))
            click.echo(f"{name}: {value}, with {CONFIDENCE:.0%} confidence from {low} to {high}.")
    if found["is_current"] and not any(found["figures"].values()):
        click.echo(f"{found['checked']} photos of the sample are checked: 30 are needed for intervals.")
