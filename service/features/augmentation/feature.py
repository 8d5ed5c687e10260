"""Augmentation as a feature."""

from service.cpu_slots import CpuSlots
from service.features.augmentation import operations
from service.features.augmentation.accounts import Accounts
from service.features.augmentation.checks import INSPECTION
from service.features.augmentation.job import Augmentation
from service.features.augmentation.models import ImageTask
from service.features.augmentation.routes import accounts, augmentation
from service.features.augmentation.tokens import Tokens
from service.features.feature import Feature, Kernel, Parts, Services, keys_of
from service.http.login_throttle import LoginThrottle
from service.jobs.executors import Executor

MOST_REGISTRATIONS = 100
"""Users that may be registered from one address in an hour."""


def make(kernel: Kernel) -> Parts:
    """Make it for one application."""
    settings = kernel.settings

    def services(_: Executor) -> Services:
        return {
            Accounts: Accounts(
                database=kernel.database,
                login_throttle=kernel.login_throttle,
                slots=CpuSlots(kernel.cores),
                tokens=Tokens(kernel.database, lambda: settings.signing_key),
                registrations=LoginThrottle(kernel.database, MOST_REGISTRATIONS, 3600),
                is_open=settings.registration == "open",
            ),
            operations.Services: operations.Services(
                database=kernel.database,
                intake=kernel.intake(types=operations.TYPES),
                factor=settings.augmentation_scale,
                quota=operations.Quota(settings.user_quota_bytes, settings.user_files_per_day),
            ),
        }

    operation = Augmentation(kernel.storage, kernel.pixels, kernel.spools, settings.augmentation_scale)
    return Parts(lanes=[kernel.image_lane(operation)], services=services)


AUGMENTATION = Feature(
    tags={
        accounts: "Users of augmentation: registration and login.",
        augmentation: "Images of users, each turned, made gray and scaled.",
    },
    make=make,
    known_keys={"augmentation/": keys_of(ImageTask.key)},
    checks=INSPECTION,
)
