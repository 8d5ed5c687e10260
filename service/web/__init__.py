"""The page for people, health, metrics, signed links and the API documentation."""
