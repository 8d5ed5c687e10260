"""Make up the secrets of an installation in containers: `python -m service.cli.container_secrets FOLDER HANDED_OUT`."""

import base64
import json
import os
import secrets
import sys
from collections.abc import Callable
from pathlib import Path

BUCKET = "media"
ROLE = "Clients"
DATABASE_URL = "postgresql+psycopg://service:{password}@postgres/service"


BROKER_URL = "redis://:{password}@redis:6379/0"
NEEDED = {
    "service": ("api_password", "secret_key", "database_url", "broker_url", "s3_key", "s3_secret"),
    "postgres": ("database_password",),
    "redis": ("redis_password",),
    "s3": ("s3.json", "s3_roles.json"),
}
"""Which container needs which secrets."""


def main(folder: Path, password: str, handed_out: Path) -> None:
    """Write what is missing, hand to each container what it needs, and print a password that was made up this once.

    Both folders are volumes: all secrets are in the first, which nothing but this mounts, and each folder of the second
    belongs to one container. They run as different users, so each may read the files. A password given by the
    operator takes the place of the one that was written.
    """
    if password:
        _write(folder / "api_password", password)
    elif _once(folder / "api_password", lambda: secrets.token_urlsafe(12)):
        made_up = (folder / "api_password").read_text("utf-8")
        sys.stdout.write(f"\n  User name: admin\n  Password:  {made_up}\n\n")
    _once(folder / "secret_key", secrets.token_hex)
    _once(folder / "database_password", secrets.token_hex)
    database_password = (folder / "database_password").read_text("utf-8")
    _once(folder / "database_url", lambda: DATABASE_URL.format(password=database_password))
    _once(folder / "s3_key", lambda: "service-" + secrets.token_hex(6))
    _once(folder / "s3_secret", secrets.token_hex)
    _once(folder / "s3.json", lambda: _identities(folder))
    _once(folder / "s3_roles.json", _roles)
    _once(folder / "redis_password", secrets.token_hex)
    redis_password = (folder / "redis_password").read_text("utf-8")
    _once(folder / "broker_url", lambda: BROKER_URL.format(password=redis_password))
    for container, names in NEEDED.items():
        for name in names:
            _write(handed_out / container / name, (folder / name).read_text("utf-8"))


def _identities(folder: Path) -> str:
    key = (folder / "s3_key").read_text("utf-8")
    secret = (folder / "s3_secret").read_text("utf-8")
    identity = {
        "name": "service",
        "credentials": [{"accessKey": key, "secretKey": secret}],
        "actions": ["Admin", "Read", "Write", "List", "Tagging"],
    }
    return json.dumps({"identities": [identity]}, indent=1)


def _roles() -> str:
    """Return SeaweedFS's roles: the one that clients' temporary keys are made from, and who may assume it."""
    actions = ["s3:GetObject", "s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"]
    allowed = [
        {"Effect": "Allow", "Action": actions, "Resource": f"arn:aws:s3:::{BUCKET}/images/*"},
        {"Effect": "Allow", "Action": ["s3:ListBucket"], "Resource": f"arn:aws:s3:::{BUCKET}"},
    ]
    # Whoever has keys of the store at all: those are the service alone.
    trusted = [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole"]}]
    return json.dumps(
        {
            "sts": {
                "tokenDuration": "1h",
                "maxSessionLength": "12h",
                "issuer": "object-store",
                "signingKey": base64.b64encode(secrets.token_bytes(32)).decode(),
            },
            "policy": {"defaultEffect": "Deny", "storeType": "memory"},
            "policies": [{"name": ROLE, "document": {"Version": "2012-10-17", "Statement": allowed}}],
            "roles": [
                {
                    "roleName": ROLE,
                    "roleArn": f"arn:aws:iam::role/{ROLE}",
                    "attachedPolicies": [ROLE],
                    "trustPolicy": {"Version": "2012-10-17", "Statement": trusted},
                }
            ],
        },
        indent=1,
    )


def _once(file: Path, text: Callable[[], str]) -> bool:
    if file.exists():
        return False
    _write(file, text())
    return True


def _write(file: Path, text: str) -> None:
    unfinished = file.with_suffix(".new")
    unfinished.write_text(text, "utf-8")
    unfinished.chmod(0o444)
    unfinished.replace(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]), os.environ.get("API_PASSWORD", "").strip(), Path(sys.argv[2]))
