"""The widget's WebSocket: carries the frames of :mod:`.protocol`."""

from __future__ import annotations

import json
import time
from collections.abc import Iterable

from flask import url_for

from flask_cairnloop.channels.widget.protocol import Frame, WidgetSession, error
from flask_cairnloop.context import current
from flask_cairnloop.realtime.events import Event, Refetch
from flask_cairnloop.realtime.sockets import CloseCode, Socket, Sockets

JOIN_WITHIN = 15.0
IDENTITY_EVERY = 60.0


def register(sock: Sockets) -> None:
    sock.route("/widget/socket", endpoint="widget_socket")(widget_socket)


def widget_socket(socket: Socket) -> None:
    """Serve one customer until either side has had enough."""
    cairnloop = current()
    with cairnloop.hub.subscribe(wake=socket.wake) as subscription:
        session = WidgetSession(cairnloop, subscription.add, url_for("cairnloop.widget_upload"))
        check_at = time.monotonic() + JOIN_WITHIN
        while not session.ended:
            item = socket.next(subscription, max(0.0, check_at - time.monotonic()))
            if isinstance(item, (Event, Refetch)):
                _send(socket, session.hear(item))
            elif item is not None:
                joined_before = session.customer is not None
                _send(socket, session.handle(item))
                if not joined_before and session.customer is not None:
                    check_at = time.monotonic() + IDENTITY_EVERY
            if time.monotonic() >= check_at and not session.ended:
                if session.customer is None:
                    _send(socket, [error("unauthorized", "Nobody has joined.")])
                    break
                # Identity, and what was said: a process that ends between its commit and its event has told nobody.
                _send(socket, session.hear(Refetch()))
                check_at = time.monotonic() + IDENTITY_EVERY
    if session.try_later:
        socket.close(CloseCode.TRY_LATER, "try later")
    else:  # a client does not come back by itself after this code: it needs a fresh token first
        socket.close(CloseCode.POLICY, "unauthorized")


def _send(socket: Socket, frames: Iterable[Frame]) -> None:
    for frame in frames:
        socket.send(json.dumps(frame, ensure_ascii=False, separators=(",", ":")))
