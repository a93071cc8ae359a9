"""The least that sends a message to one of many sockets: flask-sock, one Redis subscription a process, a queue each.

An event brings the words, or the number of the row that has them.
"""

from __future__ import annotations

import json
import os
import queue
import threading
from typing import Any

from flask import Flask
from flask_sock import Sock
from redis import Redis
from sqlalchemy import create_engine, text

CHANNEL = "bare:events"


def create_app() -> Flask:
    app = Flask("bare")
    sock = Sock(app)
    inboxes: dict[str, queue.Queue[str | int]] = {}
    engine = create_engine(os.environ["TEST_DATABASE_URL"], isolation_level="AUTOCOMMIT")
    find = text("SELECT body FROM bare_replies WHERE id = :row")
    started = threading.Event()

    def hear() -> None:
        pubsub = Redis.from_url(os.environ["TEST_REDIS_URL"]).pubsub()
        pubsub.subscribe(CHANNEL)
        for message in pubsub.listen():
            if message["type"] == "message":
                event = json.loads(message["data"])
                if event["to"] in inboxes:
                    inboxes[event["to"]].put(event.get("row") or event["text"])

    def words(found: str | int) -> str:
        if isinstance(found, str):
            return found
        with engine.connect() as connection:
            return str(connection.execute(find, {"row": found}).scalar_one())

    @sock.route("/socket")
    def socket(ws: Any) -> None:
        if not started.is_set():
            started.set()
            threading.Thread(target=hear, daemon=True).start()
        name = json.loads(ws.receive())["token"]
        inboxes[name] = inbox = queue.Queue()
        ws.send(json.dumps({"type": "joined"}))
        while True:
            ws.send(words(inbox.get()))

    return app
