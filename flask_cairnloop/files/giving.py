"""Giving a file out over HTTP, the same wherever: as what its content was found to be, where it can do nothing."""

from __future__ import annotations

import logging
from typing import Final

from flask import request
from werkzeug.wrappers import Response

from flask_cairnloop.context import current
from flask_cairnloop.errors import NotFound, StorageUnavailable
from flask_cairnloop.files.links import IMAGES
from flask_cairnloop.files.models import File
from flask_cairnloop.files.storage import storage_of

log = logging.getLogger(__name__)

PRIVATE: Final = "private, no-cache"  # kept by the reader's browser alone, which asks each time whether it may still
# Whatever is in it, it runs nothing and loads nothing. Styles, because browsers centre a picture that is opened alone
# by one of their own.
POLICY: Final = "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'; sandbox"


def given(found: File, *, cache: str = PRIVATE) -> Response:
    """The answer to a request for a file that may be given out. Everything but a picture is a download.

    Its bytes are read on after the request has given its database session back.

    Args:
        cache: who may keep it, as ``Cache-Control`` says it.
    """
    answer = Response(mimetype=found.media_type)
    answer.set_etag(found.sha256)
    answer.headers.update(
        {"X-Content-Type-Options": "nosniff", "Content-Security-Policy": POLICY, "Cache-Control": cache}
    )
    if found.media_type not in IMAGES:
        answer.headers.set("Content-Disposition", "attachment", filename=found.name)
    if request.if_none_match.contains(found.sha256):
        answer.status_code = 304
        return answer
    try:
        storage = storage_of(current())
        if storage is None:
            return missing()
        answer.content_length = found.size
        if request.method != "HEAD":
            answer.response = storage.stream(found.storage_key)
    except NotFound:
        log.error("File %s is not in the storage", found.id)
        return missing()
    except StorageUnavailable:
        return plain(503, "The file storage does not answer. Try again in a moment.")
    return answer


def missing() -> Response:
    """The answer where there is no such file, or none for whoever asks: the two must not differ in anything."""
    return plain(404, "Not found")


def plain(status: int, words: str) -> Response:
    """One sentence."""
    return Response(words, status, mimetype="text/plain", headers={"Cache-Control": "no-store"})
