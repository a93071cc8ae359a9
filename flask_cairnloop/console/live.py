"""The operators' live socket: tells open pages what to fetch again. No text of a customer passes through it.

Server → client: ``{"type": …, "conversation_id": …, …}`` as services published it, and ``{"type": "refetch"}`` at the
start, every minute and whenever something may have been missed: nothing is replayed, what is shown is read again.
Client → server: ``watch`` (a conversation, for its typing; answered by ``watching``), ``typing`` (in it) and ``look``
(it is before the operator's eyes, said every few seconds; with 0, nothing is; answered by ``viewers``, who else looks).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from flask import Blueprint, Flask, current_app, g, request

from flask_cairnloop.console.access import Answer, admit
from flask_cairnloop.context import current
from flask_cairnloop.errors import HookFailed
from flask_cairnloop.hooks import Operator, Permission, Subject
from flask_cairnloop.realtime import presence
from flask_cairnloop.realtime.events import CONSOLE, DISCONNECT, Event, Refetch, conversation_topic, operator_topic
from flask_cairnloop.realtime.hub import Subscription
from flask_cairnloop.realtime.publish import publish_now
from flask_cairnloop.realtime.sockets import CloseCode, Socket, Sockets

RECHECK_SECONDS = 60.0
TYPING_SECONDS = 1.0
WATCHED = 50  # conversations one socket hears of at most: those it looked at last
# What leaves by this socket: ids and bounded values, named one by one.
PASSED = (
    "conversation_id",
    "draft_id",
    "proposal_id",
    "envelope_id",
    "article_id",
    "sequence",
    "kind",
    "state",
    "status",
    "cursor",
    "author",
    "tab",
    "because",
)
# What is for the operator alone, on whichever page they have open.
OWN = frozenset({"unsent", "mention"})


def register(blueprint: Blueprint, sock: Sockets) -> None:
    """Mount the socket; the handshake itself is refused to whoever may not read conversations."""

    @blueprint.before_request
    def admit_to_live() -> Answer | None:
        return admit(Permission.CONVERSATIONS_READ) if request.endpoint == "cairnloop.live" else None

    sock.route("/live")(live)


def live(socket: Socket) -> None:
    """Pass events on until the operator goes or may no longer see them."""
    app: Flask = current_app._get_current_object()  # type: ignore[attr-defined]
    environ = dict(request.environ)
    session = _Live(app, environ, g.cairnloop_operator)
    topics = [CONSOLE, operator_topic(session.operator.id)]
    with current().hub.subscribe(topics, wake=socket.wake) as subscription:
        try:
            _pass_on(socket, session, subscription)
        finally:
            session.look_away()


def _pass_on(socket: Socket, session: _Live, subscription: Subscription) -> None:
    """Until the end of the socket, hear both sides."""
    checked = time.monotonic()
    # What came between the reading of the page, or the cut of an earlier socket, and this moment was not heard.
    socket.send(json.dumps(session.outgoing(Refetch())))
    while True:
        item = socket.next(subscription, max(0.05, RECHECK_SECONDS - (time.monotonic() - checked)))
        if time.monotonic() - checked >= RECHECK_SECONDS:
            if not _still_admitted(session.app, session.environ, session.operator):
                socket.close(CloseCode.POLICY, "Signed out")
                return
            checked = time.monotonic()
            # A process that ends between its commit and its event has told nobody.
            socket.send(json.dumps(session.outgoing(Refetch())))
        if isinstance(item, Event) and item.type == DISCONNECT:
            socket.close(CloseCode.POLICY, "Signed out")
            return
        words = None
        if isinstance(item, Event | Refetch):
            words = session.outgoing(item)
        elif item is not None:
            words = session.incoming(item, subscription)
        if words is not None:
            socket.send(json.dumps(words))


class _Live:
    """What one socket knows: who is at it, and which conversations it watches."""

    def __init__(self, app: Flask, environ: dict[str, Any], operator: Operator) -> None:
        self.app = app
        self.environ = environ
        self.operator = operator
        self.watched: dict[int, None] = {}  # the one that was looked at longest ago comes first
        self.page = secrets.token_hex(8)
        self._looks_at = 0
        self._typed = 0.0

    def outgoing(self, item: Event | Refetch) -> Mapping[str, Any] | None:
        """What to send for an event; ``None`` for nothing."""
        if isinstance(item, Refetch):
            return {"type": "refetch"}
        if item.type == "presence":
            return self._viewers() if item.data.get("conversation_id") == self._looks_at else None
        if item.topic != CONSOLE and item.type not in ("typing", "seen", *OWN):
            return None  # the console's own topic has it too
        if item.type == "typing" and item.data.get("by") == self.operator.id:
            return None
        words: dict[str, Any] = {name: item.data[name] for name in PASSED if name in item.data}
        if item.type == "typing" and item.data.get("author") == "operator":
            words["name"] = str(item.data.get("name", ""))[:200]
        return {"type": item.type, **words}

    def incoming(self, frame: str | bytes, subscription: Subscription) -> Mapping[str, Any] | None:
        """Act on a frame of the page; what to answer. Anything that is no frame is ignored: nothing here may cost a
        page its socket."""
        try:
            message = json.loads(frame)
            kind, conversation_id = message["type"], message["conversation_id"]
        except (ValueError, TypeError, KeyError, RecursionError):
            return None
        if type(conversation_id) is not int or not 0 <= conversation_id < 2**63:
            return None
        if kind == "look":
            return self._look(conversation_id)
        if kind == "watch" and self._watch(conversation_id, subscription):
            return {"type": "watching", "conversation_id": conversation_id}
        if kind == "typing":
            self._typing(conversation_id)
        return None

    def _watch(self, conversation_id: int, subscription: Subscription) -> bool:
        if conversation_id in self.watched:
            self.watched[conversation_id] = self.watched.pop(conversation_id)
            return True
        if not conversation_id or not self._may(Permission.CONVERSATIONS_READ, conversation_id):
            return False
        if len(self.watched) >= WATCHED:
            longest_ago = next(one for one in self.watched if one != self._looks_at)
            del self.watched[longest_ago]
            subscription.remove(conversation_topic(longest_ago))
        self.watched[conversation_id] = None
        subscription.add(conversation_topic(conversation_id))
        return True

    def _typing(self, conversation_id: int) -> None:
        if conversation_id not in self.watched or time.monotonic() - self._typed < TYPING_SECONDS:
            return
        self._typed = time.monotonic()
        if self._may(Permission.CONVERSATIONS_REPLY, conversation_id):
            publish_now(
                self.app.extensions["cairnloop"],
                conversation_topic(conversation_id),
                "typing",
                conversation_id=conversation_id,
                author="operator",
                name=self.operator.name,
                by=self.operator.id,
            )

    def _look(self, conversation_id: int) -> Mapping[str, Any] | None:
        if conversation_id not in self.watched:
            self.look_away()
            return None
        if conversation_id != self._looks_at:
            self.look_away()
        self._looks_at = conversation_id
        presence.arrive(self.app.extensions["cairnloop"], conversation_id, self.operator, self.page)
        return self._viewers()

    def look_away(self) -> None:
        """The page is hidden, shows something else, or is gone."""
        before, self._looks_at = self._looks_at, 0
        if before:
            presence.leave(self.app.extensions["cairnloop"], before, self.operator, self.page)

    def _viewers(self) -> Mapping[str, Any]:
        about = self._looks_at
        people = presence.others(self.app.extensions["cairnloop"], about, self.operator)
        return {"type": "viewers", "conversation_id": about, "people": people}

    def _may(self, permission: Permission, conversation_id: int) -> bool:
        """Ask the host, as on a page. Who is refused hears nothing of it: there is nothing to read, or to tell."""
        with _asking(self.app, self.environ):
            return current().hooks.authorize(self.operator, permission, Subject("conversation", conversation_id))


@contextmanager
def _asking(app: Flask, environ: dict[str, Any]) -> Iterator[None]:
    """A request as at the handshake, for a moment, with an app context of its own.

    In the socket's own, ``db.session`` would keep a connection for as long as the socket lives, and Flask-Login, which
    remembers its user in ``g``, would let in for ever whoever was let in once.
    """
    with app.app_context(), app.request_context(environ):
        yield


def _still_admitted(app: Flask, environ: dict[str, Any], operator: Operator) -> bool:
    """Ask the host again."""
    with _asking(app, environ):
        hooks = current().hooks
        try:
            now = hooks.load_operator()
        except HookFailed:
            return True  # the host cannot be asked; what is shown is fetched by requests that are checked themselves
        return now is not None and now.id == operator.id and hooks.authorize(now, Permission.CONVERSATIONS_READ)
