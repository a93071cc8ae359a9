"""Files of the chat: taken from a customer over HTTP, and given to whoever holds an address that we signed."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from uuid import UUID

from flask import Blueprint, jsonify, request
from sqlalchemy import func, select
from sqlalchemy.orm import Session
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.wrappers import Response

from flask_cairnloop.actors import Actor
from flask_cairnloop.channels.widget.tickets import holds, ticket
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.attachments import Attached, for_the_customer
from flask_cairnloop.database.failures import AWAY
from flask_cairnloop.errors import HookFailed, InvalidInput, StorageUnavailable
from flask_cairnloop.files import service
from flask_cairnloop.files.giving import given, missing, plain
from flask_cairnloop.files.keeping import keep
from flask_cairnloop.files.models import File, KeptFor
from flask_cairnloop.files.service import Upload
from flask_cairnloop.files.storage import Storage, storage_of
from flask_cairnloop.hooks import Customer

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

FORM_OVERHEAD = 100_000  # bytes of an upload beside its file: the token, and what a form is made of
TOKEN_LENGTH = 8192
RETRY_AFTER = 5
DAY = timedelta(days=1)


class Refused(Exception):
    """A file that is not taken.

    Args:
        status: of the answer.
        code: one word for the client.
        message: one sentence for the customer.
        retry_after: seconds after which it may be tried again.
    """

    def __init__(self, status: int, code: str, message: str, retry_after: int = 0) -> None:
        super().__init__(message)
        self.status, self.code, self.message, self.retry_after = status, code, message, retry_after


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/widget/files", view_func=widget_upload, methods=["POST"])
    blueprint.add_url_rule("/widget/files/<uuid:file_id>/<name>", view_func=widget_file)


def offered(cairnloop: Cairnloop) -> bool:
    """Whether customers may send files: there is a place for them, messages take some, and addresses can be signed."""
    takes = cairnloop.settings.attachment_limit > 0 and bool(secret_of(cairnloop))
    return takes and storage_of(cairnloop) is not None


def secret_of(cairnloop: Cairnloop) -> bytes:
    """What addresses are signed with; empty where the app has no secret."""
    secret = cairnloop.app.secret_key or ""
    return secret if isinstance(secret, bytes) else secret.encode()


# --- in ---------------------------------------------------------------------------------------------------------------


def widget_upload() -> Response:
    """Keep a file for the customer whose token stands in the form; a message of theirs may take it by its id."""
    cairnloop = current()
    storage = storage_of(cairnloop)
    if storage is None or not offered(cairnloop):
        return missing()
    request.max_content_length = cairnloop.settings.file_size_limit + FORM_OVERHEAD
    try:
        kept = _take(cairnloop, storage)
    except Refused as refusal:
        return _refusal(refusal)
    except RequestEntityTooLarge:
        return _refusal(Refused(413, "too_large", service.too_long(cairnloop.settings).message))
    except InvalidInput as refusal:
        return _refusal(Refused(422, "invalid", refusal.message))
    except (StorageUnavailable, *AWAY):
        return _refusal(Refused(503, "try_later", "It could not be kept just now. Try again.", RETRY_AFTER))
    attached = Attached(kept.uuid, kept.name, kept.media_type, kept.size, kept.width, kept.height)
    return jsonify(described(attached))


def _take(cairnloop: Cairnloop, storage: Storage) -> File:
    customer = _customer(cairnloop, request.form.get("token", ""))
    chosen = request.files.get("file")
    if chosen is None or not chosen.filename:
        raise Refused(400, "malformed", "There is no file in this form.")
    if wait := cairnloop.rate_limits.take("attachments", customer.ref):
        raise Refused(429, "too_many", "That were many files in a short time. Try again later.", wait)
    upload = service.examine(chosen.stream, chosen.filename, cairnloop.settings)
    _check_day(cairnloop, customer, upload)
    return keep(storage, upload, actor=Actor.customer(customer), kept_for=KeptFor.MESSAGE)


def _customer(cairnloop: Cairnloop, token: str) -> Customer:
    """Who sends it, as the host says at this moment."""
    try:
        customer = cairnloop.hooks.verify_customer(token) if len(token) <= TOKEN_LENGTH else None
    except HookFailed:
        raise Refused(503, "try_later", "It could not be kept just now. Try again.", RETRY_AFTER) from None
    if customer is None:
        raise Refused(401, "unauthorized", "We could not tell who you are.")
    return customer


def _check_day(cairnloop: Cairnloop, customer: Customer, upload: Upload) -> None:
    """Hold a customer to what they may send in a day. Several at the same moment may go a little beyond it: how many
    those can be is held by the rate limit."""
    lately = select(func.sum(File.size)).where(*service.of_customer(customer.ref), File.created_at > now() - DAY)
    with Session(cairnloop.engine) as session:
        sent = int(session.scalar(lately) or 0)
    limit = cairnloop.settings.attachment_daily_bytes
    if sent + len(upload.content.data) > limit:
        words = f"You have sent as many files as fit into a day ({service.spoken_size(limit)}). Try again tomorrow."
        raise Refused(429, "too_many", words, int(DAY.total_seconds()))


def _refusal(refusal: Refused) -> Response:
    answer = jsonify(code=refusal.code, message=refusal.message)
    answer.status_code = refusal.status
    if refusal.retry_after:
        answer.headers["Retry-After"] = str(refusal.retry_after)
    return answer


# --- out --------------------------------------------------------------------------------------------------------------


def described(file: Attached, url: str = "") -> dict[str, Any]:
    """A file as frames and answers tell of it: never more than its message says."""
    told: dict[str, Any] = {"id": str(file.uuid), "name": file.name, "type": file.media_type, "size": file.size}
    if file.width is not None:
        told |= {"width": file.width, "height": file.height}
    return {**told, "url": url} if url else told


def signed(cairnloop: Cairnloop, at: str, customer: Customer, file: Attached) -> dict[str, Any]:
    """A file of a message with an address that shows it to this customer for a while.

    Args:
        at: where :func:`widget_upload` stands on this server.
    """
    key = ticket(secret_of(cairnloop), customer.ref, file.uuid, now().timestamp())
    return described(file, f"{at}/{file.uuid}/{quote(file.name, safe='')}?ticket={key}")


def widget_file(file_id: UUID, name: str) -> Response:  # noqa: ARG001 - the name is for people
    """A file of a message that its customer may see, for whoever holds an address that was signed for them."""
    cairnloop = current()
    try:
        with Session(cairnloop.engine) as session:
            found = for_the_customer(session, file_id)
    except AWAY:
        return plain(503, "The database does not answer. Try again in a moment.")
    # Asked as well where there is no such file: the two must not differ in anything.
    ref = found.customer_ref if found else ""
    right = holds(secret_of(cairnloop), ref, file_id, request.args.get("ticket", ""), now().timestamp())
    return given(found.file) if found is not None and right else missing()
