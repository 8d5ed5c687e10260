"""The certificate authorities that outgoing calls trust."""

import ssl

import certifi


def system_bundle() -> str:
    """Return the file that SSL_CERT_FILE names, else the system's; certifi's where there is none.

    Of a company's own authority the system knows, and the list that comes with a Python package does not.
    """
    return ssl.get_default_verify_paths().cafile or certifi.where()
