"""Deleting what nothing uses: rows a day after they were let go, and bytes a day after they were written."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Final

from sqlalchemy import ColumnElement, Text, cast, delete, exists, func, select
from sqlalchemy.orm import InstrumentedAttribute, Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import MessageFile, PendingReply, PendingState
from flask_cairnloop.files.models import File
from flask_cairnloop.files.service import ERASE, SWEEP, SWEPT_EVERY, needed_storage
from flask_cairnloop.files.storage import storage_of
from flask_cairnloop.jobs import JobContext, enqueue, job
from flask_cairnloop.jobs.models import QueueName
from flask_cairnloop.knowledge.models import ArticleFile

UNUSED_FOR: Final = timedelta(days=1)  # so long a text may be without a picture before that is gone for good
BATCH: Final = 500
ERASE_TRIES: Final = 1000  # ten minutes apart: about a week
# What uses files. A room that begins to use them adds its column.
USED_BY: Final[tuple[InstrumentedAttribute[Any], ...]] = (ArticleFile.file_id, MessageFile.file_id)


@job(SWEEP, queue=QueueName.BULK, timeout=600, at_start=True)
def sweep(context: JobContext) -> None:
    """Delete what nothing uses, and come back in a day."""
    storage, session = storage_of(context.cairnloop), context.session
    if storage is None:
        return
    limit = now() - UNUSED_FOR
    while len(_forget(session, limit)) == BATCH:
        session.commit()
    session.commit()  # a file's row goes before its bytes: what is named can always be read
    waiting: list[str] = []
    for key, written_at in storage.written():
        if written_at < limit:
            waiting.append(key)
        if len(waiting) == BATCH:
            _delete(context, waiting)
            waiting = []
    _delete(context, waiting)
    enqueue(session, SWEEP, {}, delay=SWEPT_EVERY, unique_key=SWEEP)


@job(ERASE, max_attempts=ERASE_TRIES, timeout=600)
def erase(context: JobContext, *, keys: list[str]) -> None:
    """Delete bytes whose rows are gone, because the person they came from was forgotten.

    It is tried again until they are; where the app has no storage any more, somebody has to see to that.

    Raises:
        NoStorage: it has none.
        StorageUnavailable: it does not delete them.
    """
    needed_storage(context.cairnloop)
    _delete(context, keys)


def _waits() -> ColumnElement[bool]:
    """Whether a reply that is still to be sent brings it along."""
    named = func.jsonb_build_array(func.jsonb_build_object("id", cast(File.uuid, Text)))
    open_ones = PendingReply.state.in_((PendingState.PENDING, PendingState.STOPPED))
    return exists().where(open_ones, PendingReply.files.contains(named))


def _forget(session: Session, limit: Any) -> list[int]:
    """Delete a batch of rows that nothing uses."""
    unused = [File.let_go_at < limit, *(~_used(column) for column in USED_BY), ~_waits()]
    # Locked first and looked at again: whoever begins to use one meanwhile holds it, and it is passed over.
    locked = session.scalars(select(File.id).where(*unused).limit(BATCH).with_for_update(skip_locked=True)).all()
    gone = session.execute(
        delete(File).where(File.id.in_(locked), *unused).returning(File.id),
        execution_options={"synchronize_session": False},
    )
    ids = [row[0] for row in gone]
    for file_id in ids:
        record(session, Actor.system(SWEEP), "file.delete", "file", file_id)
    return ids


def _used(column: InstrumentedAttribute[Any]) -> ColumnElement[bool]:
    return exists().where(column == File.id)


def _delete(context: JobContext, keys: list[str]) -> None:
    """Delete those of these keys that no row has."""
    storage = storage_of(context.cairnloop)
    if storage is None or not keys:
        return
    known = set(context.session.scalars(select(File.storage_key).where(File.storage_key.in_(keys))))
    context.release()
    for key in keys:
        if key not in known:
            storage.delete(key)
