"""The server's processes and connections."""
