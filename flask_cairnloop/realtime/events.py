"""What travels over Redis, and the names of the topics."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

CONSOLE = "console"
EVERYBODY = "everybody"  # every subscriber hears this topic, as a `Refetch`
DISCONNECT = "disconnect"  # the type of an event that ends a session; nothing may stand in for it


@dataclass(frozen=True, slots=True)
class Event:
    """Something changed. ``data`` holds ids and bounded values, never customer text."""

    topic: str
    type: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refetch:
    """Events may have been missed: read the current state instead of relying on what was heard."""


def channel_name(namespace: str) -> str:
    """The one Redis channel of an install."""
    return f"{namespace}:events"


def conversation_topic(conversation_id: int) -> str:
    return f"conversation:{conversation_id}"


def customer_topic(ref: str) -> str:
    return f"customer:{ref}"


def operator_topic(operator_id: str) -> str:
    return f"operator:{operator_id}"


def encode(event: Mapping[str, Any]) -> str:
    """An event as it is published: a mapping of ``topic``, ``type`` and ``data``."""
    return json.dumps({"topic": event["topic"], "type": event["type"], "data": event.get("data") or {}})


def encode_all(events: Sequence[Mapping[str, Any]]) -> str:
    """Events as they are published together, in one message."""
    return encode(events[0]) if len(events) == 1 else f"[{', '.join(map(encode, events))}]"


def decode(payload: str | bytes) -> list[Event] | None:
    """The events of a payload; ``None`` when somebody else wrote to our channel."""
    try:
        found = json.loads(payload)
        events = [
            Event(value["topic"], value["type"], value["data"])
            for value in (found if isinstance(found, list) else [found])
        ]
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
    return events if events and all(map(_fits, events)) else None


def _fits(event: Event) -> bool:
    return isinstance(event.topic, str) and isinstance(event.type, str) and isinstance(event.data, dict)
