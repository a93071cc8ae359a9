"""Images and files: of articles, taken in by the editor and given to whoever may read an article that uses them, and of
messages, taken in with a reply or a note and given to whoever may see the conversation."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, jsonify, request
from sqlalchemy.orm import Session
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from flask_cairnloop.console.access import actor, may_open, operator, recognised, requires
from flask_cairnloop.console.rendering import problem
from flask_cairnloop.context import current
from flask_cairnloop.conversations.attachments import check_number, in_a_conversation
from flask_cairnloop.database.failures import AWAY
from flask_cairnloop.errors import InvalidInput, NoStorage, StorageUnavailable
from flask_cairnloop.files import service
from flask_cairnloop.files.giving import PRIVATE, given, missing, plain
from flask_cairnloop.files.keeping import keep
from flask_cairnloop.files.links import as_markdown
from flask_cairnloop.files.models import File, KeptFor
from flask_cairnloop.files.service import Upload, as_shown
from flask_cairnloop.hooks import Permission, Subject
from flask_cairnloop.knowledge import queries
from flask_cairnloop.knowledge.public import public_tags
from flask_cairnloop.knowledge.queries import Use

FORM_OVERHEAD = 100_000  # bytes of an upload beside its file
WITH_FILES = frozenset({"cairnloop.new_article", "cairnloop.edit_article"})  # forms that may bring one without a script
WITH_ATTACHMENTS = frozenset({"cairnloop.reply", "cairnloop.note"})
PUBLIC_SECONDS = 3600  # that anybody may go on showing what was public when they fetched it


def register(blueprint: Blueprint) -> None:
    blueprint.url_value_preprocessor(_let_files_in)
    blueprint.register_error_handler(413, _too_large)
    blueprint.add_url_rule("/files/<uuid:file_id>/<name>", "file", file)
    blueprint.add_url_rule("/attachments/<uuid:file_id>/<name>", "attachment", attachment)
    blueprint.add_url_rule("/knowledge/files", "upload_file", upload_file, methods=["POST"])


# --- in ---------------------------------------------------------------------------------------------------------------


def _let_files_in(endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """Before the host looks for its token in the form: a file may be as long as ours may, whatever its forms may be."""
    if endpoint == "cairnloop.upload_file":
        request.max_content_length = current().settings.file_size_limit + FORM_OVERHEAD
    if endpoint in WITH_ATTACHMENTS:
        settings = current().settings
        words = max(FORM_OVERHEAD, 12 * settings.message_limit)  # a letter takes up to twelve bytes in a plain form
        request.max_form_memory_size = max(words, request.max_form_memory_size or 0)
        request.max_content_length = words + settings.attachment_limit * settings.file_size_limit + FORM_OVERHEAD


def _too_large(error: HTTPException) -> Response | HTTPException:
    words = service.too_long(current().settings).message
    if request.endpoint == "cairnloop.upload_file":
        return _told(413, message=words)
    if request.endpoint in WITH_ATTACHMENTS:
        return problem(413, detail=f"{words} Nothing was sent.")
    if request.endpoint in WITH_FILES:
        return problem(413, detail=words)
    return error


@requires(Permission.KNOWLEDGE_EDIT)
def upload_file() -> Response:
    """Take a file in, for the editor's script, which puts what is answered into the text."""
    try:
        file = take()
    except InvalidInput as refused:
        return _told(422, message=refused.message)
    except (NoStorage, StorageUnavailable) as trouble:
        return _told(503, message=str(trouble))
    return jsonify(markdown=markdown_of(file), name=file.name, image=as_shown(file).is_image)


def take() -> File:
    """Keep the file of this request's form. Its row is committed.

    Raises:
        InvalidInput: there is none, it cannot be taken, or too many came in a short time.
        NoStorage: the app keeps no files.
        StorageUnavailable: it could not be kept.
    """
    cairnloop = current()
    storage = service.needed_storage(cairnloop)
    chosen = request.files.get("file")
    if chosen is None or not chosen.filename:
        raise InvalidInput("file", "Choose a file.")
    upload = _examined(chosen)
    with Session(cairnloop.engine, expire_on_commit=False) as session:
        there = service.known(session, upload)
        if there is not None:  # sent again, as when an answer got lost
            service.let_go(session, [there.id])  # it has a day again to be used
            session.commit()
            return there
    return keep(storage, upload, actor=actor(), kept_for=KeptFor.ARTICLE)


