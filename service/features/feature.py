"""What a feature is to the application: one value, listed in catalogue.py, and nothing else is edited for it."""

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import click
from flask import Blueprint

from service.config import Settings
from service.db.database import Database
from service.http.login_throttle import LoginThrottle
from service.imaging.pixel_budget import PixelBudget
from service.imaging.validate import Limits
from service.jobs.executors import Executor
from service.jobs.operation import Operation
from service.maintenance.checks import Inspection, KnownKeys
from service.maintenance.periodic import Periodic
from service.storage.signed_urls import SignedUrls
from service.storage.storage import Storage
from service.telemetry.metrics import Metrics


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

    @property
    def limits(self) -> Limits:
        """What an image may have at most."""
        return Limits(bytes=self.settings.max_image_bytes, pixels=self.settings.max_image_pixels)


Services = Mapping[type[Any], object]
"""What a feature's routes and commands find by `provided`, by type."""


@dataclass(frozen=True, kw_only=True)
class Parts:
    """A feature made for one application: its operations by lane, then what its routes stand on."""

    services: Callable[[Executor], Services]
    jobs: Mapping[str, Sequence[Operation]] = field(default_factory=dict)
    periodic: Callable[[Services], Sequence[Periodic]] = lambda _: ()


@dataclass(frozen=True, kw_only=True)
class Feature:
    """A package below `features`. `known_keys` has the prefixes below which its files are swept."""

    tags: Mapping[Blueprint, str]
    make: Callable[[Kernel], Parts]
    known_keys: KnownKeys = field(default_factory=dict)
    checks: Inspection = field(default_factory=Inspection)
    commands: Sequence[click.Command] = ()
