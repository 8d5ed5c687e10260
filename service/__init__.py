"""A self-hosted service: a batch of media files in, what an operation found in each of them out."""
