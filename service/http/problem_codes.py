"""The codes of problems, stable for programs, and what each means: /docs/errors and docs/errors.md show them."""

CODES = {
    # any call
    "malformed_request": "The request cannot be read. The detail says what to change.",
    "not_json": "The body is not JSON. Send JSON, with `Content-Type: application/json`.",
    "charset_not_utf8": "The JSON is in another charset. Send it as UTF-8.",
    "body_cut_off": "Fewer bytes came than `Content-Length` says. Send the request again.",
    "form_broken": "The multipart form is broken or cut off. Send it again.",
    "boundary_missing": "The `Content-Type` of a form names no boundary. Let your client set that header.",
    "host_malformed": "The header `Host` is not the name or address of a server.",
    "request_line_too_long": "The request line is longer than `limit` bytes. Send what is long in the body.",
    "headers_too_large": "There are too many headers, or one is too long. The detail says which.",
    "request_too_slow": "The request did not come in time. Send it again.",
    "expectation_not_met": "The only `Expect` that can be met is `100-continue`.",
    "transfer_coding_not_read": "The only `Transfer-Encoding` that is read is `chunked`.",
    "content_coding_not_read": "The body or a part has a coding that is not read. Send its bytes as they are.",
    "credentials_missing": "Send the user name and the password by HTTP Basic.",
    "credentials_wrong": "The user name, the e-mail or the password is wrong.",
    "scheme_not_accepted": "This call takes HTTP Basic. Tokens (`Bearer`) are for augmentation alone.",
    "too_many_failed_logins": "Too many wrong credentials came. Wait as `Retry-After` says.",
    "cross_site_request": "A page of another origin may not act here, unless `CORS_ORIGINS` names its origin.",
    "forbidden": "This is not allowed.",
    "link_expired": "The signed link has expired. Ask for a new one.",
    "address_not_found": "There is no such address. /docs shows those that there are.",
    "not_found": "There is no such thing, or not for this client.",
    "method_not_allowed": "The address does not take this method. `Allow` names those that it takes.",
    "range_not_satisfiable": "The file has no bytes in that `Range`.",
    "conflict": "Not possible in this state.",
    "invalid": "The request is well-formed but wrong. The detail says what to change.",
    "unknown_member": "The body has a member, or the form a part, that is unknown. The detail lists the known.",
    "missing_member": "A member of the body or a part of the form is missing.",
    "invalid_member": "A member of the body or a part of the form has a wrong value.",
    "unknown_parameter": "The query has a parameter that is unknown. The detail lists those that are known.",
    "missing_parameter": "A parameter of the query is missing.",
    "invalid_parameter": "A parameter of the query has a wrong value.",
    "file_name_missing": "A part that must be a file has no file name. Send it with `filename`.",
    "form_empty": "The form has no parts, so nothing was made.",
    "idempotency_key_invalid": "The `Idempotency-Key` is not 1 to 255 printable ASCII characters.",
    "idempotency_key_reused": "The `Idempotency-Key` stands for another request. Use a new key for each new request.",
    "request_in_progress": "The first request with this `Idempotency-Key` is still running. Send it again soon.",
    "too_large": "Over a limit. The member `limit` has it where it is one number.",
    "unsupported_type": "Not one of the accepted types. `accepted_types` lists them.",
    "internal_error": "A fault of the service. The detail has the id under which it was logged.",
    "not_ready": "The service cannot work now. The member `missing` names what is away.",
    "unavailable": "Not possible now. Try again as `Retry-After` says.",
    "busy": "Too much is being computed. Try again as `Retry-After` says.",
    "database_unavailable": "The database is busy or away. Nothing was stored. Try again.",
    "store_unavailable": "The store of files cannot be reached. Try again.",
    "no_room": "The store or the disk is full. Nothing was stored. Make room, then try again.",
    # files
    "file_missing": "The request has no file. Send one or more, in the part that the detail names.",
    "file_empty": "The file has no bytes. Choose it again.",
    "file_too_large": "The file has more bytes than `limit`. Make it smaller.",
    "too_many_pixels": "The image has more pixels than `limit`, over all its frames. Make it smaller.",
    "too_many_frames": "The image has more frames than `limit`.",
    "too_much_metadata": "The image's texts and profiles are too large. Remove its metadata.",
    "image_type_not_accepted": "The file is not an image of an accepted type. `accepted_types` lists them.",
    "image_damaged": "The image does not decode: it is damaged or cut off. Save it anew.",
    "not_a_wav": "The file is not a WAV. Send RIFF, RF64 or BW64.",
    # face tasks
    "task_not_found": "There is no such task. It may have been deleted.",
    "image_not_found": "There is no such image. It may have been deleted.",
    "task_has_no_images": "The task has no images. Upload some, then start it.",
    "task_not_forming": "Images can be added and removed only before the task is started.",
    "task_not_startable": "Only a task that is forming, or ended in error, can be started.",
    "too_many_images": "A task takes at most `limit` images. Put the rest into another task.",
    "names_do_not_match": "The form has more or fewer parts `name` than parts `image`.",
    "webhook_url_refused": "The webhook's address cannot be used. The detail says why.",
    # augmentation, processing, recordings, renditions, questions
    "token_missing": "Send the token of a login: `Authorization: Bearer`.",
    "token_invalid": "The token is not valid, or it has expired. Log in again.",
    "email_taken": "There is already a user with this e-mail. Log in, or use another one.",
    "user_not_found": "There is no such user, or it is not you.",
    "task_not_finished": "Only a finished task can be downloaded.",
    "file_not_found": "There is no such file. It may have been deleted.",
    "file_in_use": "A task needs this file. Delete it when the task has ended.",
    "task_has_not_failed": "Only a task that ended in error can be restarted.",
    "recording_not_found": "There is no such recording.",
    "user_or_token_wrong": "The user is unknown, or the token is not this user's.",
    "no_temporary_credentials": "This store of files issues no temporary credentials.",
    "source_unavailable": "The source of questions fails or has nothing new. `saved` says how many were stored.",
    # an image's or task's own `error`
    "image_rejected": "The image cannot be worked on: it is damaged, or the engine refused it.",
    "upstream_unavailable": "The engine or the store did not answer in time.",
    "upstream_unauthorized": "FaceCloud does not accept the service's account.",
    "upstream_quota": "FaceCloud's quota is used up.",
    "upstream_rejected": "FaceCloud refused this image.",
    "engine_failed": "The engine failed on this image, which is a fault of the service.",
    "worker_lost": "The process that worked on this image died, several times.",
}
"""What each code means, in a sentence or two."""


def as_markdown() -> str:
    """Return docs/errors.md."""
    entries = "\n".join(f"### {code}\n\n{text}\n" for code, text in CODES.items())
    return f"# Errors\n\n{ABOUT}\n\n{entries}"


ABOUT = """Every answer of 400 and above is a problem document (RFC 9457, `application/problem+json`). Its `code` is
stable: programs decide by it. Its `type` leads to the entry below, which the service shows at /docs/errors. `detail` is
a sentence for people. `errors` names each fault: by `pointer` in the body, a JSON pointer, or by `parameter` in the
query. The last entries are also the codes of an image's own `error`."""
