"""The least that sends a message to one of many sockets: flask-sock, one Redis subscription a process, a queue each."""

from __future__ import annotations

import json
import os
import queue
import threading
from typing import Any

from flask import Flask
from flask_sock import Sock
from redis import Redis

CHANNEL = "bare:events"


def create_app() -> Flask:
    app = Flask("bare")
    sock = Sock(app)
    inboxes: dict[str, queue.Queue[str]] = {}
    started = threading.Event()

    def hear() -> None:
        pubsub = Redis.from_url(os.environ["TEST_REDIS_URL"]).pubsub()
        pubsub.subscribe(CHANNEL)
        for message in pubsub.listen():
            if message["type"] == "message":
                event = json.loads(message["data"])
                if event["to"] in inboxes:
                    inboxes[event["to"]].put(event["text"])

    @sock.route("/socket")
    def socket(ws: Any) -> None:
        if not started.is_set():
            started.set()
            threading.Thread(target=hear, daemon=True).start()
        name = json.loads(ws.receive())["token"]
        inboxes[name] = inbox = queue.Queue()
        ws.send(json.dumps({"type": "joined"}))
        while True:
            ws.send(inbox.get())

    return app
