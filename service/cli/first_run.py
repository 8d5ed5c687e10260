"""Write .env with a made-up password where there is none: `python -m service.cli.first_run`."""

import os
import re
import secrets
import sys
from pathlib import Path

ENV = Path(".env")
EXAMPLE = Path(".env.example")


def main() -> None:
    """Do it, and print the password this once."""
    if ENV.exists() or os.environ.get("API_PASSWORD"):
        return
    password = secrets.token_urlsafe(12)
    text = re.sub(r"^API_PASSWORD=.*$", f"API_PASSWORD={password}", EXAMPLE.read_text("utf-8"), flags=re.MULTILINE)
    descriptor = os.open(ENV, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
    sys.stdout.write(f"\n  User name: admin\n  Password:  {password}\n\n  Kept in .env; change it there.\n\n")


if __name__ == "__main__":
    main()
