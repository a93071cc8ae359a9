"""PostgreSQL is restarted under load, in good order and as in a crash, and nobody else is."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from sqlalchemy import func, select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.realtime.sockets import CloseCode
from tests.faults.clients import Operator, Page, Patient
from tests.faults.conftest import Desk, answered, unfinished
from tests.faults.servers import OwnPostgres
from tests.support import databases
from tests.support.processes import Process, children, wait_until

NO_WORD = 1005


@pytest.fixture(scope="module")
def postgres() -> Iterator[OwnPostgres]:
    with databases.own_folder() as folder:
        yield OwnPostgres(folder)


@pytest.fixture(scope="module")
def database_url(postgres: OwnPostgres) -> str:
    return postgres.url


def lose_all_leases(session: Session) -> None:
    """What time does, for jobs whose worker lost the database over them."""
    session.execute(
        text("UPDATE cairnloop.jobs SET lease_until = clock_timestamp() WHERE state IN ('queued', 'running')")
    )


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGQUIT], ids=["fast", "immediate"])
def test_a_restart_of_the_database_loses_nothing_stores_nothing_twice_and_restarts_nobody(
    postgres: OwnPostgres,
    live_server: Process,
    worker: Process,
    app: Flask,
    at_the_desk: Desk,
    open_chat: Callable[[Customer], Patient],
    open_page: Callable[[int], Page],
    console: Operator,
    spoken: Callable[..., dict[int, str]],
    how: signal.Signals,
) -> None:
    chats = [open_chat(Customer(f"{how.name}-{number}", f"Patient {number}")) for number in range(3)]
    for chat in chats:
        chat.say("Hello")
        chat.settle()
    numbers = [chat.conversation or 0 for chat in chats]
    wait_until(lambda: at_the_desk(lambda session: answered(session, numbers)), worker)
    page = open_page(numbers[0])
    processes = children(live_server.popen.pid), children(worker.popen.pid)
    ending, silence = threading.Event(), threading.Event()
    replies: list[tuple[int, str]] = []

    def chatter(chat: Patient) -> list[str]:
        said = ["Hello"]
        while not ending.is_set():
            said.append(f"Line {len(said)}")
            chat.say(said[-1])
            chat.read_for(0.1)
        silence.wait()  # so that the customer has the last word
        said.append("Is anybody there?")
        chat.say(said[-1])
        chat.settle()
        return said

    def answers() -> None:
        try:
            while not ending.wait(0.05):
                number = numbers[len(replies) % len(numbers)]
                console.reply_until_taken(number, f"Answer {len(replies)}")
                replies.append((number, f"Answer {len(replies)}"))
        finally:
            silence.set()

    def ready() -> int:
        return console.get("/ready").status_code

    with ThreadPoolExecutor(8) as pool:
        running = [pool.submit(chatter, chat) for chat in chats]
        operator = pool.submit(answers)
        try:
            wait_until(lambda: len(replies) > 5)
            assert ready() == 200
            postgres.stop(how)
            wait_until(lambda: ready() == 503, live_server)
            wait_until(lambda: all(chat.ends for chat in chats) and 503 in console.statuses, live_server)
            postgres.start()
            wait_until(lambda: ready() == 200, live_server)
            after = len(replies)
            wait_until(lambda: len(replies) > after + 5, live_server)
        finally:
            ending.set()
            operator.result(60)
        said = [talk.result(60) for talk in running]

    with app.app_context():
        app.extensions["sqlalchemy"].engine.dispose()  # this process is no part of it
    # A line on which both sides spoke at the same moment may break before the word why: that is no refusal either.
    assert {code for chat in chats for code in chat.ends} <= {CloseCode.TRY_LATER, NO_WORD}
    assert [chat.errors for chat in chats] == [[], [], []]
    assert set(console.statuses) == {200, 503}
    for chat, number, lines in zip(chats, numbers, said, strict=True):
        stored = spoken(number)
        answers_here = [body for conversation_id, body in replies if conversation_id == number]
        assert sorted(stored.values()) == sorted([*lines, *answers_here])
        assert [body for body in stored.values() if body in lines] == lines
        chat.until(lambda chat=chat, stored=stored: chat.transcript == stored)  # type: ignore[misc]
        assert chat.doubles == []
    page.until(lambda: page.whole_timeline() == spoken(numbers[0]))

    at_the_desk(lose_all_leases)
    wait_until(lambda: at_the_desk(lambda session: answered(session, numbers)), worker)
    wait_until(lambda: at_the_desk(unfinished) == [], worker)
    twice = (
        select(AuditEntry.subject_id)
        .where(AuditEntry.action == "draft.ready")
        .group_by(AuditEntry.subject_id)
        .having(func.count() > 1)
    )
    assert at_the_desk(lambda session: session.scalars(twice).all()) == []
    assert at_the_desk(lambda session: session.scalar(select(func.count()).select_from(Conversation))) % 3 == 0
    assert (children(live_server.popen.pid), children(worker.popen.pid)) == processes