def take_attachments() -> list[UUID]:
    """Keep the files of this request's form for a message. Their rows are committed; what no message takes goes in a
    day.

    Raises:
        InvalidInput: one cannot be taken or kept, there are too many, or too many came in a short time.
    """
    cairnloop = current()
    chosen = [each for each in request.files.getlist("file") if each.filename]
    if not chosen:
        return []
    check_number(len(chosen))
    uploads = [_examined(each) for each in chosen]  # all of them first: one that is refused keeps none
    try:
        storage = service.needed_storage(cairnloop)
        made = [keep(storage, upload, actor=actor(), kept_for=KeptFor.MESSAGE) for upload in uploads]
    except (NoStorage, StorageUnavailable) as trouble:
        raise InvalidInput("file", str(trouble)) from trouble
    return [file.uuid for file in made]


def _examined(chosen: FileStorage) -> Upload:
    """One file of a form, looked at.

    Raises:
        InvalidInput: it cannot be taken, or too many came in a short time.
    """
    cairnloop = current()
    wait = cairnloop.rate_limits.take("uploads", f"operator:{operator().id}")
    if wait:
        raise InvalidInput("file", f"Too many files at once. Try again in {wait} seconds.")
    return service.examine(chosen.stream, chosen.filename or "", cairnloop.settings)


def markdown_of(file: File) -> str:
    """How a text shows a file, with the words of the form for it."""
    words = " ".join(request.form.get("alt", "").replace("\x00", "").split())[:300]
    said = words or (file.name.rpartition(".")[0] if as_shown(file).is_image else file.name)
    return as_markdown(file.uuid, file.name, is_image=as_shown(file).is_image, words=said)


def _told(status: int, **values: Any) -> Response:
    answer = jsonify(**values)
    answer.status_code = status
    return answer


# --- out --------------------------------------------------------------------------------------------------------------


def file(file_id: UUID, name: str) -> Response:  # noqa: ARG001 - the name is for people
    """A file, for whoever may read an article that uses it. For anybody else there is none."""
    try:
        found, uses = _look_up(file_id)
    except AWAY:
        return plain(503, "The database does not answer. Try again in a moment.")
    public = _is_public(uses)
    # Asked as well where there is no such file: the two must not differ in anything.
    if not (public or _operator_may(uses)) or found is None:
        return missing()
    return given(found, cache=f"public, max-age={PUBLIC_SECONDS}" if public else PRIVATE)


@requires(Permission.CONVERSATIONS_READ)
def attachment(file_id: UUID, name: str) -> Response:  # noqa: ARG001 - the name is for people
    """A file of a message, for whoever may see its conversation. For anybody else there is none.

    Read in a session of our own, which is closed before the host is asked whether they may.
    """
    with Session(current().engine) as session:
        found = in_a_conversation(session, file_id)
    if found is None or not may_open(Permission.CONVERSATIONS_READ, Subject("conversation", found.conversation_id)):
        return missing()
    return given(found.file)


def _look_up(file_id: UUID) -> tuple[File | None, list[Use]]:
    """A file and what uses it, read in a session of its own, which is closed before anybody is asked or read from."""
    with Session(current().engine) as session:
        found = service.find(session, file_id)
        return found, queries.uses(session, [found.id]).get(found.id, []) if found else []


def _is_public(uses: list[Use]) -> bool:
    """Whether anybody may see it: an article that anybody may read uses it."""
    cairnloop = current()
    tags = public_tags(cairnloop.settings, cairnloop.hooks)
    return any(use.public and (tags is None or not tags.isdisjoint(use.tags)) for use in uses)


def _operator_may(uses: list[Use]) -> bool:
    """Whether an operator is signed in who may read an article that uses it, or who writes, where none does yet."""
    if not recognised():
        return False
    if not uses:
        return may_open(Permission.KNOWLEDGE_EDIT)
    return any(
        may_open(permission, Subject("article", use.article_id))
        for use in uses
        for permission in (Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_EDIT)
    )
