"""The storage keys of renditions: `images/<owner's type>/<owner>/<version>/<original or kind>`."""

import hashlib
import re
from dataclasses import dataclass
from pathlib import PurePath

KINDS = ("full", "large", "medium", "small")
PREFIX = "images/"

_LONGEST_NAME = 128
_OWN_KEY = re.compile(
    r"(?:^|/)(images/[^/]+/[^/]+/((?i:[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}))/)(original|(?:full|large|medium|small)\.webp)$"
)


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose an image is."""

    type: str
    id: str

    def folder(self) -> str:
        """Return the prefix of all keys of this owner and of no other; it ends with a slash."""
        return f"{PREFIX}{self.type}/{_folder_name(self.id)}/"


def _folder_name(owner_id: str) -> str:
    """Write any text as the name of one folder: letters, digits, `_` and `-` as they are, other bytes as `.2f`.

    So there is no `..` and no slash, and nothing that URLs, policies or disks read in a way of their own. A name that
    gets too long ends with a hash instead; `.x` begins no byte, so it is no other owner's name.
    """
    encoded = "".join(
        chr(byte) if (chr(byte).isalnum() and byte < 128) or byte in b"_-" else f".{byte:02x}"
        for byte in owner_id.encode()
    )
    if len(encoded) <= _LONGEST_NAME:
        return encoded
    return f"{encoded[:48]}.x{hashlib.sha256(owner_id.encode()).hexdigest()}"


def folder_of(owner: Owner, version_id: str) -> str:
    """Return the prefix of a version's keys."""
    return f"{owner.folder()}{version_id}/"


def original_key(folder: str) -> str:
    """Return the key of what was uploaded."""
    return f"{folder}original"


def rendition_key(folder: str, kind: str) -> str:
    """Return the key of a rendition. It is known before the work, so a run that is repeated overwrites."""
    return f"{folder}{kind}.webp"


def rendition_name(name: str, kind: str) -> str:
    """Return the file name of a rendition of an image with this name."""
    return f"{PurePath(name.replace('/', '_')).stem}_{kind}.webp"


def keys_in(folder: str) -> list[str]:
    """Return all keys that a version can have."""
    return [original_key(folder), *(rendition_key(folder, kind) for kind in KINDS)]


def original_in(text: str) -> tuple[str, str] | None:
    """Return the key of an original, and its version's id, with which a path or a full key ends; else None."""
    found = _OWN_KEY.search(text)
    if not found or found[3] != "original":
        return None
    version = found[2].lower()  # a UUID in capitals is the same one
    return f"{found[1][: -len(version) - 1]}{version}/{found[3]}", version


def version_in(key: str) -> str | None:
    """Return the id of the version that a key of this feature belongs to; None for what clients wrote themselves."""
    found = _OWN_KEY.match(key)
    return found[2] if found else None
