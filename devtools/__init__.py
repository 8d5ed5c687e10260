"""For development and tests only."""
