"""Classes of other packages that a setting names."""

import re
from importlib.metadata import EntryPoint, entry_points
from typing import Any

_CLASS = re.compile(r"\w+(\.\w+)*:\w+(\.\w+)*")


def load_class(name: str, group: str) -> Any:
    """Return what `package.module:Class` names, or an entry point of this group.

    Raises `ValueError` with a sentence that goes on after the setting's name.
    """
    if _CLASS.fullmatch(name):
        found = EntryPoint(name, name, group)
    else:
        named = entry_points(group=group)
        if name not in named.names:
            there = ", ".join(sorted(named.names)) or "there is none"
            raise ValueError(f"is {name}, which is neither package.module:Class nor an entry point of {group}: {there}")
        found = named[name]
    try:
        return found.load()
    except Exception as error:  # a module may fail in any way while it is imported
        raise ValueError(f"is {name}, which cannot be imported: {type(error).__name__}: {error}") from error
