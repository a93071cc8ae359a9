"""Redis goes away under traffic, first without a word, then altogether, and comes back with nothing in it."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import func, select

from flask_cairnloop import Customer
from flask_cairnloop.audit.models import AuditEntry
from tests.faults.clients import Operator, Page, Patient
from tests.faults.conftest import Desk, answered, most, unfinished
from tests.faults.servers import OwnValkey
from tests.support import databases
from tests.support.processes import Process, children, wait_until

FROZEN, GONE = 3.0, 5.0  # seconds; together longer than the first step of whatever waits for Redis
BOUND = 1.0


@pytest.fixture(scope="module")
def valkey() -> Iterator[OwnValkey]:
    with databases.own_folder() as folder:
        valkey = OwnValkey(folder)
        try:
            yield valkey
        finally:
            valkey.kill()


@pytest.fixture(scope="module")
def redis_url(valkey: OwnValkey) -> str:
    return valkey.url


def test_redis_away_for_a_while_loses_nothing_tells_nothing_twice_and_holds_nobody_up(
    valkey: OwnValkey,
    live_server: Process,
    worker: Process,
    app: Flask,
    at_the_desk: Desk,
    open_chat: Callable[[Customer], Patient],
    open_page: Callable[[int], Page],
    console: Operator,
    spoken: Callable[..., dict[int, str]],
) -> None:
    chats = [open_chat(Customer(f"patient-{number}", f"Patient {number}")) for number in range(4)]
    for chat in chats:
        chat.say("Hello")
        chat.settle()
    numbers = [chat.conversation or 0 for chat in chats]
    wait_until(lambda: at_the_desk(lambda session: answered(session, numbers)), worker)
    page = open_page(numbers[0])
    processes = children(live_server.popen.pid)
    ending, silence = threading.Event(), threading.Event()

    def chatter(chat: Patient) -> None:
        number = 0
        while not ending.is_set():
            number += 1
            chat.say(f"Line {number}")
            chat.read_for(0.25)
        silence.wait()  # so that the customer has the last word
        chat.say("Is anybody there?")
        chat.settle()

    def answers() -> None:
        number = 0
        while not ending.wait(0.25):
            number += 1
            assert console.reply(numbers[number % len(numbers)], f"Answer {number}").status_code == 200
        silence.set()

    with ThreadPoolExecutor(10) as pool:
        try:
            for chat in chats:
                chat.waits.clear()
            running = [pool.submit(chatter, chat) for chat in chats]
            running.append(pool.submit(answers))
            valkey.freeze()
            newcomer = open_chat(Customer("patient-new", "Newcomer"))
            running.append(pool.submit(chatter, newcomer))
            page.live_for(FROZEN)
            valkey.kill()
            page.live_for(GONE)
        finally:
            ending.set()
            silence.wait(30)
        for talk in running:
            talk.result(60)
        valkey.start()

    chats.append(newcomer)
    numbers.append(newcomer.conversation or 0)
    waits = [wait for chat in chats for wait in chat.waits] + console.waits
    assert len(waits) > 100
    assert most(waits) < BOUND
    assert set(console.statuses) == {200}

    for chat, number in zip(chats, numbers, strict=True):
        chat.until(lambda chat=chat, number=number: chat.transcript == spoken(number))  # type: ignore[misc]
        assert chat.doubles == []
        assert chat.ends == [], "The line held all the time"
    page.until(lambda: page.whole_timeline() == spoken(numbers[0]))

    wait_until(lambda: at_the_desk(lambda session: answered(session, numbers)), worker)
    made = select(func.count()).where(AuditEntry.action == "draft.ready").group_by(AuditEntry.subject_id)
    assert set(at_the_desk(lambda session: session.scalars(made).all())) == {1}
    wait_until(lambda: at_the_desk(unfinished) == [], worker)
    assert children(live_server.popen.pid) == processes
    assert worker.popen.poll() is None
