"""What is decided of candidates. Every function takes a session, names its actor, writes an entry and never commits.

What people decide stands: a candidate that somebody has decided anything about is never rearranged, and nothing but a
further decision changes its state, or the end of the time it was put off for, which its history tells. New questions
still join it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Final

from sqlalchemy import select, update
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, Actor, as_actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.errors import IllegalTransition, InvalidInput, NotFound, StaleGap
from flask_cairnloop.hooks import Operator
from flask_cairnloop.upkeep import clustering
from flask_cairnloop.upkeep.models import (
    CandidateState,
    DismissReason,
    GapCandidate,
    GapQuestion,
    HistoryKind,
)

OPEN, ACCEPTED, DISMISSED, SNOOZED, ANSWERED = (
    CandidateState.OPEN,
    CandidateState.ACCEPTED,
    CandidateState.DISMISSED,
    CandidateState.SNOOZED,
    CandidateState.ANSWERED,
)
# From which states each step leads where. What is merged or faded is over.
STEPS: Final[Mapping[str, tuple[frozenset[CandidateState], CandidateState, HistoryKind]]] = {
    "accept": (frozenset({OPEN, DISMISSED, SNOOZED, ANSWERED}), ACCEPTED, HistoryKind.ACCEPTED),
    "dismiss": (frozenset({OPEN, ACCEPTED, SNOOZED, DISMISSED, ANSWERED}), DISMISSED, HistoryKind.DISMISSED),
    "snooze": (frozenset({OPEN, SNOOZED}), SNOOZED, HistoryKind.SNOOZED),
    "reopen": (frozenset({ACCEPTED, DISMISSED, SNOOZED, ANSWERED}), OPEN, HistoryKind.REOPENED),
}
STANDING: Final = frozenset({OPEN, ACCEPTED, DISMISSED, SNOOZED, ANSWERED})
LONGEST_SNOOZE: Final = timedelta(days=365)
NOTE_LENGTH: Final = 500
WOKEN_AT_ONCE: Final = 100
REPRESENTATIVE: Final = 10


@dataclass(frozen=True, slots=True)
class Gathered:
    """A candidate, as whoever writes its article needs it.

    Args:
        version: of the decisions on it, for the next one.
        questions: those that were asked most, redacted, the one in its middle first.
        events, askers: how often it was asked, and by how many people at least.
    """

    id: int
    state: CandidateState
    version: int
    questions: tuple[str, ...]
    events: int
    askers: int


def gathered(session: Session, candidate_id: int, *, most: int = REPRESENTATIVE) -> Gathered:
    """A candidate with the questions that stand for it. Where it was merged, the one that it went into.

    Raises:
        NotFound: there is no such candidate.
    """
    candidate = _find(session, candidate_id)
    while candidate.merged_into_id is not None:
        candidate = _find(session, candidate.merged_into_id)
    asked = select(GapQuestion.question).where(
        GapQuestion.candidate_id == candidate.id, GapQuestion.question.is_not(None)
    )
    middle = (GapQuestion.id == candidate.label_id).desc() if candidate.label_id else GapQuestion.events.desc()
    words = session.scalars(asked.order_by(middle, GapQuestion.events.desc(), GapQuestion.id).limit(most))
    return Gathered(
        candidate.id,
        candidate.state,
        candidate.version,
        tuple(question for question in words if question is not None),
        candidate.events,
        candidate.askers,
    )


def accept(
    session: Session, candidate_id: int, *, actor: Acting, seen: int | None = None, note: str = ""
) -> GapCandidate:
    """Say that an article is to be written for it.

    Args:
        seen: its version as the caller had it before them; unchecked when left out.
        note: why, for the team.

    Raises:
        NotFound: there is no such candidate.
        StaleGap: somebody has decided something since.
        IllegalTransition: its state does not allow it.
        InvalidInput: the note is too long.
    """
    return _decide(session, candidate_id, "accept", actor, seen, note)


def dismiss(
    session: Session,
    candidate_id: int,
    *,
    actor: Acting,
    reason: str,
    seen: int | None = None,
    note: str = "",
) -> GapCandidate:
    """Say that nothing is to be written. It is listed again, still dismissed, once it was asked twice as often.

    Args:
        reason: a :class:`~flask_cairnloop.upkeep.models.DismissReason`.

    The other arguments, and the errors, are those of :func:`accept`.
    """
    if reason not in set(DismissReason):
        raise InvalidInput("reason", "Choose why nothing is to be written.")
    return _decide(session, candidate_id, "dismiss", actor, seen, note, reason=DismissReason(reason))


def snooze(
    session: Session, candidate_id: int, *, actor: Acting, until: datetime, seen: int | None = None, note: str = ""
) -> GapCandidate:
    """Put it off. It comes back by itself at that time, open. Arguments and errors are those of :func:`accept`."""
    if not now() < until <= now() + LONGEST_SNOOZE:
        raise InvalidInput("until", "Choose a time within the next year.")
    return _decide(session, candidate_id, "snooze", actor, seen, note, snoozed_until=until)


def reopen(
    session: Session, candidate_id: int, *, actor: Acting, seen: int | None = None, note: str = ""
) -> GapCandidate:
    """Take back what was decided. The arguments and errors are those of :func:`accept`."""
    return _decide(session, candidate_id, "reopen", actor, seen, note)


def assign(
    session: Session, candidate_id: int, *, actor: Acting, assignee: Operator | None, seen: int | None = None
) -> GapCandidate:
    """Say who sees to it; ``None``: nobody does. The other arguments, and the errors, are those of :func:`accept`."""
    actor = as_actor(actor)
    candidate = _locked(session, candidate_id, "be assigned", STANDING, seen)
    candidate.assignee_id = None if assignee is None else assignee.id
    candidate.assignee_name = None if assignee is None else assignee.name[:200]
    candidate.by_hand = True
    candidate.version += 1
    clustering.note(session, candidate, HistoryKind.ASSIGNED, actor)
    record(session, actor, "gap.assign", "gap", candidate.id, assignee_id=candidate.assignee_id)
    session.flush()
    return candidate


def merge(session: Session, candidate_id: int, into_id: int, *, actor: Acting, seen: int | None = None) -> GapCandidate:
    """Let all questions of a candidate go to another, which stays as it was decided.

    Returns:
        The other.

    Raises:
        InvalidInput: both are the same.

    The other errors are those of :func:`accept`, for either.
    """
    actor = as_actor(actor)
    if candidate_id == into_id:
        raise InvalidInput("into", "A candidate cannot be merged into itself. Choose another.")
    candidate = _locked(session, candidate_id, "be merged", STANDING, seen)
    target = _locked(session, into_id, "take others in", STANDING, None)
    moved = list(session.scalars(select(GapQuestion.id).where(GapQuestion.candidate_id == candidate.id)))
    session.execute(
        update(GapQuestion)
        .where(GapQuestion.candidate_id == candidate.id)
        .values(candidate_id=target.id)
        .execution_options(synchronize_session=False)
    )
    session.expire_all()
    target.by_hand = candidate.by_hand = True
    target.version += 1
    clustering.tell(session, {(candidate.id, target.id): moved}, (), actor)
    record(session, actor, "gap.merge", "gap", candidate.id, into=target.id, questions=len(moved))
    session.flush()
    return target


def asked_again(session: Session, candidate_id: int, *, answered: bool, actor: Actor) -> None:
    """Note that its questions were asked again after an article was published for it. Answered, it is done with.

    Whatever somebody has decided meanwhile stands.
    """
    clustering.lock(session)
    candidate = _find(session, candidate_id)
    while candidate.merged_into_id is not None:
        candidate = _find(session, candidate.merged_into_id)
    clustering.note(session, candidate, HistoryKind.ANSWERED if answered else HistoryKind.UNANSWERED, actor)
    if answered and candidate.state is ACCEPTED:
        candidate.state, candidate.asks_again_at = ANSWERED, None
        candidate.events_then = candidate.events
        candidate.version += 1
        clustering.shelve(session, candidate)
    session.flush()


def wake(session: Session) -> bool:
    """Bring those back whose time has come. Returns whether there are more."""
    due = (GapCandidate.state == CandidateState.SNOOZED, GapCandidate.snoozed_until <= now())
    if session.scalar(select(GapCandidate.id).where(*due).limit(1)) is None:
        return False
    clustering.lock(session)
    rows = session.scalars(
        select(GapCandidate)
        .where(*due)
        .order_by(GapCandidate.id)
        .limit(WOKEN_AT_ONCE)
        .execution_options(populate_existing=True)
    ).all()
    for candidate in rows:
        candidate.state, candidate.snoozed_until = OPEN, None
        candidate.version += 1
        clustering.note(session, candidate, HistoryKind.WOKE, clustering.SYSTEM)
        record(session, clustering.SYSTEM, "gap.wake", "gap", candidate.id)
        clustering.shelve(session, candidate)
    return len(rows) == WOKEN_AT_ONCE


def _decide(
    session: Session,
    candidate_id: int,
    step: str,
    acting: Acting,
    seen: int | None,
    note: str,
    *,
    reason: DismissReason | None = None,
    snoozed_until: datetime | None = None,
) -> GapCandidate:
    actor = as_actor(acting)
    words = note.replace("\x00", "").replace("\r\n", "\n").strip()
    if len(words) > NOTE_LENGTH:
        raise InvalidInput("note", f"A note has at most {NOTE_LENGTH} characters; this one has {len(words):,}.")
    allowed, state, kind = STEPS[step]
    candidate = _locked(session, candidate_id, step, allowed, seen)
    was = candidate.state
    candidate.state, candidate.reason, candidate.snoozed_until = state, reason, snoozed_until
    candidate.asks_again_at = None
    candidate.by_hand = True
    candidate.version += 1
    candidate.events_then = candidate.events
    _sign(candidate, actor)
    clustering.note(session, candidate, kind, actor)
    clustering.shelve(session, candidate)
    about: dict[str, Any] = {"from_state": was.value, "events": candidate.events}
    if reason is not None:
        about["reason"] = reason.value
    record(session, actor, f"gap.{step}", "gap", candidate.id, words=words, **about)
    session.flush()
    return candidate


def _sign(candidate: GapCandidate, actor: Actor) -> None:
    candidate.decided_by, candidate.decided_by_name, candidate.decided_at = actor.id, actor.name, now()


def _locked(
    session: Session, candidate_id: int, step: str, allowed: frozenset[CandidateState], seen: int | None
) -> GapCandidate:
    """A candidate that only we change until this transaction ends.

    Raises:
        NotFound, StaleGap, IllegalTransition: it is not there, has changed, or does not allow the step.
    """
    clustering.lock(session)
    candidate = _find(session, candidate_id)
    if seen is not None and candidate.version != seen:
        raise StaleGap(seen, candidate.version)
    if candidate.state not in allowed:
        raise IllegalTransition("gap", candidate.state.value, step)
    return candidate


def _find(session: Session, candidate_id: int) -> GapCandidate:
    found = select(GapCandidate).where(GapCandidate.id == candidate_id).execution_options(populate_existing=True)
    candidate = session.scalars(found).one_or_none()
    if candidate is None:
        raise NotFound("There is no such gap.")
    return candidate
