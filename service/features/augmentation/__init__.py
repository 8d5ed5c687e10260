"""Augmentation: users upload images, and get rotated, gray and scaled copies of them."""
