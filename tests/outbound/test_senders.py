"""Whoever sends a follow-up is asked about again when it leaves: what they may then is what counts."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask
from sqlalchemy import select

from flask_cairnloop import Operator, Permission, Subject, follow_up
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.outbound import service, transitions
from flask_cairnloop.outbound.models import OutboundDelivery
from flask_cairnloop.outbound.transitions import SYSTEM
from flask_cairnloop.outbound.types import DeliveryState, Reason
from flask_cairnloop.testing import frozen, run_jobs
from tests.outbound.conftest import MINA, OMAR, Desk, Post, SafePost

S = DeliveryState
DAY = datetime(2027, 3, 2, 12, 0, tzinfo=UTC)
NEXT = DAY + timedelta(days=1)
SINGLE, SEVERAL = Permission.OUTBOUND_SEND.value, Permission.OUTBOUND_BULK.value


class House:
    """The host's people as they are now, and whom its ``AUTHORIZE`` keeps from which conversations."""

    def __init__(self) -> None:
        self.people = {one.id: one for one in (MINA, OMAR)}
        self.shut: set[int] = set()
        self.away = False

    def resolve(self, operator_id: str) -> Operator | None:
        if self.away:
            raise RuntimeError("the directory is away")
        return self.people.get(operator_id)

    def may(self, operator: Operator, permission: Permission, subject: Subject | None) -> bool:
        return permission in operator.permissions and (subject is None or subject.id not in self.shut)

    def leaves(self, one: Operator) -> None:
        del self.people[one.id]

    def now_has(self, one: Operator, *permissions: str) -> None:
        self.people[one.id] = Operator(one.id, one.name, permissions=frozenset(permissions))


@pytest.fixture
def house() -> House:
    return House()


@pytest.fixture
def posted(make_app: Callable[..., Flask], post: Post, house: House) -> Flask:
    return make_app(ON_OUTBOUND=post, OPERATOR_RESOLVER=house.resolve, AUTHORIZE=house.may)


def scheduled(desk: Desk, customers: int, **sent: Any) -> tuple[int, list[int]]:
    """The id of an envelope of Mina's that leaves tomorrow, and the conversations that it goes to."""
    with frozen(DAY):
        places = [desk.asked(desk.customer()) for _ in range(customers)]
        envelope = desk.preview(places, desk.template(), send_at=NEXT)
        desk.submit(envelope.id, **sent)
        run_jobs(desk.app)
    return envelope.id, places


def leave(desk: Desk) -> None:
    with frozen(NEXT):
        run_jobs(desk.app)


def why(desk: Desk, row: OutboundDelivery) -> str:
    return desk.do(lambda s: service.why(s.get_one(OutboundDelivery, row.id)))


def gone(house: House, _: list[int]) -> None:
    house.leaves(MINA)


def without_it(house: House, _: list[int]) -> None:
    house.now_has(MINA, "conversations.read", "outbound.read")


def for_one_only(house: House, _: list[int]) -> None:
    house.now_has(MINA, SINGLE)


def not_here(house: House, places: list[int]) -> None:
    house.shut.update(places)


@pytest.mark.parametrize(
    ("customers", "lost", "words"),
    [
        (1, gone, "Mina Keller, who sent it, is not an operator any more."),
        (1, without_it, "Mina Keller, who sent it, lacks the permission outbound.send now."),
        (2, for_one_only, "Mina Keller, who sent it, lacks the permission outbound.bulk now."),
        (1, not_here, "Mina Keller, who sent it, may not write to them any more."),
    ],
)
def test_who_may_not_any_more_when_it_leaves_sends_nothing(
    posting: Desk, post: Post, house: House, customers: int, lost: Callable[..., None], words: str
) -> None:
    envelope, places = scheduled(posting, customers)
    lost(house, places)
    leave(posting)
    rows = posting.rows(envelope)
    assert {(row.state, row.reason) for row in rows} == {(S.SKIPPED, Reason.FORBIDDEN)}
    assert {why(posting, row) for row in rows} == {words}
    assert not post.taken
    chosen = select(AuditEntry.data).where(AuditEntry.action == "outbound.skip", AuditEntry.subject_id == rows[0].id)
    assert posting.do(lambda s: s.scalars(chosen).one())["because"] == "forbidden"


