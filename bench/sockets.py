"""From a reply's commit to the customer's socket, with a thousand sockets open in one gevent process.

Beside the least that could do it (:mod:`bench.bare_sockets`): one row inserted and committed, its words published in
Redis, one subscriber a process; no identity, no order, no replay, no access. And beside the same without the row, which
shows what durability costs anybody.
"""

from __future__ import annotations

import asyncio
import base64
import json
import os
import resource
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from flask import Flask
from redis import Redis
from sqlalchemy import create_engine, text

from bench import bare_sockets
from bench.setting import ROOT, Place, median, percentile, place, report, table
from flask_cairnloop import Customer, Operator, reply
from flask_cairnloop.actors import Actor
from tests.support.host import verifier
from tests.support.processes import environment, free_port, wait_until

SOCKETS = 1_000
SAMPLES = 300
EVERY = 0.03  # seconds between two replies


@dataclass
class Client:
    """One customer's socket, as little as it takes: no library costs time on this side."""

    name: str
    arrived: asyncio.Queue[tuple[float, str]] = field(default_factory=asyncio.Queue)

    async def open(self, port: int, path: str) -> None:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", port)
        key = base64.b64encode(os.urandom(16)).decode()
        lines = (
            f"GET {path} HTTP/1.1",
            f"Host: 127.0.0.1:{port}",
            f"Origin: http://127.0.0.1:{port}",
            "Connection: Upgrade",
            "Upgrade: websocket",
            "Sec-WebSocket-Version: 13",
            f"Sec-WebSocket-Key: {key}",
        )
        self.writer.write("\r\n".join([*lines, "", ""]).encode())
        head = await self.reader.readuntil(b"\r\n\r\n")
        if b" 101 " not in head.splitlines()[0]:
            raise SystemExit(f"A socket was refused: {head.splitlines()[0].decode()}")

    async def send(self, **frame: object) -> None:
        body, mask = json.dumps(frame).encode(), os.urandom(4)
        size = bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + len(body).to_bytes(2, "big")
        self.writer.write(b"\x81" + size + mask + bytes(byte ^ mask[at % 4] for at, byte in enumerate(body)))
        await self.writer.drain()

    async def receive(self) -> str:
        """The next text frame; pings are answered by nobody, the run is shorter than their limit."""
        while True:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            body = await self.reader.readexactly(size)
            if first & 0x0F == 1:
                return body.decode()

    async def listen(self) -> None:
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                arrived = await self.receive()
                self.arrived.put_nowait((time.perf_counter(), arrived))


@contextmanager
def gevent_server(env: dict[str, str], app: str, probe: str) -> Iterator[int]:
    """gunicorn with one gevent process, as the README runs it."""
    port = free_port()
    command = [sys.executable, "-m", "gunicorn", "--worker-class", "gevent", "--worker-connections", "3000"]
    command += ["--bind", f"127.0.0.1:{port}", "--log-level", "warning", "--no-control-socket", app]
    process = subprocess.Popen(command, cwd=ROOT, env=env)
    try:
        wait_until(lambda: _answers(f"http://127.0.0.1:{port}{probe}"))
        yield port
    finally:
        process.kill()  # nothing of it is needed any more, and the bare one knows no clean stop
        process.wait()


def _answers(url: str) -> bool:
    try:
        urllib.request.urlopen(url, timeout=2)  # noqa: S310 - our own server
    except urllib.error.HTTPError:
        pass  # any answer will do
    except OSError:
        return False
    return True


async def many(port: int, path: str, tokens: dict[str, str]) -> list[Client]:
    """So many clients, joined and listening."""
    clients = [Client(name) for name in tokens]
    for start in range(0, len(clients), 50):
        batch = clients[start : start + 50]
        await asyncio.gather(*(client.open(port, path) for client in batch))
        for client in batch:
            await client.send(type="join", token=tokens[client.name])
        for client in batch:
            while "joined" not in await client.receive():
                pass
    return clients


