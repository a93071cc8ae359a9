"""Live updates: one Redis subscription a process, fanned out to that process's sockets.

Events say that something changed; what changed is read from PostgreSQL. A lost event therefore costs a delay and never
a message: whoever may have missed one gets a :class:`~flask_cairnloop.realtime.events.Refetch`.
"""

from flask_cairnloop.realtime.events import (
    CONSOLE,
    Event,
    Refetch,
    channel_name,
    conversation_topic,
    customer_topic,
    operator_topic,
)
from flask_cairnloop.realtime.publish import disconnect, disconnect_operator, publish_many, publish_now

__all__ = [
    "CONSOLE",
    "Event",
    "Refetch",
    "channel_name",
    "conversation_topic",
    "customer_topic",
    "disconnect",
    "disconnect_operator",
    "operator_topic",
    "publish_many",
    "publish_now",
]
