"""Lists: what an address asks for, what stands in them, and what several at once do and take back."""

from __future__ import annotations

import uuid
from dataclasses import replace
from datetime import date, timedelta
from urllib.parse import parse_qsl, urlencode

import pytest
from flask import Flask
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy import text
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from flask_cairnloop import Customer, Operator, receive, reply, resolve
from flask_cairnloop.actors import Actor
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import bulk, lists, queries, triage
from flask_cairnloop.conversations.bulk import Does, Step
from flask_cairnloop.conversations.filters import Filter, Sort, View
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, Priority
from flask_cairnloop.errors import Conflict, Forbidden, InvalidInput, NotFound
from flask_cairnloop.paging import Cursor
from flask_cairnloop.privacy.service import forget
from flask_cairnloop.testing import frozen

MINA, OMAR = Operator("mina", "Mina Keller"), Operator("omar", "Omar Reyes")
ACTOR, OTHER = Actor.operator(MINA), Actor.operator(OMAR)

DAYS = st.none() | st.dates(date(2000, 1, 1), date(2200, 12, 31))
WORDS = st.text(st.characters(categories=("L", "N")), max_size=20)
FILTERS = st.builds(
    Filter,
    view=st.sampled_from(View),
    assignee=WORDS,
    team=WORDS,
    tags=st.lists(st.integers(1, 2**63 - 1), max_size=5, unique=True).map(tuple),
    priority=st.none() | st.sampled_from(Priority),
    channel=WORDS,
    since=DAYS,
    until=DAYS,
    text=WORDS,
    sort=st.none() | st.sampled_from(Sort),
)


def parsed(query: str) -> Filter:
    return Filter.parse(MultiDict(parse_qsl(query)))


@given(FILTERS)
def test_what_an_address_says_is_the_list_that_wrote_it(asked: Filter) -> None:
    once = parsed(urlencode(asked.args(), doseq=True))
    assert parsed(urlencode(once.args(), doseq=True)) == once
    assert (once.view, once.tags, once.priority, once.sort, once.since) == (
        asked.view,
        asked.tags,
        asked.priority,
        asked.sort,
        asked.since,
    )


@given(st.dictionaries(st.sampled_from(["view", "assignee", "tag", "priority", "since", "q", "sort"]), st.text()))
def test_nonsense_in_an_address_is_a_list_all_the_same(said: dict[str, str]) -> None:
    asked = Filter.parse(MultiDict(said))
    assert parsed(urlencode(asked.args(), doseq=True)) == asked


def ask(session: Session, body: str = "Hello there", name: str | None = None) -> int:
    customer = Customer(f"c-{uuid.uuid4().hex[:10]}", name)
    message = receive(session, customer=customer, body=body, channel="widget")
    session.commit()
    return message.conversation_id


def found(session: Session, asked: Filter, limit: int = 50) -> list[int]:
    """All of a list, page by page."""
    ids: list[int] = []
    after: Cursor | None = None
    for _ in range(100):
        page = queries.inbox_page(session, asked, "mina", after=after, limit=limit)
        ids += [row.conversation.id for row in page.rows]
        if page.after is None:
            return ids
        after = Cursor.parse(str(page.after))
    raise AssertionError("a list without an end")


def test_each_state_holds_what_its_name_says_and_no_other(session: Session) -> None:
    new, ours, theirs, asleep, done, spam = (ask(session) for _ in range(6))
    reply(session, ours, actor=MINA, body="One moment.")
    person = session.get_one(Conversation, ours)
    receive(
        session,
        customer=Customer(queries.conversation_with_customer(session, person.id)[1].ref),
        body="Well?",
        channel="widget",
        conversation_id=ours,
    )
    reply(session, theirs, actor=MINA, body="Here.")
    triage.snooze(session, asleep, actor=MINA, until=now() + timedelta(days=1))
    resolve(session, done, actor=MINA)
    triage.mark_spam(session, spam, actor=MINA)
    session.commit()
    made = {new, ours, theirs, asleep, done, spam}
    expected = {
        View.NEW: {new},
        View.WAITING: {new, ours},
        View.WAITING_ON_THEM: {theirs},
        View.SNOOZED: {asleep},
        View.OPEN: {new, ours, theirs, asleep},
        View.RESOLVED: {done},
        View.SPAM: {spam},
        View.ALL: made,
    }
    for view, ids in expected.items():
        assert made & set(found(session, Filter(view))) == ids, view
        for id_ in made:
            assert queries.stands_in(session, id_, Filter(view), "mina") is (id_ in ids), (view, id_)


