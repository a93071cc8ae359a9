"""WebSockets over real gunicorn workers: whole frames, clear ends, a clean stop, under threads and under gevent."""

from __future__ import annotations

import os
import signal
import socket as sockets
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest
from redis import Redis
from simple_websocket import Client, ConnectionClosed

from flask_cairnloop.realtime.publish import publish_many
from tests.support.processes import ROOT, free_port, wait_until

pytest.importorskip("gunicorn")
WORKERS = {"gthread": ["--threads", "12"], "gevent": []}


class Server:
    """A gunicorn with one worker."""

    def __init__(self, worker_class: str, redis_url: str, log: Path) -> None:
        port = free_port()
        self.host = f"127.0.0.1:{port}"
        command = [
            *(sys.executable, "-m", "gunicorn", "--worker-class", worker_class, *WORKERS[worker_class]),
            *("--bind", self.host, "--config", "python:flask_cairnloop.realtime.gunicorn"),
            *("--graceful-timeout", "15", "tests.realtime.socket_app:create_app()"),
        ]
        env = {**os.environ, "TEST_REDIS_URL": redis_url}
        self.log = log
        with log.open("wb") as output:
            self.popen = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=subprocess.STDOUT)
        self.clients: list[Client] = []
        wait_until(self.answers)

    def answers(self) -> bool:
        if self.popen.poll() is not None:
            raise AssertionError(self.log.read_text())
        with suppress(OSError):
            return self.open_sockets() == 0
        return False

    def open_sockets(self) -> int:
        with urllib.request.urlopen(f"http://{self.host}/open", timeout=5) as answer:
            return int(answer.read())

    def connect(self, path: str) -> Client:
        client = Client(f"ws://{self.host}{path}")
        self.clients.append(client)
        return client

    def quiet(self) -> None:
        """Close what earlier tests left open, and wait until nothing is counted any more."""
        for client in self.clients:
            if client.connected:
                client.close()
        wait_until(lambda: self.open_sockets() == 0, seconds=20)

    def stop(self) -> None:
        for client in self.clients:
            if client.connected:
                client.close()
            client.thread.join(5)
            client.sock.close()
        self.popen.terminate()
        self.popen.wait(20)


@pytest.fixture(scope="module", params=list(WORKERS))
def server(request: pytest.FixtureRequest, redis_url: str) -> Iterator[Server]:
    if request.param == "gevent":
        pytest.importorskip("gevent")
    with tempfile.TemporaryDirectory() as folder:
        server = Server(request.param, redis_url, Path(folder) / "log")
        try:
            yield server
        finally:
            server.stop()


def closed(client: Client, seconds: float = 15) -> int:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            client.receive(timeout=0.5)
        except ConnectionClosed as end:
            return int(end.reason)
    raise AssertionError("It is still open.")


def handshake(server: Server, path: str) -> bytes:
    """The first bytes of the answer to an upgrade that offers compression."""
    host, port = server.host.split(":")
    with sockets.create_connection((host, int(port)), timeout=10) as raw:
        raw.sendall(upgrade(server, path))
        return raw.recv(4096)


def upgrade(server: Server, path: str) -> bytes:
    return (
        f"GET {path} HTTP/1.1\r\nHost: {server.host}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
        "Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    ).encode()


def test_messages_of_any_size_arrive_whole(server: Server) -> None:
    client = server.connect("/echo")
    for size in (0, 1, 4096, 900_000):
        client.send("é" * (size // 2))
        assert client.receive(timeout=10) == "é" * (size // 2)


def test_an_offer_of_compression_is_not_taken(server: Server) -> None:
    answer = handshake(server, "/echo")
    assert b" 101 " in answer
    assert b"extensions" not in answer.lower()


def test_events_wake_a_socket_that_waits_for_messages(server: Server, redis: Redis) -> None:
    client = server.connect("/heard")
    client.send("news")
    said = []
    while "listening to news" not in said:
        said.append(client.receive(timeout=10))

    def event_arrives() -> bool:
        publish_many(redis, "socket-test:events", [{"topic": "news", "type": "message", "data": {"sequence": 1}}])
        return bool(client.receive(timeout=0.5) == "Event(topic='news', type='message', data={'sequence': 1})")

    wait_until(event_arrives, seconds=10)  # at once, unless this is the process's first subscriber


def test_a_handler_that_fails_says_so_and_closes_properly(server: Server) -> None:
    client = server.connect("/broken")
    client.send("go on")
    frame = client.receive(timeout=10)
    assert '"code":"internal"' in frame
    assert "reason" not in frame
    assert closed(client) == 1011


def test_a_message_beyond_the_limit_ends_the_socket(server: Server) -> None:
    client = server.connect("/echo")
    with suppress(OSError):
        client.send("x" * 1_200_000)
    assert closed(client) in (1005, 1006, 1009)  # the closing frame may be lost behind what we still send


def test_one_who_does_not_read_is_let_go_and_holds_nobody_up(server: Server) -> None:
    host, port = server.host.split(":")
    server.quiet()
    with sockets.create_connection((host, int(port)), timeout=10) as deaf:
        deaf.sendall(upgrade(server, "/flood"))
        wait_until(lambda: server.open_sockets() == 1, seconds=10)
        client = server.connect("/echo")
        client.send("still here")
        assert client.receive(timeout=5) == "still here"
        client.close()
        wait_until(lambda: server.open_sockets() == 0, seconds=25)


@pytest.mark.parametrize("server", ["gthread"], indirect=True)  # greenlets are not scarce
def test_a_threaded_worker_keeps_threads_for_http(server: Server) -> None:
    server.quiet()
    held = [server.connect("/echo") for _ in range(8)]  # of 12 threads
    wait_until(lambda: server.open_sockets() == 8, seconds=10)  # a handshake is answered before it is counted
    assert handshake(server, "/echo").startswith(b"HTTP/1.1 503 ")
    for client in held:
        client.close()


@pytest.mark.parametrize("worker_class", list(WORKERS))
def test_a_stop_closes_every_socket_at_once(worker_class: str, redis_url: str, tmp_path: Path) -> None:
    if worker_class == "gevent":
        pytest.importorskip("gevent")
    server = Server(worker_class, redis_url, tmp_path / "log")
    clients = [server.connect("/echo") for _ in range(5)]
    for client in clients:
        client.send("hello")
        assert client.receive(timeout=10) == "hello"
    started = time.monotonic()
    server.popen.send_signal(signal.SIGTERM)
    assert [closed(client) for client in clients] == [1012] * 5
    assert server.popen.wait(15) == 0
    assert time.monotonic() - started < 6
    assert "Traceback" not in (tmp_path / "log").read_text()
    server.stop()
