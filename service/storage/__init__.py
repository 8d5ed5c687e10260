"""The byte store: disk, S3, signed URLs, temporary credentials."""
