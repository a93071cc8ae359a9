"""Two web processes and two workers on one database and one Redis: nobody can tell which of them serves whom."""

from __future__ import annotations

import os
import re
import signal
import uuid
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Page, expect
from sqlalchemy import select

from flask_cairnloop import Actor, Customer, reply
from flask_cairnloop.conversations.models import Message, MessageKind
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.jobs.models import Job, JobState, QueueName
from flask_cairnloop.jobs.queries import worker_states
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.retrieval import statistics
from flask_cairnloop.testing import run_jobs
from tests.conftest import close
from tests.support import processes
from tests.support.balancer import balancer
from tests.support.host import OPERATORS, HostNote, make_host, verifier
from tests.support.processes import Process, wait_until
from tests.support.web import get, post
from tests.support.websocket import Chat, Line

MINA = {"X-Operator": "mina"}
QUESTION = "Until when can I send a parcel back?"
ARTICLE = (
    "You can send a parcel back until thirty days after it came.\n\n## How\n\nPut it into the box that it came in and "
    "bring it to any post office. The label is in the box. The money is back within a week.\n"
)


@pytest.fixture(scope="module")
def config(worker_number: int) -> dict[str, Any]:
    return {
        "REDIS_NAMESPACE": f"scaling{worker_number}",
        "ON_CONVERSATION_RESOLVED": "tests.support.host:note_who_was_told",
    }


@pytest.fixture(scope="module")
def env(database_url: str, redis_url: str, config: dict[str, Any]) -> dict[str, str]:
    return processes.environment(database_url, redis_url, **config)


@pytest.fixture(scope="module")
def host(database_url: str, redis_url: str, config: dict[str, Any]) -> Iterator[Flask]:
    """The same app in this process, to look at rows; an article is in its index before any worker starts."""
    app = make_host(database_url, redis_url, **config)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        someone = Actor.system("test")
        article = save_article(session, slug="returns", title="Send something back", body=ARTICLE, actor=someone)
        publish(session, article.id, actor=someone)
        session.commit()
    run_jobs(app)
    yield app
    close(app)


@pytest.fixture(scope="module")
def web_b(host: Flask, env: dict[str, str]) -> Iterator[Process]:
    with processes.web_server(env) as process:
        yield process


@pytest.fixture
def web_a(host: Flask, env: dict[str, str]) -> Iterator[Process]:
    """The one that is killed."""
    with processes.web_server(env) as process:
        yield process


@pytest.fixture(scope="module")
def workers(host: Flask, env: dict[str, str]) -> Iterator[tuple[Process, Process]]:
    """Two hosts' worth of workers: a relay and a worker for each of two queues, twice."""

    def alive() -> dict[str, int]:
        with host.app_context():
            session = host.extensions["sqlalchemy"].session
            return {state.kind.value: state.alive for state in worker_states(session)}

    with processes.worker(env, "--bulk", "0") as first, processes.worker(env, "--bulk", "0") as second:
        wait_until(lambda: alive() == {"relay": 2, "interactive": 2, "default": 2, "bulk": 0})
        yield first, second


def read(host: Flask, statement: Any) -> list[Any]:
    with host.app_context():
        return list(host.extensions["sqlalchemy"].session.scalars(statement))


def token_of(host: Flask, ref: str) -> str:
    with host.app_context():
        return verifier.issue(Customer(ref, ref.title()))


def say(host: Flask, conversation_id: int, words: str) -> None:
    """A reply, as another process sends it."""
    with host.app_context():
        session = host.extensions["sqlalchemy"].session
        reply(session, conversation_id, actor=Actor.operator(OPERATORS["omar"]), body=words)
        session.commit()


def kill(process: Process) -> None:
    """The machine is gone: no goodbye, from the master or its workers."""
    os.killpg(process.popen.pid, signal.SIGKILL)
    process.popen.wait(10)


def test_a_question_at_one_process_is_answered_at_the_other(
    host: Flask, web_a: Process, web_b: Process, workers: tuple[Process, Process]
) -> None:
    with (
        Line(web_a.url, "/support/live", headers=MINA) as colleague,
        Line(web_b.url, "/support/live", headers=MINA) as operator,
        Chat(web_a.url) as customer,
        Chat(web_b.url) as other_tab,
    ):
        colleague.expect("refetch")
        operator.expect("refetch")
        for chat in (customer, other_tab):
            chat.join(token_of(host, "ada"))
        number = customer.say(QUESTION)["conversation"]
        assert other_tab.expect("joined")["messages"][0]["body"] == QUESTION
        for line in (colleague, operator):
            line.expect("message", conversation_id=number, kind="customer")
            line.expect("draft", conversation_id=number, state="ready")
        page = get(web_b.url, f"/support/conversations/{number}", MINA)
        action = re.search(r'action="(/support/conversations/\d+/drafts/\d+/approve)"', page.text)
        assert action is not None
        assert post(web_b.url, action[1], {"seen": "1"}, MINA).status == 303
        for chat in (customer, other_tab):
            assert "thirty days" in chat.expect("message", kind="reply")["body"]
            assert chat.expect("status")["waiting"] is False
        colleague.expect("message", conversation_id=number, kind="reply")
        assert post(web_a.url, action[1], {"seen": "1"}, MINA).status == 303, "a second click, at the other process"
        assert customer.quiet() == []
    kinds = [message.kind for message in read(host, select(Message).filter_by(conversation_id=number))]
    assert kinds == [MessageKind.CUSTOMER, MessageKind.REPLY]


