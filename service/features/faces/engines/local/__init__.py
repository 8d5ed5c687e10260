"""The embedded engine: faces are found, and gender and age estimated, in this process."""

from service.features.faces.engines.local.engine import MODELS, LocalEngine

__all__ = ["MODELS", "LocalEngine"]
