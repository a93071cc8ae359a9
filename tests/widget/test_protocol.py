"""Parsing frames: whatever arrives is a frame or a clear refusal, never an exception of another kind."""

from __future__ import annotations

import json
import uuid
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from flask_cairnloop.channels.widget.protocol import Join, Malformed, Ping, Rate, Say, Seen, Typing, parse

JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda values: st.lists(values, max_size=4) | st.dictionaries(st.text(max_size=10), values, max_size=4),
    max_leaves=12,
)
TYPES = st.sampled_from(["join", "message", "seen", "typing", "rate", "ping", "error", ""])
FIELDS = ["token", "conversation", "after", "client_id", "body", "cursor", "rating", "comment", "extra"]
FRAMES = st.tuples(TYPES | JSON, st.dictionaries(st.sampled_from(FIELDS), JSON)).map(
    lambda made: {"type": made[0]} | made[1]
)


def understood(raw: str | bytes) -> object:
    refusal: Malformed | None = None
    try:
        return parse(raw)
    except Malformed as failure:
        refusal = failure
    assert refusal.code in ("malformed", "unknown")
    assert refusal.message
    return None


@given(st.text() | st.binary())
def test_any_text_or_bytes(raw: str | bytes) -> None:
    assert understood(raw) is None or b'"ping"' in (raw if isinstance(raw, bytes) else raw.encode())


@given(JSON | FRAMES)
def test_any_json(value: object) -> None:
    frame = understood(json.dumps(value))
    if frame is not None:
        assert isinstance(value, dict)
        assert value["type"] in ("join", "message", "seen", "typing", "rate", "ping")


@given(st.text())
def test_a_body_keeps_every_character_but_nul(body: str) -> None:
    frame = parse(json.dumps({"type": "message", "client_id": str(uuid.uuid4()), "body": body}))
    assert isinstance(frame, Say)
    assert frame.body == body.replace("\0", "")


@pytest.mark.parametrize(
    ("value", "frame"),
    [
        ({"type": "join", "token": "t"}, Join(type="join", token="t")),
        (
            {"type": "join", "token": "t", "conversation": 7, "after": 3},
            Join(type="join", token="t", conversation=7, after=3),
        ),
        ({"type": "seen", "cursor": 0}, Seen(type="seen", cursor=0)),
        ({"type": "typing", "of": "something newer"}, Typing(type="typing")),
        ({"type": "rate", "rating": 5, "comment": None}, Rate(type="rate", rating=5)),
        ({"type": "ping"}, Ping(type="ping")),
    ],
)
def test_the_frames_of_the_contract(value: dict[str, object], frame: object) -> None:
    assert parse(json.dumps(value)) == frame
