"""What stands before several web processes: one address, and whichever of them takes the connection."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from urllib.parse import urlsplit


@contextmanager
def balancer(*upstreams: str) -> Iterator[str]:
    """An address at which the first of these web servers answers that can be reached.

    A connection stays with the server that took it, and ends with it.
    """
    addresses = [(parts.hostname or "", parts.port or 80) for parts in map(urlsplit, upstreams)]
    open_sockets: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def start(target: object, *arguments: object) -> None:
        thread = threading.Thread(target=target, args=arguments, daemon=True)  # type: ignore[arg-type]
        threads.append(thread)
        thread.start()

    def accept() -> None:
        with suppress(OSError):
            while True:
                client, _ = listener.accept()
                open_sockets.append(client)
                start(serve, client)

    def serve(client: socket.socket) -> None:
        for address in addresses:
            with suppress(OSError):
                server = socket.create_connection(address, 5)
                server.settimeout(None)
                open_sockets.append(server)
                start(pump, server, client)
                pump(client, server)
                return
        _end(client)

    def pump(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        _end(source)
        _end(sink)

    with socket.create_server(("127.0.0.1", 0)) as listener:
        start(accept)
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            _end(listener)
            for one in list(open_sockets):
                _end(one)
            for thread in list(threads):
                thread.join(5)
            for one in open_sockets:
                one.close()


def _end(one: socket.socket) -> None:
    """Wakes up whoever reads from it; closing alone would not."""
    with suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
