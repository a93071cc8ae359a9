"""From a reply's commit to the customer's socket, with a thousand sockets open in one gevent process.

Beside the least that could do it (:mod:`bench.bare_sockets`): one row inserted and committed, its words published in
Redis or read again by whoever has the socket, one subscriber a process; no identity, no order, no replay, no access.
And beside the same without the row, which shows what durability costs anybody.
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
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field

from flask import Flask
from redis import Redis
from sqlalchemy import Engine, text

from bench import bare_sockets
from bench.setting import ROOT, Place, median, percentile, place, report, table
from flask_cairnloop import Customer, Operator, reply
from flask_cairnloop.actors import Actor
from tests.support.host import verifier
from tests.support.processes import environment, free_port, wait_until

TEXT, PING, PONG = 0x1, 0x9, 0xA
SOCKETS = 1_000
SAMPLES = 300
WARM = 20  # rounds that are not counted
EVERY = 0.01  # seconds between two replies
Say = Callable[[str, str], float]  # says words to the customer of this name; returns when their commit began


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
        await self._write(TEXT, json.dumps(frame).encode())

    async def _write(self, kind: int, body: bytes) -> None:
        mask = os.urandom(4)
        size = bytes([0x80 | len(body)]) if len(body) < 126 else bytes([0x80 | 126]) + len(body).to_bytes(2, "big")
        masked = bytes(byte ^ mask[at % 4] for at, byte in enumerate(body))
        self.writer.write(bytes([0x80 | kind]) + size + mask + masked)
        await self.writer.drain()

    async def receive(self) -> str:
        """The next text frame. Pings are answered, or a slow machine's run would lose its sockets."""
        while True:
            first, second = await self.reader.readexactly(2)
            size = second & 0x7F
            if size == 126:
                size = int.from_bytes(await self.reader.readexactly(2), "big")
            elif size == 127:
                size = int.from_bytes(await self.reader.readexactly(8), "big")
            body = await self.reader.readexactly(size)
            if first & 0x0F == TEXT:
                return body.decode()
            if first & 0x0F == PING:
                await self._write(PONG, body)

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


@dataclass
class Way:
    """One way from words said to words heard: who listens, and how a word is said to one of them."""

    label: str
    clients: list[Client]
    say: Say
    found: list[float] = field(default_factory=list)

    async def once(self, number: int) -> None:
        """Say something to one of them, and note the seconds until it is there."""
        client, words = self.clients[(number * 37) % len(self.clients)], f"words number {number}"
        start = await asyncio.to_thread(self.say, client.name, words)
        while True:
            moment, arrived = await asyncio.wait_for(client.arrived.get(), 10)
            if words in arrived:
                break
        if number >= WARM:
            self.found.append(moment - start)
        await asyncio.sleep(EVERY)


async def take_turns(ways: list[Way]) -> None:
    """All in turns, so that whatever else the machine does meets each of them alike."""
    everybody = {id(client): client for way in ways for client in way.clients}  # two ways may reach the same ones
    listening = [asyncio.create_task(client.listen()) for client in everybody.values()]
    for number in range(WARM + SAMPLES):
        for way in ways:
            await way.once(number)
    for task in listening:
        task.cancel()


def bare(redis: Redis) -> Say:
    def say(name: str, words: str) -> float:
        start = time.perf_counter()
        redis.publish(bare_sockets.CHANNEL, json.dumps({"to": name, "text": words}))
        return start

    return say


def make_rows(engine: Engine) -> None:
    with engine.begin() as connection:
        connection.execute(
            text("CREATE TABLE bare_replies (id bigserial PRIMARY KEY, customer text, body text, at timestamptz)")
        )


def after_a_row(redis: Redis, engine: Engine, *, read: bool) -> Say:
    """The words by way of a row. With ``read`` the event names it, and whoever has the socket reads it there."""
    insert = text("INSERT INTO bare_replies (customer, body, at) VALUES (:to, :text, now()) RETURNING id")

    def say(name: str, words: str) -> float:
        with engine.connect() as connection:
            row = connection.execute(insert, {"to": name, "text": words}).scalar_one()
            start = time.perf_counter()
            connection.commit()
        event = {"to": name, "row": row} if read else {"to": name, "text": words}
        redis.publish(bare_sockets.CHANNEL, json.dumps(event))
        return start

    return say


def ours(app: Flask, conversations: dict[str, int]) -> Say:
    actor = Actor.operator(Operator("mina", "Mina"))

    def say(name: str, words: str) -> float:
        with app.app_context():
            session = app.extensions["sqlalchemy"].session
            reply(session, conversations[name], actor=actor, body=words)
            start = time.perf_counter()
            session.commit()
            return start

    return say


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
        ways = _measure(here, here.app(DRAFT_DELAY=60.0))
    bare, _, read, _ = ways
    rows = [
        [way.label, *_cells(way.found), _ratio(bare, way, 0.99), _ratio(read, way, 0.5), _ratio(read, way, 0.99)]
        for way in ways
    ]
    head = [f"{SOCKETS:,} sockets", "median, ms", "p99, ms", "p99 of bare", "median of the row read", "p99 of it"]
    report("sockets", table(head, rows), write=write)


def _measure(here: Place, app: Flask) -> list[Way]:
    """Both servers stand, each with its sockets open, while they take turns."""
    env = environment(here.database_url, here.redis_url)
    conversations, tokens = _conversations(app)
    with app.app_context():
        engine = app.extensions["sqlalchemy"].engine
    make_rows(engine)

    async def measure(bare_port: int, port: int) -> list[Way]:
        plain = await many(bare_port, "/socket", {name: name for name in tokens})
        desk = await many(port, "/support/widget/socket", tokens)
        ways = [
            Way("bare flask-sock and Redis, nothing kept", plain, bare(redis)),
            Way("the same after a row's commit", plain, after_a_row(redis, engine, read=False)),
            Way("the same, the row read for the socket", plain, after_a_row(redis, engine, read=True)),
            Way("reply to socket", desk, ours(app, conversations)),
        ]
        await take_turns(ways)
        return ways

    with (
        Redis.from_url(here.redis_url) as redis,
        gevent_server(env, "bench.bare_sockets:create_app()", "/") as bare_port,
        gevent_server(env, "tests.support.host:create_app()", "/support/health") as port,
    ):
        return asyncio.run(measure(bare_port, port))


def _ratio(of: Way, way: Way, share: float) -> str:
    """How many times another's, at this share of the samples."""
    return "" if way is of else f"{percentile(way.found, share) / percentile(of.found, share):.2f} ×"


def _cells(values: list[float]) -> tuple[str, str]:
    return f"{median(values) * 1000:,.1f}", f"{percentile(values, 0.99) * 1000:,.1f}"
