"""Questions without an answer become candidates: gathered by meaning, decided on by people, never lost or doubled."""

from __future__ import annotations

import json
import math
import random
import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from sqlalchemy import func, select, text
from sqlalchemy.exc import DBAPIError
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Customer, Operator, clock, export_customer, forget_customer, receive
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.clock import now
from flask_cairnloop.errors import IllegalTransition, InvalidInput, NotFound, StaleGap
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.jobs.models import Job, JobState
from flask_cairnloop.jobs.registry import chores
from flask_cairnloop.testing import run_jobs
from flask_cairnloop.upkeep import candidates, clustering, queries
from flask_cairnloop.upkeep.jobs import TEND
from flask_cairnloop.upkeep.likeness import Embedded
from flask_cairnloop.upkeep.models import (
    CandidateState,
    GapAsker,
    GapCandidate,
    GapEvent,
    GapHistory,
    GapLink,
    GapQuestion,
    GapQuestionEmbedding,
    GapReason,
    GapSource,
    HistoryKind,
    Shelf,
)
from flask_cairnloop.upkeep.reviews import waiting_counts
from flask_cairnloop.upkeep.service import JOIN, keep, record_gap
from tests.support.gaps import clear

MINA, OMAR = Operator("mina", "Mina Keller"), Operator("omar", "Omar Reyes")
VISITOR = Actor.system("help centre")


class Topics:
    """An embedder that knows a few topics by one word each: what holds it means that, and a little of its own."""

    model = "topics"
    dimensions = 12
    WORDS = ("refund", "invoice", "passkey", "ferret", "harbour", "tuba")

    def __init__(self) -> None:
        self.works = True

    def embed(self, texts: Sequence[str], *, kind: str) -> Sequence[Sequence[float]]:
        if not self.works:
            raise OSError("no network")
        assert kind == "query"
        return [self.vector(words) for words in texts]

    def vector(self, words: str) -> list[float]:
        draw = random.Random(words)  # noqa: S311
        noise = [draw.gauss(0, 0.12) for _ in range(self.dimensions)]
        for place, topic in enumerate(self.WORDS):
            noise[place] += 1.0 if topic in words.lower() else 0.0
        length = math.sqrt(sum(number * number for number in noise))
        return [number / length for number in noise]


@pytest.fixture
def desk(make_app: Callable[..., Flask]) -> Flask:
    """An app whose questions are all its own: what other tests have left behind is put away."""
    app = make_app(EMBEDDER=Topics())
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        clear(session)
        session.commit()
    return app


def within(app: Flask, work: Callable[[Session], Any]) -> Any:
    with app.app_context(), Session(app.extensions["cairnloop"].engine, expire_on_commit=False) as session:
        found = work(session)
        session.commit()
        return found


def ask(app: Flask, question: str, who: str = "", reason: GapReason = GapReason.NOT_COVERED) -> int | None:
    visitor = who or uuid.uuid4().hex

    def keep_it(session: Session) -> int | None:
        event = record_gap(
            session, question, source=GapSource.HELP_SEARCH, reason=reason, actor=VISITOR, visitor=visitor
        )
        return None if event is None else event.id

    found: int | None = within(app, keep_it)
    run_jobs(app)
    return found


def listed(app: Flask, shelf: Shelf = Shelf.ASKING) -> list[tuple[str | None, int, int]]:
    rows = within(app, lambda session: queries.listed(session, shelf, now()).rows)
    return [(row.label, row.candidate.events, row.candidate.askers) for row in rows]


def only(app: Flask, shelf: Shelf = Shelf.ASKING) -> int:
    rows = within(app, lambda session: queries.listed(session, shelf, now()).rows)
    assert len(rows) == 1
    return int(rows[0].candidate.id)


def three_ask(app: Flask) -> int:
    for number, words in enumerate(("How do I get a refund?", "refund of my order, how", "Is a refund possible")):
        ask(app, words, f"visitor {number}")
    return only(app)


