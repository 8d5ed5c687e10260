"""The composition root: makes the kernel, then the features of the catalogue on it."""

import os
from collections import defaultdict
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa
from flask import Flask, request

from service import errors
from service.cli.main import COMMANDS
from service.config import Settings
from service.db.database import Database, open_database
from service.features.catalogue import FEATURES
from service.features.feature import Kernel
from service.features.renditions.models import PREFIX as RENDITIONS
from service.features.renditions.models import keys_in
from service.http import access_log, problems, security
from service.http.idempotency_store import IdempotencyStore
from service.http.login_throttle import LoginThrottle
from service.http.openapi_document import Tags
from service.http.services import provide
from service.http.url_converters import Identifier, Number
from service.imaging.pixel_budget import PixelBudget
from service.jobs.claims import ClaimPolicy
from service.jobs.concurrency_limit import ConcurrencyLimit
from service.jobs.dispatcher import POLL, Dispatcher
from service.jobs.executors import Executor, ExecutorGroup, owner_name
from service.jobs.file_deletion import DeleteFiles
from service.jobs.operation import Operation
from service.jobs.outcome_log import OutcomeLog
from service.maintenance.checks import Inventory
from service.maintenance.orphan_files import OrphanFileRemoval
from service.maintenance.periodic import Periodic, Schedule
from service.storage.factory import UPLOADS_TO_S3, make_storage
from service.storage.signed_urls import SignedUrls
from service.storage.storage import Storage
from service.telemetry import logging as logs
from service.telemetry.metrics import Metrics
from service.web.page import page
from service.web.system_routes import ReadinessChecks, web

T = TypeVar("T", bound=Dispatcher)

MAX_JSON_BYTES = 1_000_000
PICTURE_POLL = 0.05
"""Seconds within which a process takes part in copies that another one was asked for."""
WEBHOOK_POLL = 0.2
WEBHOOK_THREADS = 4
"""Webhooks under way at a time in one server process."""
OWN_TAGS = {
    page: "The page for people, with its files.",
    web: "Health, metrics, signed links, and this document.",
}


def create_app(settings: Settings) -> Flask:
    """Make the application. It starts no thread and opens no connection: a fork may follow."""
    app = Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_JSON_BYTES
    app.url_map.strict_slashes = True
    app.url_map.converters |= {"id": Identifier, "number": Number}
    kernel = make_kernel(settings)
    parts = [feature.make(kernel) for feature in FEATURES]
    lanes = defaultdict[str, list[Operation]](list, copies=[DeleteFiles(kernel.storage, {RENDITIONS: keys_in})])
    for part in parts:
        for lane, operations in part.jobs.items():
            lanes[lane].extend(operations)
    executor = make_executor(kernel, lanes)
    known_keys = {prefix: known for feature in FEATURES for prefix, known in feature.known_keys.items()}
    periodic: list[Periodic] = []
    for part in parts:
        services = part.services(executor)
        provide(app, services)
        periodic += part.periodic(services)
    tags = {blueprint: text for feature in FEATURES for blueprint, text in feature.tags.items()} | OWN_TAGS
    provide(
        app,
        {
            Settings: settings,
            Database: kernel.database,
            SignedUrls: kernel.signed_urls,
            Storage: kernel.storage,
            Metrics: kernel.metrics,
            LoginThrottle: kernel.login_throttle,
            IdempotencyStore: IdempotencyStore(kernel.database, lambda: owner_name(os.getpid())),
            Executor: executor,
            Inventory: Inventory(
                operations={operation.kind: operation for lane in lanes.values() for operation in lane},
                known_keys=known_keys,
                inspections=[feature.checks for feature in FEATURES],
            ),
            OrphanFileRemoval: OrphanFileRemoval(kernel.database, kernel.storage, known_keys, kernel.metrics),
            Schedule: Schedule(periodic),
            Tags: Tags({blueprint.name: text for blueprint, text in tags.items()}),
            ReadinessChecks: _readiness(kernel, executor),
        },
    )
    problems.install(app)
    for blueprint in tags:
        app.register_blueprint(blueprint)
    app.before_request(_refuse_nul)
    security.install(app, settings)
    access_log.install(app, kernel.metrics)
    for command in (*COMMANDS, *(command for feature in FEATURES for command in feature.commands)):
        app.cli.add_command(command)
    return app


def make_kernel(settings: Settings) -> Kernel:
    """Make what all features stand on, with the implementations that the settings name."""
    database = open_database(settings.database_url)
    signed_urls = SignedUrls(settings.signing_key, settings.public_url)
    return Kernel(
        settings=settings,
        database=database,
        storage=make_storage(settings, signed_urls),
        signed_urls=signed_urls,
        metrics=Metrics(settings.metrics_folder, settings.database_url),
        login_throttle=LoginThrottle(database, settings.max_failed_tries, settings.failed_tries_seconds),
        # Storing waits, for the disk or the network, so there are more of these threads than cores.
        uploads=ThreadPoolExecutor(UPLOADS_TO_S3 if settings.bucket else 4, thread_name_prefix="upload"),
        cores=settings.cores,
        pixels=PixelBudget(),
    )


def _refuse_nul() -> None:
    """Find nothing under a path with a character that no stored text has; PostgreSQL would refuse the question."""
    if "\0" in request.path:
        raise errors.NotFound("There is no such address.")


def make_executor(kernel: Kernel, lanes: Mapping[str, Sequence[Operation]]) -> Executor:
    """Make the executor that the settings name, with a lane for each of these groups of operations."""
    settings, database, metrics = kernel.settings, kernel.database, kernel.metrics
    outcome_log = OutcomeLog(metrics)
    # As many threads for copies as cores, since they are computed while photos may wait for FaceCloud. Webhooks have
    # threads of their own, since a receiver that is slow must not hold up photos, and look less often: nobody waits for
    # one to the millisecond.
    workers = {"faces": settings.job_threads, "copies": settings.cores, "webhooks": WEBHOOK_THREADS}
    polls = {"faces": POLL, "copies": PICTURE_POLL, "webhooks": WEBHOOK_POLL}

    def make(kind: type[T]) -> dict[str, T]:
        return {
            name: kind(
                database,
                lanes[name],
                outcome_log,
                workers=workers[name],
                lease=settings.lease_seconds,
                poll=polls[name],
                policies=_face_policies(settings) if name == "faces" else (),
            )
            for name in workers
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


def _face_policies(settings: Settings) -> list[ClaimPolicy]:
    """Return what bounds the calls of all processes to FaceCloud together, if something does."""
    bound = settings.facecloud_max_concurrency if settings.engine == "facecloud" else 0
    return [ConcurrencyLimit("face", bound, settings.job_threads)] if bound else []


def _readiness(kernel: Kernel, executor: Executor) -> ReadinessChecks:
    database: Database = kernel.database
    storage: Storage = kernel.storage

    def check_database() -> None:
        with database.read() as session:
            session.execute(sa.text("SELECT 1 FROM task LIMIT 1"))
        database.check()

    checks = ReadinessChecks(database=check_database, storage=storage.check)
    if kernel.settings.executor == "celery":
        checks["broker"] = executor.check
    elif kernel.settings.web_works:
        checks["dispatcher"] = executor.check
    return checks
