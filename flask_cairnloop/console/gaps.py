"""Questions that no published article answers, gathered: what to write next, and what is decided of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final

from flask import Blueprint, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.clock import now
from flask_cairnloop.console import review_words
from flask_cairnloop.console.access import actor, may, may_open, reading, requires
from flask_cairnloop.console.rendering import page
from flask_cairnloop.console.triage import people, person
from flask_cairnloop.context import current
from flask_cairnloop.errors import IllegalTransition, InvalidInput, StaleGap
from flask_cairnloop.hooks import Permission
from flask_cairnloop.upkeep import candidates, queries, suggestions
from flask_cairnloop.upkeep.models import (
    CandidateState,
    DismissReason,
    GapCandidate,
    GapReason,
    GapSource,
    HistoryKind,
    Shelf,
)
from flask_cairnloop.upkeep.reviews import of_candidate, waiting_count

GAP: Final = "<int(max=9223372036854775807):gap_id>"
SHELVES: Final = {
    Shelf.ASKING: "To decide",
    Shelf.ACCEPTED: "Accepted",
    Shelf.SNOOZED: "Put off",
    Shelf.ANSWERED: "Answered",
    Shelf.DISMISSED: "Dismissed",
    Shelf.FEW: "Too little so far",
    Shelf.MERGED: "Merged",
    Shelf.FADED: "Faded",
}
EMPTY: Final = {
    Shelf.ASKING: (
        "No question goes without an answer",
        "What several people look for in vain, here, in the help centre or in a conversation, is listed on this page.",
    ),
    Shelf.ACCEPTED: ("Nothing is accepted", "Gaps that an article is to be written for are listed here."),
    Shelf.SNOOZED: ("Nothing is put off", "Gaps that wait until a time are listed here."),
    Shelf.ANSWERED: (
        "Nothing was answered yet",
        "Gaps that a published article answers now are listed here.",
    ),
    Shelf.DISMISSED: ("Nothing is dismissed", "Gaps that nothing is to be written for are listed here."),
    Shelf.FEW: ("Nothing waits for more", "What was asked too seldom to be a gap so far is listed here."),
    Shelf.MERGED: ("Nothing was merged", "Gaps that went into others are listed here."),
    Shelf.FADED: ("Nothing has faded", "Gaps whose questions are no longer kept are listed here."),
}
STATES: Final = {
    CandidateState.ACCEPTED: ("Accepted", "moss", "check"),
    CandidateState.DISMISSED: ("Dismissed", "muted", "x"),
    CandidateState.SNOOZED: ("Put off", "ember", "clock"),
    CandidateState.ANSWERED: ("Answered", "moss", "check"),
    CandidateState.MERGED: ("Merged", "muted", "right"),
    CandidateState.FADED: ("Faded", "muted", "half"),
}
SOURCES: Final = {
    GapSource.PALETTE: "by your team",
    GapSource.HELP_SEARCH: "in the help centre",
    GapSource.HELP_VOTE: "of an article in the help centre",
    GapSource.DRAFT: "in a conversation",
    GapSource.REPLY: "in a conversation",
}
REASONS: Final = {
    GapReason.NOTHING_FOUND: "No article was found",
    GapReason.CASES_ONLY: "Only past cases were found",
    GapReason.NOT_COVERED: "The articles that came near do not answer it",
    GapReason.WEAK: "The articles may not answer it",
    GapReason.NOT_HELPFUL: "An article was found, and did not help",
    GapReason.DISCARDED: "A draft was wrong or incomplete",
    GapReason.EDITED: "A draft was mostly rewritten",
    GapReason.BY_HAND: "Answered by hand, without an article",
}
DISMISSALS: Final = {
    DismissReason.NOT_OURS: "Not what we support",
    DismissReason.ANSWERED: "An article answers it already",
    DismissReason.UNCLEAR: "Not one question",
    DismissReason.RARE: "Too rare to write for",
    DismissReason.OTHER: "Something else",
}
HISTORY: Final = {
    HistoryKind.OPENED: "came up",
    HistoryKind.TOOK: "took in",
    HistoryKind.GAVE: "gave away",
    HistoryKind.MERGED: "was merged",
    HistoryKind.ACCEPTED: "accepted it",
    HistoryKind.DISMISSED: "dismissed it",
    HistoryKind.SNOOZED: "put it off",
    HistoryKind.WOKE: "came back after the time it was put off for",
    HistoryKind.REOPENED: "opened it again",
    HistoryKind.ASSIGNED: "said who sees to it",
    HistoryKind.ASKED_AGAIN: "was asked twice as often since it was dismissed",
    HistoryKind.SUGGESTED: "had an article suggested",
    HistoryKind.PUBLISHED: "published an article for it",
    HistoryKind.ANSWERED: "was asked again, and the article answers it",
    HistoryKind.UNANSWERED: "was asked again, and the article does not answer it yet",
    HistoryKind.FADED: "faded: its questions are no longer kept",
}
SNOOZES: Final = {"week": (7, "For a week"), "month": (30, "For a month"), "quarter": (90, "For three months")}


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/knowledge/gaps", "gaps", gaps)
    one = f"/knowledge/gaps/{GAP}"
    blueprint.add_url_rule(one, "gap", gap)
    for name, view in (
        ("accept", accept),
        ("dismiss", dismiss),
        ("snooze", snooze),
        ("reopen", reopen),
        ("assign", assign),
        ("merge", merge),
    ):
        blueprint.add_url_rule(f"{one}/{name}", f"{name}_gap", view, methods=["POST"])
    blueprint.add_url_rule(f"{one}/suggest", "suggest_from_gap", suggest, methods=["POST"])


@requires(Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_EDIT)
def gaps() -> Response:
    """The gaps of a shelf, those that ask most for an article first."""
    asked = request.args.get("state", "")
    shelf = Shelf(asked) if asked in set(Shelf) else Shelf.ASKING
    with reading() as session:
        found = queries.listed(session, shelf, now(), _after(request.args.get("after")))
        counts = queries.shelf_counts(session)
        reviews_waiting = waiting_count(session)
    return page(
        "gaps.html",
        found=found,
        shelf=shelf,
        after=None if found.after is None else f"{found.after[0]!r}_{found.after[1]}",
        shelf_counts=counts,
        reviews_waiting=reviews_waiting,
        **_words(),
    )


@requires(Permission.KNOWLEDGE_READ, Permission.KNOWLEDGE_EDIT, Permission.CONVERSATIONS_READ)
def gap(gap_id: int) -> Response:
    """One gap: what was asked, where and how often, what happened to it, and what can be decided."""
    return _gap(gap_id)


def _gap(gap_id: int, status: int = 200, trouble: str = "") -> Response:
    may_look = may_open(Permission.CONVERSATIONS_READ)
    found_people = people()[0] if may(Permission.KNOWLEDGE_EDIT) else []
    with reading() as session:
        found = queries.detail(session, gap_id, now())
        suggestion = of_candidate(session, gap_id)
    return page(
        "gap.html",
        status,
        found=found,
        candidate=found.row.candidate,
        people=found_people,
        may_look=may_look,
        suggestion=suggestion,
        suggestion_states=review_words.STATES,
        trouble=trouble,
        **_words(),
    )


@requires(Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_READ, Permission.CONVERSATIONS_READ)
def accept(gap_id: int) -> Response:
    """Say that an article is to be written."""
    note = request.form.get("note", "")
    return _do(gap_id, lambda session: candidates.accept(session, gap_id, actor=actor(), seen=_seen(), note=note))


@requires(Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_READ, Permission.CONVERSATIONS_READ)
def dismiss(gap_id: int) -> Response:
    """Say that nothing is to be written."""
    reason, note = request.form.get("reason", ""), request.form.get("note", "")
    return _do(
        gap_id,
        lambda session: candidates.dismiss(session, gap_id, actor=actor(), reason=reason, seen=_seen(), note=note),
    )


@requires(Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_READ, Permission.CONVERSATIONS_READ)
def snooze(gap_id: int) -> Response:
    """Put it off for some days."""
    days, _ = SNOOZES.get(request.form.get("until", ""), (0, ""))
    until = now() + timedelta(days=days)
    return _do(gap_id, lambda session: candidates.snooze(session, gap_id, actor=actor(), until=until, seen=_seen()))


@requires(Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_READ, Permission.CONVERSATIONS_READ)
def reopen(gap_id: int) -> Response:
    """Take back what was decided."""
    return _do(gap_id, lambda session: candidates.reopen(session, gap_id, actor=actor(), seen=_seen()))


@requires(Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_READ, Permission.CONVERSATIONS_READ)
def assign(gap_id: int) -> Response:
    """Say who sees to it."""
    target = person(request.form.get("to", "me"))
    return _do(gap_id, lambda session: candidates.assign(session, gap_id, actor=actor(), assignee=target, seen=_seen()))


@requires(Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_READ, Permission.CONVERSATIONS_READ)
def merge(gap_id: int) -> Response:
    """Let all its questions go to another."""
    into = request.form.get("into", "")
    into_id = int(into) if re.fullmatch(r"[0-9]{1,18}", into) else 0
    return _do(gap_id, lambda session: candidates.merge(session, gap_id, into_id, actor=actor(), seen=_seen()))


@requires(Permission.KNOWLEDGE_EDIT, Permission.KNOWLEDGE_READ, Permission.CONVERSATIONS_READ)
def suggest(gap_id: int) -> Response:
    """Have an article suggested for it, which is accepted by that."""
    session = current().session()
    try:
        suggestion_id = suggestions.request(session, candidate_id=gap_id, actor=actor()).id
        session.commit()
    except IllegalTransition as refused:
        session.rollback()
        return _gap(gap_id, 409, str(refused))
    return redirect(url_for("cairnloop.review", suggestion_id=suggestion_id), code=303)


def _do(gap_id: int, step: Callable[[Session], GapCandidate]) -> Response:
    """Do it and show the gap as it is then, or say on its page why it was not done."""
    session = current().session()
    try:
        shown = step(session).id
        session.commit()
    except (StaleGap, IllegalTransition) as refused:
        session.rollback()
        return _gap(gap_id, 409, str(refused))
    except InvalidInput as refused:
        session.rollback()
        return _gap(gap_id, 422, refused.message)
    return redirect(url_for("cairnloop.gap", gap_id=shown), code=303)


def _seen() -> int | None:
    """The version that the page showed. A form without one decides blindly, which no page of ours does."""
    value = request.form.get("version", "")
    return int(value) if re.fullmatch(r"[0-9]{1,18}", value) else None


def _after(value: str | None) -> tuple[float, int] | None:
    match = re.fullmatch(r"(-?[0-9]{1,12}(?:\.[0-9]{1,20})?)_([0-9]{1,18})", value or "", re.ASCII)
    return None if match is None else (float(match[1]), int(match[2]))


def _words() -> dict[str, Any]:
    return {
        "shelves": SHELVES,
        "empty_words": EMPTY,
        "states": STATES,
        "sources": SOURCES,
        "reasons": REASONS,
        "dismissals": DISMISSALS,
        "history_words": HISTORY,
        "snoozes": SNOOZES,
        "mostly": _mostly,
        "without_embedder": current().hooks.embedder() is None,
    }


def _mostly(kinds: dict[str, int]) -> str:
    """What there was instead of an answer, most of the time."""
    known = {kind: times for kind, times in kinds.items() if kind in set(GapReason)}
    return REASONS[GapReason(max(known, key=lambda kind: (known[kind], kind)))] if known else ""
