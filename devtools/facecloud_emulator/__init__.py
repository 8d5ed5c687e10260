"""A stand-in for FaceCloud."""