def test_two_workers_share_the_work_and_every_job_runs_once(
    host: Flask, web_a: Process, web_b: Process, workers: tuple[Process, Process]
) -> None:
    with ExitStack() as open_chats:
        numbers = []
        for ordinal in range(12):
            chat = open_chats.enter_context(Chat((web_a, web_b)[ordinal % 2].url))
            chat.join(token_of(host, f"crowd-{ordinal}"))
            numbers.append(int(chat.say(QUESTION)["conversation"]))

        def drafts() -> list[Draft]:
            return read(host, select(Draft).where(Draft.conversation_id.in_(numbers)))

        wait_until(lambda: {draft.state for draft in drafts()} == {DraftState.READY})
        assert sorted(draft.conversation_id for draft in drafts()) == sorted(numbers)
        for ordinal, number in enumerate(numbers):
            web = (web_b, web_a)[ordinal % 2]
            answer = post(web.url, f"/support/conversations/{number}/resolve", {"seen": "1"}, MINA)
            assert answer.status == 303

        def told() -> list[str]:
            return read(host, select(HostNote.body).where(HostNote.body.like("told %")))

        wait_until(lambda: len(told()) >= len(numbers))
        by = {}
        for note in told():
            _, key, supervisor = note.split()
            assert key not in by, f"{key} was told twice"
            by[key] = int(supervisor)
        assert len(by) == len(numbers)
        assert set(by.values()) == {worker.popen.pid for worker in workers}, "one of them did all of it"
    tidying = Job.name == statistics.FOLD  # comes a minute after the articles
    jobs = read(host, select(Job).where(Job.queue.in_((QueueName.INTERACTIVE, QueueName.DEFAULT)), ~tidying))
    assert len(jobs) >= 24
    assert {(job.state, job.attempt) for job in jobs} == {(JobState.SUCCEEDED, 1)}


def test_a_client_takes_its_cursor_from_a_killed_process_to_another(
    host: Flask, web_a: Process, web_b: Process
) -> None:
    token = token_of(host, "bo")
    with Chat(web_a.url) as before:
        before.join(token)
        number = before.say("First")["conversation"]
        say(host, number, "Second")
        cursor = before.expect("message")["cursor"]
        kill(web_a)
        assert before.closed() in (1005, 1006)
    say(host, number, "Third")
    client_id = str(uuid.uuid4())
    with Chat(web_b.url) as after:
        joined = after.join(token, number, cursor)
        assert [message["body"] for message in joined["messages"]] == ["Third"]
        assert after.say("Fourth", client_id)["cursor"] == after.say("Fourth", client_id)["cursor"] == 4
        say(host, number, "Fifth")
        assert after.expect("message")["body"] == "Fifth"
    bodies = select(Message.body).filter_by(conversation_id=number).order_by(Message.sequence)
    assert read(host, bodies) == ["First", "Second", "Third", "Fourth", "Fifth"]


@pytest.mark.browser
def test_a_customers_browser_goes_on_at_the_process_that_is_left(
    host: Flask, web_a: Process, web_b: Process, new_page: Callable[..., Page]
) -> None:
    with balancer(web_a.url, web_b.url) as url:
        page = new_page()
        page.goto(f"{url}/host/chat/cy")
        chat = page.frame_locator("iframe")
        expect(chat.locator("#state-word")).to_have_text("Connected")
        chat.locator("#body").fill("One")
        chat.locator("#body").press("Enter")
        number = int(wait_until(lambda: read(host, select(Message.conversation_id).filter_by(body="One")))[0])
        say(host, number, "Two")
        expect(chat.locator(".theirs .said")).to_have_text(["Two"])

        with page.expect_event("websocket"):  # the page's own new one
            kill(web_a)
            say(host, number, "Three")
        expect(chat.locator("#state-word")).to_have_text("Connected")
        expect(chat.locator(".theirs .said")).to_have_text(["Two", "Three"])
        chat.locator("#body").fill("Four")
        chat.locator("#body").press("Enter")
        wait_until(lambda: read(host, select(Message.id).filter_by(conversation_id=number, sequence=4)))
        say(host, number, "Five")
        expect(chat.locator(".theirs .said")).to_have_text(["Two", "Three", "Five"])
        expect(chat.locator(".mine .said")).to_have_text(["One", "Four"])
        page.close()
    bodies = select(Message.body).filter_by(conversation_id=number).order_by(Message.sequence)
    assert read(host, bodies) == ["One", "Two", "Three", "Four", "Five"]
