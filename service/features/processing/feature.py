"""Processing as a feature."""

from service.features.feature import Feature, Kernel, Parts
from service.features.processing import operations
from service.features.processing.checks import INSPECTION
from service.features.processing.job import Processing
from service.features.processing.routes import processing
from service.imaging.intake import Intake


def make(kernel: Kernel) -> Parts:
    """Make it for one application."""
    intake = Intake(kernel.storage, kernel.uploads, kernel.limits, kernel.pixels)
    return Parts(
        jobs={"copies": [Processing(kernel.storage, kernel.pixels)]},
        services=lambda executor: {
            operations.Services: operations.Services(database=kernel.database, executor=executor, intake=intake)
        },
    )


PROCESSING = Feature(
    tags={processing: "Stored files, and tasks that flip, resize or rotate them."},
    make=make,
    known_keys={operations.PREFIX: operations.known_keys},
    checks=INSPECTION,
)