@pytest.mark.parametrize("permission", [SINGLE, SEVERAL])
def test_who_may_send_to_several_may_send_to_one(posting: Desk, post: Post, house: House, permission: str) -> None:
    scheduled(posting, 1)
    house.now_has(MINA, permission)
    leave(posting)
    assert len(post.taken) == 1


def test_only_those_to_whom_the_sender_may_not_write_any_more_are_left_out(
    posting: Desk, post: Post, house: House
) -> None:
    envelope, places = scheduled(posting, 3)
    house.shut.add(places[1])
    leave(posting)
    assert [row.reason for row in posting.rows(envelope)] == [None, Reason.FORBIDDEN, None]
    assert [one.conversation_id for one in post.taken] == [places[0], places[2]]


def test_whoever_pressed_send_counts_and_not_who_prepared_it(posting: Desk, post: Post, house: House) -> None:
    scheduled(posting, 1, actor=OMAR)
    house.leaves(MINA)
    leave(posting)
    assert len(post.taken) == 1


def test_a_host_that_cannot_be_asked_is_asked_again_and_nothing_leaves_before(
    posting: Desk, post: Post, house: House
) -> None:
    envelope, _ = scheduled(posting, 1)
    house.away = True
    leave(posting)
    assert (posting.rows(envelope)[0].state, post.taken) == (S.SCHEDULED, [])
    house.away = False
    with frozen(NEXT + timedelta(minutes=10)):
        run_jobs(posting.app)
    assert (posting.rows(envelope)[0].state, len(post.taken)) == (S.DELIVERED, 1)


def test_who_sends_one_once_more_stands_behind_it_through_every_attempt(
    posting: Desk, post: Post, house: House
) -> None:
    with frozen(DAY):
        customer = posting.customer()
        post.ways[customer.ref] = ["refuse"]
        envelope = posting.sent_to([posting.asked(customer), posting.asked(posting.customer())])
        run_jobs(posting.app)
        house.leaves(MINA)
        house.now_has(OMAR, SINGLE)
        post.ways[customer.ref] = ["later", "take"]
        failed = posting.rows(envelope.id)[0]
        posting.do(lambda s: service.retry(s, failed.id, actor=OMAR))
        run_jobs(posting.app)
    row = posting.row(failed.id)
    assert (row.state, row.attempt, len(post.to(customer.ref))) == (S.DELIVERED, 2, 1)


def test_one_that_was_cut_off_is_not_sent_again_for_who_may_not_any_more(
    make_app: Callable[..., Flask], house: House
) -> None:
    post = SafePost()
    desk = Desk(make_app(ON_OUTBOUND=post, OPERATOR_RESOLVER=house.resolve))
    envelope, _ = scheduled(desk, 1)
    row = desk.rows(envelope)[0]
    desk.do(lambda s: transitions.step(s, transitions.lock(s, row.id)[0], "be handed over", SYSTEM, attempt=1))
    house.leaves(MINA)
    leave(desk)
    row = desk.row(row.id)
    assert (row.state, post.taken) == (S.UNCERTAIN, [])
    assert row.failure == "Mina Keller, who sent it, is not an operator any more."


def test_what_the_host_sends_by_itself_asks_nobody(posting: Desk, post: Post, house: House) -> None:
    with frozen(DAY):
        place = posting.asked(posting.customer())
        posting.do(lambda s: follow_up(s, place, actor=MINA, body="It goes back on Friday.", send_at=NEXT))
    house.leaves(MINA)
    leave(posting)
    assert [one.conversation_id for one in post.taken] == [place]


def test_without_a_resolver_nobody_is_asked_again(make_app: Callable[..., Flask], post: Post, house: House) -> None:
    desk = Desk(make_app(ON_OUTBOUND=post, AUTHORIZE=house.may))
    _, places = scheduled(desk, 1)
    house.shut.update(places)
    leave(desk)
    assert len(post.taken) == 1
