"""One package a feature; none imports another."""
