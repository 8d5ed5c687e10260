"""Recordings as a feature."""

from service.cpu_slots import CpuSlots
from service.features.feature import Feature, Kernel, Parts
from service.features.recordings import operations
from service.features.recordings.checks import INSPECTION
from service.features.recordings.routes import recording_users, recordings


def make(kernel: Kernel) -> Parts:
    """Make it for one application."""
    settings = kernel.settings
    services = operations.Services(
        database=kernel.database,
        storage=kernel.storage,
        limits=operations.Limits(
            bytes=settings.max_audio_bytes,
            seconds=settings.max_audio_seconds,
            bitrate=settings.mp3_bitrate,
            quality=int(settings.mp3_quality) if settings.mp3_quality else None,
        ),
        slots=CpuSlots(kernel.cores),
        spools=kernel.spools,
    )
    return Parts(services=lambda _: {operations.Services: services})


RECORDINGS = Feature(
    tags={recording_users: "The users who may send recordings.", recordings: "WAV in, MP3 out."},
    make=make,
    known_keys={"recordings/": operations.known_keys},
    checks=INSPECTION,
)