def test_filters_narrow_alone_and_together_in_every_order(session: Session) -> None:
    made = [ask(session, f"Question {n}") for n in range(8)]
    late = triage.tag_named(session, f"Late {uuid.uuid4().hex[:6]}").id
    for id_ in made[:4]:
        triage.tag(session, id_, actor=MINA, tag_id=late)
    for id_ in made[2:6]:
        triage.claim(session, id_, operator=MINA)
    triage.set_priority(session, made[3], actor=MINA, priority=Priority.URGENT)
    triage.set_team(session, made[3], actor=MINA, team="Billing")
    session.commit()
    ours = set(made)

    def of(**terms: object) -> list[int]:
        asked = replace(Filter(View.OPEN), **terms)  # type: ignore[arg-type]
        ids = [id_ for id_ in found(session, asked, limit=2) if id_ in ours]
        for id_ in made:
            assert queries.stands_in(session, id_, asked, "mina") is (id_ in ids)
        return ids

    assert set(of(tags=(late,))) == set(made[:4])
    assert set(of(assignee="me")) == set(made[2:6])
    assert set(of(assignee="nobody")) == {*made[:2], *made[6:]}
    assert of(assignee="omar") == []
    assert of(tags=(late,), assignee="me", priority=Priority.URGENT) == [made[3]]
    assert of(team="Billing") == [made[3]]
    assert set(of(channel="widget")) == ours
    assert of(channel="host") == []
    today = now().date()
    assert set(of(since=today, until=today)) == ours
    assert of(until=today - timedelta(days=1)) == []
    assert of(tags=(late,), sort=Sort.PRIORITY)[0] == made[3]
    assert of(tags=(late,), sort=Sort.NEWEST) == made[:4][::-1]
    assert of(tags=(late,), sort=Sort.WAITING) == made[:4]


