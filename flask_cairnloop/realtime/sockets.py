"""WebSockets that cannot be held up, filled up or torn by the other side.

:class:`Sockets` takes the place of :class:`flask_sock.Sock` and hands handlers a :class:`Socket`. What it adds to
simple-websocket: whole frames under a lock and a time-out, a bounded inbox, no compression contexts, close codes that
tell a client whether to come back, a cap per process, and a stop for all of them at once.
"""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from contextlib import suppress
from enum import IntEnum
from functools import wraps
from typing import Any

from flask import Blueprint, Response, abort, current_app, request
from flask_sock import Sock
from simple_websocket import ConnectionClosed, Server
from wsproto.events import CloseConnection, Message, Ping, TextMessage
from wsproto.utilities import LocalProtocolError

from flask_cairnloop.realtime.events import Event, Refetch
from flask_cairnloop.realtime.hub import Subscription

log = logging.getLogger(__name__)

SEND_SECONDS = 10.0
PING_SECONDS = 25.0
INBOX_SIZE = 64
MAX_MESSAGE_BYTES = 1 << 20
Handler = Callable[..., None]


class CloseCode(IntEnum):
    """Why a socket of ours is closed. After every one but ``NORMAL`` and ``POLICY`` a client comes back."""

    NORMAL = 1000
    GOING_AWAY = 1001
    POLICY = 1008  # who you are, or what you did, is not accepted
    TOO_BIG = 1009
    INTERNAL = 1011
    RESTART = 1012
    TRY_LATER = 1013


class _Wire:
    """The connection's socket: ``send`` writes everything, one writer at a time, or gives the connection up.

    Both the handler and the reader (pong, close) write. ``socket.send`` may stop in the middle of a frame, and a peer
    that reads nothing must not hold a thread for ever.
    """

    def __init__(self, sock: Any) -> None:
        self._sock = sock
        self._lock = threading.Lock()

    def send(self, data: bytes) -> None:
        if not self._lock.acquire(timeout=SEND_SECONDS):
            raise TimeoutError("Another writer is stuck")
        try:
            self._sock.settimeout(SEND_SECONDS)
            self._sock.sendall(data)
        except OSError:
            self.cut()  # part of a frame may be out: nothing more can be said on this connection
            raise
        finally:
            self._lock.release()

    def recv(self, size: int) -> bytes:
        received: bytes = self._sock.recv(size)
        return received

    def fileno(self) -> int:
        return int(self._sock.fileno())

    def cut(self) -> None:
        """End the connection below WebSocket; a thread that reads from it wakes up."""
        with suppress(OSError):
            self._sock.shutdown(2)

    def close(self) -> None:
        self._sock.close()


class _Reader(threading.Thread):
    """A reader must never keep a stopping process alive."""

    def __init__(self, target: Callable[[], None]) -> None:
        super().__init__(target=target, daemon=True)


class Socket(Server):  # type: ignore[misc]  # simple-websocket has no types
    """One WebSocket, as a handler sees it."""

    sock: Any
    connected: bool
    pong_received: bool

    def __init__(self, environ: dict[str, Any]) -> None:
        self._close_lock = threading.Lock()
        self._room = threading.Condition()
        # Compression would cost about 100 kB a socket: take the client's offer out, then none is made.
        plain = {key: value for key, value in environ.items() if key != "HTTP_SEC_WEBSOCKET_EXTENSIONS"}
        super().__init__(plain, ping_interval=PING_SECONDS, max_message_size=MAX_MESSAGE_BYTES, thread_class=_Reader)

    def handshake(self) -> None:
        self.sock = _Wire(self.sock)
        super().handshake()

    def send(self, data: str | bytes) -> None:
        """Send one message, whole.

        Raises:
            ConnectionClosed: the connection is gone, or the other side takes nothing.
        """
        if not self.connected:
            raise ConnectionClosed(self.close_reason, self.close_message)
        event = Message(data=data) if isinstance(data, bytes) else TextMessage(data=data)
        try:
            self.sock.send(self.ws.send(event))
        except (OSError, LocalProtocolError) as error:
            self._lost()
            raise ConnectionClosed(self.close_reason, self.close_message) from error

    def next(self, subscription: Subscription, timeout: float) -> str | bytes | Event | Refetch | None:
        """What comes first: a message, or an event; ``None`` after ``timeout`` seconds of neither.

        The subscription has to be made with ``wake=socket.wake``.

        Raises:
            ConnectionClosed: the connection is gone, and everything it brought has been read.
        """
        deadline = time.monotonic() + timeout
        while True:
            self.event.clear()
            if self.input_buffer:
                return self._take()
            if not self.connected:
                raise ConnectionClosed(self.close_reason, self.close_message)
            item = subscription.get(0)
            if item is not None:
                return item
            if not self.event.wait(max(0.0, deadline - time.monotonic())):
                return None

    def wake(self) -> None:
        """Make :meth:`next` look again."""
        self.event.set()

    def receive(self, timeout: float | None = None) -> Any:
        message = super().receive(timeout)
        with self._room:
            self._room.notify()
        return message

    def close(self, reason: int | None = None, message: str | None = None) -> None:
        """Say goodbye and let go. A second call changes nothing."""
        with self._close_lock:
            if not self.connected:
                return
            self.connected = False
        with suppress(OSError, LocalProtocolError):
            self.sock.send(self.ws.send(CloseConnection(reason or CloseCode.NORMAL, message)))
        self.sock.cut()
        self._lost()

    def _take(self) -> str | bytes:
        message: str | bytes = self.input_buffer.pop(0)
        with self._room:
            self._room.notify()
        return message

    def _lost(self) -> None:
        self.connected = False
        self.event.set()
        with self._room:
            self._room.notify()

    def _handle_events(self) -> bool:
        going_on = bool(super()._handle_events())
        # A full inbox stops the reading, and with it, by TCP, the sender.
        with self._room:
            while going_on and self.connected and len(self.input_buffer) >= INBOX_SIZE:
                self._room.wait(1.0)
        return going_on

    def _thread(self) -> None:
        try:
            with self.selector_class() as selector:
                selector.register(self.sock, 1)  # EVENT_READ
                self._read(selector)
        except (OSError, ValueError, LocalProtocolError):
            pass  # gone, in one of the ways connections go
        except Exception:
            log.exception("A WebSocket reader failed")
        finally:
            self._lost()
            self.sock.close()

    def _read(self, selector: Any) -> None:
        next_ping = time.monotonic() + PING_SECONDS
        while self.connected:
            if not selector.select(max(0.0, next_ping - time.monotonic())):
                if not self.pong_received:
                    self.close(CloseCode.INTERNAL, "No answer to a ping")
                    return
                self.pong_received = False
                self.sock.send(self.ws.send(Ping()))
                next_ping = time.monotonic() + PING_SECONDS
                continue
            data = self.sock.recv(self.receive_bytes)
            if not data:
                return
            self.ws.receive_data(data)
            self.connected = self._handle_events() and self.connected


