"""Face tasks as a feature."""

from collections.abc import Sequence
from functools import cache

import click

from service.config import Settings
from service.cpu_slots import CpuSlots
from service.features.faces import operations
from service.features.faces.checks import INSPECTION
from service.features.faces.correction_routes import corrected
from service.features.faces.crop_routes import cropped
from service.features.faces.crops import CropCache
from service.features.faces.documents import DocumentCache
from service.features.faces.engines.engine import Engine
from service.features.faces.engines.factory import make_engine
from service.features.faces.engines.instrumented import Measured
from service.features.faces.job import KIND, FaceDetection
from service.features.faces.retention import Retention
from service.features.faces.review_routes import reviewed
from service.features.faces.routes import faces
from service.features.faces.webhooks import WebhookDelivery, derived_secret
from service.features.feature import Feature, Kernel, Lane, Parts, Services
from service.jobs.claims import ClaimPolicy
from service.jobs.concurrency_limit import ConcurrencyLimit
from service.jobs.executors import Executor

WEBHOOK_THREADS = 4
"""Webhooks under way at a time in one server process."""


def make(kernel: Kernel) -> Parts:
    """Make it for one application."""
    settings = kernel.settings
    engine = Measured(_engine(kernel), settings.engine, kernel.metrics)
    webhooks = WebhookDelivery(
        lambda: settings.webhook_secret or derived_secret(settings.api_password),
        private_allowed=settings.webhook_allow_private,
    )

    def services(executor: Executor) -> Services:
        return {
            Engine: engine,
            CropCache: CropCache(),
            operations.Services: operations.Services(
                database=kernel.database,
                storage=kernel.storage,
                executor=executor,
                # Its photos are not for a CDN: clients get them from here, or by an address that ends.
                intake=kernel.intake(tells_types=False),
                images_per_task=settings.max_images_per_task,
                private_webhooks=settings.webhook_allow_private,
                drawings=CpuSlots(kernel.cores),
                documents=DocumentCache(),
                spools=kernel.spools,
            ),
        }

    return Parts(
        lanes=[
            Lane(
                name="faces",
                operations=[FaceDetection(kernel.storage, engine, settings.engine, settings.facecloud_patience)],
                threads=settings.job_threads,
                policies=_policies(settings),
            ),
            # A receiver that is slow must not hold up photos, and nobody waits for a webhook to the millisecond.
            Lane(name="webhooks", operations=[webhooks], threads=WEBHOOK_THREADS),
        ],
        services=services,
        periodic=lambda made: [Retention(made[operations.Services], settings.retention_days)],
    )


def commands() -> Sequence[click.Command]:
    """Return the commands of face tasks."""
    from service.features.faces.commands import COMMANDS

    return COMMANDS


def _policies(settings: Settings) -> list[ClaimPolicy]:
    """Return what bounds the calls of all processes to FaceCloud together, if something does."""
    bound = settings.facecloud_max_concurrency if settings.engine == "facecloud" else 0
    return [ConcurrencyLimit(KIND, bound, settings.job_threads)] if bound else []


def _engine(kernel: Kernel) -> Engine:
    settings, metrics = kernel.settings, kernel.metrics
    answers = cache(metrics.answers.labels)
    return make_engine(
        settings,
        kernel.pixels,
        calls=settings.job_threads,
        observe=lambda outcome, _: metrics.buffer.add(answers(outcome).inc),
    )


FACES = Feature(
    tags={
        faces: "Face tasks: photos in, faces with box, gender and age out.",
        corrected: "Corrections: what a person says of faces stands above the engine's answer, and beside it.",
        cropped: "Crops: faces cut out of their photos.",
        reviewed: "Reviews: random samples of photos to check, and estimates of all photos from them.",
    },
    make=make,
    known_keys={"tasks/": operations.known_keys},
    checks=INSPECTION,
    commands=commands,
)
