"""What detects faces."""
