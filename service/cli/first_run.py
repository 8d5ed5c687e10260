"""Prepare a checkout, by `python -m service.cli.first_run`: write .env with a password, close the data to others."""

import os
import re
import secrets
import sys
from pathlib import Path


def write_password(file: Path, example: str) -> None:
    """Write a settings file that only its owner may read, from an example with API_PASSWORD in it; print the password.

    Raises `FileExistsError` where there is one.
    """
    password = secrets.token_urlsafe(12)
    text = re.sub(r"^API_PASSWORD=.*$", f"API_PASSWORD={password}", example, flags=re.MULTILINE)
    with os.fdopen(os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as opened:
        opened.write(text)
    sys.stdout.write(f"\n  User name: admin\n  Password:  {password}\n\n  Kept in {file}; change it there.\n\n")
    sys.stdout.flush()


if __name__ == "__main__":
    Path("storage").chmod(0o700)
    if not (Path(".env").exists() or os.environ.get("API_PASSWORD")):
        write_password(Path(".env"), Path(".env.example").read_text("utf-8"))
