"""Who sits at the other ends: a customer's client, an operator's page, and an operator's forms."""

from __future__ import annotations

import html
import json
import re
import time
import uuid
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import httpx
from simple_websocket import ConnectionClosed
from simple_websocket.errors import ConnectionError as Refused

from tests.support.websocket import BrowserClient

Frame = dict[str, Any]
WAIT = 0.1  # seconds before a client comes back; a real one waits longer
LONGEST = 60.0


class Line(BrowserClient):
    """A WebSocket that leaves nothing behind, whatever becomes of it."""

    def __init__(self, url: str, path: str, **headers: str) -> None:
        self.sock: Any
        super().__init__(f"{url.replace('http', 'ws', 1)}{path}", headers={"Origin": url, **headers})

    def handshake(self) -> None:
        self.sock.settimeout(LONGEST)
        try:
            super().handshake()
        except BaseException:
            self.sock.close()
            raise
        self.sock.settimeout(None)

    def say(self, **frame: Any) -> None:
        """Send a frame.

        Raises:
            ConnectionClosed: the line is gone.
        """
        try:
            self.send(json.dumps(frame))
        except OSError as error:
            raise ConnectionClosed from error

    def hear(self, seconds: float) -> Frame | None:
        """The next frame; ``None`` when none comes in this time.

        Raises:
            ConnectionClosed: the line is gone, and everything it brought has been heard.
        """
        text = self.receive(timeout=seconds)
        return None if text is None else dict(json.loads(text))

    def cut(self) -> None:
        """As a tunnel does it: no goodbye, what is under way is lost."""
        self.connected = False
        with suppress(OSError):
            self.sock.shutdown(2)
        self.hang_up()

    def hang_up(self) -> None:
        if self.connected:
            with suppress(ConnectionClosed, OSError):
                self.close()
        self.thread.join(5)
        self.sock.close()


