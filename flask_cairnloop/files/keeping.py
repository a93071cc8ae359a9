"""Taking a file in, from its bytes to its row: for whoever has a stream at hand, an edge or the host.

The one thing in this room that commits, as the storage must not be waited for in anybody's transaction, and a row
without its bytes, or bytes without their row, are worth nothing.
"""

from __future__ import annotations

import logging
from typing import IO
from uuid import UUID

from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, Actor, as_actor
from flask_cairnloop.context import current
from flask_cairnloop.database.failures import AWAY
from flask_cairnloop.errors import StorageUnavailable
from flask_cairnloop.files import service
from flask_cairnloop.files.models import File, KeptFor
from flask_cairnloop.files.service import Upload
from flask_cairnloop.files.storage import Storage

log = logging.getLogger(__name__)


def keep_file(stream: IO[bytes], name: str, *, actor: Acting) -> UUID:
    """Keep a file for a message that is about to be written: what is returned goes into ``files=`` of ``receive``,
    ``reply`` or ``add_note``. It is committed by itself; what no message takes within a day is deleted.

    Args:
        name: what somebody's computer calls it.
        actor: whose it is. What a customer's message takes has to be the customer's.

    Raises:
        InvalidInput: it is too long, of a kind that is not taken, damaged, or too large a picture.
        NoStorage: ``CAIRNLOOP_FILE_STORAGE`` is not set.
        StorageUnavailable: it could not be kept.
    """
    cairnloop = current()
    storage = service.needed_storage(cairnloop)
    upload = service.examine(stream, name, cairnloop.settings)
    return keep(storage, upload, actor=as_actor(actor), kept_for=KeptFor.MESSAGE).uuid


def keep(storage: Storage, upload: Upload, *, actor: Actor, kept_for: KeptFor) -> File:
    """Keep a file that was looked at. Its row is committed, in a session of its own.

    Raises:
        StorageUnavailable: it could not be kept.
    """
    stored = service.store(storage, upload, kept_for=kept_for)
    try:
        with Session(current().engine, expire_on_commit=False) as session:
            file = service.add(session, stored, actor=actor)
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
