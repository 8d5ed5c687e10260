"""Write what the documents derive from the code: `python -m scripts.generate_docs`.

A generated part stands between `<!-- generated: NAME -->` and `<!-- end -->`. Everything else is written by hand.
"""

import ast
import inspect
import re
import tempfile
import tomllib
from collections.abc import Iterator
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any

from flask import Flask

from service.app import create_app
from service.config import Settings
from service.db.database import Database
from service.http.problem_codes import CODES
from service.http.services import provided

ROOT = Path(__file__).parent.parent
DOCUMENTS = ("docs/api.md", "docs/architecture.md", "docs/configuration.md", "docs/errors.md")

_PART = re.compile(r"(?<=^<!-- generated: )(.+?)( -->\n)(.*?)(?=^<!-- end -->$)", re.DOTALL | re.MULTILINE)
_GROUPS = {
    "api_password": "access",
    "database_url": "database and files",
    "workers": "background work",
    "face_engine": "faces",
    "max_image_bytes": "limits and retention",
    "max_rendition_bytes": "renditions and augmentation",
    "webhook_secret": "webhooks",
    "quiz_source": "questions",
    "max_audio_bytes": "recordings",
    "public_url": "proxies and logins",
    "host": "server and logs",
}
"""The groups of settings by their first setting; the others follow it in the order of the model."""


def generated(app: Flask) -> dict[str, str]:
    """Return the text of every generated part by its name."""
    settings = {f"settings, {group}": table for group, table in _settings()}
    codes = _table(("Code", "Meaning"), [_row(f"`{code}`", text) for code, text in CODES.items()])
    return settings | {
        "problem codes": codes,
        "calls": _calls(app),
        "layers": _layers(),
        "feature layers": _feature_layers(),
        "map": _map(),
    }


def rewritten(document: str, parts: dict[str, str]) -> str:
    """Return a document with its generated parts replaced; raise `KeyError` for a part that is unknown."""
    return _PART.sub(lambda found: f"{found[1]}{found[2]}\n{parts[found[1]]}\n", document)


def _row(*cells: str) -> str:
    return "| " + " | ".join(cell.replace("|", r"\|") for cell in cells) + " |"


def _table(columns: tuple[str, ...], rows: list[str]) -> str:
    return "\n".join([_row(*columns), "|" + "---|" * len(columns), *rows, ""])


def _settings() -> Iterator[tuple[str, str]]:
    rows: dict[str, list[str]] = {}
    group = ""
    descriptions = _descriptions(Settings)
    for name, field in Settings.model_fields.items():
        group = _GROUPS.get(name, group)
        default = "required" if field.is_required() else f"`{field.default}`" if field.default != "" else "empty"
        rows.setdefault(group, []).append(_row(f"`{name.upper()}`", default, descriptions[name]))
    for group, found in rows.items():
        yield group, _table(("Name", "Default", "Description"), found)


def _descriptions(model: type) -> dict[str, str]:
    """Return the text below each member of a class, on one line. Pydantic would read it too, at every start."""
    tree = ast.walk(ast.parse(inspect.getsource(model)))
    members = next(node.body for node in tree if isinstance(node, ast.ClassDef))
    return {
        member.target.id: " ".join(text.value.value.split())
        for member, text in pairwise(members)
        if isinstance(member, ast.AnnAssign) and isinstance(member.target, ast.Name)
        if isinstance(text, ast.Expr) and isinstance(text.value, ast.Constant) and isinstance(text.value.value, str)
    }


def _calls(app: Flask) -> str:
    document = app.test_client().get("/openapi.json").get_json()
    about = {tag["name"]: tag["description"] for tag in document["tags"]}
    calls = [
        (operation["tags"][0], method.upper(), path, operation)
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    ]
    calls.sort(key=lambda call: list(about).index(call[0]))
    sections = []
    for tag, found in groupby(calls, key=lambda call: call[0]):
        rows = [_call(method, path, operation) for _, method, path, operation in found]
        table = _table(("Call", "Credentials", "Success", "What it does"), rows)
        sections.append(f"**{tag}**: {about[tag]}\n\n{table}")
    return "\n".join(sections)


def _call(method: str, path: str, operation: dict[str, Any]) -> str:
    query = "&".join(f"{each['name']}=" for each in operation["parameters"] if each["in"] == "query")
    scheme = next((name for each in operation["security"] for name in each), "none")
    success = ", ".join(status for status in operation["responses"] if status < "4")
    return _row(f"`{method} {path}{'?' if query else ''}{query}`", scheme, success, operation["summary"])


def _contract(**wanted: object) -> dict[str, Any]:
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text("utf-8"))["tool"]["importlinter"]["contracts"]
    found: dict[str, Any] = next(each for each in contracts if wanted.items() <= each.items())
    return found


def _block(lines: list[str]) -> str:
    return "\n".join(["```", *lines, "```", ""])


def _layers() -> str:
    return _block(_contract(type="layers", containers=["service"])["layers"])


def _feature_layers() -> str:
    layers = _contract(name="Every feature has the same shape")["layers"]
    return _block([layer.replace("(", "").replace(")", "") for layer in layers])


def _map() -> str:
    """Return a row for each package and module below `service`, with the first sentence of its docstring."""
    places = sorted((ROOT / "service").iterdir(), key=lambda place: (place.is_dir(), place.name))
    features = sorted((ROOT / "service" / "features").iterdir())
    rows = [_place(place) for place in [*places, *features] if _source(place)]
    return _table(("Where", "What is in it", "Modules"), rows)


def _source(place: Path) -> Path | None:
    """Return the file that has a place's docstring; None for what is no module of its own."""
    source = place / "__init__.py" if place.is_dir() else place
    return source if source.suffix == ".py" and source.exists() and place.name != "__init__.py" else None


def _place(place: Path) -> str:
    source = _source(place)
    text = ast.get_docstring(ast.parse(source.read_text("utf-8"))) if source else None
    modules = sorted(each.stem for each in place.glob("*") if _source(each)) if place.is_dir() else []
    name = place.relative_to(ROOT).as_posix() + "/" * place.is_dir()
    return _row(f"`{name}`", (text or "").partition("\n")[0], ", ".join(modules))


def application(folder: Path) -> Flask:
    """Return an application with its data in a folder, for the API document."""
    return create_app(
        Settings(api_password="unused", database_url=f"sqlite:///{folder}/service.db", storage_url=f"{folder}/files")  # noqa: S106 - nobody is served
    )


def main() -> None:
    """Rewrite the documents."""
    with tempfile.TemporaryDirectory() as folder:
        app = application(Path(folder))
        parts = generated(app)
        provided(Database, app).close()
    for name in DOCUMENTS:
        path = ROOT / name
        path.write_text(rewritten(path.read_text("utf-8"), parts), "utf-8")


if __name__ == "__main__":
    main()