def test_a_walk_over_what_fits_nothing_stops_and_goes_on(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    made = [ask(session) for _ in range(9)]
    triage.set_priority(session, made[0], actor=MINA, priority=Priority.LOW)
    session.commit()
    monkeypatch.setattr(queries, "WINDOW", 3)
    asked = Filter(View.OPEN, priority=Priority.LOW)
    page = queries.inbox_page(session, asked, "mina")
    assert (page.rows, page.stopped) == ((), True)
    assert made[0] in found(session, asked)


def test_a_search_finds_what_was_said_and_forgets_with_the_customer(session: Session) -> None:
    word = f"w{uuid.uuid4().hex[:12]}"
    customer = Customer(f"c-{uuid.uuid4().hex[:8]}", f"Nora {word}x")
    message = receive(session, customer=customer, body=f"First line\nand {word}y below", channel="widget")
    said = message.conversation_id
    reply(session, said, actor=MINA, body=f"See {word}z.")
    session.commit()
    for end in "xyz":
        assert found(session, Filter(View.ALL, text=f"{word}{end}")) == [said], end
        assert queries.stands_in(session, said, Filter(View.OPEN, text=f"{word}{end}"), "mina")
    assert found(session, Filter(View.RESOLVED, text=f"{word}y")) == []
    forget(session, customer.ref, actor=MINA)
    session.commit()
    for end in "xyz":
        assert found(session, Filter(View.ALL, text=f"{word}{end}")) == []


def test_a_word_that_is_everywhere_is_sought_among_the_newest(
    session: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = [ask(session, "Parcelwords everywhere") for _ in range(5)]
    monkeypatch.setattr(queries, "WINDOW", 3)
    monkeypatch.setattr(queries, "TEXT_WINDOW", 2)
    assert found(session, Filter(View.OPEN, text="parcelwords")) == made[::-1]


def test_counts_say_what_the_lists_hold(session: Session) -> None:
    made = [ask(session) for _ in range(3)]
    tag = triage.tag_named(session, f"T{uuid.uuid4().hex[:6]}").id
    for id_ in made:
        triage.tag(session, id_, actor=MINA, tag_id=tag)
    triage.claim(session, made[0], operator=MINA)
    session.commit()
    asked = [
        Filter(View.OPEN, tags=(tag,)),
        Filter(View.WAITING, tags=(tag,), assignee="me"),
        Filter(View.OPEN, tags=(tag,), priority=Priority.LOW),
        Filter(View.DRAFT_READY, tags=(tag,)),
        Filter(View.OPEN, text="hello"),
    ]
    assert queries.list_counts(session, asked, "mina") == [3, 1, 0, 0, None]


# --- saved ---


def test_a_saved_list_is_ones_own_or_everybodys(session: Session) -> None:
    asked = Filter(View.OPEN, assignee="nobody", priority=Priority.URGENT)
    mine = lists.save(session, asked, " Urgent,  free ", actor=ACTOR, shared=False)
    ours = lists.save(session, asked, "Everybody's", actor=ACTOR, shared=True)
    session.commit()
    assert lists.filter_of(mine) == asked
    assert [view.id for view in lists.saved(session, "mina")] == [mine.id, ours.id]
    assert [view.id for view in lists.saved(session, "omar")] == [ours.id]
    with pytest.raises(NotFound):
        lists.delete(session, mine.id, actor=OTHER, may_share=True)
    with pytest.raises(Forbidden):
        lists.delete(session, ours.id, actor=OTHER, may_share=False)
    lists.delete(session, ours.id, actor=OTHER, may_share=True)
    session.commit()
    assert [view.id for view in lists.saved(session, "omar")] == []


@pytest.mark.parametrize(("name", "words"), [("", ""), ("x" * 61, ""), ("Cleo's", "cleo marsh")])
def test_what_is_no_list_to_keep_is_refused(session: Session, name: str, words: str) -> None:
    with pytest.raises(InvalidInput):
        lists.save(session, Filter(text=words), name, actor=ACTOR, shared=False)


# --- several at once ---


def test_what_was_done_to_several_is_taken_back_where_nobody_changed_it_since(session: Session) -> None:
    made = [ask(session) for _ in range(3)]
    until = now() + timedelta(days=1)
    tag = triage.tag_named(session, f"U{uuid.uuid4().hex[:6]}").id
    steps = (
        Step(Does.ASSIGN, assignee=MINA),
        Step(Does.TAG, tag_id=tag),
        Step(Does.PRIORITY, priority=Priority.HIGH),
        Step(Does.SNOOZE, until=until),
        Step(Does.RESOLVE),
    )
    for step in steps:
        before = [state(session, id_) for id_ in made]
        done = bulk.do(session, made, step, actor=ACTOR)
        session.commit()
        assert done.changed == tuple(made), step.does
        assert done.step_id is not None
        assert [state(session, id_) for id_ in made] != before
        undone = bulk.undo(session, done.step_id, actor=ACTOR)
        session.commit()
        assert undone == bulk.Undone(tuple(made), 0), step.does
        assert [state(session, id_) for id_ in made] == before, step.does
        with pytest.raises(Conflict):
            bulk.undo(session, done.step_id, actor=ACTOR)
        session.rollback()

    done = bulk.do(session, made, Step(Does.ASSIGN, assignee=MINA), actor=ACTOR)
    triage.reassign(session, made[1], actor=OMAR, assignee=OMAR, had="mina")
    assert done.step_id is not None
    assert bulk.undo(session, done.step_id, actor=ACTOR) == bulk.Undone((made[0], made[2]), 1)
    assert session.get_one(Conversation, made[1]).assignee_id == "omar"


def state(session: Session, id_: int) -> tuple[object, ...]:
    found = session.get_one(Conversation, id_, populate_existing=True)
    tags = tuple(tag.id for tag in triage.tags_of(session, [id_]).get(id_, []))
    return (found.status, found.assignee_id, found.priority, found.snoozed_until, found.waiting_since, tags)


def test_a_step_is_ones_own_for_ten_minutes_and_skips_what_it_does_not_fit(session: Session) -> None:
    open_, over = ask(session), ask(session)
    resolve(session, over, actor=MINA)
    session.commit()
    done = bulk.do(session, [open_, over, 10**15], Step(Does.RESOLVE), actor=ACTOR)
    session.commit()
    assert (done.changed, done.left) == ((open_,), 2)
    assert done.step_id is not None
    with pytest.raises(NotFound):
        bulk.undo(session, done.step_id, actor=OTHER)
    with frozen(now() + timedelta(minutes=11)), pytest.raises(NotFound):
        bulk.undo(session, done.step_id, actor=ACTOR)
    assert session.get_one(Conversation, open_).status is ConversationStatus.RESOLVED


@pytest.mark.parametrize("ids", [[], list(range(1, 102))])
def test_a_step_needs_some_and_not_too_many(session: Session, ids: list[int]) -> None:
    with pytest.raises(InvalidInput):
        bulk.do(session, ids, Step(Does.RESOLVE), actor=ACTOR)


MANY = """
    WITH person AS (
        INSERT INTO cairnloop.customers (ref, created_at, last_seen_at)
        VALUES ('many-' || gen_random_uuid(), now(), now()) RETURNING id
    )
    INSERT INTO cairnloop.conversations (
        customer_id, channel, subject, status, last_sequence, last_message_at, preview, last_spoken_at,
        last_customer_sequence, customer_seen, created_at, waiting_since, assignee_id, priority
    )
    SELECT person.id, 'widget', 'Question', 'open', 0, now() - n * interval '1 minute', '', now(), 0, 0, now(),
        now() - n * interval '1 minute', 'u' || n % 5, 1 + n % 4
    FROM person, generate_series(1, 4000) AS n
"""


def test_a_page_of_a_full_desk_reads_a_bounded_part(app: Flask, session: Session) -> None:
    session.execute(text(MANY))
    session.commit()
    session.execute(text("ANALYZE cairnloop.conversations"))
    session.commit()
    for asked in (
        Filter(View.OPEN, assignee="u1"),
        Filter(View.WAITING, priority=Priority.HIGH),
        Filter(View.OPEN, sort=Sort.PRIORITY),
        Filter(View.OPEN, channel="host"),
    ):
        page = queries.inbox_page(session, asked, "mina")
        assert len(page.rows) == (0 if asked.channel else 50)
    ids = found(session, Filter(View.OPEN, assignee="u1"), limit=100)
    assert len(ids) == len(set(ids)) == 800
