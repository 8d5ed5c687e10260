"""Renditions: images of owners of any kind, as WebP in their full size and three smaller ones."""
