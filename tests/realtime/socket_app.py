"""An app with nothing but sockets of ours, for tests of what carries them."""

from __future__ import annotations

import os

from flask import Blueprint, Flask

from flask_cairnloop.realtime.hub import Hub
from flask_cairnloop.realtime.sockets import Socket, Sockets, open_sockets


def create_app() -> Flask:
    app = Flask(__name__)
    blueprint = Blueprint("sockets", __name__)
    sock = Sockets(blueprint)
    hub = Hub(os.environ["TEST_REDIS_URL"], "socket-test:events", queue_size=1000)

    @blueprint.get("/open")
    def count() -> str:
        return str(len(open_sockets))

    @sock.route("/echo")
    def echo(socket: Socket) -> None:
        with hub.subscribe(wake=socket.wake) as subscription:
            while True:
                said = socket.next(subscription, 60)
                if isinstance(said, str):
                    socket.send(said)

    @sock.route("/heard")
    def heard(socket: Socket) -> None:
        """Sends on what is published to the topic that the client names."""
        with hub.subscribe(wake=socket.wake) as subscription:
            while True:
                said = socket.next(subscription, 60)
                if isinstance(said, str):
                    subscription.add(said)
                    socket.send(f"listening to {said}")
                elif said is not None:
                    socket.send(repr(said))

    @sock.route("/broken")
    def broken(socket: Socket) -> None:
        socket.receive()
        raise RuntimeError("the reason stays here")

    @sock.route("/flood")
    def flood(socket: Socket) -> None:
        """Sends more than any buffer between us takes."""
        while True:
            socket.send("x" * 1_000_000)

    app.register_blueprint(blueprint)
    return app
