"""The chain over the audit log: made by the relay, verified by anybody, cut by retention.

Writers never wait for each other: an entry is written with a mark that it is not sealed, and one sealer at a time puts
what is committed behind the last link.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from sqlalchemy import delete, func, insert, select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.chain import GENESIS, entry_digest, link_digest, text_digest
from flask_cairnloop.audit.models import AuditCheckpoint, AuditEntry, AuditLink, AuditText, AuditUnsealed
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.database.base import schema_name

BATCH: Final = 1_000
CUT_BATCH: Final = 5_000
RETENTION: Final = Actor.system("retention")


@dataclass(frozen=True, slots=True)
class Head:
    """The end of the chain. Keep one outside the database, and the rows behind it cannot be made anew unseen.

    Args:
        position: of the last link; 0 before the first.
    """

    position: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.position}:{self.digest.hex()}"

    @classmethod
    def parse(cls, value: str) -> Head:
        """A head as :meth:`__str__` writes it.

        Raises:
            ValueError: it is none.
        """
        position, _, digest = value.partition(":")
        parsed = cls(int(position), bytes.fromhex(digest))
        if parsed.position < 0 or len(parsed.digest) != len(GENESIS):
            raise ValueError(value)
        return parsed


@dataclass(frozen=True, slots=True)
class Fault:
    """The first row that is not what it was.

    Args:
        position: in the chain; ``None`` of an entry that is not in it.
    """

    position: int | None
    entry_id: int | None
    meaning: str


@dataclass(frozen=True, slots=True)
class Verified:
    """What a verification found.

    Args:
        links: how many were verified.
        start: where the log begins: a checkpoint of retention, or the very beginning.
        head: the end of the chain as it was read.
        unsealed: entries that wait for the sealer.
        erased: texts that were erased, of entries that are there.
    """

    links: int
    start: Head
    head: Head
    unsealed: int
    erased: int
    fault: Fault | None


def head(session: Session) -> Head:
    """The end of the chain as it is now."""
    for model in (AuditLink, AuditCheckpoint):
        last = session.execute(
            select(model.position, model.digest).order_by(model.position.desc()).limit(1)
        ).one_or_none()
        if last is not None:
            return Head(*last)
    return Head(0, GENESIS)


def seal(session: Session) -> int:
    """Put a batch of committed entries behind the last link. Returns how many; ``BATCH`` when there may be more."""
    if session.scalar(select(AuditUnsealed.entry_id).limit(1)) is None or not _alone(session):
        return 0
    waiting = select(AuditUnsealed.entry_id).order_by(AuditUnsealed.entry_id).limit(BATCH)
    gone = delete(AuditUnsealed).where(AuditUnsealed.entry_id.in_(waiting.scalar_subquery()))
    ids = session.scalars(
        gone.returning(AuditUnsealed.entry_id), execution_options={"synchronize_session": False}
    ).all()
    entries = session.scalars(select(AuditEntry).where(AuditEntry.id.in_(ids)).order_by(AuditEntry.id))
    end, links = head(session), []
    for entry in entries:
        own = entry_digest(entry)
        end = Head(end.position + 1, link_digest(end.digest, own))
        links.append({"position": end.position, "entry_id": entry.id, "entry_digest": own, "digest": end.digest})
    if links:
        session.execute(insert(AuditLink), links)
    return len(ids)


def _alone(session: Session) -> bool:
    """Whether nobody else seals or cuts until this transaction ends."""
    key = zlib.crc32(f"flask_cairnloop.audit.{schema_name(session)}".encode())
    return bool(session.scalar(select(func.pg_try_advisory_xact_lock(key))))


# --- verifying ------------------------------------------------------------------------------------------------------


def verify(session: Session, *, expected: Head | None = None, told: Callable[[int], None] = lambda _: None) -> Verified:
    """Read the whole log and compute its chain anew. Use a session that has not begun a transaction.

    Args:
        expected: a head that was kept elsewhere; the chain has to pass through it.
        told: called with the number of links verified so far.
    """
    session.connection(execution_options={"isolation_level": "REPEATABLE READ"})  # the sealer goes on meanwhile
    start = _start(session)
    links = erased = 0
    at, fault = start, None
    seen = expected is None or expected == start or expected.position < start.position
    for link, entry, kept in _chain(session, start.position):
        fault, at = _compare(at, link, entry, kept)
        if fault is not None:
            break
        links += 1
        erased += entry is not None and entry.text_digest is not None and kept is None
        if expected is not None and at.position == expected.position:
            seen = at == expected
        if links % BATCH == 0:
            told(links)
    if fault is None and not seen:
        fault = Fault(
            expected.position if expected else None, None, "the chain does not lead through the head you gave"
        )
    return Verified(links, start, at, _count_unsealed(session), erased, fault or _outside(session))


def _start(session: Session) -> Head:
    last = session.scalars(select(AuditCheckpoint).order_by(AuditCheckpoint.position.desc()).limit(1)).one_or_none()
    return Head(0, GENESIS) if last is None else Head(last.position, last.digest)


def _chain(session: Session, after: int) -> Iterator[tuple[AuditLink, AuditEntry | None, AuditText | None]]:
    """Links with what they stand for, in order, a batch in memory at a time."""
    wanted = (
        select(AuditLink, AuditEntry, AuditText)
        .outerjoin(AuditEntry, AuditEntry.id == AuditLink.entry_id)
        .outerjoin(AuditText, AuditText.entry_id == AuditEntry.id)
        .order_by(AuditLink.position)
        .limit(BATCH)
    )
    while rows := session.execute(wanted.where(AuditLink.position > after)).all():
        after = rows[-1][0].position
        yield from ((link, entry, kept) for link, entry, kept in rows)
        session.expunge_all()


def _compare(at: Head, link: AuditLink, entry: AuditEntry | None, kept: AuditText | None) -> tuple[Fault | None, Head]:
    """What is wrong with a link behind ``at``, and where the chain ends with it."""

    def fault(meaning: str) -> tuple[Fault, Head]:
        return Fault(link.position, link.entry_id, meaning), at

    if link.position != at.position + 1:
        return Fault(at.position + 1, None, f"the link is missing; the next there is has position {link.position}"), at
    if entry is None:
        return fault("the entry was removed")
    if entry_digest(entry) != link.entry_digest:
        return fault("the entry was changed")
    if link_digest(at.digest, link.entry_digest) != link.digest:
        return fault("the link was changed, or swapped with another")
    if kept is not None and text_digest(kept.salt, kept.words) != entry.text_digest:
        return fault("its text was changed")
    return None, Head(link.position, link.digest)


def _outside(session: Session) -> Fault | None:
    """The first entry that is neither in the chain nor waiting for it: written around the trigger."""
    sealed = select(AuditLink.position).where(AuditLink.entry_id == AuditEntry.id).exists()
    waits = select(AuditUnsealed.entry_id).where(AuditUnsealed.entry_id == AuditEntry.id).exists()
    found = session.scalar(select(func.min(AuditEntry.id)).where(~sealed, ~waits))
    return None if found is None else Fault(None, found, "the entry is not in the chain, and does not wait for it")


def _count_unsealed(session: Session) -> int:
    return session.scalar(select(func.count()).select_from(AuditUnsealed)) or 0


# --- cutting --------------------------------------------------------------------------------------------------------


def cut(session: Session, before: datetime) -> int:
    """Remove a batch of the oldest sealed entries, all older than ``before``, up to a checkpoint that stays.

    Returns:
        How many went; ``CUT_BATCH`` when there may be more.
    """
    if not _alone(session):
        return 0
    start = _start(session).position
    oldest = session.execute(
        select(AuditLink.position, AuditLink.digest, AuditEntry.occurred_at)
        .join(AuditEntry, AuditEntry.id == AuditLink.entry_id)
        .where(AuditLink.position > start)
        .order_by(AuditLink.position)
        .limit(CUT_BATCH)
    ).all()
    last = None
    for position, digest, occurred_at in oldest:
        if occurred_at >= before:
            break
        last = Head(position, digest)
    if last is None:
        return 0
    session.add(AuditCheckpoint(position=last.position, digest=last.digest, cut_at=now()))
    session.flush()
    going = select(AuditLink.entry_id).where(AuditLink.position <= last.position).scalar_subquery()
    plain = {"synchronize_session": False}
    # Entries before their links: the database looks their place up to see that they may go.
    session.execute(delete(AuditEntry).where(AuditEntry.id.in_(going)), execution_options=plain)
    session.execute(delete(AuditLink).where(AuditLink.position <= last.position), execution_options=plain)
    record(session, RETENTION, "audit.cut", "audit", last.position, entries=last.position - start)
    return last.position - start
