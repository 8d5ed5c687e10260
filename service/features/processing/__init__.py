"""Processing: stored files, flipped, resized or turned by tasks of their own."""
