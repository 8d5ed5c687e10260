"""The composition root: makes the application, and chooses every implementation."""

import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import sqlalchemy as sa
from flask import Flask, request

from service import errors, logs, security
from service.api import Identifier, Number
from service.augmentation import inspection as augmentation_inspection
from service.augmentation import operations as augmentation_operations
from service.augmentation.accounts import Accounts
from service.augmentation.copying import Copying
from service.augmentation.routes import accounts, augmentation
from service.cli import add_commands
from service.config import THREADS, Settings
from service.db import Database
from service.faces import inspection as face_inspection
from service.faces import operations as face_operations
from service.faces.detection import KIND, FaceDetection, has_ever_worked
from service.faces.engines import Engine
from service.faces.measured import Measured
from service.faces.retention import Retention
from service.faces.routes import faces
from service.faces.webhooks import WebhookDelivery, derived_secret
from service.grants import Grants, NoGrants
from service.jobs.executors import Executor, Lanes, owner_name
from service.jobs.journal import Journal
from service.jobs.operation import Operation
from service.jobs.removal import Removal
from service.jobs.threads import POLL, Threads
from service.keys import Keys
from service.links import Links
from service.media import Limits
from service.metrics import Metrics
from service.originals import Intake
from service.processing import inspection as processing_inspection
from service.processing import operations as processing_operations
from service.processing.editing import Processing
from service.processing.routes import processing
from service.questions import operations as question_operations
from service.questions.routes import clues, questions
from service.questions.sources import Source
from service.recordings import inspection as recording_inspection
from service.recordings import operations as recording_operations
from service.recordings.routes import recording_users, recordings
from service.renditions import inspection as rendition_inspection
from service.renditions import operations as rendition_operations
from service.renditions.making import Making
from service.renditions.models import PREFIX as RENDITIONS
from service.renditions.models import keys_in
from service.renditions.models import known_keys as known_renditions
from service.renditions.routes import renditions
from service.storage import DiskStorage, Storage
from service.sweep import Sweep
from service.tries import Tries
from service.web.access import watch
from service.web.page import page
from service.web.routes import web

if TYPE_CHECKING:
    from service.s3 import Access

T = TypeVar("T", bound=Threads)

MAX_JSON_BYTES = 1_000_000
PICTURE_POLL = 0.05
"""Seconds within which a process takes part in copies that another one was asked for."""
WEBHOOK_POLL = 0.2
WEBHOOK_THREADS = 4
"""Webhooks under way at a time in one server process."""
UPLOADS_TO_S3 = 12
"""Photos of one process that are checked and sent at once; each waits some milliseconds for the answer."""

INSPECTIONS = (
    face_inspection.INSPECTION,
    recording_inspection.INSPECTION,
    processing_inspection.INSPECTION,
    augmentation_inspection.INSPECTION,
    rendition_inspection.INSPECTION,
)


BLUEPRINTS = (
    faces,
    accounts,
    augmentation,
    processing,
    questions,
    clues,
    recording_users,
    recordings,
    renditions,
    web,
    page,
)
KNOWN_KEYS = {
    "tasks/": face_operations.known_keys,
    "recordings/": recording_operations.known_keys,
    "processing/": processing_operations.known_keys,
    "augmentation/": augmentation_operations.known_keys,
    "images/": known_renditions,
}
"""By the prefix of its keys, which files each slice knows; the sweep removes all others below these prefixes."""


