"""Tests beside large programs of others, which `make interop` installs and `make test` does without."""
