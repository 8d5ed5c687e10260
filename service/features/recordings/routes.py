"""The HTTP interface of recordings."""

from functools import partial
from typing import Any, cast
from urllib.parse import urlencode

from flask import Blueprint, Response, g, request
from werkzeug.datastructures import MultiDict

from service.errors import Invalid
from service.features.recordings import operations
from service.features.recordings.schemas import RecordingOut, RecordingQuery, RecordingUserIn, RecordingUserOut
from service.features.uploads import read_single_file
from service.http.basic_auth import require_basic
from service.http.bodies import body
from service.http.client_address import address
from service.http.idempotency import idempotent, identify
from service.http.login_throttle import LoginThrottle
from service.http.openapi_views import FILE, describe, multipart
from service.http.responses import absolute, answer, file_or_redirect, shown_anywhere
from service.http.services import provided
from service.http.uploads import Form

recording_users = Blueprint("recording_users", __name__)
recording_users.before_request(require_basic)
recordings = Blueprint("recordings", __name__)

FIELDS = ("user", "token", "audio")
UPLOAD = multipart(
    {
        "user": {"type": "string", "format": "uuid"},
        "token": {"type": "string", "format": "uuid"},
        "audio": FILE | {"contentMediaType": "audio/wav"},
    },
    {
        "user": "0f9b5e0c-6f0e-4c39-8a26-4f1a0f6f3d11",
        "token": "00000000-0000-4000-8000-000000000000",
        "audio": "(a WAV's bytes)",
    },
    required=FIELDS,
)
_services = partial(provided, operations.Services)


def _added(recording: tuple[str, str]) -> Response:
    path = f"/record?{urlencode({'id': recording[0], 'user': recording[1]})}"
    return answer({"id": recording[0], "url": absolute(path)}, 201, Location=path)


@recording_users.post("/users")
@describe({201: RecordingUserOut}, 400, 413, 422, body=RecordingUserIn)
def add_recording_user() -> Response:
    """Add a user who may send recordings. The token is shown this once and not kept."""
    return answer(operations.add_user(_services(), body(RecordingUserIn).name), 201, Cache_Control="no-store")


@recordings.post("/records")
@describe(
    {201: RecordingOut},
    *(400, 401, 413, 415, 422, 429, 503, 507),
    content=UPLOAD,
    headers={201: ("Location",)},
    open=True,
)
@idempotent(_added, form=True)
def add_recording() -> Response:
    """Send a WAV with the user's id and token; the answer has the link to the MP3, which is made by then.

    RIFF, RF64 or BW64; PCM of 8 to 32 bits, float, A-law, µ-law, ADPCM (IMA or Microsoft) or GSM 6.10; 1 to 64
    channels, 4 to 384 kHz. All bits reach the encoder. More than two channels are mixed down to stereo. The WAV is not
    kept. Send `user` and `token` before `audio`, which may otherwise have 1 MB.
    """
    services = _services()
    with read_single_file("audio", ("user", "token"), services.limits.bytes, "recording", _check_token) as form:
        _check(form)
        _check_token(form.texts)
        user = operations.same_uuid(form.texts["user"])
        identify(f"recordings:{user}")
        return _added(operations.add_recording(services, user, cast(Any, form.files["audio"].stream)))


@recordings.get("/record")
@describe(
    {200: "audio/mpeg", 206: "audio/mpeg", 302: ""},
    *(404, 416, 503),
    query=RecordingQuery,
    headers={200: ("Content-Disposition",), 206: ("Content-Range",)},
    conditional=True,
    open=True,
)
def get_recording() -> Response:
    """Download a recording's MP3, whole or by `Range`. No credentials: who has the link may."""
    user, recording = (operations.same_uuid(request.args.get(name, "")) for name in ("user", "id"))
    wanted = (_services(), user, recording)
    url, open_recording = partial(operations.recording_url, *wanted), partial(operations.open_recording, *wanted)
    return shown_anywhere(file_or_redirect(url, open_recording))


def _check_token(texts: MultiDict[str, str]) -> bool:
    """Check the token if it is there, once, and return whether it is: before audio that stands after it is taken."""
    user, token = texts.get("user"), texts.get("token")
    if user and token and g.get("checked") != (user, token):
        with provided(LoginThrottle).counting(f"recordings {address()}"):
            operations.check_token(_services(), operations.same_uuid(user), operations.same_uuid(token))
        g.checked = (user, token)
    return bool(user and token)


def _check(form: Form) -> None:
    """Raise Invalid unless each field of the form is there once."""
    missing = [name for name in FIELDS if not (form.files if name == "audio" else form.texts).get(name)]
    if missing:
        faults = [{"detail": "must be sent", "pointer": f"#/{name}"} for name in missing]
        named = " and ".join(f"`{name}`" for name in missing)
        detail = f"The form lacks {named}: `user` and `token` are texts, `audio` is a file with a name."
        raise Invalid(detail, faults, code="missing_member")
    if len([*form.texts.items(multi=True), *form.files.items(multi=True)]) > len(FIELDS):
        raise Invalid(
            "The form has a part more than once: send `user`, `token` and `audio` once each.", code="invalid_member"
        )
