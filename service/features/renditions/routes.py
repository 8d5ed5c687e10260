"""The HTTP interface of renditions."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from flask import Blueprint, Response, request, url_for

from service.errors import Invalid
from service.features.renditions import operations
from service.features.renditions.keys import Owner
from service.features.renditions.schemas import (
    CredentialsIn,
    CredentialsOut,
    DeleteQuery,
    ImagesQuery,
    OwnedImageList,
    OwnedImageOut,
    OwnerIn,
    WholeOwner,
)
from service.features.uploads import read_single_file, upload_of
from service.http.basic_auth import require_basic
from service.http.bodies import body, query, validated
from service.http.idempotency import idempotent
from service.http.openapi_views import FILE, describe, multipart
from service.http.pagination import number_of, page_answer
from service.http.responses import absolute, answer
from service.http.services import provided
from service.imaging.intake import Upload

renditions = Blueprint("renditions", __name__)
renditions.before_request(require_basic)

OWNER = {"owner_type": "", "owner_id": "", "user_id": "1"}
"""The texts that name an owner, and what the page at /docs puts there; an empty one beside others counts as none."""
IMAGE = {"image": FILE | {"description": "The image."}}


def _owner_text(name: str) -> dict[str, Any]:
    about = OwnerIn.model_fields[name].description
    return {"type": "string", "description": about, "examples": [OWNER[name]]}


ONE_IMAGE = multipart(IMAGE, {"image": "(a photo's bytes)"}, required=["image"])
UPLOAD = multipart(
    IMAGE | {name: _owner_text(name) for name in OWNER},
    {"image": "(a photo's bytes)", "user_id": "1"},
    required=["image"],
)
REFUSALS = (400, 413, 415, 422, 503, 507)
_services = partial(provided, operations.Services)


@dataclass(frozen=True)
class Sent:
    """What an upload brought."""

    upload: Upload
    texts: dict[str, str]

    def owner(self) -> Owner:
        """Return whose it is, by the form or by the query."""
        in_form = self.texts or (request.method == "POST" and not request.args)
        return validated(WholeOwner, self.texts, "form").owner() if in_form else query(WholeOwner).owner()


def _accepted(image: dict[str, Any]) -> Response:
    return answer(_shown(image), 202, Location=url_for("renditions.get_owned_image", image_id=image["id"]))


def _shown(image: dict[str, Any]) -> dict[str, Any]:
    files = [image["original"], *image["renditions"]]
    original, *made = [file | {"url": absolute(file["url"])} for file in files]
    return image | {"original": original, "renditions": made}


@renditions.post("/images")
@describe({202: OwnedImageOut}, *REFUSALS, content=UPLOAD, headers={202: ("Location",)})
@idempotent(_accepted, form=True)
def add_owned_image() -> Response:
    """Upload an image of an owner: JPEG, PNG or WebP. It is pending at once, and done when its renditions are made."""
    with _sent(*OWNER) as sent:
        return _accepted(operations.add_image(_services(), sent.owner(), sent.upload))


@renditions.get("/images")
@describe({200: OwnedImageList}, 422, query=ImagesQuery)
def list_owned_images() -> Response:
    """List the images, newest first; all, or those of an owner."""
    wanted = query(ImagesQuery)
    owner = wanted.owner() if wanted.has_owner() else None
    items, end = operations.list_images(_services(), owner, wanted.limit, number_of(wanted.cursor))
    return page_answer([_shown(image) for image in items], end)


@renditions.put("/images")
@describe({202: OwnedImageOut}, *REFUSALS, content=ONE_IMAGE, query=WholeOwner, headers={202: ("Location",)})
def replace_owners_images() -> Response:
    """Replace all images of the owner by this one, or add the first.

    What was there before is shown until the new renditions are made; then it goes, rows and files, and when it has
    gone, the image is done.
    """
    with _sent(*OWNER) as sent:
        return _accepted(operations.add_image(_services(), sent.owner(), sent.upload, replacing=True))


@renditions.delete("/images")
@describe({204: ""}, 404, 422, query=DeleteQuery)
def delete_owned_images() -> Response:
    """Delete all images of an owner, or the one whose original has this url, whether or not it has ended, or key.

    With an owner's images goes also what was written below its prefix with temporary credentials.
    """
    which = query(DeleteQuery)
    if which.url is None:
        operations.delete_of_owner(_services(), which.owner())
    else:
        operations.delete_by_url(_services(), which.url)
    return Response(status=204)


@renditions.post("/images/credentials")
@describe({201: CredentialsOut}, 400, 409, 413, 422, 503, body=CredentialsIn)
def lend_credentials() -> Response:
    """Make temporary S3 credentials that are good for these actions below the owner's prefix, and for nothing else.

    `read` gets files and lists them; `write` stores files, and deletes none. 409 where the files are not on S3. No
    `Idempotency-Key`, which would mean keeping the secret.
    """
    wanted = body(CredentialsIn)
    given = operations.grant(_services(), wanted.owner(), wanted.actions, wanted.lifetime)
    return answer(given, 201, Cache_Control="no-store")


@renditions.get("/images/<id:image_id>")
@describe({200: OwnedImageOut}, 404)
def get_owned_image(image_id: str) -> Response:
    """Get an image with its renditions: pending, done, or failed."""
    return answer(_shown(operations.get_image(_services(), image_id)))


@renditions.put("/images/<id:image_id>")
@describe({202: OwnedImageOut}, 404, *REFUSALS, content=ONE_IMAGE, headers={202: ("Location",)})
def replace_owned_image(image_id: str) -> Response:
    """Replace an image; its id stays. The old renditions are shown until the new ones are made; then their files go."""
    with _sent() as sent:
        return _accepted(operations.replace_image(_services(), image_id, sent.upload))


@renditions.delete("/images/<id:image_id>")
@describe({204: ""}, 404)
def delete_owned_image(image_id: str) -> Response:
    """Delete an image in any status, with all its files."""
    operations.delete_image(_services(), image_id)
    return Response(status=204)


@contextmanager
def _sent(*names: str) -> Iterator[Sent]:
    """Yield the one image of a form, and the texts with these names."""
    with read_single_file("image", names, _services().intake.limits.bytes, "image") as form:
        files = form.files.getlist("image")
        if len(files) != 1:
            fault = {"detail": "must be sent once, as a file", "pointer": "#/image"}
            raise Invalid("The form needs one part `image`, which is a file with a name.", [fault], code="file_missing")
        repeated = [name for name, values in form.texts.lists() if len(values) > 1]
        if repeated:
            raise Invalid(f"The form has `{repeated[0]}` more than once: send it once.", code="invalid_member")
        filled = {key: text for key, text in form.texts.items() if text}
        yield Sent(upload_of(files[0], "#/image"), filled or form.texts.to_dict())
