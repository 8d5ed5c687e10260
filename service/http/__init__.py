"""HTTP: what the routes of all features share."""
