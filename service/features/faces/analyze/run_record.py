"""What made a result: settings, engine with its networks, versions, and each run. No secret is in it."""

import hashlib
import platform
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from service import __version__
from service.config import Settings
from service.features.faces.analyze.result_folder import BadResult, ResultFolder, read_run
from service.features.faces.analyze.tables import form_of, has_parquet
from service.features.faces.engines.engine import EMBEDDED

PACKAGES = ("numpy", "onnxruntime", "pillow", "pi-heif", "simplejpeg", "pyarrow")
_SEARCHED = ("face_search", "gender_threshold")
_LIMITS = ("max_image_bytes", "max_image_pixels")


class RunRecord:
    """The document run.json of a result, with this run as its last."""

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        form: str | None,
        columns: Sequence[str],
        copies: Sequence[str],
        *,
        dedupe: bool,
    ) -> None:
        """Make it, or take what is there; raise `BadResult` where that was made in another way.

        `form` None is that of the result, else the first that can be written here.
        """
        known = read_run(folder)
        wanted: dict[str, Any] = {
            "format": form or (known["format"] if known else None) or _default_form(),
            "columns": list(columns) or (known["columns"] if known else []),
            "dedupe": dedupe,
            "copies": list(copies),
            "engine": engine_of(settings),
        }
        for name, value in wanted.items():
            if known and known.get(name) != value:
                raise BadResult(
                    f"{folder} was made with another {name}: {_told(known.get(name))}, now it is {_told(value)}. "
                    "Take another folder, or the same settings."
                )
        self._runs: list[dict[str, Any]] = known["runs"] if known else []
        self.document: dict[str, Any] = {
            **wanted,
            "settings": {name: getattr(settings, name) for name in _LIMITS},
            "versions": _versions(),
            "runs": self._runs,
        }
        self.result = ResultFolder(folder, form_of(wanted["format"]), wanted["columns"])

    def begin(self, sources: Sequence[str]) -> None:
        """Write down that a run has begun."""
        self._runs.append({"started_at": _now(), "finished_at": None, "sources": list(sources)})
        self.result.write_run(self.document)

    def end(self, counts: Mapping[str, int], *, stopped: bool) -> None:
        """Write down what it came to."""
        self._runs[-1] |= {"finished_at": _now(), "stopped": stopped, **counts}
        self.result.write_run(self.document)


def engine_of(settings: Settings) -> dict[str, Any]:
    """Return what decides an engine's answers: its name, its settings, the SHA-256 of its networks."""
    if settings.engine == "facecloud":
        return {"name": settings.engine, "url": settings.facecloud_url, "max_pixels": settings.facecloud_max_pixels}
    if settings.engine != EMBEDDED:
        return {"name": settings.engine}
    from service.features.faces.engines.local import MODELS

    networks = {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(MODELS.glob("*.onnx"))}
    searched = {name: getattr(settings, name) for name in _SEARCHED}
    return {"name": settings.engine, **searched, "networks": networks}


def _default_form() -> str:
    return "parquet" if has_parquet() else "csv"


def _told(value: Any) -> str:
    """Return a value in few words: of a network's hash eight digits are enough."""
    if isinstance(value, dict):
        return ", ".join(f"{name} {_told(part)}" for name, part in value.items())
    if isinstance(value, str) and re.fullmatch(r"[0-9a-f]{64}", value):
        return value[:8]
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def _versions() -> dict[str, str]:
    versions = {"headcount": __version__, "python": platform.python_version()}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return versions


def _now() -> str:
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
