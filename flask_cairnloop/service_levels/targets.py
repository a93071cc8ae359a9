"""What is promised, and how a promise stands. Words only: the tables of other rooms hold some of them."""

from __future__ import annotations

from enum import StrEnum


class Target(StrEnum):
    """What a customer may expect by a time."""

    FIRST_RESPONSE = "first_response"  # the first reply of all
    NEXT_RESPONSE = "next_response"  # a reply to what they wrote after one
    RESOLUTION = "resolution"  # that it is done


class ClockState(StrEnum):
    RUNNING = "running"  # the customer waits for us
    PAUSED = "paused"  # they do not, for now
    MET = "met"  # it came, in time or late: `breached_at` says which
    CANCELLED = "cancelled"  # nothing is expected any more


ACTIVE = (ClockState.RUNNING, ClockState.PAUSED)


class DueState(StrEnum):
    """How near a conversation is to its next deadline."""

    RUNNING = "running"
    SOON = "soon"
    BREACHED = "breached"
