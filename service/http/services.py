"""The services of an application, found by their type."""

from collections.abc import Mapping
from typing import Any, TypeVar

from flask import Flask, current_app

S = TypeVar("S")

_KEY = "services"


def provide(app: Flask, services: Mapping[type[Any], object]) -> None:
    """Add services that `provided` finds. A protocol is a type as well as a class is."""
    app.extensions.setdefault(_KEY, {}).update(services)


def provided(kind: type[S], app: Flask | None = None) -> S:
    """Return what the application, by default the current one, has of this type; raise `KeyError` if it has none."""
    found: S = (app or current_app).extensions[_KEY][kind]
    return found