async def latencies(clients: list[Client], say: Callable[[Client, str], Awaitable[float]]) -> list[float]:
    """Seconds from saying something to one of them until it is there."""
    listening = [asyncio.create_task(client.listen()) for client in clients]
    found = []
    for number in range(SAMPLES + 20):
        client, words = clients[(number * 37) % len(clients)], f"words number {number}"
        start = await say(client, words)
        while True:
            moment, arrived = await asyncio.wait_for(client.arrived.get(), 10)
            if words in arrived:
                break
        if number >= 20:
            found.append(moment - start)
        await asyncio.sleep(EVERY)
    for task in listening:
        task.cancel()
    return found


def bare(here: Place, *, durable: bool) -> list[float]:
    env = environment(here.database_url, here.redis_url)
    redis = Redis.from_url(here.redis_url)
    engine = create_engine(here.database_url)
    with engine.begin() as connection:
        connection.execute(text("CREATE TABLE IF NOT EXISTS bare_replies (customer text, body text, at timestamptz)"))
    insert = text("INSERT INTO bare_replies VALUES (:to, :text, now())")

    def publish(name: str, words: str) -> float:
        event = {"to": name, "text": words}
        start = time.perf_counter()
        if durable:
            with engine.connect() as connection:
                connection.execute(insert, event)
                start = time.perf_counter()
                connection.commit()
        redis.publish(bare_sockets.CHANNEL, json.dumps(event))
        return start

    async def say(client: Client, words: str) -> float:
        return await asyncio.to_thread(publish, client.name, words)

    async def measure(port: int) -> list[float]:
        names = {f"socket-{number}": f"socket-{number}" for number in range(SOCKETS)}
        return await latencies(await many(port, "/socket", names), say)

    try:
        with redis, gevent_server(env, "bench.bare_sockets:create_app()", "/") as port:
            return asyncio.run(measure(port))
    finally:
        engine.dispose()


def ours(here: Place, app: Flask) -> list[float]:
    env = environment(here.database_url, here.redis_url)
    conversations, tokens = _conversations(app)
    actor = Actor.operator(Operator("mina", "Mina"))

    def commit(name: str, words: str) -> float:
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            reply(session, conversations[name], actor=actor, body=words)
            start = time.perf_counter()
            session.commit()
            return start

    async def say(client: Client, words: str) -> float:
        return await asyncio.to_thread(commit, client.name, words)

    async def measure(port: int) -> list[float]:
        return await latencies(await many(port, "/support/widget/socket", tokens), say)

    with gevent_server(env, "tests.support.host:create_app()", "/support/health") as port:
        return asyncio.run(measure(port))


def _conversations(app: Flask) -> tuple[dict[str, int], dict[str, str]]:
    """A customer with a conversation for each socket."""
    from flask_cairnloop import open_conversation

    conversations, tokens = {}, {}
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        for number in range(SOCKETS):
            customer = Customer(f"socket-{number}", f"Customer {number}")
            opened = open_conversation(
                session, customer=customer, actor=Actor.customer(customer), subject="A question", channel="widget"
            )
            session.flush()
            conversations[customer.ref], tokens[customer.ref] = opened.id, verifier.issue(customer)
        session.commit()
    return conversations, tokens


def run(*, write: bool) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, max(soft, 8192)), hard))
    with place() as here:
        light = bare(here, durable=False)
        plain = bare(here, durable=True)
        desk = ours(here, here.app(DRAFT_DELAY=60.0))
    rows = [
        ["bare flask-sock and Redis, nothing kept", *_cells(light), ""],
        ["the same after a row's commit", *_cells(plain), ""],
        ["reply to socket", *_cells(desk), _ratio(plain, desk)],
    ]
    report("sockets", table([f"{SOCKETS:,} sockets", "median, ms", "p99, ms", "p99 of the row's"], rows), write=write)


def _ratio(plain: list[float], desk: list[float]) -> str:
    return f"{percentile(desk, 0.99) / percentile(plain, 0.99):.2f} ×"


def _cells(values: list[float]) -> tuple[str, str]:
    return f"{median(values) * 1000:,.1f}", f"{percentile(values, 0.99) * 1000:,.1f}"