class Patient:
    """A customer's client as it should be: knows its cursor, comes back after a cut, sends again what was not accepted.

    Args:
        url: of the web server.
        token: who the customer is.
    """

    def __init__(self, url: str, token: str) -> None:
        self.url, self.token = url, token
        self.conversation: int | None = None
        self.cursor = 0
        self.transcript: dict[int, str] = {}
        self.doubles: list[int] = []
        self.unsent: dict[str, str] = {}
        self.waits: list[float] = []  # from saying something until it was accepted
        self.ends: list[int] = []  # with which codes lines ended that nobody cut
        self.errors: list[Frame] = []
        self._said: dict[str, float] = {}
        self._line: Line | None = None

    @property
    def here(self) -> bool:
        return self._line is not None

    def say(self, body: str) -> str:
        """Say something; it is kept until it is accepted. Returns the client's id of it."""
        client_id = str(uuid.uuid4())
        self.unsent[client_id] = body
        self._said[client_id] = time.monotonic()
        self._try(lambda line: line.say(type="message", client_id=client_id, body=body))
        return client_id

    def come_back(self) -> None:
        """Open a line, and join on it; without a server there is none."""
        try:
            self._line = Line(self.url, "/support/widget/socket")
        except (OSError, Refused):
            return
        self._try(self._join)

    def _join(self, line: Line) -> None:
        after = self.cursor if self.conversation else None
        line.say(type="join", token=self.token, conversation=self.conversation, after=after)
        for client_id, body in self.unsent.items():
            line.say(type="message", client_id=client_id, body=body)

    def read(self, seconds: float) -> Frame | None:
        """Take in what comes first, if anything comes in this time. Without a line it comes back."""
        if self._line is None:
            time.sleep(WAIT)
            self.come_back()
            return None
        frame = self._try(lambda line: line.hear(seconds))
        if frame is not None:
            self._take(frame)
        return frame

    def read_for(self, seconds: float) -> None:
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self.read(left)

    def until(self, met: Callable[[], bool], seconds: float = LONGEST) -> None:
        deadline = time.monotonic() + seconds
        while not met():
            assert time.monotonic() < deadline, f"It did not come about within {seconds} s: {self.__dict__}"
            self.read(0.05)

    def settle(self, seconds: float = LONGEST) -> None:
        """Wait until everything was accepted, and everything has come that was due."""
        deadline = time.monotonic() + seconds
        self.until(lambda: not self.unsent, seconds)
        answered = False
        while not answered:
            assert time.monotonic() < deadline, f"It was not quiet within {seconds} s: {self.__dict__}"
            self.until(lambda: self.here, seconds)
            self._try(lambda line: line.say(type="ping"))
            while self.here and not answered:
                frame = self.read(LONGEST)
                answered = frame is not None and frame["type"] == "pong"

    def cut(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.cut()

    def leave(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.hang_up()

    def _try(self, act: Callable[[Line], Frame | None]) -> Frame | None:
        """Do something on the line; one that is gone is let go."""
        if self._line is None:
            return None
        try:
            return act(self._line)
        except ConnectionClosed as closed:
            self.ends.append(int(closed.reason))
            self.leave()
            return None

    def _take(self, frame: Frame) -> None:
        match frame["type"]:
            case "joined":
                self.conversation = frame["conversation"]
                for message in frame["messages"]:
                    self._take({"type": "message", **message})
            case "message":
                own = frame.get("client_id")
                if frame["cursor"] in self.transcript and own is None:
                    self.doubles.append(frame["cursor"])
                self._keep(frame["cursor"], frame["body"])
                if own is not None:
                    self._accepted(own)
            case "accepted":
                self.conversation = frame["conversation"]
                body = self._accepted(frame["client_id"])
                if body is not None:
                    self._keep(frame["cursor"], body)
                self.cursor = max(self.cursor, frame["cursor"])
            case "error":
                self.errors.append(frame)

    def _keep(self, cursor: int, body: str) -> None:
        self.transcript[cursor] = body
        self.cursor = max(self.cursor, cursor)

    def _accepted(self, client_id: str) -> str | None:
        body = self.unsent.pop(client_id, None)
        if body is not None:
            self.waits.append(time.monotonic() - self._said[client_id])
        return body


class Operator:
    """An operator's browser without the live part: pages, and forms that are sent again until they are answered."""

    def __init__(self, url: str, operator: str = "mina") -> None:
        self.statuses: list[int] = []  # of everything that was sent
        self.waits: list[float] = []
        self._http = httpx.Client(
            base_url=f"{url}/support", headers={"Origin": url, "X-Operator": operator}, timeout=LONGEST
        )

    def get(self, path: str, target: str = "") -> httpx.Response:
        """A page, or the part of it for this element."""
        return self._http.get(path, headers=_asks(target))

    def post(self, path: str, target: str = "timeline", **form: str) -> httpx.Response:
        """What a form of a page sends; without a ``target`` as a browser without scripts does it.

        Raises:
            httpx.TransportError: the server went away.
        """
        started = time.monotonic()
        answer = self._http.post(path, data=form, headers=_asks(target))
        self.statuses.append(answer.status_code)
        self.waits.append(time.monotonic() - started)
        return answer

    def reply(self, conversation_id: int, body: str, client_id: str = "") -> httpx.Response:
        """Send a typed reply, once; with the same ``client_id`` it is the same one."""
        form = {"body": body, "client_id": client_id or str(uuid.uuid4()), "seen": str(2**40)}
        return self.post(f"/conversations/{conversation_id}/reply", **form)

    def reply_until_taken(self, conversation_id: int, body: str, seconds: float = LONGEST) -> None:
        """Send it again, as the same reply, until the server says that it has it."""
        client_id, deadline = str(uuid.uuid4()), time.monotonic() + seconds
        while time.monotonic() < deadline:
            with suppress(httpx.TransportError):
                if self.reply(conversation_id, body, client_id).status_code == 200:
                    return
            time.sleep(WAIT)
        raise AssertionError(f"It was not taken within {seconds} s: {self.statuses}")

    def leave(self) -> None:
        self._http.close()


def _asks(target: str) -> dict[str, str]:
    if not target:
        return {}
    return {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": f"div#{target}"}


class Page:
    """A conversation open in the console, in the view of all: hears the live socket and fetches as ``console.js`` does.

    Whatever it fetches has to hold together: a timeline without gaps or doubles that never goes back.
    """

    def __init__(self, url: str, conversation_id: int, operator: str = "mina") -> None:
        self.url, self.conversation_id, self.operator = url, conversation_id, operator
        self.timeline: dict[int, str] = {}
        self.rows: dict[int, str] = {}
        self.newcomers: set[int] = set()
        self.open_count = 0
        self.fetches = 0
        self._browser = Operator(url, operator)
        self._due: dict[str, float] = {}
        self._rows_to_check: set[int] = set()
        self._line: Line | None = None
        self._fetch("timeline")
        self._fetch("list")
        self._fetch("views")

    def come_back(self) -> None:
        """Open the socket; the server begins by having everything read again."""
        self._line = Line(self.url, "/support/live", **{"X-Operator": self.operator})

    def cut(self) -> None:
        line, self._line = self._line, None
        if line is not None:
            line.cut()

    def leave(self) -> None:
        self.cut()
        self._browser.leave()

    def live_for(self, seconds: float) -> None:
        """Hear and fetch for a while."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            self._turn(left)

    def until(self, met: Callable[[], bool]) -> None:
        deadline = time.monotonic() + LONGEST
        while not met():
            assert time.monotonic() < deadline, f"It did not come about: {self.__dict__}"
            self.live_for(0.1)

    def settle(self) -> None:
        """Hear and fetch until everything that was sent before this moment has been heard, and nothing is due."""
        assert self._line is not None
        self._line.say(type="watch", conversation_id=self.conversation_id)
        deadline = time.monotonic() + LONGEST
        while self._turn(1.0) != "watching":
            assert time.monotonic() < deadline
        while self._due:
            self._turn(0.05)
            assert time.monotonic() < deadline

    def _turn(self, seconds: float) -> str | None:
        """Wait for a frame or until something is due; the type of the frame."""
        assert self._line is not None
        soonest = min(self._due.values(), default=float("inf")) - time.monotonic()
        frame = self._line.hear(max(0.0, min(seconds, soonest)))
        if frame is not None:
            self._hear(frame)
        for what in [what for what, at in self._due.items() if at <= time.monotonic()]:
            del self._due[what]
            self._fetch(what)
        return None if frame is None else str(frame["type"])

    def _hear(self, frame: Frame) -> None:
        if frame["type"] == "refetch":
            for what in ("timeline", "views", "list"):
                self._refetch(what, 0)
        elif frame["type"] in ("message", "draft", "conversation"):
            if frame["conversation_id"] == self.conversation_id:
                self._refetch("timeline", 0.12)
            self._rows_to_check.add(frame["conversation_id"])
            self._refetch("rows", 0.25)
            self._refetch("views", 0.5)

    def _refetch(self, what: str, wait: float) -> None:
        self._due[what] = min(self._due.get(what, float("inf")), time.monotonic() + wait)

    def _fetch(self, what: str) -> None:
        self.fetches += 1
        match what:
            case "timeline":
                shown = entries(self._part(f"/conversations/{self.conversation_id}?view=all", "timeline"))
                assert list(shown) == list(range(min(shown), max(shown) + 1)), "A gap, or out of order"
                assert max(shown) >= max(self.timeline, default=0), "It went back"
                self.timeline = shown
            case "list":
                self.rows, self.newcomers = rows(self._part("/inbox?view=all", "list")), set()
            case "views":
                found = re.search(r"All open</span><span class=\"count\">(\d+)", self._part("/inbox?view=all", "views"))
                assert found is not None
                self.open_count = int(found[1])
            case "rows":
                ids, self._rows_to_check = self._rows_to_check, set()
                for id_ in ids:
                    self._fetch_row(id_)

    def _fetch_row(self, id_: int) -> None:
        ((_, preview),) = rows(self._part(f"/inbox/rows/{id_}?view=all", "")).items()
        if id_ in self.rows:
            self.rows[id_] = preview
        else:
            self.newcomers.add(id_)

    def _part(self, path: str, target: str) -> str:
        answer = self._browser.get(path, target)
        assert answer.status_code == 200, answer.text
        return answer.text

    def whole_timeline(self) -> dict[int, str]:
        """What is shown, with everything behind "Earlier messages"."""
        found = dict(self.timeline)
        while (first := min(found)) > 1:
            found |= entries(self._part(f"/conversations/{self.conversation_id}?before={first}", "timeline"))
        return dict(sorted(found.items()))


def entries(page: str) -> dict[int, str]:
    """Sequence and words of what stands in a timeline, in its order; nothing stands there twice."""
    found = re.findall(r'<article class="g[^"]*" id="m(\d+)">.*?<div class="text">(.*?)</div>', page, re.DOTALL)
    shown = {int(sequence): html.unescape(words) for sequence, words in found}
    assert len(shown) == len(found), "A double"
    return shown


def rows(page: str) -> dict[int, str]:
    """Conversation and first words of the rows of a list; nothing stands there twice."""
    found = re.findall(r'<li id="row-(\d+)".*?<span class="l l3"><span class="cut">(.*?)</span>', page, re.DOTALL)
    shown = {int(id_): html.unescape(words) for id_, words in found}
    assert len(shown) == len(found), "A double"
    return shown
