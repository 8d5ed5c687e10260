"""FaceCloud as an engine."""

from service.features.faces.engines.facecloud.engine import FaceCloud

__all__ = ["FaceCloud"]