def create_app(settings: Settings) -> Flask:
    """Make the application. It starts no thread and opens no connection: a fork may follow."""
    app = Flask("service", static_folder=None)
    app.config["MAX_CONTENT_LENGTH"] = MAX_JSON_BYTES
    app.url_map.strict_slashes = True
    app.url_map.converters |= {"id": Identifier, "number": Number}
    parts = make_parts(settings)
    app.extensions |= {name: getattr(parts, name) for name in Parts.__dataclass_fields__}
    app.extensions |= {"settings": settings, "inspections": INSPECTIONS, "known_keys": KNOWN_KEYS}
    app.extensions |= make_slices(settings, parts)
    app.extensions["sweep"] = Sweep(parts.database, parts.storage, KNOWN_KEYS, parts.metrics)
    app.extensions["retention"] = Retention(app.extensions["faces"], settings.retention_days)
    app.extensions["readiness"] = _readiness(parts.database, parts.storage, parts.executor, settings)
    errors.install(app)
    for blueprint in BLUEPRINTS:
        app.register_blueprint(blueprint)
    app.before_request(_refuse_nul)
    security.install(app, settings)
    watch(app, parts.metrics)
    add_commands(app)
    return app


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What the slices stand on. `operations` are those of all jobs, by their kinds."""

    database: Database
    links: Links
    storage: Storage
    metrics: Metrics
    engine: Engine
    operations: Mapping[str, Operation]
    executor: Executor
    tries: Tries
    keys: Keys


def make_parts(settings: Settings) -> Parts:
    """Choose the implementations that the settings name."""
    database = Database(settings.database_url)
    links = Links(settings.signing_key, settings.public_url)
    storage = make_storage(settings, links)
    metrics = Metrics(settings.metrics_folder, settings.database_url)
    engine = Measured(make_engine(settings, database, metrics), settings.engine, metrics)
    copying = (
        Processing(storage),
        Copying(storage, settings.augmentation_scale),
        Making(storage, (1.0, *settings.scales)),
        Removal(storage, {RENDITIONS: keys_in}),
    )
    lanes: dict[str, Sequence[Operation]] = {
        "faces": (FaceDetection(storage, engine),),
        "copies": copying,
        "webhooks": (make_webhooks(settings),),
    }
    operations = {operation.kind: operation for lane in lanes.values() for operation in lane}
    return Parts(
        database=database,
        links=links,
        storage=storage,
        metrics=metrics,
        engine=engine,
        operations=operations,
        executor=make_executor(settings, database, storage, metrics, lanes),
        tries=Tries(database, settings.max_failed_tries, settings.failed_tries_seconds),
        keys=Keys(database, lambda: owner_name(os.getpid())),
    )


def make_slices(settings: Settings, parts: Parts) -> dict[str, object]:
    """Make what the operations of each slice stand on, by the slice's name."""
    database, storage, executor = parts.database, parts.storage, parts.executor
    limits = Limits(bytes=settings.max_image_bytes, pixels=settings.max_image_pixels)
    small = Limits(bytes=settings.max_rendition_bytes, pixels=settings.max_image_pixels)
    cores = share_of_cores(settings)
    # Storing waits, for the disk or the network, so there are more of these threads than cores.
    pool = ThreadPoolExecutor(UPLOADS_TO_S3 if settings.bucket else 4, thread_name_prefix="upload")
    return {
        "faces": face_operations.Services(
            database=database,
            storage=storage,
            executor=executor,
            # Its photos are not for a CDN: clients get them from here, or by an address that ends.
            intake=Intake(storage, pool, limits, tells_types=False),
            images_per_task=settings.max_images_per_task,
            private_webhooks=settings.webhook_allow_private,
            drawings=threading.BoundedSemaphore(cores),
        ),
        "questions": question_operations.Services(database=database, source=make_question_source(settings, database)),
        "recordings": recording_operations.Services(
            database=database,
            storage=storage,
            limits=recording_operations.Limits(
                bytes=settings.max_audio_bytes,
                seconds=settings.max_audio_seconds,
                bitrate=settings.mp3_bitrate,
                quality=int(settings.mp3_quality) if settings.mp3_quality else None,
            ),
            turns=threading.BoundedSemaphore(cores),
        ),
        "processing": processing_operations.Services(
            database=database, executor=executor, intake=Intake(storage, pool, limits)
        ),
        "renditions": rendition_operations.Services(
            database=database,
            executor=executor,
            intake=Intake(storage, pool, small),
            scales=(1.0, *settings.scales),
            links=parts.links,
            grants=make_grants(settings),
            cdn=settings.cdn_url.rstrip("/"),
        ),
        "accounts": Accounts(
            database=database,
            tries=parts.tries,
            turns=threading.BoundedSemaphore(cores),
            secret=lambda: settings.signing_key,
        ),
        "augmentation": augmentation_operations.Services(
            database=database,
            executor=executor,
            intake=Intake(storage, pool, limits, augmentation_operations.TYPES),
            factor=settings.augmentation_scale,
        ),
    }


def _refuse_nul() -> None:
    """Find nothing under a path with a character that no stored text has; PostgreSQL would refuse the question."""
    if "\0" in request.path:
        raise errors.NotFound("There is no such address.")


def make_executor(
    settings: Settings,
    database: Database,
    storage: Storage,
    metrics: Metrics,
    lanes: Mapping[str, Sequence[Operation]],
) -> Executor:
    """Make the executor that the settings name, with a lane for each of these groups of operations."""
    journal = Journal(metrics)
    # As many threads for copies as cores, since they are computed while photos may wait for FaceCloud. Webhooks have
    # threads of their own, since a receiver that is slow must not hold up photos, and look less often: nobody waits for
    # one to the millisecond.
    workers = {"faces": workers_of(settings), "copies": share_of_cores(settings), "webhooks": WEBHOOK_THREADS}
    polls = {"faces": POLL, "copies": PICTURE_POLL, "webhooks": WEBHOOK_POLL}

    def make(kind: type[T]) -> dict[str, T]:
        return {
            name: kind(
                database,
                operations,
                journal,
                workers=workers[name],
                lease=settings.lease_seconds,
                poll=polls[name],
                bounds=bounds_of(settings) if name == "faces" else {},
            )
            for name, operations in lanes.items()
        }

    if settings.executor == "threads":
        return Lanes(*make(Threads).values())
    from service.jobs.celery import CeleryExecutor
    from service.jobs.crews import Crew

    def begin() -> object:
        metrics.join()
        return storage.hold()

    log_settings = logs.configuration(settings.log_level, settings.log_format)
    return CeleryExecutor(database, make(Crew), settings.broker_url, log_settings=log_settings, begin=begin)


