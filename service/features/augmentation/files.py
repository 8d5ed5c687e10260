"""The names, keys and rows of an image's files."""

import re
import unicodedata
import uuid
from datetime import UTC, datetime
from typing import Any

from service.storage.zip_stream import without_middle

_EXTENSION = re.compile(r"\.([A-Za-z][A-Za-z0-9]{0,4})$")
_UNSAFE = re.compile(r"[^\w.-]+")
_LONGEST_STEM, _LONGEST_IN_KEY = 200, 120  # bytes of a name before its suffix


def file_name(name: str, suffix: str, media_type: str) -> str:
    """Return `<name>_<suffix>.<ext>` for a client's file name; an extension that is not its type's gives way."""
    found = _EXTENSION.search(name)
    stem, extension = (name[: found.start()], found[1]) if found else (name, "")
    fitting = {"image/jpeg": ("jpg", "jpeg"), "image/png": ("png",)}[media_type]
    stem = without_middle(stem, _LONGEST_STEM) if stem.strip(" .") else "image"
    return f"{stem}_{suffix}.{extension if extension.lower() in fitting else fitting[0]}"


def file_key(task_id: str, position: int, name: str, suffix: str, media_type: str) -> str:
    """Return the storage key of a file. It is known before the work, so a repeated run overwrites."""
    return f"augmentation/{task_id}/{position}/{file_name(_safe(name), suffix, media_type)}"


def _safe(name: str) -> str:
    """Return a client's file name as a part of a key: letters, digits, `.`, `-` and `_`, none hidden, not too long."""
    found = _EXTENSION.search(name)
    stem, extension = (name[: found.start()], found[0]) if found else (name, "")
    stem = _UNSAFE.sub("_", unicodedata.normalize("NFC", stem)).lstrip(".")
    return without_middle(stem, _LONGEST_IN_KEY) + extension


def file_row(task_id: str, position: int, name: str, suffix: str, media_type: str) -> dict[str, Any]:
    """Return the row of `ImageTask` of a file."""
    return {
        "id": str(uuid.uuid4()),
        "task_id": task_id,
        "position": position,
        "suffix": suffix,
        "img_link": file_name(name, suffix, media_type),
        "key": file_key(task_id, position, name, suffix, media_type),
        "created_at": datetime.now(UTC),
    }
