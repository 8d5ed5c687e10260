"""Headcount: batches of media files are handed in, and what an operation finds in each file comes back."""

__version__ = "0.1.0"
