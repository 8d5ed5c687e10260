"""Temporary credentials by STS: a role is assumed, with a policy that leaves of it some actions on one prefix."""

import json
import logging
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from datetime import UTC
from typing import Any

from botocore.exceptions import ClientError

from service.deadlines import deadline
from service.errors import Invalid, Unavailable
from service.storage.s3_client import Clients, S3Access
from service.storage.s3_errors import code_of, translated
from service.storage.temporary_credentials import Action, TemporaryCredentials
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


class SecurityTokenService:
    """STS, at Amazon's or at a store that has its own. `endpoint` is where it answers; empty: Amazon's."""

    def __init__(self, bucket: str, role: str, endpoint: str, access: S3Access) -> None:
        self._bucket = bucket
        self._role = role
        self._endpoint = endpoint
        self._access = access
        self._clients = Clients(access)

    def issue(self, prefix: str, actions: Collection[Action], lifetime: int | None, name: str) -> TemporaryCredentials:
        """Assume the role for so long, for no more than these actions below the prefix."""
        partition = self._role.split(":")[1] if self._role.count(":") > 1 else "aws"
        text = json.dumps(policy(self._bucket, prefix, actions, partition), separators=(",", ":"))
        wanted: dict[str, Any] = {"RoleArn": self._role, "RoleSessionName": name, "Policy": text}
        if lifetime:
            wanted["DurationSeconds"] = lifetime
        with translated(), _translated_refusal(lifetime):
            client = self._clients.client("sts", self._endpoint)
            with deadline(self._access.timeout):
                given = client.assume_role(**wanted)["Credentials"]
        return TemporaryCredentials(
            access_key_id=given["AccessKeyId"],
            secret_access_key=given["SecretAccessKey"],
            session_token=given["SessionToken"],
            expires_at=given["Expiration"].astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            bucket=self._bucket,
            prefix=prefix,
            endpoint_url=self._access.public_endpoint or self._access.endpoint or None,
            region=client.meta.region_name,
        )


@contextmanager
def _translated_refusal(lifetime: int | None) -> Iterator[None]:
    """Raise Invalid for a lifetime beyond the role's own, Unavailable for all else: that is for the operator."""
    try:
        yield
    except ClientError as error:
        text = str(error.response.get("Error", {}).get("Message", ""))
        if "duration" in text.lower() or "session length" in text.lower():
            raise Invalid(f"The role does not allow keys that live {lifetime} seconds: ask for fewer.") from error
        logs.event(log, "STS refused", logging.WARNING, code=code_of(error), said=text)
        detail = "The store of files makes no temporary keys now. Try again in a minute."
        raise Unavailable(detail, retry_after=60) from error
