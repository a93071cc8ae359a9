"""A customer's client on a real socket of a real server."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from flask import Flask
from sqlalchemy import text

from flask_cairnloop import Customer
from tests.support.processes import Process
from tests.support.websocket import Chat


@pytest.fixture
def open_chat(live_server: Process) -> Iterator[Callable[..., Chat]]:
    """``open_chat(url, origin=...)`` opens a socket, by default to the live server; all are closed at the end."""
    chats: list[Chat] = []

    def connect(url: str = live_server.url, origin: str | None = None) -> Chat:
        chat = Chat(url, origin)
        chats.append(chat)
        return chat

    yield connect
    for chat in chats:
        chat.close()


@pytest.fixture
def token(issue: Callable[[Customer], str], customer: Customer) -> str:
    return issue(customer)


@pytest.fixture
def chat(open_chat: Callable[..., Chat], token: str) -> Chat:
    """The customer's chat, joined; they have not written before."""
    chat = open_chat()
    assert chat.join(token)["conversation"] is None
    return chat


@pytest.fixture
def cut_the_database(make_app: Callable[..., Flask]) -> Callable[[], None]:
    """Ends every connection to the module's database, as its restart would; new ones are made at once."""

    def cut() -> None:
        other = make_app()  # its own connection is the one that lives
        with other.app_context():
            session = other.extensions["sqlalchemy"].session
            session.execute(
                text(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            )
            session.remove()

    return cut
