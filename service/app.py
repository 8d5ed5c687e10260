"""The composition root: makes the kernel, then the features of the catalogue on it."""

import os
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from flask import Flask

from service.cli.main import Commands, own_commands
from service.config import THREADS, Settings
from service.db.database import Database, open_database
from service.features.catalogue import FEATURES
from service.features.feature import Feature, Kernel, Lane, merged
from service.http import access_log, compression, problems, security, url_converters
from service.http.content_coding import refuse_content_coding
from service.http.idempotency_store import IdempotencyStore
from service.http.login_throttle import LoginThrottle
from service.http.openapi_document import Tags
from service.http.services import provide
from service.http.waiting_requests import WaitingRequests
from service.imaging.pixel_budget import PixelBudget, own_folder
from service.jobs.dispatcher import Dispatcher
from service.jobs.executors import Executor, ExecutorGroup, owner_name
from service.jobs.file_deletion import DeleteFiles
from service.jobs.outcome_journal import OutcomeJournal
from service.jobs.outcome_log import OutcomeLog
from service.maintenance.checks import Inventory
from service.maintenance.orphan_files import OrphanFileRemoval
from service.maintenance.periodic import Schedule
from service.runtime_folder import RuntimeFolder
from service.storage.factory import UPLOADS_TO_S3, make_storage
from service.storage.signed_urls import SignedUrls
from service.storage.spools import SpoolFolder
from service.storage.storage import Storage
from service.telemetry import logging as logs
from service.telemetry.metrics import Metrics
from service.web.page import page
from service.web.readiness import ReadinessMonitor, readiness
from service.web.system_routes import web

T = TypeVar("T", bound=Dispatcher)
V = TypeVar("V", bound=Callable[..., Any])

MAX_JSON_BYTES = 1_000_000
OWN_TAGS = {
    page: "The page for people, with its files.",
    web: "Health, metrics, signed links, and this document.",
}


class Application(Flask):
    """Flask without coroutines: it would look at each view and hook of each request whether it is one."""

    def ensure_sync(self, func: V) -> V:
        """Return the function, which is none."""
        return func


def create_app(settings: Settings, features: Sequence[Feature] = FEATURES) -> Flask:
    """Make the application. It starts no thread and opens no connection: a fork may follow."""
    app = Application("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_JSON_BYTES
    known_keys = {prefix: known for feature in features for prefix, known in feature.known_keys.items()}
    kernel = make_kernel(settings, tuple(known_keys))
    parts = [feature.make(kernel) for feature in features]
    shared_folders = {prefix: keys for feature in features for prefix, keys in feature.shared_folders.items()}
    deletion = kernel.image_lane(DeleteFiles(kernel.storage, shared_folders))
    lanes = merged([*(lane for part in parts for lane in part.lanes), deletion])
    executor = make_executor(kernel, lanes)
    services = [part.services(executor) for part in parts]
    tags = {blueprint: text for feature in features for blueprint, text in feature.tags.items()} | OWN_TAGS
    provide(
        app,
        {
            Settings: settings,
            Database: kernel.database,
            SignedUrls: kernel.signed_urls,
            Storage: kernel.storage,
            SpoolFolder: kernel.spools,
            Metrics: kernel.metrics,
            LoginThrottle: kernel.login_throttle,
            WaitingRequests: WaitingRequests(THREADS // 4),
            IdempotencyStore: IdempotencyStore(kernel.database, lambda: owner_name(os.getpid())),
            Executor: executor,
            Inventory: Inventory(
                operations={operation.kind: operation for lane in lanes for operation in lane.operations},
                known_keys=known_keys,
                inspections=[feature.checks for feature in features],
            ),
            OrphanFileRemoval: OrphanFileRemoval(kernel.database, kernel.storage, known_keys, kernel.metrics),
            Schedule: Schedule(one for part, made in zip(parts, services, strict=True) for one in part.periodic(made)),
            Tags: Tags({blueprint.name: text for blueprint, text in tags.items()}),
            ReadinessMonitor: readiness(settings, kernel.database, kernel.storage, executor),
        },
    )
    for made in services:
        provide(app, made)
    url_converters.install(app)
    problems.install(app)
    for blueprint in tags:
        app.register_blueprint(blueprint)
    security.install(app, settings)
    compression.install(app)
    app.before_request(refuse_content_coding)
    access_log.install(app, kernel.metrics)
    app.cli = Commands([own_commands, *(feature.commands for feature in features)])
    return app


def make_kernel(settings: Settings, prefixes: Sequence[str]) -> Kernel:
    """Make what all features stand on, with the implementations that the settings name."""
    database = open_database(settings.database_url)
    signed_urls = SignedUrls(lambda: settings.signing_key, settings.public_url)
    shared = f"headcount-{settings.database_name}"
    runtime_folder = RuntimeFolder(settings.metrics_folder, settings.xdg_runtime_dir, settings.data_folder, shared)
    return Kernel(
        settings=settings,
        database=database,
        storage=make_storage(settings, signed_urls, prefixes),
        signed_urls=signed_urls,
        metrics=Metrics(runtime_folder),
        login_throttle=LoginThrottle(database, settings.max_failed_tries, settings.failed_tries_seconds),
        # Storing waits, for the disk or the network, so there are more of these threads than cores.
        uploads=ThreadPoolExecutor(UPLOADS_TO_S3 if settings.bucket else 4, thread_name_prefix="upload"),
        cores=settings.cores,
        # A command where no service keeps its data leaves nothing behind.
        pixels=PixelBudget(lambda: runtime_folder.make() if settings.data_folder.is_dir() else own_folder()),
        spools=SpoolFolder(settings.data_folder / "spools", settings.max_spool_bytes),
        runtime_folder=runtime_folder,
    )


def make_executor(kernel: Kernel, lanes: Sequence[Lane]) -> Executor:
    """Make the executor that the settings name, with these lanes."""
    settings, database, metrics = kernel.settings, kernel.database, kernel.metrics
    outcome_log = OutcomeLog(metrics)

    def make(kind: type[T]) -> dict[str, T]:
        return {
            lane.name: kind(
                database,
                lane.operations,
                outcome_log,
                OutcomeJournal(kernel.runtime_folder.make, lane.operations),
                workers=lane.threads,
                lease=settings.lease_seconds,
                policies=lane.policies,
            )
            for lane in lanes
        }

    if settings.executor == "threads":
        return ExecutorGroup(*make(Dispatcher).values())
    from service.jobs.celery_dispatcher import CeleryDispatcher
    from service.jobs.celery_executor import CeleryExecutor

    def begin() -> object:
        metrics.join()
        return kernel.storage.shared_lock()

    log_settings = logs.configuration(settings.log_level, settings.log_format)
    return CeleryExecutor(database, make(CeleryDispatcher), settings.broker_url, log_settings=log_settings, begin=begin)
