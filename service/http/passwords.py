"""Passwords as people type them: the same characters are the same password, whatever bytes they came in."""

import unicodedata


def opaque_string(password: str) -> str:
    """Return the password as RFC 8265 compares it (OpaqueString): any space as U+0020, and in Unicode's form NFC."""
    if password.isascii():
        return password
    spaced = "".join(" " if unicodedata.category(character) == "Zs" else character for character in password)
    return unicodedata.normalize("NFC", spaced)


def readings(password: str) -> tuple[str, ...]:
    """Return the password as it is compared and, where that is another one, as it came: so hashes were made before."""
    return tuple(dict.fromkeys((opaque_string(password), password)))
