"""The settings: one frozen model. A setting's environment variable is its name in capitals."""

import hashlib
import math
import os
import re
import sys
from base64 import b64decode
from collections.abc import Iterable, Mapping
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Literal, Self
from urllib.parse import SplitResult, urlsplit

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    NonNegativeInt,
    PositiveInt,
    ValidationError,
    ValidationInfo,
    field_validator,
)
from pydantic_core import ErrorDetails

from service.plugins import load_class

THREADS = 16
"""Requests that one server process answers at once."""

LEAST_PASSWORD = 8
"""Characters of `API_PASSWORD`."""
SHORT_NEEDS = "set a longer one, or ALLOW_SHORT_PASSWORD=true where nobody else can reach the service"

ENGINES = ("facecloud", "local")
"""The face engines that come along."""
ENGINE_GROUP = "headcount.engines"
"""The entry points that are face engines of other packages."""
_BITRATES = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160, 192, 224, 256, 320)
"""Those that MP3 knows, in kbit/s."""
_BUCKET = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9](/[\w.!*'()-]*[^./])*/?", re.ASCII)


class BadSettings(Exception):
    """The environment cannot be used; the message lists every fault, one a line."""


def available_cores() -> int:
    """Return how many cores this process may run on."""
    return len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1


def _parts(text: str, *schemes: str) -> SplitResult | None:
    """Return the parts of an address; None where its scheme is no such one, or its port cannot be used."""
    try:
        parts = urlsplit(text)
        usable = parts.scheme in schemes and parts.port != 0
    except ValueError:  # a port or an IPv6 address that is none
        return None
    return parts if usable else None


def _web_address(text: str) -> str:
    if text and not ((parts := _parts(text, "http", "https")) and parts.hostname):
        raise ValueError("must be an address such as https://host.example.com")
    return text


def _require(package: str, extra: str) -> None:
    """Raise `ValueError` where the package that a setting needs is not installed."""
    if find_spec(package) is None:
        raise ValueError(f"needs a package that is not installed: pip install 'headcount[{extra}]'")


Secret = Annotated[str, Field(repr=False)]
WebAddress = Annotated[str, AfterValidator(_web_address)]


class Settings(BaseModel):
    """Everything that can be set. A rule about two settings is checked at the later one, which sees the earlier."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)

    api_password: Secret
    """The password of HTTP Basic. There is no default."""
    api_username: str = "admin"
    """The user name of HTTP Basic."""
    allow_short_password: bool = False
    """Lets `API_PASSWORD` have fewer than 8 characters: `true` or `false`."""
    secret_key: Secret = ""
    """Signs cursors and links; empty: it is made from `API_PASSWORD`."""
    database_url: Secret = "sqlite:///storage/service.db"
    """Where the rows are: `sqlite:///FILE`, or `postgresql+psycopg://USER:PASSWORD@HOST:PORT/DATABASE`."""
    storage_url: str = "storage/files"
    """Where the files are: a folder, or `s3://bucket/prefix`."""
    s3_endpoint_url: WebAddress = ""
    """The address of the object store; empty: Amazon's."""
    s3_public_endpoint_url: WebAddress = ""
    """Its address as clients reach it, for links; empty: the same."""
    s3_region: str = ""
    """The bucket's region; empty: as boto3 finds it, else us-east-1."""
    s3_timeout: Annotated[float, Field(ge=0.1)] = 10
    """Seconds that a call of the object store may take in all; each megabyte is worth another one. Long files go in
    parts, each a call."""
    aws_access_key_id: str = ""
    """The access key; empty: as boto3 finds it, such as by the machine's role."""
    aws_secret_access_key: Secret = ""
    """The secret that belongs to the access key."""
    aws_session_token: Secret = ""
    """The token of a temporary access key."""
    s3_role_arn: str = ""
    """The role that clients' temporary keys are made from; empty: none are made."""
    s3_sts_endpoint_url: WebAddress = ""
    """The address that makes temporary keys; empty: the object store's."""
    content_delivery: Literal["stream", "redirect"] = "stream"
    """How files are given out: `stream`, or on S3 `redirect` to an address that is signed and ends."""
    cdn_url: WebAddress = ""
    """The address of a CDN that stands before the bucket; empty: there is none."""
    workers: NonNegativeInt = 0
    """Files worked on at a time in one server process; 0: eight with FaceCloud, a share of the cores with the embedded
    engine."""
    web_works: bool = True
    """Whether the server processes also work on files: `true` or `false`; with `false` they only serve, and `flask jobs
    work` does the work."""
    executor: Literal["threads", "celery"] = "threads"
    """Who works on files: `threads` of the server processes and of `flask jobs work`, or `celery` workers."""
    broker_url: Secret = ""
    """Where Celery's messages go: `redis://:PASSWORD@HOST:6379/0` or `amqp://USER:PASSWORD@HOST:5672/VHOST`."""
    lease_seconds: Annotated[float, Field(ge=1)] = 30
    """After so long a silence a run counts as dead, and its job runs again."""
    face_engine: str = ""
    """`facecloud`, `local`, or an engine of another package, as `package.module:Class` or the name of its entry point;
    empty: `facecloud` where an account is set, else `local`."""
    face_search: Literal["fast", "balanced", "thorough"] = "balanced"
    """How closely the embedded engine searches photos: `fast`, `balanced` or `thorough`."""
    gender_threshold: Annotated[float, Field(ge=0.5, le=1)] = 0.8
    """Where the likelier gender has a lower probability, the embedded engine says `unknown`; from 0.5 to 1."""
    facecloud_url: WebAddress = "https://backend.facecloud.tevian.ru"
    """FaceCloud's address."""
    facecloud_email: str = ""
    """The e-mail of the FaceCloud account."""
    facecloud_password: Secret = ""
    """The password of the FaceCloud account."""
    facecloud_timeout: Annotated[float, Field(ge=0.1)] = 30
    """Seconds that a call of FaceCloud may take in all; each megabyte sent or received is worth another one."""
    facecloud_patience: Annotated[float, Field(ge=0)] = 7200
    """Seconds that an image waits for a FaceCloud that does not serve it, from its first call on; then it fails."""
    facecloud_max_pixels: Annotated[int, Field(ge=10_000)] = 12_000_000
    """Photos of more pixels are scaled down on the way to FaceCloud."""
    facecloud_max_concurrency: NonNegativeInt = 0
    """How many calls to FaceCloud all processes on one database together may have under way; 0: no bound but `WORKERS`
    in each process."""
    max_image_bytes: PositiveInt = 20_000_000
    """The largest image accepted, in bytes."""
    max_image_pixels: PositiveInt = 50_000_000
    """The largest image accepted, in pixels."""
    max_spool_bytes: Annotated[int, Field(ge=1_000_000)] = 4_000_000_000
    """Bytes of uploads under way in one server process, in files beside the database; what would exceed them is 503."""
    max_images_per_task: PositiveInt = 10_000
    """How many images a task may have."""
    retention_days: Annotated[int, Field(ge=0, le=36_500)] = 0
    """Tasks are deleted with their files so many days after their end; 0: they are kept for ever."""
    max_rendition_bytes: PositiveInt = 5_242_880
    """The largest image accepted for renditions, in bytes."""
    rendition_scales: str = "0.75,0.5,0.25"
    """The sides of the renditions `large`, `medium` and `small`, as parts of the original's."""
    augmentation_scale: Annotated[float, Field(ge=0.01, le=8)] = 2
    """By how much a scaled copy's sides are longer than its original's."""
    registration: Literal["open", "closed"] = "open"
    """Whether anybody may register for augmentation: `open` or `closed`."""
    user_quota_bytes: NonNegativeInt = 0
    """How many bytes a registered user may upload in all; 0: no bound."""
    user_files_per_day: NonNegativeInt = 0
    """How many files a registered user may upload in 24 hours; 0: no bound."""
    webhook_secret: Secret = ""
    """The secret that signs webhooks, as Standard Webhooks write it: `whsec_` and 24 to 64 bytes in Base64; empty:
    derived from the password, and shown by `flask webhook-secret`."""
    webhook_allow_private: bool = False
    """Lets webhooks call this machine and private networks: `true` or `false`."""
    quiz_source: str = "builtin"
    """Where quiz questions come from: `builtin`, `opentdb`, or the address of a jservice-compatible server."""
    opentdb_url: WebAddress = "https://opentdb.com"
    """The address of the Open Trivia Database."""
    max_audio_bytes: PositiveInt = 500_000_000
    """The largest recording accepted, in bytes."""
    max_audio_seconds: Annotated[float, Field(ge=0.001)] = 7_200
    """The longest recording accepted, in seconds."""
    mp3_bitrate: int = 192
    """The constant bit rate of MP3 files, in kbit/s."""
    mp3_quality: Literal["", "0", "1", "2", "3", "4", "5", "6", "7", "8", "9"] = ""
    """Makes the bit rate variable: from 0, the best, to 9, the smallest; empty: it is constant."""
    public_url: str = ""
    """The address that links begin with; empty: that of the request."""
    cors_origins: str = ""
    """The origins whose pages may call the API, with commas between them, such as `https://photos.example.com`; empty:
    none but the service's own."""
    trusted_proxies: NonNegativeInt = 0
    """How many proxies stand before the service; the last so many entries of `X-Forwarded-For`, `-Proto` and `-Host`
    are believed."""
    max_failed_tries: PositiveInt = 50
    """So many wrong credentials may come from one address; then it must wait."""
    failed_tries_seconds: Annotated[float, Field(ge=1)] = 300
    """For so many seconds wrong credentials are counted."""
    max_connections_per_address: NonNegativeInt = 512
    """How many connections one address may have at a time; 0: no bound. Behind trusted proxies they bound them."""
    host: str = "127.0.0.1"
    """The address that the server listens on."""
    port: Annotated[int, Field(ge=0, le=65_535)] = 8_000
    """The port that the server listens on."""
    web_concurrency: PositiveInt = 2
    """Server processes."""
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    """`DEBUG`, `INFO`, `WARNING` or `ERROR`."""
    log_format: Literal["text", "json"] = "text"
    """`text`, or `json` for one JSON object a line."""
    metrics_folder: str = ""
    """Where the processes keep what they share while they run, such as what `/metrics` shows; empty: in
    `XDG_RUNTIME_DIR`, else in shared memory."""
    xdg_runtime_dir: str = ""
    """The folder of this user's session, which the system sets."""

    @property
    def data_folder(self) -> Path:
        """The folder that holds the database, else the one beside the files."""
        if self.database_url.startswith("sqlite:///"):
            return Path(self.database_url.removeprefix("sqlite:///")).parent
        return Path("storage") if self.bucket else Path(self.storage_url).parent

    @property
    def database_name(self) -> str:
        """A name that stands for the database, whatever folder its address is relative to."""
        path = self.database_url.removeprefix("sqlite:///")
        address = self.database_url if path == self.database_url else str(Path(path).resolve())
        return hashlib.sha256(address.encode()).hexdigest()[:12]

    @property
    def allowed_origins(self) -> list[str]:
        """Return the origins of `CORS_ORIGINS`."""
        return _listed(self.cors_origins)

    @property
    def server_works(self) -> bool:
        """Whether the server processes also work on files."""
        return self.web_works and self.executor == "threads"

    @property
    def engine(self) -> str:
        """The name of the face engine in use."""
        return self.face_engine or ("facecloud" if self.facecloud_email else "local")

    @property
    def cores(self) -> int:
        """How many cores one server process may keep busy, so that all together keep each of them busy once."""
        return max(1, math.ceil(available_cores() / self.web_concurrency))

    @property
    def job_threads(self) -> int:
        """How many files one server process works on at a time.

        FaceCloud's threads wait for the network; the embedded engine's compute, so together they get the cores once.
        """
        return self.workers or (8 if self.engine == "facecloud" else self.cores)

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
    def from_env(cls, environment: Mapping[str, str], *, serving: bool = True, **defaults: str) -> Self:
        """Read the settings; raise `BadSettings` with all faults at once. An empty value means the default.

        `X_FILE` names a file that holds the value of `X`, as containers are given their secrets.
        Who serves nobody needs no password: it is empty then, and an empty one lets nobody in.
        `defaults` take the place of the model's own, by field.
        """
        texts, faults = _texts(environment, [name.upper() for name in cls.model_fields])
        given = {name.lower(): text for name, text in texts.items() if text}
        try:
            settings = cls.model_validate(({} if serving else {"api_password": ""}) | defaults | given)
        except ValidationError as error:
            faults += [f"{name} {_fault(found)}." for found in error.errors() if (name := _name(found)) in texts]
        else:
            if serving and settings.has_short_password and not settings.allow_short_password:
                faults.append(f"API_PASSWORD has fewer than {LEAST_PASSWORD} characters: {SHORT_NEEDS}.")
        if faults:
            raise BadSettings("\n".join(faults))
        return settings

    @property
    def has_short_password(self) -> bool:
        """Whether the password is too short for a service that others can reach."""
        return 0 < len(self.api_password) < LEAST_PASSWORD

    @field_validator("face_engine")
    @classmethod
    def _check_engine(cls, name: str) -> str:
        if name not in ("", *ENGINES) and not callable(getattr(load_class(name, ENGINE_GROUP), "detect", None)):
            raise ValueError(f"is {name}, which has no method `detect`")
        return name

    @field_validator("rendition_scales")
    @classmethod
    def _check_scales(cls, text: str) -> str:
        scales = text.split(",")
        numbers = [float(scale) for scale in scales if re.fullmatch(r"\s*[01]?\.?\d+\s*", scale, re.ASCII)]
        if len(scales) != 3 or len(numbers) != 3 or not all(0 < number <= 1 for number in numbers):
            raise ValueError("must be three numbers above 0 and at most 1, such as 0.75,0.5,0.25")
        return text

    @field_validator("webhook_secret")
    @classmethod
    def _check_webhook_secret(cls, secret: str) -> str:
        try:
            size = len(b64decode(secret.removeprefix("whsec_"), validate=True))
        except ValueError:
            size = 0
        if secret and not (secret.startswith("whsec_") and 24 <= size <= 64):
            raise ValueError("must be whsec_ and 24 to 64 bytes in Base64")
        return secret

    @field_validator("quiz_source")
    @classmethod
    def _check_quiz_source(cls, source: str) -> str:
        if source not in ("builtin", "opentdb") and not _parts(source, "http", "https"):
            raise ValueError("must be builtin, opentdb, or an address such as http://localhost:3000")
        return source

    @field_validator("database_url")
    @classmethod
    def _check_database(cls, address: str) -> str:
        if address.startswith("sqlite:///") and ":memory:" not in address and address != "sqlite:///":
            return address
        # Without a host the server is behind a socket: `?host=` may be its folder.
        if (parts := _parts(address, "postgresql+psycopg", "postgresql")) and len(parts.path) > 1:
            _require("psycopg", "postgres")
            return address
        raise ValueError(
            "must name an SQLite file, such as sqlite:///storage/service.db, or a PostgreSQL database, "
            "such as postgresql+psycopg://user:password@localhost:5432/service"
        )

    @field_validator("broker_url")
    @classmethod
    def _check_broker(cls, address: str, earlier: ValidationInfo) -> str:
        if earlier.data.get("executor") == "celery":
            _require("celery", "celery")
            if not address:
                raise ValueError("must be set, such as to redis://localhost:6379/0, since EXECUTOR is celery")
        if address and not ((parts := _parts(address, "redis", "rediss", "amqp", "amqps")) and parts.hostname):
            raise ValueError(
                "must be an address such as redis://localhost:6379/0 or amqp://user:password@localhost:5672//"
            )
        return address

    @field_validator("storage_url")
    @classmethod
    def _check_storage(cls, address: str) -> str:
        if address.startswith("s3://"):
            if not _BUCKET.fullmatch(address):
                raise ValueError("must name a bucket, and a prefix if need be, such as s3://bucket/prefix")
            _require("boto3", "s3")
        elif "://" in address:
            raise ValueError("must be a folder, or s3://bucket/prefix")
        return address

    @field_validator("content_delivery")
    @classmethod
    def _check_delivery(cls, delivery: str, earlier: ValidationInfo) -> str:
        if delivery == "redirect" and not earlier.data.get("storage_url", "").startswith("s3://"):
            raise ValueError("is redirect, so STORAGE_URL must be s3://bucket/prefix")
        return delivery

    @field_validator("aws_secret_access_key", "facecloud_password")
    @classmethod
    def _check_account(cls, secret: str, earlier: ValidationInfo) -> str:
        name = "aws_access_key_id" if earlier.field_name == "aws_secret_access_key" else "facecloud_email"
        if bool(secret) != bool(earlier.data.get(name)):
            raise ValueError(f"and {name.upper()} must be set together")
        if name == "facecloud_email" and not secret and earlier.data.get("face_engine") == "facecloud":
            raise ValueError("and FACECLOUD_EMAIL must be set, since FACE_ENGINE is facecloud")
        return secret

    @field_validator("mp3_bitrate")
    @classmethod
    def _check_bitrate(cls, bitrate: int) -> int:
        if bitrate not in _BITRATES:
            raise ValueError(f"must be one of {', '.join(map(str, _BITRATES))}")
        return bitrate

    @field_validator("mp3_quality")
    @classmethod
    def _check_quality(cls, quality: str, earlier: ValidationInfo) -> str:
        if quality and earlier.data.get("mp3_bitrate") != cls.model_fields["mp3_bitrate"].default:
            raise ValueError("and MP3_BITRATE must not both be set: the bit rate is constant or variable")
        return quality

    @field_validator("cors_origins")
    @classmethod
    def _check_origins(cls, origins: str) -> str:
        for origin in _listed(origins):
            parts = urlsplit(origin)
            if parts.scheme not in ("http", "https") or origin != f"{parts.scheme}://{parts.netloc}":
                raise ValueError("must be origins without a path, such as https://photos.example.com; `*` is none")
        return origins

    @field_validator("public_url")
    @classmethod
    def _check_public_url(cls, address: str) -> str:
        if address and (parts := urlsplit(_web_address(address))) and (parts.query or parts.fragment):
            raise ValueError("must be an address without a query, such as https://media.example.com")
        return address


def _listed(text: str) -> list[str]:
    return [part.strip() for part in text.split(",") if part.strip()]


def _texts(environment: Mapping[str, str], names: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Return the text of each setting, its own or of its `_FILE`, and the faults of those that are missing here."""
    texts: dict[str, str] = {}
    faults: list[str] = []
    for name in names:
        text = environment.get(name, "").strip()
        path = environment.get(f"{name}_FILE", "").strip()
        if text and path:
            faults.append(f"{name} and {name}_FILE must not both be set.")
            continue
        try:
            texts[name] = Path(path).read_text("utf-8").strip() if path else text
        except (OSError, UnicodeDecodeError) as error:
            faults.append(f"{name}_FILE is {path}, which cannot be read: {error}.")
    return texts, faults


_SENTENCES = {
    "missing": "is not set, and has no default. Set it in .env or in the environment",
    "int_parsing": "is {input!r}, but must be a whole number",
    "float_parsing": "is {input!r}, but must be a number",
    "finite_number": "is {input!r}, but must be a number",
    "bool_parsing": "is {input!r}, but must be true or false",
    "greater_than": "is {input}, but must be above {gt:g}",
    "greater_than_equal": "is {input}, but must be at least {ge:g}",
    "less_than_equal": "is {input}, but must be at most {le:g}",
    "literal_error": "must be {expected}",
    "value_error": "{error}",
}
"""What is said of pydantic's errors, after the setting's name. None of them shows what a text was set to."""


def _name(error: ErrorDetails) -> str:
    return str(error["loc"][0]).upper()


def _fault(error: ErrorDetails) -> str:
    told = {"input": error["input"], **error.get("ctx", {})}
    if error["type"] == "literal_error":
        told["expected"] = told["expected"].replace("''", "empty").replace("'", "")
    return _SENTENCES.get(error["type"], error["msg"]).format(**told)
