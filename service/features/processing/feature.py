"""Processing as a feature."""

from service.features.feature import Feature, Kernel, Parts, keys_of
from service.features.processing import operations
from service.features.processing.checks import INSPECTION
from service.features.processing.job import Processing
from service.features.processing.models import ProcessingFile
from service.features.processing.routes import processing
from service.imaging.media_types import EDITABLE


def make(kernel: Kernel) -> Parts:
    """Make it for one application."""
    intake = kernel.intake(types=EDITABLE)
    return Parts(
        lanes=[kernel.image_lane(Processing(kernel.storage, kernel.pixels, kernel.spools))],
        services=lambda _: {operations.Services: operations.Services(database=kernel.database, intake=intake)},
    )


PROCESSING = Feature(
    tags={processing: "Stored files, and tasks that flip, resize or rotate them."},
    make=make,
    known_keys={operations.PREFIX: keys_of(ProcessingFile.key)},
    checks=INSPECTION,
)
