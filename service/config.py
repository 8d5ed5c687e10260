"""The settings: one frozen dataclass, read from the environment by `from_env`."""

import hashlib
import re
from base64 import b64decode
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, field, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlsplit

_BITRATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320)
"""Those that MP3 knows, in kbit/s."""

THREADS = 16
"""Requests that one server process answers at once."""


class BadSettings(Exception):
    """The environment cannot be used; the message lists every fault, one a line."""


def setting(text: str, default: Any = MISSING, *, secret: bool = False, least: float = 0) -> Any:
    """Declare one setting: its sentence of help, and the least value that a number may have."""
    metadata = {"help": text, "least": least}
    if default is MISSING:
        return field(repr=not secret, metadata=metadata)
    return field(default=default, repr=not secret, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that can be set. A setting's environment variable is its name in capitals."""

    api_password: str = setting("The password of HTTP Basic. There is no default.", secret=True)
    api_username: str = setting("The user name of HTTP Basic.", "admin")
    secret_key: str = setting("Signs cursors and links; empty: it is made from `API_PASSWORD`.", "", secret=True)
    database_url: str = setting(
        "Where the rows are: `sqlite:///FILE`, or `postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE`.",
        "sqlite:///storage/service.db",
        secret=True,
    )
    storage_url: str = setting("Where the files are: a folder, or `s3://bucket/prefix`.", "storage/files")
    s3_endpoint_url: str = setting("The address of the object store; empty: Amazon's.", "")
    s3_public_endpoint_url: str = setting("Its address as clients reach it, for links; empty: the same.", "")
    s3_region: str = setting("The bucket's region; empty: as boto3 finds it, else us-east-1.", "")
    s3_timeout: float = setting("Seconds that the object store may take for one answer.", 10, least=0.1)
    aws_access_key_id: str = setting("The access key; empty: as boto3 finds it, such as by the machine's role.", "")
    aws_secret_access_key: str = setting("The secret that belongs to the access key.", "", secret=True)
    aws_session_token: str = setting("The token of a temporary access key.", "", secret=True)
    s3_role_arn: str = setting("The role that clients' temporary keys are made from; empty: none are made.", "")
    s3_sts_endpoint_url: str = setting("The address that makes temporary keys; empty: the object store's.", "")
    content_delivery: str = setting(
        "How files are given out: `stream`, or on S3 `redirect` to an address that is signed and ends.", "stream"
    )
    cdn_url: str = setting("The address of a CDN that stands before the bucket; empty: there is none.", "")
    workers: int = setting(
        "Files worked on at a time in one server process; 0: eight with FaceCloud, "
        "a share of the cores with the embedded engine.",
        0,
    )
    web_works: bool = setting(
        "Whether the server processes also work on files: `true` or `false`; "
        "with `false` they only serve, and `flask jobs work` does the work.",
        True,
    )
    executor: str = setting(
        "Who works on files: `threads` of the server processes and of `flask jobs work`, or `celery` workers.",
        "threads",
    )
    broker_url: str = setting(
        "Where Celery's messages go: `redis://:PASSWORD@HOST:6379/0` or `amqp://USER:PASSWORD@HOST:5672/VHOST`.",
        "",
        secret=True,
    )
    lease_seconds: float = setting("After so long a silence a run counts as dead, and its job runs again.", 30, least=1)
    face_engine: str = setting("`facecloud` or `local`; empty: `facecloud` where an account is set, else `local`.", "")
    face_search: str = setting(
        "How closely the embedded engine searches photos: `fast`, `balanced` or `thorough`.", "balanced"
    )
    gender_threshold: float = setting(
        "Where the likelier gender has a lower probability, the embedded engine says `unknown`; from 0.5 to 1.",
        0.8,
        least=0.5,
    )
    facecloud_url: str = setting("FaceCloud's address.", "https://backend.facecloud.tevian.ru")
    facecloud_email: str = setting("The e-mail of the FaceCloud account.", "")
    facecloud_password: str = setting("The password of the FaceCloud account.", "", secret=True)
    facecloud_timeout: float = setting("Seconds that FaceCloud may take for one answer.", 30, least=0.1)
    facecloud_max_pixels: int = setting(
        "Photos of more pixels are scaled down on the way to FaceCloud.", 12_000_000, least=10_000
    )
    facecloud_max_concurrency: int = setting(
        "How many calls to FaceCloud all processes on one database together may have under way; 0: no bound but "
        "`WORKERS` in each process.",
        0,
    )
    max_image_bytes: int = setting("The largest image accepted, in bytes.", 20_000_000, least=1)
    max_image_pixels: int = setting("The largest image accepted, in pixels.", 50_000_000, least=1)
    max_images_per_task: int = setting("How many images a task may have.", 10_000, least=1)
    retention_days: int = setting(
        "Tasks are deleted with their files so many days after their end; 0: they are kept for ever.", 0
    )
    max_rendition_bytes: int = setting("The largest image accepted for renditions, in bytes.", 5_242_880, least=1)
    rendition_scales: str = setting(
        "The sides of the renditions `large`, `medium` and `small`, as parts of the original's.", "0.75,0.5,0.25"
    )
    augmentation_scale: float = setting(
        "By how much a scaled copy's sides are longer than its original's.", 2, least=0.01
    )
    webhook_secret: str = setting(
        "The secret that signs webhooks, as Standard Webhooks write it: `whsec_` and 24 to 64 bytes in Base64; "
        "empty: derived from the password, and shown by `flask webhook-secret`.",
        "",
        secret=True,
    )
    webhook_allow_private: bool = setting(
        "Lets webhooks call this machine and private networks: `true` or `false`.", False
    )
    quiz_source: str = setting(
        "Where quiz questions come from: `builtin`, `opentdb`, or the address of a jservice-compatible server.",
        "builtin",
    )
    opentdb_url: str = setting("The address of the Open Trivia Database.", "https://opentdb.com")
    max_audio_bytes: int = setting("The largest recording accepted, in bytes.", 500_000_000, least=1)
    max_audio_seconds: float = setting("The longest recording accepted, in seconds.", 7200, least=0.001)
    mp3_bitrate: int = setting("The constant bit rate of MP3 files, in kbit/s.", 192)
    mp3_quality: str = setting(
        "Makes the bit rate variable: from 0, the best, to 9, the smallest; empty: it is constant.", ""
    )
    public_url: str = setting("The address that links begin with; empty: that of the request.", "")
    trusted_proxies: int = setting(
        "How many proxies stand before the service; the last so many entries of `X-Forwarded-For`, `-Proto` and "
        "`-Host` are believed.",
        0,
    )
    max_failed_tries: int = setting(
        "So many wrong credentials may come from one address; then it must wait.", 50, least=1
    )
    failed_tries_seconds: float = setting("For so many seconds wrong credentials are counted.", 300, least=1)
    host: str = setting("The address that the server listens on.", "127.0.0.1")
    port: int = setting("The port that the server listens on.", 8000)
    web_concurrency: int = setting("Server processes.", 2, least=1)
    log_level: str = setting("`DEBUG`, `INFO`, `WARNING` or `ERROR`.", "INFO")
    log_format: str = setting("`text`, or `json` for one JSON object a line.", "text")
    metrics_folder: str = setting(
        "Where the processes keep what `/metrics` shows; empty: a folder in shared memory, named after the database.",
        "",
    )

    @property
    def server_works(self) -> bool:
        """Whether the server processes also work on files."""
        return self.web_works and self.executor == "threads"

    @property
    def engine(self) -> str:
        """The name of the face engine in use."""
        return self.face_engine or ("facecloud" if self.facecloud_email else "local")

    @property
    def bucket(self) -> tuple[str, str] | None:
        """The bucket and the prefix in it, where the files are on S3."""
        if not self.storage_url.startswith("s3://"):
            return None
        bucket, _, prefix = self.storage_url.removeprefix("s3://").partition("/")
        return bucket, prefix.strip("/")

    @cached_property
    def signing_key(self) -> str:
        """What cursors and links are signed with. Slow to make from a password, so that no link helps to guess it."""
        if self.secret_key:
            return self.secret_key
        return hashlib.scrypt(self.api_password.encode(), salt=b"signing key", n=2**14, r=8, p=1).hex()

    @property
    def scales(self) -> tuple[float, ...]:
        """The sizes of the smaller renditions, the largest first."""
        return tuple(float(text) for text in self.rendition_scales.split(","))

    @classmethod
    def from_env(cls, environment: Mapping[str, str], *, serving: bool = True) -> Self:
        """Read the settings; raise `BadSettings` with all faults at once. An empty value means the default.

        `X_FILE` names a file that holds the value of `X`, as containers are given their secrets.
        Who serves nobody needs no password: it is empty then, and an empty one lets nobody in.
        """
        values: dict[str, Any] = {}
        faults: list[str] = []
        for item in fields(cls):
            name = item.name.upper()
            try:
                text = _text(environment, name)
            except ValueError as error:
                faults.append(str(error))
                continue
            if not text:
                if item.default is MISSING and not serving:
                    values[item.name] = ""
                elif item.default is MISSING:
                    faults.append(f"{name} is not set. {item.metadata['help']} Set it in .env or in the environment.")
                continue
            try:
                values[item.name] = _read(item.type, text, item.metadata["least"])
            except ValueError as error:
                faults.append(f"{name} {error}.")
        faults += [fault for check in _CHECKS if (fault := check(values))]
        if faults:
            raise BadSettings("\n".join(faults))
        return cls(**values)


def _text(environment: Mapping[str, str], name: str) -> str:
    text = environment.get(name, "").strip()
    path = environment.get(f"{name}_FILE", "").strip()
    if not path:
        return text
    if text:
        raise ValueError(f"{name} and {name}_FILE must not both be set.")
    try:
        return Path(path).read_text("utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"{name}_FILE is {path}, which cannot be read: {error}.") from error


def _read(kind: Any, text: str, least: float) -> Any:
    if kind is str:
        return text
    if kind is bool:
        if text.lower() not in ("true", "false"):
            raise ValueError(f"is {text!r}, but must be true or false")
        return text.lower() == "true"
    try:
        number = kind(text.replace("_", ""))
    except ValueError:
        raise ValueError(f"is {text!r}, but must be a {'whole ' if kind is int else ''}number") from None
    if not least <= number < float("inf"):
        raise ValueError(f"is {text}, but must be at least {least:g}")
    return number


def _engine(values: Mapping[str, Any]) -> str | None:
    if values.get("face_engine", "") not in ("", "facecloud", "local"):
        return "FACE_ENGINE must be facecloud, local or empty."
    if values.get("face_engine") == "facecloud" and not values.get("facecloud_email"):
        return "FACE_ENGINE is facecloud, so FACECLOUD_EMAIL and FACECLOUD_PASSWORD must be set."
    if values.get("face_search", "balanced") not in ("fast", "balanced", "thorough"):
        return "FACE_SEARCH must be fast, balanced or thorough."
    if values.get("gender_threshold", 0.8) > 1:
        return "GENDER_THRESHOLD must be at most 1."
    return None


def _account(values: Mapping[str, Any]) -> str | None:
    if bool(values.get("facecloud_email")) != bool(values.get("facecloud_password")):
        return "FACECLOUD_EMAIL and FACECLOUD_PASSWORD must be set together."
    return None


def _facecloud_address(values: Mapping[str, Any]) -> str | None:
    if not _is_address(values.get("facecloud_url", "https://host")):
        return "FACECLOUD_URL must be an address such as https://backend.facecloud.tevian.ru."
    return None


def _rendition_scales(values: Mapping[str, Any]) -> str | None:
    scales = values.get("rendition_scales", "1,1,1").split(",")
    numbers = [float(text) for text in scales if re.fullmatch(r"\s*[01]?\.?\d+\s*", text, re.ASCII)]
    if len(scales) != 3 or len(numbers) != 3 or not all(0 < number <= 1 for number in numbers):
        return "RENDITION_SCALES must be three numbers above 0 and at most 1, such as 0.75,0.5,0.25."
    return None


def _augmentation_scale(values: Mapping[str, Any]) -> str | None:
    return "AUGMENTATION_SCALE must be at most 8." if values.get("augmentation_scale", 2) > 8 else None


def _retention_days(values: Mapping[str, Any]) -> str | None:
    return "RETENTION_DAYS must be at most 36500." if values.get("retention_days", 0) > 36_500 else None


def _webhook_secret(values: Mapping[str, Any]) -> str | None:
    secret = values.get("webhook_secret", "whsec_" + 32 * "A")
    try:
        size = len(b64decode(secret.removeprefix("whsec_"), validate=True))
    except ValueError:
        size = 0
    if not secret.startswith("whsec_") or not 24 <= size <= 64:
        return "WEBHOOK_SECRET must be whsec_ and 24 to 64 bytes in Base64."
    return None


def _quiz_source(values: Mapping[str, Any]) -> str | None:
    source = values.get("quiz_source", "builtin")
    if source not in ("builtin", "opentdb") and not _is_address(source):
        return "QUIZ_SOURCE must be builtin, opentdb, or an address such as http://localhost:3000."
    return None


def _opentdb_address(values: Mapping[str, Any]) -> str | None:
    if not _is_address(values.get("opentdb_url", "https://host")):
        return "OPENTDB_URL must be an address such as https://opentdb.com."
    return None


def _is_address(text: str) -> bool:
    """Tell whether a text is an http or https address."""
    try:
        parts = urlsplit(text)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return False


def _database(values: Mapping[str, Any]) -> str | None:
    address = values.get("database_url", "sqlite:///storage/service.db")
    file = address.startswith("sqlite:///") and ":memory:" not in address and address != "sqlite:///"
    if file or (address.startswith(("postgresql+psycopg://", "postgresql://")) and _is_database(address)):
        return None
    return (
        "DATABASE_URL must name an SQLite file, such as sqlite:///storage/service.db, or a PostgreSQL database, "
        "such as postgresql+psycopg://user:password@localhost:5432/service."
    )


def _is_database(address: str) -> bool:
    """Tell whether an address names a database on a server, or behind a socket: `?host=` may be its folder."""
    try:
        parts = urlsplit(address)
        return len(parts.path) > 1 and parts.port != 0
    except ValueError:
        return False


def _executor(values: Mapping[str, Any]) -> str | None:
    if values.get("executor", "threads") not in ("threads", "celery"):
        return "EXECUTOR must be threads or celery."
    if values.get("executor") == "celery" and not values.get("broker_url"):
        return "EXECUTOR is celery, so BROKER_URL must be set, such as to redis://localhost:6379/0."
    return None


def _broker(values: Mapping[str, Any]) -> str | None:
    address = values.get("broker_url", "")
    if address and not _is_broker(address):
        return (
            "BROKER_URL must be an address such as redis://localhost:6379/0 or amqp://user:password@localhost:5672//."
        )
    return None


def _is_broker(address: str) -> bool:
    """Tell whether an address is one of Redis or RabbitMQ, plain or over TLS."""
    try:
        parts = urlsplit(address)
        return parts.scheme in ("redis", "rediss", "amqp", "amqps") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False


def _storage(values: Mapping[str, Any]) -> str | None:
    address = values.get("storage_url", "")
    if address.startswith("s3://"):
        if not re.fullmatch(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.!*'()-]*[^./])*/?", address, re.ASCII):
            return "STORAGE_URL must name a bucket, and a prefix if need be, such as s3://bucket/prefix."
    elif "://" in address:
        return "STORAGE_URL must be a folder, or s3://bucket/prefix."
    return None


def _s3_addresses(values: Mapping[str, Any]) -> str | None:
    for name in ("s3_endpoint_url", "s3_public_endpoint_url", "s3_sts_endpoint_url", "cdn_url"):
        if values.get(name) and not _is_address(values[name]):
            return f"{name.upper()} must be an address such as https://files.example.com."
    return None


def _access_key(values: Mapping[str, Any]) -> str | None:
    if bool(values.get("aws_access_key_id")) != bool(values.get("aws_secret_access_key")):
        return "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY must be set together."
    return None


def _content_delivery(values: Mapping[str, Any]) -> str | None:
    delivery = values.get("content_delivery", "stream")
    if delivery not in ("stream", "redirect"):
        return "CONTENT_DELIVERY must be stream or redirect."
    if delivery == "redirect" and not values.get("storage_url", "").startswith("s3://"):
        return "CONTENT_DELIVERY is redirect, so STORAGE_URL must be s3://bucket/prefix."
    return None


def _mp3(values: Mapping[str, Any]) -> str | None:
    if values.get("mp3_quality") and values.get("mp3_bitrate"):
        return "MP3_BITRATE and MP3_QUALITY must not both be set: the bit rate is constant or variable."
    if values.get("mp3_quality", "0") not in tuple("0123456789"):
        return "MP3_QUALITY must be a whole number from 0 (best) to 9 (smallest)."
    if values.get("mp3_bitrate", 192) not in _BITRATES:
        return f"MP3_BITRATE must be one of {', '.join(map(str, _BITRATES))}."
    return None


def _public_address(values: Mapping[str, Any]) -> str | None:
    if not (address := values.get("public_url")):
        return None
    parts = urlsplit(address)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        return "PUBLIC_URL must be an address such as https://media.example.com."
    return None


def _port(values: Mapping[str, Any]) -> str | None:
    return None if 0 <= values.get("port", 8000) <= 65535 else "PORT must be from 0 to 65535."


def _log_level(values: Mapping[str, Any]) -> str | None:
    if values.get("log_level", "INFO") not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        return "LOG_LEVEL must be DEBUG, INFO, WARNING or ERROR."
    return None


def _log_format(values: Mapping[str, Any]) -> str | None:
    return None if values.get("log_format", "text") in ("text", "json") else "LOG_FORMAT must be text or json."


_CHECKS: tuple[Callable[[Mapping[str, Any]], str | None], ...] = (
    _engine,
    _account,
    _facecloud_address,
    _augmentation_scale,
    _retention_days,
    _rendition_scales,
    _webhook_secret,
    _quiz_source,
    _opentdb_address,
    _database,
    _executor,
    _broker,
    _storage,
    _s3_addresses,
    _access_key,
    _content_delivery,
    _mp3,
    _public_address,
    _port,
    _log_level,
    _log_format,
)
