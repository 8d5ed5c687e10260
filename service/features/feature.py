"""What a feature is to the application: one value, listed in catalogue.py. Nothing else is edited for it."""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import click
import sqlalchemy as sa
from flask import Blueprint
from sqlalchemy.orm import InstrumentedAttribute

from service.config import Settings
from service.db.database import Database
from service.http.login_throttle import LoginThrottle
from service.imaging.intake import Intake
from service.imaging.media_types import ACCEPTED
from service.imaging.pixel_budget import PixelBudget
from service.imaging.validate import Limits
from service.jobs.claims import ClaimPolicy
from service.jobs.executors import Executor
from service.jobs.operation import Operation
from service.maintenance.checks import Inspection, Known, KnownKeys
from service.maintenance.periodic import Periodic
from service.runtime_folder import RuntimeFolder
from service.storage.signed_urls import SignedUrls
from service.storage.spools import SpoolFolder
from service.storage.storage import Storage
from service.telemetry.metrics import Metrics

Services = Mapping[type[Any], Any]
"""What a feature's routes and commands find by `provided`, by type."""


@dataclass(frozen=True, kw_only=True)
class Lane:
    """Threads for some kinds of jobs: slow work in one lane takes no thread from another.

    Features may share a lane: lanes of one name are one lane, and differ in nothing but their operations.
    `threads` is their number in each process, `policies` bound what is claimed.
    """

    name: str
    operations: Sequence[Operation]
    threads: int
    policies: Sequence[ClaimPolicy] = ()


@dataclass(frozen=True, kw_only=True)
class Kernel:
    """What every feature may stand on."""

    settings: Settings
    database: Database
    storage: Storage
    signed_urls: SignedUrls
    metrics: Metrics
    login_throttle: LoginThrottle
    uploads: ThreadPoolExecutor
    cores: int
    pixels: PixelBudget
    spools: SpoolFolder
    runtime_folder: RuntimeFolder

    @property
    def limits(self) -> Limits:
        """What an image may have at most."""
        return Limits(bytes=self.settings.max_image_bytes, pixels=self.settings.max_image_pixels)

    def intake(
        self, limits: Limits | None = None, types: tuple[str, ...] = ACCEPTED, *, tells_types: bool = True
    ) -> Intake:
        """Return where uploaded images go, of these types and within these limits, by default those of all images."""
        return Intake(self.storage, self.uploads, limits or self.limits, self.pixels, types, tells_types)

    def image_lane(self, *operations: Operation) -> Lane:
        """Return the shared lane for work that computes: a thread for each core."""
        return Lane(name="copies", operations=operations, threads=self.cores)


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A feature made for one application: its jobs, what its routes stand on, and what is due once in a while."""

    services: Callable[[Executor], Services]
    lanes: Sequence[Lane] = ()
    periodic: Callable[[Services], Sequence[Periodic]] = lambda _: ()


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A package below `features`. What has no default cannot be forgotten; say `{}` or `Inspection()` for nothing.

    `tags` has the blueprints, and what the API document says of each. `known_keys` has the prefixes of its files, and
    the storage refuses keys with any other. `shared_folders` returns the keys to delete in a folder in which clients
    have files too, by the prefix of such folders. `commands` imports the feature's commands and returns them: a server
    needs none of them.
    """

    tags: Mapping[Blueprint, str]
    make: Callable[[Kernel], Parts]
    known_keys: KnownKeys
    checks: Inspection
    shared_folders: Mapping[str, Callable[[str], Collection[str]]] = field(default_factory=dict)
    commands: Callable[[], Sequence[click.Command]] = lambda: ()


def keys_of(column: InstrumentedAttribute[str]) -> Known:
    """Return what `known_keys` needs where a column of the rows has the keys themselves."""
    return lambda session, keys: set(session.scalars(sa.select(column).where(column.in_(keys))))


def merged(lanes: Iterable[Lane]) -> list[Lane]:
    """Return one lane for each name, with all its operations; raise ValueError where its declarations differ."""
    by_name: dict[str, Lane] = {}
    for lane in lanes:
        known = by_name.get(lane.name, replace(lane, operations=()))
        if replace(known, operations=lane.operations) != lane:
            raise ValueError(f"the lane {lane.name} is declared in two ways")
        by_name[lane.name] = replace(known, operations=(*known.operations, *lane.operations))
    return list(by_name.values())
