"""The widget's frames by POST, where no WebSocket comes through: the client asks again every few seconds."""

from __future__ import annotations

import json
from typing import Any

from flask import Blueprint, Response, request, url_for
from werkzeug.exceptions import RequestEntityTooLarge

from flask_cairnloop.channels.widget.protocol import Frame, WidgetSession, error
from flask_cairnloop.context import current

MAX_BODY_BYTES = 1 << 20
MOST_FRAMES = 50
RETRY_AFTER = "5"


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/widget/messages", view_func=widget_messages, methods=["POST"])


def widget_messages() -> Response:
    """Answer an array of a client's frames, the first of which is ``join``, with the array of ours that they cause.

    Each request is a line of its own, as short as can be: it joins, says what it has to say, and is gone.
    """
    request.max_content_length = MAX_BODY_BYTES
    try:
        frames = _frames(request.get_data(cache=False))
    except RequestEntityTooLarge:
        return _answer(413, [error("too_large", "This is too much at once. Send it in parts.")])
    if frames is None:
        words = f"This is not a JSON array of 1 to {MOST_FRAMES} frames that begins with a join."
        return _answer(400, [error("malformed", words)])
    session = WidgetSession(current(), lambda _topic: None, url_for("cairnloop.widget_upload"))
    answers: list[Frame] = []
    for frame in frames:
        answers += session.handle(json.dumps(frame))
        if session.customer is None or session.ended:
            break
    if session.try_later:
        return _answer(503, [*answers, error("try_later", "Please try again in a moment.")])
    return _answer(401 if session.ended else 400 if session.customer is None else 200, answers)


def _frames(body: bytes) -> list[Any] | None:
    try:
        frames = json.loads(body)
    except (ValueError, RecursionError):
        return None
    if not isinstance(frames, list) or not 1 <= len(frames) <= MOST_FRAMES:
        return None
    joins = isinstance(frames[0], dict) and frames[0].get("type") == "join"
    return frames if joins else None


def _answer(status: int, frames: list[Frame]) -> Response:
    body = json.dumps(frames, ensure_ascii=False, separators=(",", ":"))
    response = Response(body, status, mimetype="application/json")
    if status == 503:
        response.headers["Retry-After"] = RETRY_AFTER
    return response