def make_webhooks(settings: Settings) -> WebhookDelivery:
    """Make the operation that delivers webhooks; its secret is made with the first one, since that takes a while."""

    def secret() -> str:
        return settings.webhook_secret or derived_secret(settings.api_password)

    return WebhookDelivery(secret, private_allowed=settings.webhook_allow_private)


def make_engine(settings: Settings, database: Database, metrics: Metrics) -> Engine:
    """Make the face engine that the settings name. It connects, or loads its networks, with the first image."""
    if settings.engine == "facecloud":
        from service.faces.breaker import Breaker
        from service.faces.facecloud import FaceCloud

        answers = cache(metrics.answers.labels)
        return FaceCloud(
            settings.facecloud_url,
            settings.facecloud_email,
            settings.facecloud_password,
            timeout=settings.facecloud_timeout,
            concurrency=workers_of(settings),
            max_pixels=settings.facecloud_max_pixels,
            breaker=Breaker(lambda: has_ever_worked(database), processes=settings.web_concurrency),
            observe=lambda outcome, _: metrics.notes.count(answers(outcome)),
        )
    from service.faces.local import LocalEngine

    return LocalEngine()


def make_storage(settings: Settings, links: Links) -> Storage:
    """Make the storage that the settings name. S3 connects with the first use."""
    if not settings.bucket:
        return DiskStorage(Path(settings.storage_url), links)
    from service.s3 import S3Storage

    return S3Storage(*settings.bucket, _access(settings))


def make_grants(settings: Settings) -> Grants:
    """Make what lends clients temporary keys, where the files are on S3 and a role is set."""
    if not settings.bucket:
        return NoGrants("The files are in a folder of this service: there are no credentials to lend.")
    if not settings.s3_role_arn:
        return NoGrants("There is no role that temporary keys could be made from: S3_ROLE_ARN is not set.")
    from service.sts import SecurityTokens

    endpoint = settings.s3_sts_endpoint_url or settings.s3_endpoint_url
    return SecurityTokens(settings.bucket[0], settings.s3_role_arn, endpoint, _access(settings))


def _access(settings: Settings) -> "Access":
    from service.s3 import Access

    return Access(
        endpoint=settings.s3_endpoint_url,
        public_endpoint=settings.s3_public_endpoint_url,
        region=settings.s3_region,
        key_id=settings.aws_access_key_id,
        secret=settings.aws_secret_access_key,
        token=settings.aws_session_token,
        timeout=settings.s3_timeout,
        # One for each thread that may use it at once: jobs, uploads, requests.
        connections=workers_of(settings) + UPLOADS_TO_S3 + THREADS,
    )


def make_question_source(settings: Settings, database: Database) -> Source:
    """Make the source of quiz questions that the settings name. It connects with the first request."""
    if settings.quiz_source == "builtin":
        from service.questions.builtin import Builtin

        return Builtin()
    if settings.quiz_source == "opentdb":
        from service.questions.opentdb import OpenTrivia

        return OpenTrivia(settings.opentdb_url, database)
    from service.questions.jservice import JService

    return JService(settings.quiz_source)


def workers_of(settings: Settings) -> int:
    """Return how many files one server process works on at a time.

    FaceCloud's threads wait for the network; the embedded engine's compute, so together they get the cores once.
    """
    if settings.workers:
        return settings.workers
    return 8 if settings.engine == "facecloud" else share_of_cores(settings)


def bounds_of(settings: Settings) -> dict[str, int]:
    """Return how many calls of a kind all processes together may have under way, for the kinds that are bounded."""
    bounded = settings.engine == "facecloud" and settings.facecloud_max_concurrency
    return {KIND: settings.facecloud_max_concurrency} if bounded else {}


def share_of_cores(settings: Settings) -> int:
    """Return how many cores one server process may keep busy, so that all together keep each of them busy once."""
    return max(1, math.ceil(len(os.sched_getaffinity(0)) / settings.web_concurrency))


def _readiness(
    database: Database, storage: Storage, executor: Executor, settings: Settings
) -> dict[str, Callable[[], None]]:
    def check_database() -> None:
        with database.read() as session:
            session.execute(sa.text("SELECT 1 FROM task LIMIT 1"))
        database.check()

    checks = {"database": check_database, "storage": storage.check}
    if settings.executor == "celery":
        checks["broker"] = executor.check
    elif settings.web_works:
        checks["dispatcher"] = executor.check
    return checks
