"""A customer's client on a real socket of a real server."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from simple_websocket import ConnectionClosed

from flask_cairnloop import Customer
from tests.support.processes import Process
from tests.support.websocket import BrowserClient

Frame = dict[str, Any]
SECONDS = 15.0


class Chat:
    """One WebSocket of a customer."""

    def __init__(self, url: str, origin: str | None = None) -> None:
        headers = {"Origin": url if origin is None else origin}
        address = f"{url.replace('http', 'ws', 1)}/support/widget/socket"
        self.client = BrowserClient(address, headers=headers)

    def send(self, type_: str, **fields: Any) -> None:
        self.client.send(json.dumps({"type": type_, **fields}))

    def receive(self, seconds: float = SECONDS) -> Frame:
        text = self.client.receive(timeout=seconds)
        assert text is not None, f"Nothing came within {seconds} seconds."
        return dict(json.loads(text))

    def expect(self, type_: str, **fields: Any) -> Frame:
        """The next frame of this type, with these values; frames of other types are passed over."""
        deadline = time.monotonic() + SECONDS
        others = []
        while time.monotonic() < deadline:
            frame = self.receive(max(0.01, deadline - time.monotonic()))
            if frame["type"] == type_ and fields.items() <= frame.items():
                return frame
            others.append(frame)
        raise AssertionError(f"No {type_} with {fields}, but {others}")

    def quiet(self) -> list[Frame]:
        """What came before the answer to a ping: everything that was due."""
        self.send("ping")
        frames = []
        while (frame := self.receive())["type"] != "pong":
            frames.append(frame)
        return frames

    def join(self, token: str, conversation: int | None = None, after: int | None = None) -> Frame:
        self.send("join", token=token, conversation=conversation, after=after)
        return self.expect("joined")

    def say(self, body: str, client_id: str | None = None) -> Frame:
        client_id = client_id or str(uuid.uuid4())
        self.send("message", client_id=client_id, body=body)
        return self.expect("accepted", client_id=client_id)

    def closed(self) -> int:
        """The code it was closed with; frames before that are passed over."""
        deadline = time.monotonic() + SECONDS
        while time.monotonic() < deadline:
            try:
                self.client.receive(timeout=1)
            except ConnectionClosed as closed:
                return int(closed.reason)
        raise AssertionError("It is still open.")

    def close(self) -> None:
        if self.client.connected:
            self.client.close()
        self.client.thread.join(5)
        self.client.sock.close()


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
