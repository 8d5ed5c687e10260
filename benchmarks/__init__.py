"""Measurements, each a ratio or a figure within one run: `make bench`."""
