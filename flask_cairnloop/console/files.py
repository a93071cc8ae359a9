"""Images and files of articles: taken in by the editor, and given to whoever may read an article that uses them."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any
from uuid import UUID

from flask import Blueprint, jsonify, request
from sqlalchemy.orm import Session
from werkzeug.exceptions import HTTPException
from werkzeug.wrappers import Response

from flask_cairnloop.console.access import actor, may_open, operator, recognised, requires
from flask_cairnloop.console.rendering import problem
from flask_cairnloop.context import current
from flask_cairnloop.database.failures import AWAY
from flask_cairnloop.errors import InvalidInput, NoStorage, NotFound, StorageUnavailable
from flask_cairnloop.files import service
from flask_cairnloop.files.links import as_markdown
from flask_cairnloop.files.models import File
from flask_cairnloop.files.service import as_shown
from flask_cairnloop.files.storage import Storage, storage_of
from flask_cairnloop.hooks import Permission, Subject
from flask_cairnloop.knowledge import queries
from flask_cairnloop.knowledge.public import public_tags
from flask_cairnloop.knowledge.queries import Use

log = logging.getLogger(__name__)

FORM_OVERHEAD = 100_000  # bytes of an upload beside its file
WITH_FILES = frozenset({"cairnloop.new_article", "cairnloop.edit_article"})  # forms that may bring one without a script
PUBLIC_SECONDS = 3600  # that anybody may go on showing what was public when they fetched it


def register(blueprint: Blueprint) -> None:
    blueprint.url_value_preprocessor(_let_files_in)
    blueprint.register_error_handler(413, _too_large)
    blueprint.add_url_rule("/files/<uuid:file_id>/<name>", "file", file)
    blueprint.add_url_rule("/knowledge/files", "upload_file", upload_file, methods=["POST"])


# --- in ---------------------------------------------------------------------------------------------------------------


def _let_files_in(endpoint: str | None, _values: dict[str, Any] | None) -> None:
    """Before the host looks for its token in the form: a file may be as long as ours may, whatever its forms may be."""
    if endpoint == "cairnloop.upload_file":
        request.max_content_length = current().settings.file_size_limit + FORM_OVERHEAD


def _too_large(error: HTTPException) -> Response | HTTPException:
    words = service.too_long(current().settings).message
    if request.endpoint == "cairnloop.upload_file":
        return _told(413, message=words)
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
    given = request.files.get("file")
    if given is None or not given.filename:
        raise InvalidInput("file", "Choose a file.")
    wait = cairnloop.rate_limits.take("uploads", f"operator:{operator().id}")
    if wait:
        raise InvalidInput("file", f"Too many files at once. Try again in {wait} seconds.")
    upload = service.examine(given.stream, given.filename, cairnloop.settings)
    with Session(cairnloop.engine, expire_on_commit=False) as session:
        there = service.known(session, upload)
        if there is not None:  # sent again, as when an answer got lost
            service.let_go(session, [there.id])  # it has a day again to be used
            session.commit()
            return there
    stored = service.store(storage, upload)
    try:
        with Session(cairnloop.engine, expire_on_commit=False) as session:
            file = service.add(session, stored, actor=actor())
            session.commit()
            return file
    except BaseException:
        _take_back(storage, stored.key)
        raise


def _take_back(storage: Storage, key: str) -> None:
    """Delete bytes whose row did not come. What is left all the same is the sweep's."""
    try:
        with Session(current().engine) as session:  # the commit may have been taken, though its answer got lost
            if service.has_key(session, key):
                return
        storage.delete(key)
    except (StorageUnavailable, *AWAY):
        log.warning("A file without a row was left in the storage until the next sweep")


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
        return _plain(503, "The database does not answer. Try again in a moment.")
    public = _is_public(uses)
    # Asked as well where there is no such file: the two must not differ in anything.
    if not (public or _operator_may(uses)) or found is None:
        return _plain(404, "Not found")
    answer = Response(mimetype=found.media_type)
    answer.set_etag(found.sha256)
    _protect(answer, found, public=public)
    if request.if_none_match.contains(found.sha256):
        answer.status_code = 304
        return answer
    try:
        storage = storage_of(current())
        if storage is None:
            return _plain(404, "Not found")
        answer.content_length = found.size
        if request.method != "HEAD":
            # Read on after this request has given its database session back.
            answer.response = storage.stream(found.storage_key)
    except NotFound:
        log.error("File %s is not in the storage", found.id)
        return _plain(404, "Not found")
    except StorageUnavailable:
        return _plain(503, "The file storage does not answer. Try again in a moment.")
    return answer


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


def _protect(answer: Response, found: File, *, public: bool) -> None:
    """Whatever is in it, it runs nothing: it is what we say it is, in a frame of its own that may load nothing."""
    headers: Mapping[str, str] = {
        "X-Content-Type-Options": "nosniff",
        # Styles, because browsers centre a picture that is opened alone by one of their own.
        "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox",
        "Cache-Control": f"public, max-age={PUBLIC_SECONDS}" if public else "private, no-cache",
    }
    answer.headers.update(headers)
    if not as_shown(found).is_image:
        answer.headers.set("Content-Disposition", "attachment", filename=found.name)


def _plain(status: int, words: str) -> Response:
    return Response(words, status, mimetype="text/plain", headers={"Cache-Control": "no-store"})