class _OpenSockets:
    """The open sockets of this process."""

    def __init__(self) -> None:
        self.limit: int | None = None
        self.stopping = False
        self._sockets: weakref.WeakSet[Socket] = weakref.WeakSet()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._sockets)

    def full(self, limit: int = 0) -> bool:
        """Whether another one would be too many, by this limit or, where that is 0, by the process's own."""
        most = limit or self.limit
        return self.stopping or (most is not None and len(self) >= most)

    def add(self, socket: Socket) -> None:
        with self._lock:
            self._sockets.add(socket)

    def discard(self, socket: Socket) -> None:
        with self._lock:
            self._sockets.discard(socket)

    def __iter__(self) -> Iterator[Socket]:
        with self._lock:
            return iter(list(self._sockets))


open_sockets = _OpenSockets()


def close_all(code: CloseCode = CloseCode.RESTART, message: str = "The server restarts") -> None:
    """Close every socket of this process and accept no more of them."""
    open_sockets.stopping = True
    for socket in open_sockets:
        socket.close(code, message)


class Sockets(Sock):  # type: ignore[misc]  # flask-sock has no types
    """:class:`flask_sock.Sock` with our :class:`Socket`, and with an end that clients understand.

    Args:
        limit: most open sockets of this process; 0 for what the server's configuration derives.
    """

    def __init__(self, blueprint: Blueprint, limit: int = 0) -> None:
        super().__init__(blueprint)
        self._limit = limit

    def route(self, path: str, bp: Any = None, **options: Any) -> Callable[[Handler], Handler]:
        """Make a function the handler of a WebSocket.

        The function gets the :class:`Socket` first. It holds a request and an app context for as long as the socket
        lives: it must not use ``db.session`` there, but open ``app.app_context()`` for each message.
        """

        def decorate(handler: Handler) -> Handler:
            @wraps(handler)
            def view(*args: Any, **kwargs: Any) -> Response:
                if open_sockets.full(self._limit):
                    abort(503)
                socket = Socket(request.environ)
                _run(socket, handler, *args, **kwargs)
                return _Upgraded(socket.mode)

            target = bp or self.bp or self.app
            target.add_url_rule(path, view_func=view, websocket=True, **options)
            return handler

        return decorate


def _run(socket: Socket, handler: Handler, *args: Any, **kwargs: Any) -> None:
    """Run a handler to its end. What it raises must not reach Flask, which would write HTTP into the WebSocket."""
    _let_go_of_the_database()
    open_sockets.add(socket)
    code = CloseCode.NORMAL
    try:
        handler(socket, *args, **kwargs)
    except ConnectionClosed:
        pass
    except Exception:
        log.exception("A WebSocket handler failed")
        code = CloseCode.INTERNAL
        with suppress(ConnectionClosed):
            socket.send('{"type":"error","code":"internal","message":"Something went wrong on our side."}')
    finally:
        open_sockets.discard(socket)
        socket.close(code)


def _let_go_of_the_database() -> None:
    """Give back the connection that the host's own request hooks may have taken; this request lasts for hours."""
    extension = current_app.extensions.get("sqlalchemy")
    if extension is not None:
        extension.session.remove()


class _Upgraded(Response):
    """What a server gets back once the connection is not HTTP any more."""

    def __init__(self, mode: str) -> None:
        super().__init__()
        self._mode = mode

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        if self._mode == "gunicorn":
            raise StopIteration  # gunicorn's own sign for "leave this connection alone"
        return super().__call__(*args, **kwargs) if self._mode == "werkzeug" else []