# --- gathering --------------------------------------------------------------------------------------------------------


def test_three_people_who_ask_for_the_same_thing_make_one_candidate(desk: Flask) -> None:
    ask(desk, "How do I get a refund?", "one")
    assert listed(desk) == []
    assert listed(desk, Shelf.FEW) == [("How do I get a refund?", 1, 1)]
    ask(desk, "A ferret on the ferry", "one")
    ask(desk, "refund of my order, how", "two")
    ask(desk, "Is a refund possible", "three")
    assert [(events, askers) for _, events, askers in listed(desk)] == [(3, 3)]
    assert len(listed(desk, Shelf.FEW)) == 1
    assert within(desk, waiting_counts)[0] == 1


def test_the_same_person_counts_once_however_often_they_ask(desk: Flask) -> None:
    assert ask(desk, "How do I get a refund?", "one") is not None
    assert ask(desk, "how do I get a REFUND", "one") is None
    event = within(desk, lambda session: session.scalars(select(GapEvent)).one())
    assert event.times == 2
    ask(desk, "refund of my order, how", "one")
    assert [(events, askers) for _, events, askers in listed(desk, Shelf.FEW)] == [(2, 1)]


def test_what_stands_for_people_and_questions_cannot_be_guessed_without_the_key(
    desk: Flask, make_app: Callable[..., Flask]
) -> None:
    ask(desk, "How do I get a refund?", "one")
    event = within(desk, lambda session: session.scalars(select(GapEvent)).one())
    other = make_app(EMBEDDER=Topics())
    other.secret_key = "another"
    assert ask(other, "How do I get a refund?", "one") is not None
    marks = within(desk, lambda session: session.execute(select(GapEvent.fingerprint, GapEvent.asker)).all())
    assert len({mark for row in marks for mark in row}) == 4
    assert all(len(mark) == 64 for row in marks for mark in row)
    assert event.asker != "one"


def test_without_an_embedder_questions_are_gathered_by_their_words(desk: Flask, make_app: Callable[..., Flask]) -> None:
    broken = Topics()
    broken.works = False
    plain = make_app(EMBEDDER=broken)
    ask(plain, "Where is my invoice for March?", "one")
    ask(plain, "Where is the invoice for March", "two")
    ask(plain, "Wo finde ich die Rechnung?", "three")
    assert [(events, askers) for _, events, askers in listed(plain)] == [(2, 2)]
    broken.works = True
    within(plain, lambda session: session.execute(text("UPDATE cairnloop.jobs SET run_at = now()")))
    run_jobs(plain)
    assert within(plain, lambda session: session.scalar(select(func.count()).select_from(GapQuestionEmbedding))) == 3


def test_a_question_of_another_model_is_embedded_again(desk: Flask, make_app: Callable[..., Flask]) -> None:
    three_ask(desk)
    newer = Topics()
    newer.model = "topics of today"  # type: ignore[misc]
    other = make_app(EMBEDDER=newer)
    within(other, lambda session: enqueue(session, TEND, {}))
    run_jobs(other)
    models = within(other, lambda session: set(session.scalars(select(GapQuestionEmbedding.model))))
    assert models == {"topics of today"}
    ask(other, "refund please and thanks", "four")
    assert [(events, askers) for _, events, askers in listed(other)] == [(4, 4)]


def test_a_broken_off_job_and_a_second_run_count_nothing_twice(desk: Flask) -> None:
    event = within(
        desk,
        lambda session: keep(
            session,
            "How do I get a refund?",
            source=GapSource.PALETTE,
            reason=GapReason.NOT_COVERED,
            actor=Actor.operator(MINA),
        ),
    )
    vector = Embedded("topics", Topics().vector("How do I get a refund?"), "public")
    with desk.app_context(), Session(desk.extensions["cairnloop"].engine) as session:
        assert clustering.join(session, event.id, vector) is not None
        session.rollback()  # the worker was killed before its commit
    for _ in range(2):
        within(desk, lambda session: clustering.join(session, event.id, vector))
    assert listed(desk, Shelf.FEW) == [("How do I get a refund?", 1, 1)]
    assert within(desk, lambda session: clustering.join(session, 10**9, vector)) is None


