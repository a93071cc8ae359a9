"""The steps of a suggestion: which state allows what, whose approval counts, and what it collides with."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final

import pytest
from flask import Flask
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Customer, Declined, forget_customer, reply
from flask_cairnloop.clock import now
from flask_cairnloop.errors import Conflict, HandoffOver, IllegalTransition, InvalidInput, OwnWords, StaleSuggestion
from flask_cairnloop.knowledge import service as knowledge
from flask_cairnloop.knowledge.service import Words
from flask_cairnloop.testing import run_jobs
from flask_cairnloop.upkeep import handoffs, suggestions
from flask_cairnloop.upkeep.reviews import LANE_OF, Lane, counts, waiting_count
from flask_cairnloop.upkeep.suggestion_models import (
    ArticleSuggestion,
    SuggestionHandoff,
    SuggestionHistory,
    SuggestionKind,
    SuggestionState,
)
from flask_cairnloop.upkeep.suggestions import STEPS
from flask_cairnloop.upkeep.writing import Brief, Source, SourceKind
from tests.console.conftest import Desk
from tests.support.host import OPERATORS

S, ARTICLE = SuggestionState, SuggestionKind.ARTICLE
MINA, OMAR = Actor.operator(OPERATORS["mina"]), Actor.operator(OPERATORS["omar"])
TEXT: Final = "Ferrets may ride.\n\nBring a basket.\n\nIt costs nothing."
MINE, THEIRS = TEXT.replace("a basket", "a closed basket"), TEXT.replace("nothing", "one coin")
EDITED = Words("", "Ferrets", "Written by hand.")

# What a person or a job does, for each step. What is found while approving has tests of its own.
DOES: Final[dict[str, Callable[[Session, int], object]]] = {
    "be written again": lambda s, n: suggestions.regenerate(s, n, actor=MINA, drop_edits=True),
    "be edited": lambda s, n: suggestions.edit(s, n, EDITED, actor=MINA),
    "be approved": lambda s, n: suggestions.approve(s, n, actor=OMAR),
    "go back": lambda s, n: suggestions.return_for_changes(s, n, actor=OMAR, note="Say more"),
    "be rejected": lambda s, n: suggestions.reject(s, n, actor=OMAR, reason="other"),
    "be deferred": lambda s, n: suggestions.defer(s, n, actor=OMAR, until=now() + timedelta(days=7)),
    "be opened again": lambda s, n: suggestions.reopen(s, n, actor=OMAR),
    "be published": lambda s, n: suggestions.publish(s, n, actor=OMAR),
}


@dataclass
class Kept:
    """A suggestion of a test."""

    at_the_desk: Callable[..., Any]
    number: int
    article_id: int = 0

    def do(self, step: str) -> None:
        self.at_the_desk(lambda session: DOES[step](session, self.number) and None)

    def row(self) -> ArticleSuggestion:
        found: ArticleSuggestion = self.at_the_desk(lambda session: session.get(ArticleSuggestion, self.number))
        return found

    def facts(self) -> tuple[Any, ...]:
        """All that may not change where a step is refused."""
        row = self.row()
        steps = self.at_the_desk(
            lambda session: session.scalars(
                select(SuggestionHistory.step).where(SuggestionHistory.suggestion_id == self.number)
            ).all()
        )
        return (row.state, row.version, row.digest, row.body, row.note, row.decided_by, tuple(steps))


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


@pytest.fixture
def make(desk: Desk, at_the_desk: Callable[..., Any]) -> Callable[..., Kept]:
    """``make(state)`` has a suggestion of a gap of its own come into a state, by the steps that lead there."""

    def kept(state: SuggestionState = S.PENDING) -> Kept:
        gap = desk.gap()
        if state in (S.GENERATING, S.FAILED):
            number = at_the_desk(lambda s: suggestions.request(s, candidate_id=gap, actor=MINA).id)
            found = Kept(at_the_desk, number)
            if state is S.FAILED:
                at_the_desk(lambda s: suggestions.failed(s, s.get(ArticleSuggestion, number), "Nothing was found."))
            return found
        found = revised(desk, at_the_desk) if state in (S.STALE, S.CONFLICT) else Kept(at_the_desk, desk.suggestion())
        if state in (S.STALE, S.CONFLICT):
            rewrite(found, THEIRS, draft=state is S.CONFLICT)
        way = {
            S.CHANGES: ("go back",),
            S.DEFERRED: ("be deferred",),
            S.STALE: ("be approved",),
            S.CONFLICT: ("be approved",),
            S.APPROVED: ("be approved",),
            S.REJECTED: ("be rejected",),
            S.PUBLISHED: ("be approved", "be published"),
        }
        for step in way.get(state, ()):
            found.do(step)
        return found

    return kept


def revised(desk: Desk, at_the_desk: Callable[..., Any], body: str = MINE) -> Kept:
    """A change of an article of its own."""

    def publish(session: Session) -> int:
        made = knowledge.create_article(session, Words("", "Ferrets", TEXT), actor=MINA)
        knowledge.publish(session, made.id, actor=MINA)
        return made.id

    article_id = at_the_desk(publish)
    return Kept(at_the_desk, desk.suggestion(article_id=article_id, title="Ferrets", body=body), article_id)


def rewrite(kept: Kept, body: str, *, draft: bool = False) -> None:
    """Omar changes the article meanwhile."""

    def change(session: Session) -> None:
        found = session.get_one(knowledge.Article, kept.article_id)
        words = Words(found.slug, "Ferrets", body)
        knowledge.edit_article(session, found.id, words, edits=found.edits, actor=OMAR)
        if not draft:
            knowledge.publish(session, found.id, actor=OMAR)

    kept.at_the_desk(change)


@pytest.mark.parametrize("state", list(S))
def test_a_state_allows_its_steps_and_refuses_all_others_without_a_change(
    make: Callable[..., Kept], state: SuggestionState
) -> None:
    kept = make(state)
    assert kept.row().state is state
    before = kept.facts()
    for step in DOES:
        if state not in STEPS[step][0]:
            with pytest.raises(Conflict):
                kept.do(step)
            assert kept.facts() == before, step
    for step in DOES:
        if state in STEPS[step][0]:
            another = make(state)
            another.do(step)
            assert another.row().state is STEPS[step][1], step


def test_every_state_stands_in_one_list_and_those_that_wait_are_counted(at_the_desk: Callable[..., Any]) -> None:
    assert set(LANE_OF) == set(S)
    assert at_the_desk(waiting_count) == at_the_desk(counts)[Lane.REVIEW]


def test_who_reviews_it_is_said_while_it_is_written_and_keeps_nobody_from_writing(
    app: Flask, desk: Desk, at_the_desk: Callable[..., Any]
) -> None:
    gap = desk.gap()
    number = at_the_desk(lambda s: suggestions.request(s, candidate_id=gap, kind=ARTICLE, actor=MINA).id)
    kept = Kept(at_the_desk, number)
    kept.at_the_desk(lambda s: suggestions.assign(s, number, actor=MINA, reviewer=OPERATORS["omar"]) and None)
    run_jobs(app)
    row = kept.row()
    assert (row.state, row.reviewer_id) == (S.PENDING, "omar")
    seen = row.version
    kept.at_the_desk(lambda s: suggestions.assign(s, number, actor=OMAR, reviewer=None) and None)
    # The words are those that whoever writes in it, or decides, has before them.
    kept.at_the_desk(lambda s: suggestions.edit(s, number, EDITED, actor=MINA, seen=seen) and None)
    assert kept.row().body == EDITED.body


def test_of_two_who_name_a_reviewer_the_later_learns_of_the_other(make: Callable[..., Kept]) -> None:
    kept = make()

    def give(to: str, had: str) -> None:
        reviewer = OPERATORS[to]
        kept.at_the_desk(lambda s: suggestions.assign(s, kept.number, actor=MINA, reviewer=reviewer, had=had) and None)

    give("omar", had="")
    with pytest.raises(StaleSuggestion):
        give("oncall", had="")
    assert kept.row().reviewer_id == "omar"
    give("omar", had="")  # that is what was wanted
    give("oncall", had="omar")
    assert kept.row().reviewer_id == "oncall"


@pytest.mark.parametrize("from_them", [False, True])
def test_who_is_forgotten_while_it_is_written_again_leaves_it_written(
    app: Flask, desk: Desk, at_the_desk: Callable[..., Any], from_them: bool
) -> None:
    who = f"cleo-{uuid.uuid4().hex[:8]}"
    theirs = desk.ask("May my ferret drive?", customer=Customer(who, "Cleo Marsh"))
    source = Source(1, SourceKind.CASE, "A ferret drives", "", "It may not drive.", conversation_id=theirs)
    origin = {"conversation_id": theirs} if from_them else {}
    number = desk.suggestion(sources=(source,), claims={"It may not drive.": [1]}, **origin)
    kept = Kept(at_the_desk, number)
    kept.do("be written again")
    kept.at_the_desk(lambda s: forget_customer(s, who, actor=MINA) and None)
    run_jobs(app)
    row = kept.row()
    assert row.state is (S.FAILED if from_them else S.PENDING)  # of the one that came from them nothing is asked now
    assert "drive" not in row.body


def test_who_is_forgotten_while_a_writer_is_asked_is_not_written_of(
    make_app: Callable[..., Flask], desk: Desk, at_the_desk: Callable[..., Any]
) -> None:
    who = f"cleo-{uuid.uuid4().hex[:8]}"
    theirs = desk.ask("May my ferret drive the night bus?", customer=Customer(who, "Cleo Marsh"))
    at_the_desk(lambda s: reply(s, theirs, body="It may not drive, however well it steers.", actor=OMAR) and None)
    told = []

    def writer(brief: Brief) -> Declined:
        if not told:
            at_the_desk(lambda s: forget_customer(s, who, actor=MINA) and None)
        told.append(brief.sources)
        return Declined("Not today.")  # so that the built-in engine writes

    number = at_the_desk(lambda s: suggestions.request(s, conversation_id=theirs, kind=ARTICLE, actor=MINA).id)
    run_jobs(make_app(ARTICLE_WRITER=writer))
    assert "steers" in told[0][0].content  # it was asked with their words
    row = Kept(at_the_desk, number).row()
    assert (row.state, row.title, row.body, row.sources) == (S.FAILED, "", "", [])


def test_what_is_edited_after_its_approval_is_approved_again_before_it_is_published(
    make: Callable[..., Kept],
) -> None:
    kept = make(S.APPROVED)
    kept.do("be edited")
    with pytest.raises(IllegalTransition):
        kept.do("be published")
    kept.do("be approved")
    kept.do("be published")
    row = kept.row()
    body = kept.at_the_desk(lambda s: knowledge.published_revision(s, row.article_id).body)
    assert body == EDITED.body


def test_a_second_person_is_somebody_who_neither_asked_nor_wrote(
    make_app: Callable[..., Flask], make: Callable[..., Kept]
) -> None:
    app = make_app(REVIEW_SECOND_PERSON=True)
    kept = make()

    def approve(who: Actor) -> None:
        with app.app_context(), Session(app.extensions["cairnloop"].engine) as session:
            suggestions.approve(session, kept.number, actor=who)
            session.commit()

    with pytest.raises(OwnWords):
        approve(MINA)
    kept.at_the_desk(lambda s: suggestions.edit(s, kept.number, EDITED, actor=OMAR) and None)
    for who in (MINA, OMAR):
        with pytest.raises(OwnWords):
            approve(who)
    assert kept.row().state is S.PENDING
    approve(Actor.operator(OPERATORS["oncall"]))
    assert kept.row().state is S.APPROVED


@pytest.mark.parametrize("draft", [False, True])
def test_what_does_not_touch_the_same_is_brought_together_by_itself(
    desk: Desk, at_the_desk: Callable[..., Any], *, draft: bool
) -> None:
    kept = revised(desk, at_the_desk)
    rewrite(kept, THEIRS, draft=draft)
    kept.do("be approved")
    assert kept.row().state is (S.CONFLICT if draft else S.STALE)
    at_the_desk(lambda s: suggestions.bring_up_to_date(s, kept.number, actor=MINA) and None)
    for step in ("be approved", "be published"):
        kept.do(step)
    body = at_the_desk(lambda s: knowledge.published_revision(s, kept.article_id).body)
    assert body == MINE.replace("nothing", "one coin")


@pytest.mark.parametrize("draft", [False, True])
def test_where_both_changed_the_same_somebody_chooses(
    desk: Desk, at_the_desk: Callable[..., Any], *, draft: bool
) -> None:
    kept = revised(desk, at_the_desk)
    rewrite(kept, TEXT.replace("a basket", "a cage"), draft=draft)
    kept.do("be approved")
    before = kept.facts()
    with pytest.raises(InvalidInput):
        at_the_desk(lambda s: suggestions.bring_up_to_date(s, kept.number, actor=MINA))
    assert kept.facts() == before
    found = at_the_desk(lambda s: suggestions.collision(s, s.get(ArticleSuggestion, kept.number)))
    place = next(number for number, piece in enumerate(found.pieces) if piece.choice is None)
    chosen = {f"p{place}": "theirs"}
    at_the_desk(lambda s: suggestions.bring_up_to_date(s, kept.number, actor=OMAR, chosen=chosen) and None)
    row = kept.row()
    assert row.state is S.PENDING
    assert row.body == TEXT.replace("a basket", "a cage")
    assert row.authors == ["mina", "omar"]


def test_a_draft_that_is_left_out_is_published_over_and_one_that_came_later_is_not(
    desk: Desk, at_the_desk: Callable[..., Any]
) -> None:
    kept = revised(desk, at_the_desk)
    rewrite(kept, TEXT.replace("a basket", "a cage"), draft=True)
    kept.do("be approved")
    leave = {"actor": MINA, "replace_draft": True}
    at_the_desk(lambda s: suggestions.bring_up_to_date(s, kept.number, **leave) and None)
    assert kept.row().body == MINE
    kept.do("be approved")
    rewrite(kept, TEXT.replace("a basket", "a crate"), draft=True)
    kept.do("be published")
    assert kept.row().state is S.CONFLICT
    assert at_the_desk(lambda s: knowledge.published_revision(s, kept.article_id).body) == TEXT


def test_a_draft_that_was_thrown_away_is_in_nobodys_way_any_more(desk: Desk, at_the_desk: Callable[..., Any]) -> None:
    kept = revised(desk, at_the_desk)
    rewrite(kept, THEIRS, draft=True)
    kept.do("be approved")

    def discard(session: Session) -> None:
        article = session.get_one(knowledge.Article, kept.article_id)
        knowledge.discard_draft(session, article.id, edits=article.edits, actor=OMAR)

    at_the_desk(discard)
    at_the_desk(lambda s: suggestions.bring_up_to_date(s, kept.number, actor=MINA) and None)
    for step in ("be approved", "be published"):
        kept.do(step)
    assert kept.row().state is S.PUBLISHED


def test_of_two_who_approve_at_once_one_does(app: Flask, make: Callable[..., Kept]) -> None:
    kept = make()
    seen, barrier, done = kept.row().version, threading.Barrier(2), []

    def approve(who: Actor) -> None:
        with app.app_context(), Session(app.extensions["cairnloop"].engine) as session:
            barrier.wait(10)
            try:
                suggestions.approve(session, kept.number, actor=who, seen=seen)
                session.commit()
                done.append(who.id)
            except Conflict:
                done.append("")

    both = [threading.Thread(target=approve, args=(who,)) for who in (MINA, OMAR)]
    for one in both:
        one.start()
    for one in both:
        one.join(20)
    assert sorted(map(bool, done)) == [False, True]
    assert kept.row().decided_by == max(done)


# --- the way into the editor ------------------------------------------------------------------------------------------


def take(kept: Kept, token: str, who: str = "mina", of: int = 0) -> None:
    kept.at_the_desk(lambda s: handoffs.take(s, token, suggestion_id=of or kept.number, operator_id=who))


def entered(kept: Kept, who: str = "mina") -> SuggestionHandoff | None:
    found: SuggestionHandoff | None = kept.at_the_desk(lambda s: handoffs.session_of(s, kept.number, who))
    return found


def test_a_link_into_the_editor_works_once_for_one_and_for_one_suggestion(make: Callable[..., Kept]) -> None:
    kept, other = make(), make()
    token = kept.at_the_desk(lambda s: handoffs.offer(s, kept.number, operator_id="mina"))
    for wrong in ({"who": "omar"}, {"of": other.number}):
        with pytest.raises(HandoffOver):
            take(kept, token, **wrong)
    for tampered in (token[:-2] + "xx", token.replace(".", "", 1), "", "a\x00b"):
        with pytest.raises(HandoffOver):
            take(kept, tampered)
    assert entered(kept) is None
    take(kept, token)
    with pytest.raises(HandoffOver):
        take(kept, token)
    assert entered(kept) is not None
    assert entered(kept, "omar") is None


def test_a_link_into_the_editor_is_over_after_half_an_hour_and_what_it_opened_after_a_day(
    make: Callable[..., Kept],
) -> None:
    kept = make()

    def move(column: str, back: str) -> None:
        statement = text(
            f"UPDATE cairnloop.suggestion_handoffs SET {column} = {column} - CAST(:back AS interval)"
            " WHERE suggestion_id = :number"
        )
        kept.at_the_desk(lambda s: s.execute(statement, {"back": back, "number": kept.number}) and None)

    token = kept.at_the_desk(lambda s: handoffs.offer(s, kept.number, operator_id="mina"))
    move("expires_at", "31 minutes")
    with pytest.raises(HandoffOver):
        take(kept, token)
    take(kept, kept.at_the_desk(lambda s: handoffs.offer(s, kept.number, operator_id="mina")))
    move("used_at", "11 hours")
    assert entered(kept) is not None
    move("used_at", "2 hours")
    assert entered(kept) is None
    move("expires_at", "13 hours")
    kept.at_the_desk(handoffs.prune)
    left = text("SELECT count(*) FROM cairnloop.suggestion_handoffs WHERE suggestion_id = :number")
    assert kept.at_the_desk(lambda s: s.scalar(left, {"number": kept.number})) == 0


def test_a_link_signed_with_a_key_that_is_being_changed_is_still_good(
    make_app: Callable[..., Flask], make: Callable[..., Kept]
) -> None:
    kept = make()
    old = make_app()
    token = _with(old, lambda s: handoffs.offer(s, kept.number, operator_id="mina"))
    changed = make_app()
    changed.config["SECRET_KEY_FALLBACKS"], changed.secret_key = [old.secret_key], "another" * 6
    _with(changed, lambda s: handoffs.take(s, token, suggestion_id=kept.number, operator_id="mina"))
    assert entered(kept) is not None


def _with(app: Flask, work: Callable[[Session], Any]) -> Any:
    with app.app_context(), Session(app.extensions["cairnloop"].engine) as session:
        done = work(session)
        session.commit()
        return done
