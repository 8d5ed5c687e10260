"""Untrusted images in, pictures out."""
