"""What keeps rows and files consistent."""
