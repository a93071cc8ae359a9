"""WebSocket clients that behave as a browser's do: a customer's chat, an operator's live page."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Callable
from contextlib import closing
from http.client import HTTPConnection
from types import TracebackType
from typing import Any
from urllib.parse import urlsplit

from simple_websocket import Client, ConnectionClosed

Frame = dict[str, Any]
SECONDS = 30.0
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ==",
}


def handshake(url: str, path: str, headers: dict[str, str]) -> int:
    """How a web server answers somebody who wants a WebSocket: 101, or why not."""
    address = urlsplit(url)
    with closing(HTTPConnection(address.hostname or "", address.port, timeout=SECONDS)) as connection:
        connection.request("GET", path, headers={**UPGRADE, **headers})
        return connection.getresponse().status


class BrowserClient(Client):  # type: ignore[misc]  # simple-websocket has no types
    """Names the port in ``Host``, and hears a server that speaks at once."""

    def handshake(self) -> None:
        self.host = f"{self.host}:{self.port}"
        super().handshake()
        # What came in one piece with the answer to the handshake would else be heard with the next frame only.
        self._handle_events()


class Line:
    """JSON frames over one WebSocket. A context manager that hangs up.

    Args:
        url: of the web server, and by default the origin of the page.
        path: of the socket.
    """

    def __init__(self, url: str, path: str, origin: str | None = None, headers: dict[str, str] | None = None) -> None:
        address = f"{url.replace('http', 'ws', 1)}{path}"
        self.client = BrowserClient(address, headers={**(headers or {}), "Origin": url if origin is None else origin})

    def send(self, type_: str, **fields: Any) -> None:
        self.client.send(json.dumps({"type": type_, **fields}))

    def receive(self, seconds: float = SECONDS) -> Frame:
        text = self.client.receive(timeout=seconds)
        assert text is not None, f"Nothing came within {seconds} seconds."
        return dict(json.loads(text))

    def expect(self, type_: str, **fields: Any) -> Frame:
        """The next frame of this type, with these values; frames of other types are passed over."""
        return self.until(lambda frame: frame["type"] == type_ and fields.items() <= frame.items())[-1]

    def until(self, fits: Callable[[Frame], bool], seconds: float = SECONDS) -> list[Frame]:
        """What arrives up to the frame that is waited for."""
        deadline = time.monotonic() + seconds
        found: list[Frame] = []
        while (left := deadline - time.monotonic()) > 0:
            text = self.client.receive(timeout=left)
            if text is None:
                break
            found.append(dict(json.loads(text)))
            if fits(found[-1]):
                return found
        raise AssertionError(f"It did not arrive within {seconds} seconds; instead {found}")

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

    def __enter__(self) -> Any:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Chat(Line):
    """One WebSocket of a customer."""

    def __init__(
        self,
        url: str,
        origin: str | None = None,
        path: str = "/support/widget/socket",
        headers: dict[str, str] | None = None,
    ) -> None:
        super().__init__(url, path, origin, headers)

    def quiet(self) -> list[Frame]:
        """What came before the answer to a ping: everything that was due."""
        self.send("ping")
        return self.until(lambda frame: frame["type"] == "pong")[:-1]

    def join(self, token: str, conversation: int | None = None, after: int | None = None) -> Frame:
        self.send("join", token=token, conversation=conversation, after=after)
        return self.expect("joined")

    def say(self, body: str, client_id: str | None = None) -> Frame:
        client_id = client_id or str(uuid.uuid4())
        self.send("message", client_id=client_id, body=body)
        return self.expect("accepted", client_id=client_id)