def test_events_that_were_never_counted_are_found_when_a_worker_starts(desk: Flask) -> None:
    event = ask(desk, "How do I get a refund?")
    within(desk, lambda session: session.execute(text("UPDATE cairnloop.gap_events SET question_id = NULL")))
    assert event is not None
    within(desk, lambda session: enqueue(session, TEND, {}))
    run_jobs(desk)
    assert within(desk, lambda session: session.get_one(GapEvent, event).question_id) is not None


def test_many_at_once_are_counted_one_after_another(desk: Flask) -> None:
    def keep_one(number: int) -> int:
        event = within(
            desk,
            lambda session: keep(
                session,
                f"{Topics.WORDS[number % 2]} number {number}",
                source=GapSource.HELP_SEARCH,
                reason=GapReason.NOT_COVERED,
                actor=VISITOR,
                visitor=str(number),
            ),
        )
        return int(event.id)

    ids = [keep_one(number) for number in range(12)]
    barrier, failed = threading.Barrier(3), []

    def count() -> None:
        barrier.wait()
        try:
            for event_id in ids:
                words = within(desk, lambda session, one=event_id: session.get_one(GapEvent, one).question)
                vector = Embedded("topics", Topics().vector(words), "public")
                within(desk, lambda session, one=event_id, v=vector: clustering.join(session, one, v))
        except Exception as fault:
            failed.append(fault)

    threads = [threading.Thread(target=count) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == []
    assert within(desk, check) == 12


# --- deciding ---------------------------------------------------------------------------------------------------------


def test_what_is_decided_is_signed_audited_and_told_in_its_history(desk: Flask) -> None:
    number = three_ask(desk)
    version = within(desk, lambda session: candidates.gathered(session, number)).version
    within(desk, lambda session: candidates.accept(session, number, actor=MINA, seen=version, note="Soon"))
    found = within(desk, lambda session: candidates.gathered(session, number))
    assert (found.state, found.events, found.askers) == (CandidateState.ACCEPTED, 3, 3)
    assert len(found.questions) == 3
    with pytest.raises(StaleGap):
        within(desk, lambda session: candidates.dismiss(session, number, actor=OMAR, reason="rare", seen=version))
    with pytest.raises(IllegalTransition):
        within(desk, lambda session: candidates.accept(session, number, actor=OMAR))
    with pytest.raises(InvalidInput):
        within(desk, lambda session: candidates.dismiss(session, number, actor=OMAR, reason="because"))
    with pytest.raises(NotFound):
        within(desk, lambda session: candidates.accept(session, 10**9, actor=OMAR))
    within(desk, lambda session: candidates.assign(session, number, actor=OMAR, assignee=MINA))
    within(desk, lambda session: candidates.reopen(session, number, actor=OMAR))
    actions = within(
        desk,
        lambda session: session.execute(
            select(AuditEntry.action, AuditEntry.actor_id)
            .where(AuditEntry.subject_type == "gap", AuditEntry.subject_id == number)
            .order_by(AuditEntry.id)
        ).all(),
    )
    assert [tuple(row) for row in actions] == [("gap.accept", "mina"), ("gap.assign", "omar"), ("gap.reopen", "omar")]
    kinds = within(desk, lambda session: [step.kind for step in queries.detail(session, number, now()).history])
    assert kinds[:3] == [HistoryKind.REOPENED, HistoryKind.ASSIGNED, HistoryKind.ACCEPTED]
    with pytest.raises(DBAPIError, match="append-only"):
        within(desk, lambda session: session.execute(text("DELETE FROM cairnloop.gap_history")))


def test_what_was_dismissed_stays_so_and_asks_again_when_it_is_asked_twice_as_often(desk: Flask) -> None:
    number = three_ask(desk)
    within(desk, lambda session: candidates.dismiss(session, number, actor=MINA, reason="rare"))
    assert listed(desk) == []
    for more in range(2):
        ask(desk, f"refund for number {more}")
    assert listed(desk) == []
    assert [(events, askers) for _, events, askers in listed(desk, Shelf.DISMISSED)] == [(5, 5)]
    ask(desk, "refund once more")
    assert only(desk) == number
    candidate = within(desk, lambda session: session.get_one(GapCandidate, number))
    assert candidate.state is CandidateState.DISMISSED
    assert candidate.asks_again_at is not None
    within(desk, lambda session: candidates.dismiss(session, number, actor=MINA, reason="rare"))
    assert listed(desk) == []


def test_what_is_put_off_comes_back_by_itself_and_says_so(desk: Flask) -> None:
    number = three_ask(desk)
    until = now() + timedelta(days=7)
    within(desk, lambda session: candidates.snooze(session, number, actor=MINA, until=until))
    assert listed(desk) == []
    wake = next(one for one in chores() if one.name == "upkeep.wake")
    within(desk, lambda session: wake.function(desk.extensions["cairnloop"], session))
    assert listed(desk) == []
    clock.freeze(until + timedelta(seconds=1))
    try:
        within(desk, lambda session: wake.function(desk.extensions["cairnloop"], session))
    finally:
        clock.freeze(None)
    assert only(desk) == number
    newest = within(desk, lambda session: queries.detail(session, number, now()).history[0])
    assert newest.kind is HistoryKind.WOKE
    with pytest.raises(InvalidInput):
        within(desk, lambda session: candidates.snooze(session, number, actor=MINA, until=now()))


def test_one_is_merged_into_another_with_all_its_questions(desk: Flask) -> None:
    number = three_ask(desk)
    ask(desk, "passkey on a new phone", "one")
    other = only(desk, Shelf.FEW)
    with pytest.raises(InvalidInput):
        within(desk, lambda session: candidates.merge(session, other, other, actor=MINA))
    within(desk, lambda session: candidates.merge(session, other, number, actor=MINA))
    assert [(events, askers) for _, events, askers in listed(desk)] == [(4, 4)]
    assert within(desk, lambda session: candidates.gathered(session, other)).id == number
    ask(desk, "passkey on a new phone", "two")
    assert within(desk, lambda session: session.get_one(GapCandidate, number).events) == 5
    assert within(desk, check) == 5


def test_a_candidate_that_somebody_decided_on_is_not_taken_apart(desk: Flask) -> None:
    number = three_ask(desk)
    ask(desk, "passkey on a new phone", "one")
    within(desk, lambda session: candidates.merge(session, only(desk, Shelf.FEW), number, actor=MINA))
    for more in range(12):
        ask(desk, f"passkey trouble number {more}")
    held = within(
        desk,
        lambda session: set(session.scalars(select(GapQuestion.question).where(GapQuestion.candidate_id == number))),
    )
    assert {"How do I get a refund?", "passkey on a new phone"} <= held


# --- whatever happens -------------------------------------------------------------------------------------------------

STEPS = ("ask", "ask", "ask", "ask", "accept", "dismiss", "snooze", "reopen", "assign", "merge", "again")


def check(session: Session) -> int:
    """What has to be true at every moment. Returns how many events there are."""
    session.flush()
    session.expire_all()
    counted = session.execute(
        select(GapQuestion.candidate_id, func.count(), func.count(GapEvent.asker.distinct()))
        .join(GapEvent, GapEvent.question_id == GapQuestion.id)
        .group_by(GapQuestion.candidate_id)
    ).all()
    by_candidate = {row[0]: (row[1], row[2]) for row in counted}
    for candidate in session.scalars(select(GapCandidate)):
        if candidate.state in (CandidateState.MERGED, CandidateState.FADED):
            assert candidate.questions == 0
            assert candidate.id not in by_candidate
            continue
        held = session.scalar(select(func.count()).where(GapQuestion.candidate_id == candidate.id))
        assert (candidate.questions, candidate.events, candidate.askers) == (held, *by_candidate[candidate.id])
        assert sum(candidate.kinds.values()) == candidate.events
        assert candidate.label_id is not None
    events = session.scalar(select(func.count()).select_from(GapEvent)) or 0
    assert sum(row[1] for row in counted) == events
    most = select(func.count()).select_from(GapLink).group_by(GapLink.question_id)
    assert all(number <= clustering.LINKS for number in session.scalars(most))
    return events


@given(data=st.data())
@hypothesis_settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_every_event_stays_in_exactly_one_candidate_and_decisions_stay_as_they_are(
    desk: Flask, data: st.DataObject
) -> None:
    with desk.app_context(), Session(desk.extensions["cairnloop"].engine) as session:
        decided: dict[int, CandidateState] = {}
        for number in range(data.draw(st.integers(5, 45), label="steps")):
            step = data.draw(st.sampled_from(STEPS), label="step")
            standing = [
                row.id
                for row in session.scalars(select(GapCandidate).order_by(GapCandidate.id))
                if row.state in candidates.STANDING
            ]
            if step in ("ask", "again") or not standing:
                topic = data.draw(st.sampled_from(Topics.WORDS))
                words = f"{topic} question {data.draw(st.integers(0, 40))}"
                event = keep(
                    session,
                    words,
                    source=GapSource.HELP_SEARCH,
                    reason=data.draw(st.sampled_from(GapReason)),
                    actor=VISITOR,
                    visitor=str(number % 7),
                )
                if event is not None:
                    vector = Embedded("topics", Topics().vector(words), "public")
                    joined = clustering.join(session, event.id, vector)
                    assert joined is not None
                    if step == "again":
                        assert clustering.join(session, event.id, vector) is None
            else:
                one = data.draw(st.sampled_from(standing))
                try:
                    match step:
                        case "accept":
                            candidates.accept(session, one, actor=MINA)
                            decided[one] = CandidateState.ACCEPTED
                        case "dismiss":
                            candidates.dismiss(session, one, actor=MINA, reason="other")
                            decided[one] = CandidateState.DISMISSED
                        case "snooze":
                            candidates.snooze(session, one, actor=MINA, until=now() + timedelta(days=1))
                            decided[one] = CandidateState.SNOOZED
                        case "reopen":
                            candidates.reopen(session, one, actor=MINA)
                            decided[one] = CandidateState.OPEN
                        case "assign":
                            candidates.assign(session, one, actor=MINA, assignee=OMAR)
                        case "merge":
                            into = data.draw(st.sampled_from(standing))
                            if into != one:
                                candidates.merge(session, one, into, actor=MINA)
                                decided[one] = CandidateState.MERGED
                except IllegalTransition:
                    pass
            check(session)
            for one, state in decided.items():
                assert session.get_one(GapCandidate, one).state is state
        session.rollback()


# --- people and time --------------------------------------------------------------------------------------------------


def test_a_forgotten_customer_takes_their_words_and_leaves_the_count(desk: Flask) -> None:
    customer = Customer(f"ref-{uuid.uuid4().hex[:8]}", "Zelda Quill")

    def theirs(session: Session) -> None:
        message = receive(session, customer=customer, body="Hello", channel="widget")
        record_gap(
            session,
            "A refund for my unmistakable zeppelin",
            source=GapSource.DRAFT,
            reason=GapReason.WEAK,
            actor=Actor.system("test"),
            conversation_id=message.conversation_id,
        )

    within(desk, theirs)
    within(desk, lambda session: session.execute(text("DELETE FROM cairnloop.jobs WHERE name LIKE 'drafting%'")))
    run_jobs(desk)
    ask(desk, "refund of my order, how")
    number = only(desk)
    assert len(within(desk, lambda session: export_customer(session, customer.ref))["gaps"]) == 1
    asker = within(desk, lambda session: session.scalars(select(GapEvent.asker).order_by(GapEvent.id)).first())
    within(desk, lambda session: forget_customer(session, customer.ref, actor=OMAR))
    assert [(events, askers) for _, events, askers in listed(desk)] == [(2, 2)]
    detail = within(desk, lambda session: queries.detail(session, number, now()))
    assert detail.row.label == "refund of my order, how"
    assert {one.question for one in detail.questions} == {None, "refund of my order, how"}
    left = within(
        desk,
        lambda session: (
            session.scalar(select(func.count()).where(GapAsker.asker == asker)),
            session.scalar(select(func.count()).select_from(GapQuestionEmbedding)),
            session.scalar(select(func.count()).select_from(GapLink)),
        ),
    )
    assert left == (0, 1, 0)


def test_words_that_others_have_asked_as_well_stay(desk: Flask) -> None:
    customer = Customer(f"ref-{uuid.uuid4().hex[:8]}", "Zelda Quill")
    about = {"source": GapSource.REPLY, "reason": GapReason.BY_HAND, "actor": Actor.system("test")}
    conversation = within(desk, lambda s: receive(s, customer=customer, body="Hello", channel="widget").conversation_id)
    within(desk, lambda s: record_gap(s, "How do I get a refund?", conversation_id=conversation, **about) and None)
    within(desk, lambda session: session.execute(text("DELETE FROM cairnloop.jobs WHERE name LIKE 'drafting%'")))
    run_jobs(desk)
    ask(desk, "how do i get a refund")
    within(desk, lambda session: forget_customer(session, customer.ref, actor=OMAR))
    assert listed(desk) == [("How do I get a refund?", 2, 2)]


def test_what_is_older_than_its_retention_fades_and_its_history_stays(desk: Flask) -> None:
    number = three_ask(desk)
    ask(desk, "passkey on a new phone")
    within(
        desk,
        lambda session: session.execute(
            text(
                "UPDATE cairnloop.gap_events SET occurred_at = now() - interval '2 years',"
                " last_at = now() - interval '2 years' WHERE question LIKE '%refund%'"
            )
        ),
    )
    prune = next(one for one in chores() if one.name == "upkeep.prune")
    within(desk, lambda session: prune.function(desk.extensions["cairnloop"], session))
    assert listed(desk) == []
    assert within(desk, lambda session: session.get_one(GapCandidate, number).state) is CandidateState.FADED
    assert within(desk, lambda session: session.scalar(select(func.count()).select_from(GapQuestion))) == 1
    newest = within(desk, lambda session: session.scalars(select(GapHistory).order_by(GapHistory.id.desc())).first())
    assert (newest.candidate_id, newest.kind) == (number, HistoryKind.FADED)


def test_the_command_measures_and_leaves_nothing_behind(desk: Flask, tmp_path: Path) -> None:
    rows = [{"text": f"{word} case {n}", "label": word} for n in range(8) for word in Topics.WORDS[:4]]
    file = tmp_path / "labelled.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    answer = desk.test_cli_runner().invoke(args=["cairnloop", "eval", "clusters", str(file), "--json"])
    figures = json.loads(answer.stdout.splitlines()[-1])
    assert set(figures) == {"v_measure", "adjusted_rand", "clusters", "labels", "n", "seconds"}
    assert (figures["n"], figures["labels"]) == (32, 4)
    assert figures["v_measure"] > 0.9
    assert figures["adjusted_rand"] > 0.9
    assert within(desk, lambda session: session.scalar(select(func.count()).select_from(GapEvent))) == 0
    assert (
        within(desk, lambda s: s.scalar(select(func.count()).where(Job.name == JOIN, Job.state != JobState.SUCCEEDED)))
        == 0
    )
    file.write_text("{}")
    assert desk.test_cli_runner().invoke(args=["cairnloop", "eval", "clusters", str(file)]).exit_code == 1
