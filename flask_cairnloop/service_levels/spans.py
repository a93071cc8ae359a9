"""What a conversation's history says of its targets: when each began, when the customer waited, and how it ended.

Pure: it replays what happened. The timeline is append-only and ordered under the conversation's lock, so the same
history gives the same spans, however often and whenever it is read; a span is named by the message it began with.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum

from flask_cairnloop.service_levels.clock import Wait
from flask_cairnloop.service_levels.targets import ClockState, Target


class What(StrEnum):
    """What can happen to a target."""

    CUSTOMER = "customer"  # wrote
    REPLY = "reply"
    RESOLVED = "resolved"
    REOPENED = "reopened"
    PUT_BACK = "put_back"  # reopened as it was before, with its customer waiting
    SNOOZED = "snoozed"
    WOKEN = "woken"
    UNSNOOZED = "unsnoozed"  # the snooze was taken back, as if it had not been
    MARKED_SPAM = "marked_spam"
    UNMARKED_SPAM = "unmarked_spam"


@dataclass(frozen=True, slots=True)
class Happening:
    """Something that happened, with its place in the conversation."""

    sequence: int
    at: datetime
    what: What


@dataclass(slots=True)
class Span:
    """One time that a target was open.

    Args:
        began: sequence of what it began with.
        waits: when the customer waited for us in it; the last one may last.
        ended: how it ended; ``None`` while it is open.
    """

    target: Target
    began: int
    started_at: datetime
    waits: list[Wait] = field(default_factory=list)
    ended: ClockState | None = None
    ended_at: datetime | None = None

    @property
    def is_running(self) -> bool:
        return bool(self.waits) and self.waits[-1][1] is None


def replay(happenings: Iterable[Happening], *, waiting_since: datetime | None, running: bool) -> list[Span]:
    """The spans of a conversation, oldest first.

    Args:
        happenings: all, in their order.
        waiting_since, running: where the conversation's row stands by now; it has the last word about the present, as
            a bulk step that is taken back restores the row alone.
    """
    known = _Replay()
    last = None
    for one in happenings:
        known.take(one)
        last = one
    if last is not None and known.runs != running:
        if running:
            known.wait(Happening(last.sequence, waiting_since or last.at, What.CUSTOMER), at=last.at)
        else:
            known.rest(last.at)
    return known.spans


class _Replay:
    """How far a history has been read."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.open: dict[Target, Span] = {}
        self.answered = False  # by a first reply, ever
        self.waits = False
        self.snoozed = False
        self.spam = False
        self.resolved = False
        self.spoke_last: What | None = None

    @property
    def runs(self) -> bool:
        return self.waits and not (self.snoozed or self.spam or self.resolved)

    def take(self, one: Happening) -> None:
        ran = self.runs
        match one.what:
            case What.CUSTOMER:
                self.spoke_last, self.waits, self.snoozed = one.what, True, False
            case What.REPLY:
                self.spoke_last, self.waits = one.what, False
            case What.RESOLVED:
                self.waits = self.snoozed = False
                self.resolved = True
            case What.REOPENED:
                self.resolved = False
            case What.PUT_BACK:
                self.resolved, self.waits = False, True
            case What.SNOOZED:
                self.snoozed = True
            case What.WOKEN:
                self.snoozed, self.waits = False, True
            case What.UNSNOOZED:
                self.snoozed = False
            case What.MARKED_SPAM:
                self.spam, self.snoozed = True, False
            case What.UNMARKED_SPAM:
                self.spam, self.waits = False, self.spoke_last is What.CUSTOMER
        if self.runs and not ran:
            self.wait(one, at=one.at)
        elif ran and not self.runs:
            self.rest(one.at)
        if one.what is What.REPLY:
            self.answered = True
            self._end(Target.FIRST_RESPONSE, ClockState.MET, one.at)
            self._end(Target.NEXT_RESPONSE, ClockState.MET, one.at)
        elif one.what is What.RESOLVED:
            self._end(Target.FIRST_RESPONSE, ClockState.CANCELLED, one.at)
            self._end(Target.NEXT_RESPONSE, ClockState.CANCELLED, one.at)
            self._end(Target.RESOLUTION, ClockState.MET, one.at)

    def wait(self, one: Happening, *, at: datetime) -> None:
        """The customer waits for us from now on."""
        response = Target.NEXT_RESPONSE if self.answered else Target.FIRST_RESPONSE
        for target in (response, Target.RESOLUTION):
            if target not in self.open:
                self.open[target] = Span(target, one.sequence, at)
                self.spans.append(self.open[target])
            self.open[target].waits.append((at, None))

    def rest(self, at: datetime) -> None:
        """The customer waits no more, or not for us, or not now."""
        for span in self.open.values():
            if span.is_running:
                span.waits[-1] = (span.waits[-1][0], max(at, span.waits[-1][0]))

    def _end(self, target: Target, how: ClockState, at: datetime) -> None:
        span = self.open.pop(target, None)
        if span is not None:
            span.ended, span.ended_at = how, at
