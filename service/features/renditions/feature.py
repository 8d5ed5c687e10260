"""Renditions as a feature."""

from service.features.feature import Feature, Kernel, Parts
from service.features.renditions import operations
from service.features.renditions.checks import INSPECTION
from service.features.renditions.job import RenditionCreation
from service.features.renditions.keys import PREFIX, keys_in
from service.features.renditions.models import known_keys
from service.features.renditions.representation import FileAddresses
from service.features.renditions.routes import renditions
from service.imaging.media_types import EDITABLE
from service.imaging.validate import Limits
from service.storage.factory import make_credentials_issuer


def make(kernel: Kernel) -> Parts:
    """Make it for one application."""
    settings = kernel.settings
    scales = (1.0, *settings.scales)
    small = Limits(bytes=settings.max_rendition_bytes, pixels=settings.max_image_pixels)
    files = FileAddresses(kernel.storage, settings.cdn_url.rstrip("/"))
    return Parts(
        lanes=[kernel.image_lane(RenditionCreation(files, kernel.pixels, kernel.spools, scales))],
        services=lambda executor: {
            operations.Services: operations.Services(
                database=kernel.database,
                executor=executor,
                intake=kernel.intake(limits=small, types=EDITABLE),
                scales=scales,
                signed_urls=kernel.signed_urls,
                credentials_issuer=make_credentials_issuer(settings),
                files=files,
            )
        },
    )


RENDITIONS = Feature(
    tags={renditions: "Images of owners, each as WebP in four sizes."},
    make=make,
    known_keys={PREFIX: known_keys},
    checks=INSPECTION,
    shared_folders={PREFIX: keys_in},
)
