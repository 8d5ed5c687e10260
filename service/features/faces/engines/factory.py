"""Makes the engine that the settings name."""

from collections.abc import Callable
from functools import partial

from service.config import ENGINE_GROUP, Settings
from service.features.faces.engines.deferred import Deferred
from service.features.faces.engines.engine import EMBEDDED, Engine
from service.imaging.decode import to_jpeg
from service.imaging.pixel_budget import PixelBudget
from service.plugins import load_class


def make_engine(
    settings: Settings,
    pixels: PixelBudget,
    *,
    calls: int,
    observe: Callable[[str, float], None] | None = None,
) -> Engine:
    """Make the engine. It connects, or loads its networks, with the first image.

    `calls` is how many this process has under way at most; `observe` is called with the outcome and the seconds of
    FaceCloud's calls.
    """
    if settings.engine == "facecloud":
        return Deferred(partial(_facecloud, settings, pixels, calls, observe))
    if settings.engine == EMBEDDED:
        return Deferred(partial(_embedded, settings, pixels))
    from service.features.faces.engines.custom import CustomEngine

    return CustomEngine(load_class(settings.engine, ENGINE_GROUP), settings.engine)


def _facecloud(
    settings: Settings, pixels: PixelBudget, calls: int, observe: Callable[[str, float], None] | None
) -> Engine:
    from service.features.faces.engines.facecloud import FaceCloud

    return FaceCloud(
        settings.facecloud_url,
        settings.facecloud_email,
        settings.facecloud_password,
        timeout=settings.facecloud_timeout,
        concurrency=calls,
        convert=partial(to_jpeg, max_pixels=settings.facecloud_max_pixels, budget=pixels),
        observe=observe,
    )


def _embedded(settings: Settings, pixels: PixelBudget) -> Engine:
    from service.features.faces.engines.local import LocalEngine

    return LocalEngine(pixels=pixels, search=settings.face_search, gender_threshold=settings.gender_threshold)
