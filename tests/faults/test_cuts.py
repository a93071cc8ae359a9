"""Hundreds of cuts under traffic, with transactions that commit in another order than they began."""

from __future__ import annotations

import itertools
import random
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import text
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Customer, Operator, add_note, receive, reply
from tests.faults.clients import Page, Patient
from tests.faults.conftest import Desk

ROUNDS, CUTS = 6, 25  # cuts in a round, on either side


class Writer:
    """A colleague who answers and takes notes everywhere, now at once, now with a transaction that takes its time."""

    def __init__(self, name: str, conversations: list[int], at_the_desk: Desk) -> None:
        self.committed: list[tuple[int, float]] = []  # id of a message, and when its transaction had ended
        self._actor = Actor.operator(Operator(name.lower(), name))
        self._name, self._conversations, self._at_the_desk = name, conversations, at_the_desk
        self._dice = random.Random(name)  # noqa: S311

    def write(self, stop: threading.Event) -> None:
        """Go on until told to stop, and then write once more."""
        going_on = True
        while going_on:
            going_on = not stop.wait(0.02)
            number = self._at_the_desk(self._one)
            self.committed.append((number, time.monotonic()))

    def _one(self, session: Session) -> int:
        say = self._dice.choice((reply, reply, add_note))
        body = f"{self._name} {len(self.committed)}"
        message = say(session, self._dice.choice(self._conversations), actor=self._actor, body=body)
        session.execute(text("SELECT pg_sleep(:seconds)"), {"seconds": self._dice.choice((0, 0, 0.03, 0.1))})
        return message.id


def test_hundreds_of_cuts_leave_no_gap_and_no_double_on_either_side(
    open_chat: Callable[[Customer], Patient],
    open_page: Callable[[int], Page],
    customer: Customer,
    at_the_desk: Desk,
    spoken: Callable[..., dict[int, str]],
) -> None:
    chat = open_chat(customer)
    chat.say("Line 0")
    chat.settle()
    conversation_id = chat.conversation or 0
    others = [
        at_the_desk(
            lambda session, ref=ref: (
                receive(  # type: ignore[misc]
                    session, customer=Customer(ref), body="Hello", channel="widget"
                ).conversation_id
            )
        )
        for ref in ("other-1", "other-2")
    ]
    page = open_page(conversation_id)
    writers = [Writer(name, [conversation_id, *others], at_the_desk) for name in ("Mina", "Omar", "Rita")]
    dice = random.Random(7), random.Random(8)  # noqa: S311
    lines = ["Line 0"]

    def on_the_train() -> None:
        for _ in range(CUTS):
            chat.come_back()
            lines.append(f"Line {len(lines)}")
            chat.say(lines[-1])
            for _ in range(dice[0].randrange(6)):
                chat.read(0.02)
            chat.cut()

    def behind_a_bad_proxy() -> None:
        for _ in range(CUTS):
            page.come_back()
            page.live_for(dice[1].uniform(0, 0.2))
            page.cut()

    chat.cut()
    page.cut()
    for _ in range(ROUNDS):
        stop = threading.Event()
        with ThreadPoolExecutor(5) as pool:
            writing = [pool.submit(writer.write, stop) for writer in writers]
            try:
                for cutting in [pool.submit(on_the_train), pool.submit(behind_a_bad_proxy)]:
                    cutting.result(60)
            finally:
                stop.set()
            for talk in writing:  # the last words are said while both are cut off
                talk.result(30)

        chat.come_back()
        chat.settle()
        said = spoken(conversation_id)
        assert chat.transcript == said
        assert [body for body in said.values() if body in lines] == lines
        page.come_back()
        page.settle()
        assert page.whole_timeline() == spoken(conversation_id, notes=True)
        fresh = open_page(conversation_id)
        assert (page.rows, page.newcomers, page.open_count) == (fresh.rows, set(), fresh.open_count)
        assert set(page.rows) >= {conversation_id, *others}
        chat.cut()
        page.cut()
        fresh.leave()

    assert chat.doubles == []
    assert chat.ends == []
    committed = sorted(pair for writer in writers for pair in writer.committed)
    assert any(earlier[1] > later[1] for earlier, later in itertools.pairwise(committed))
