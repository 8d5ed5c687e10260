"""Renditions as a feature."""

from service.features.feature import Feature, Kernel, Parts
from service.features.renditions import operations
from service.features.renditions.checks import INSPECTION
from service.features.renditions.job import Making
from service.features.renditions.models import PREFIX, known_keys
from service.features.renditions.routes import renditions
from service.imaging.intake import Intake
from service.imaging.validate import Limits
from service.storage.factory import make_credentials_issuer


def make(kernel: Kernel) -> Parts:
    """Make it for one application."""
    settings = kernel.settings
    scales = (1.0, *settings.scales)
    small = Limits(bytes=settings.max_rendition_bytes, pixels=settings.max_image_pixels)
    intake = Intake(kernel.storage, kernel.uploads, small, kernel.pixels)
    return Parts(
        jobs={"copies": [Making(kernel.storage, kernel.pixels, scales)]},
        services=lambda executor: {
            operations.Services: operations.Services(
                database=kernel.database,
                executor=executor,
                intake=intake,
                scales=scales,
                signed_urls=kernel.signed_urls,
                credentials_issuer=make_credentials_issuer(settings),
                cdn=settings.cdn_url.rstrip("/"),
            )
        },
    )


RENDITIONS = Feature(
    tags={renditions: "Images of owners, each as WebP in four sizes."},
    make=make,
    known_keys={PREFIX: known_keys},
    checks=INSPECTION,
)
