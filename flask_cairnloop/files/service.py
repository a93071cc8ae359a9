"""What can be done with files. What takes a session never commits; what talks to the storage takes none.

A file comes in two steps, so that no transaction waits for the storage: :func:`store` writes its bytes under a key of
their own, :func:`add` makes its row. Bytes whose row never came are deleted by the sweep, as are rows that nothing
uses.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import IO, TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from flask import url_for
from sqlalchemy import ColumnElement, bindparam, select, update
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.errors import InvalidInput, NoStorage
from flask_cairnloop.files.content import SPOKEN, Content, clean_name, recognise
from flask_cairnloop.files.links import Shown
from flask_cairnloop.files.models import File, KeptFor
from flask_cairnloop.files.storage import Storage, storage_of
from flask_cairnloop.jobs import enqueue

if TYPE_CHECKING:
    from flask_cairnloop.config import Settings
    from flask_cairnloop.extension import Cairnloop

ROUTE: Final = "cairnloop.file"
SWEEP: Final = "files.sweep"  # the job that deletes what nothing uses
ERASE: Final = "files.erase"  # the job that deletes bytes at once
SWEPT_EVERY: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Upload:
    """A file that was looked at and may be kept."""

    content: Content
    name: str
    sha256: str


@dataclass(frozen=True, slots=True)
class Stored:
    """A file whose bytes are kept already, and whose row is still to come."""

    upload: Upload
    uuid: UUID
    key: str
    kept_for: KeptFor = KeptFor.ARTICLE


def needed_storage(cairnloop: Cairnloop) -> Storage:
    """The app's storage.

    Raises:
        NoStorage: it has none.
    """
    storage = storage_of(cairnloop)
    if storage is None:
        raise NoStorage
    return storage


def examine(stream: IO[bytes], name: str, settings: Settings) -> Upload:
    """Read a file no further than it may be long, and find out what it is.

    Args:
        name: what somebody's computer calls it.

    Raises:
        InvalidInput: it is too long, of a kind that is not taken, damaged, or too large a picture.
    """
    limit = settings.file_size_limit
    data = stream.read(limit + 1)
    if len(data) > limit:
        raise too_long(settings)
    content = recognise(data)
    if content.media_type not in settings.file_types:
        taken = ", ".join(SPOKEN[each] for each in settings.file_types)
        raise InvalidInput("file", f"This is a file of the kind {SPOKEN[content.media_type]}. Taken are: {taken}.")
    return Upload(content, clean_name(name, content.media_type), hashlib.sha256(content.data).hexdigest())


def too_long(settings: Settings) -> InvalidInput:
    """What is said of a file above the limit."""
    return InvalidInput("file", f"The file is larger than {spoken_size(settings.file_size_limit)}.")


def spoken_size(size: int) -> str:
    """A number of bytes as people say it."""
    if size < 1024:
        return f"{size} bytes"
    value, unit = (size / 1024, "KB") if size < 1024 * 1024 else (size / 1024 / 1024, "MB")
    return f"{value:.1f}".removesuffix(".0") + f" {unit}"


def known(session: Session, upload: Upload) -> File | None:
    """A file of the same bytes and name that articles have already: what is sent twice is kept once.

    A message's is its own, and goes when its customer is forgotten.
    """
    same = select(File).where(File.sha256 == upload.sha256, File.name == upload.name, File.kept_for == KeptFor.ARTICLE)
    # Locked: it may be one that is being deleted at this moment, as nothing has used it for a day.
    return session.scalars(same.order_by(File.id).limit(1).with_for_update()).first()


def store(storage: Storage, upload: Upload, uuid: UUID | None = None, *, kept_for: KeptFor = KeptFor.ARTICLE) -> Stored:
    """Write a file's bytes. No transaction should be open meanwhile.

    Args:
        uuid: what the file shall be known by; a new one when left out.
        kept_for: what is going to use it.

    Raises:
        StorageUnavailable: they could not be written.
    """
    uuid = uuid or uuid4()
    # By its digest, so that a storage can be checked against itself; with its id, so that each file's bytes are its
    # own: whoever's file is deleted, nobody else's goes with it. A message's goes by its id alone: its key outlives it
    # in the job that deletes it, and must not tell what it was.
    name = str(uuid) if kept_for is KeptFor.MESSAGE else f"{upload.sha256}-{uuid}"
    key = f"{name[:2]}/{name}"
    storage.write(key, upload.content.data)
    return Stored(upload, uuid, key, kept_for)


def add(session: Session, stored: Stored, *, actor: Actor) -> File:
    """Make the row of a file whose bytes are kept."""
    upload = stored.upload
    moment = now()
    file = File(
        uuid=stored.uuid,
        kept_for=stored.kept_for,
        sha256=upload.sha256,
        name=upload.name,
        media_type=upload.content.media_type,
        size=len(upload.content.data),
        width=upload.content.width,
        height=upload.content.height,
        storage_key=stored.key,
        author_kind=actor.kind,
        author_id=actor.id,
        author_name=actor.name,
        created_at=moment,
        let_go_at=moment,
    )
    session.add(file)
    session.flush()
    enqueue(session, SWEEP, {}, delay=SWEPT_EVERY, unique_key=SWEEP, keep_earlier=True)
    # The log is for ever, and a digest of what somebody sent would still tell that it was this and nothing else.
    known: dict[str, Any] = {} if file.kept_for is KeptFor.MESSAGE else {"sha256": file.sha256}
    record(session, actor, "file.add", "file", file.id, media_type=file.media_type, size=file.size, **known)
    return file


def has_key(session: Session, key: str) -> bool:
    """Whether a file's bytes lie under this key. One query."""
    return session.scalar(select(File.id).where(File.storage_key == key)) is not None


def find(session: Session, uuid: UUID) -> File | None:
    """The file of this id that articles may use. One query."""
    return session.scalars(select(File).where(File.uuid == uuid, File.kept_for == KeptFor.ARTICLE)).one_or_none()


def found(session: Session, uuids: Collection[UUID], *, lock: bool = False) -> list[File]:
    """Those of these files that there are, and that articles may use. One query at most.

    Args:
        lock: keep them from being deleted before the transaction ends.
    """
    if not uuids:
        return []
    articles = File.kept_for == KeptFor.ARTICLE
    statement = select(File).where(File.uuid.in_(list(uuids)), articles).order_by(File.id)
    if lock:
        statement = statement.with_for_update(read=True, key_share=True)
    return list(session.scalars(statement))


def of_customer(ref: str) -> tuple[ColumnElement[bool], ColumnElement[bool]]:
    """What a customer has sent us, for a statement that finds it by their index."""
    # Written into the statement: a partial index is used only where the planner can prove that it applies.
    kind = bindparam("is_customer", ActorKind.CUSTOMER, File.author_kind.type, literal_execute=True)
    return File.author_kind == kind, File.author_id == ref


def shown(session: Session, uuids: Collection[UUID]) -> Mapping[UUID, Shown]:
    """What pages need to know of files, in a request. One query at most."""
    return {file.uuid: as_shown(file) for file in found(session, uuids)}


def as_shown(file: File) -> Shown:
    """The same of one file."""
    address = url_for(ROUTE, file_id=file.uuid, name=file.name)
    return Shown(address, file.name, file.media_type, file.width, file.height)


def let_go(session: Session, file_ids: Collection[int]) -> None:
    """Note that something no longer uses files: from now on it takes a day until one that nothing uses is deleted."""
    if file_ids:
        gone = update(File).where(File.id.in_(list(file_ids))).values(let_go_at=now())
        session.execute(gone, execution_options={"synchronize_session": False})
