"""Temporary keys of S3 by STS: a role is assumed, with a policy that leaves of it some actions on one prefix."""

import json
import logging
import os
import threading
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

import boto3
from botocore.config import Config
from botocore.exceptions import ClientError

from service.errors import Invalid, Unavailable
from service.storage.s3 import TRIES, Access, translated
from service.storage.temporary_credentials import Action, Grant
from service.telemetry import logging as logs

log = logging.getLogger(__name__)

_OBJECT_ACTIONS: dict[Action, list[str]] = {
    "read": ["s3:GetObject"],
    "write": ["s3:PutObject", "s3:AbortMultipartUpload", "s3:ListMultipartUploadParts"],
}


def policy(bucket: str, prefix: str, actions: Collection[Action], partition: str = "aws") -> dict[str, Any]:
    """Return the session policy. What it does not name is refused, whatever the role may do."""
    place = f"arn:{partition}:s3:::{bucket}"
    allowed = [action for name in sorted(set(actions)) for action in _OBJECT_ACTIONS[name]]
    statements: list[dict[str, Any]] = [{"Effect": "Allow", "Action": allowed, "Resource": f"{place}/{prefix}*"}]
    if "read" in actions:
        condition = {"StringLike": {"s3:prefix": f"{prefix}*"}}
        statements.append({"Effect": "Allow", "Action": "s3:ListBucket", "Resource": place, "Condition": condition})
    return {"Version": "2012-10-17", "Statement": statements}


class SecurityTokens:
    """STS, at Amazon's or at a store that has its own. `endpoint` is where it answers; empty: Amazon's."""

    def __init__(self, bucket: str, role: str, endpoint: str, access: Access) -> None:
        self._bucket = bucket
        self._role = role
        self._endpoint = endpoint
        self._access = access
        self._clients: dict[int, Any] = {}
        self._lock = threading.Lock()

    def grant(self, prefix: str, actions: Collection[Action], lifetime: int | None, name: str) -> Grant:
        """Assume the role for so long, for no more than these actions below the prefix."""
        partition = self._role.split(":")[1] if self._role.count(":") > 1 else "aws"
        text = json.dumps(policy(self._bucket, prefix, actions, partition), separators=(",", ":"))
        wanted: dict[str, Any] = {"RoleArn": self._role, "RoleSessionName": name, "Policy": text}
        if lifetime:
            wanted["DurationSeconds"] = lifetime
        with translated(""), _refusing(lifetime):
            client = self._client()
            given = client.assume_role(**wanted)["Credentials"]
        return Grant(
            access_key_id=given["AccessKeyId"],
            secret_access_key=given["SecretAccessKey"],
            session_token=given["SessionToken"],
            expires_at=given["Expiration"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            bucket=self._bucket,
            prefix=prefix,
            endpoint_url=self._access.public_endpoint or self._access.endpoint or None,
            region=client.meta.region_name,
        )

    def _client(self) -> Any:
        """Return this process's client."""
        client = self._clients.get(os.getpid())
        if client is None:
            with self._lock:
                client = self._clients.get(os.getpid()) or self._connect()
                self._clients[os.getpid()] = client
        return client

    def _connect(self) -> Any:
        access = self._access
        session = boto3.session.Session(
            aws_access_key_id=access.key_id or None,
            aws_secret_access_key=access.secret or None,
            aws_session_token=access.token or None,
            region_name=access.region or None,
        )
        config = Config(
            connect_timeout=min(access.timeout, 2),
            read_timeout=access.timeout,
            retries={"mode": "standard", "total_max_attempts": TRIES},
        )
        region = session.region_name or "us-east-1"
        return session.client("sts", endpoint_url=self._endpoint or None, region_name=region, config=config)


@contextmanager
def _refusing(lifetime: int | None) -> Iterator[None]:
    """Tell the client of a lifetime beyond the role's own; all else is the operator's business."""
    try:
        yield
    except ClientError as error:
        told = error.response.get("Error", {})
        code, text = str(told.get("Code", "")), str(told.get("Message", ""))
        if "duration" in text.lower() or "session length" in text.lower():
            raise Invalid(f"The role does not allow keys that live {lifetime} seconds: ask for fewer.") from error
        logs.event(log, "STS refused", logging.WARNING, code=code, said=text)
        raise Unavailable(
            "The store of files makes no temporary keys now. Try again in a minute.", retry_after=60
        ) from error
