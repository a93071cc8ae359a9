"""The chat on the host's own pages: a script, a frame, a WebSocket, and POST where there is none."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from flask import Blueprint

    from flask_cairnloop.realtime.sockets import Sockets


def register(blueprint: Blueprint, sock: Sockets) -> None:
    """Add the widget's pages and its two lines to the blueprint."""
    from flask_cairnloop.channels.widget import files, messages, socket, views

    views.register(blueprint)
    messages.register(blueprint)
    files.register(blueprint)
    socket.register(sock)
