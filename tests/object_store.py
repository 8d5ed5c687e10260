"""A real S3 server for the tests: SeaweedFS, in one process on free ports, with two identities and private buckets."""

import base64
import json
import os
import secrets
import signal
import socket
import subprocess
import tempfile
import uuid
from pathlib import Path
from typing import Any, Self

import boto3
import requests
from botocore.config import Config

from tests.support import BIN, wait_for

ROLE = "arn:aws:iam::role/Lent"


class ObjectStore:
    """The server. `admin` makes buckets, `app` is what services are given."""

    def __init__(self) -> None:
        self._folder = tempfile.TemporaryDirectory(prefix="object-store-")
        folder = Path(self._folder.name)
        self.port, *others = free_ports(4)
        self.url = f"http://127.0.0.1:{self.port}"
        self.keys = {name: (name.upper() + secrets.token_hex(4), secrets.token_hex(20)) for name in ("admin", "app")}
        actions = {"admin": ["Admin", "Read", "Write", "List", "Tagging"], "app": ["Read", "Write", "List"]}
        identities = [
            {"name": name, "credentials": [{"accessKey": key, "secretKey": secret}], "actions": actions[name]}
            for name, (key, secret) in self.keys.items()
        ]
        (folder / "s3.json").write_text(json.dumps({"identities": identities}))
        (folder / "iam.json").write_text(json.dumps(_roles()))
        ports = [f"-{part}.port={port}" for part, port in zip(("master", "volume", "filer"), others, strict=True)]
        self._log = (folder / "log").open("wb")
        self._process = subprocess.Popen(
            [
                *(BIN / "weed", "-logtostderr=true", "mini", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1"),
                *(*ports, f"-s3.port={self.port}", f"-s3.config={folder / 's3.json'}", "-s3.autoCreateBucket=false"),
                f"-s3.iam.config={folder / 'iam.json'}",
                *("-s3.port.iceberg=0", "-s3.port.lance=0", "-admin.ui=false", "-webdav=false"),
                "-master.telemetry=false",
            ],
            cwd=folder,
            env={"PATH": os.environ["PATH"], "HOME": str(folder)},
            stdout=self._log,
            stderr=self._log,
            start_new_session=True,
        )
        wait_for(self._ready, 30, "the start of the object store")

    def _ready(self) -> bool:
        log = Path(self._folder.name, "log")
        assert self._process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            return requests.get(f"{self.url}/healthz", timeout=5).ok
        except requests.ConnectionError:
            return False

    def client(self, name: str = "admin") -> Any:
        """Return a client of boto3 with one of the two identities."""
        key, secret = self.keys[name]
        return boto3.client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=key,
            aws_secret_access_key=secret,
            config=Config(signature_version="s3v4", s3={"addressing_style": "path"}),
        )

    def bucket(self) -> str:
        """Make a bucket and return its name."""
        name = f"test-{uuid.uuid4().hex[:12]}"
        self.client().create_bucket(Bucket=name)
        return name

    def settings(self, bucket: str, **more: object) -> dict[str, object]:
        """Return the settings of a service that stores its files in the bucket, below a prefix."""
        key, secret = self.keys["app"]
        account = {"AWS_ACCESS_KEY_ID": key, "AWS_SECRET_ACCESS_KEY": secret}
        return {"STORAGE_URL": f"s3://{bucket}/media", "S3_ENDPOINT_URL": self.url, **account, **more}

    def keys_of(self, bucket: str) -> list[str]:
        """Return all keys of the bucket, as the administrator sees them."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=bucket)
        return [found["Key"] for page in pages for found in page.get("Contents", ())]

    def close(self) -> None:
        """End the server and remove what it stored."""
        os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait(10)
        self._log.close()
        self._folder.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def _roles() -> dict[str, Any]:
    """Return a role that may be assumed; keys live three seconds where no other life is asked for."""
    everything = [{"Effect": "Allow", "Action": ["s3:*"], "Resource": ["arn:aws:s3:::*"]}]
    anybody = [{"Effect": "Allow", "Principal": {"AWS": "*"}, "Action": ["sts:AssumeRole"]}]
    return {
        "sts": {
            "tokenDuration": "3s",
            "maxSessionLength": "1h",
            "issuer": "object-store",
            "signingKey": base64.b64encode(secrets.token_bytes(32)).decode(),
        },
        "policy": {"defaultEffect": "Deny", "storeType": "memory"},
        "policies": [{"name": "Lent", "document": {"Version": "2012-10-17", "Statement": everything}}],
        "roles": [
            {
                "roleName": "Lent",
                "roleArn": ROLE,
                "attachedPolicies": ["Lent"],
                "trustPolicy": {"Version": "2012-10-17", "Statement": anybody},
            }
        ],
    }


def free_ports(count: int) -> list[int]:
    """Return ports P that are free together with P + 10000, where SeaweedFS listens for its own talk."""
    ports: list[int] = []
    while len(ports) < count:
        port = 20_000 + secrets.randbelow(12_000)
        if port not in ports and _is_free(port) and _is_free(port + 10_000):
            ports.append(port)
    return ports


def _is_free(port: int) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True
