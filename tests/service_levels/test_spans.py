"""What a history says of its targets, whatever happened, and however often and however late it is read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from flask_cairnloop.service_levels.spans import Happening, Span, What, replay
from flask_cairnloop.service_levels.targets import ClockState, Target

START = datetime(2031, 3, 3, 8, tzinfo=UTC)
histories = st.lists(st.tuples(st.sampled_from(What), st.integers(0, 90)), max_size=25)


def happened(history: list[tuple[What, int]]) -> list[Happening]:
    found, at = [], START
    for sequence, (what, minutes) in enumerate(history, start=1):
        at += timedelta(minutes=minutes)
        found.append(Happening(sequence, at, what))
    return found


def runs(happenings: list[Happening]) -> bool:
    """Whether the customer waits for us after all this, worked out backwards from the end."""
    snooze = resolution = spam = None
    for one in happenings:
        if one.what in (What.SNOOZED, What.UNSNOOZED, What.WOKEN, What.CUSTOMER, What.RESOLVED, What.MARKED_SPAM):
            snooze = one.what
        if one.what in (What.RESOLVED, What.REOPENED, What.PUT_BACK):
            resolution = one.what
        if one.what in (What.MARKED_SPAM, What.UNMARKED_SPAM):
            spam = one.what
    if snooze is What.SNOOZED or resolution is What.RESOLVED or spam is What.MARKED_SPAM:
        return False
    for place in range(len(happenings) - 1, -1, -1):
        match happenings[place].what:
            case What.CUSTOMER | What.WOKEN | What.PUT_BACK:
                return True
            case What.REPLY | What.RESOLVED:
                return False
            case What.UNMARKED_SPAM:
                before = [one.what for one in happenings[:place] if one.what in (What.CUSTOMER, What.REPLY)]
                return before[-1:] == [What.CUSTOMER]
    return False


def read(happenings: list[Happening]) -> list[Span]:
    return replay(happenings, waiting_since=None, running=runs(happenings))


@given(histories)
def test_waits_follow_each_other_and_one_span_of_a_target_is_open(history: list[tuple[What, int]]) -> None:
    happenings = happened(history)
    spans = read(happenings)
    still_open = [span.target for span in spans if span.ended is None]
    assert len(still_open) == len(set(still_open))
    assert any(span.is_running for span in spans) == runs(happenings)
    for span in spans:
        moments = [moment for wait in span.waits for moment in wait]
        known = [moment for moment in moments if moment is not None]
        assert known == sorted(known)
        assert None not in moments[:-1]
        assert span.started_at == moments[0]
        assert span.ended is None or moments[-1] is not None


@given(histories, st.data())
def test_what_was_read_early_is_found_again_later(history: list[tuple[What, int]], data: st.DataObject) -> None:
    """So a clock that was started is never lost, and one that is over stays as it is."""
    happenings = happened(history)
    early = read(happenings[: data.draw(st.integers(0, len(happenings)))])
    later = {(span.target, span.began): span for span in read(happenings)}
    for span in early:
        again = later[span.target, span.began]
        assert again.started_at == span.started_at
        if span.ended is not None:
            assert (again.ended, again.ended_at, again.waits) == (span.ended, span.ended_at, span.waits)


@given(histories)
def test_the_row_has_the_last_word_about_the_present(history: list[tuple[What, int]]) -> None:
    happenings = happened(history)
    if happenings:
        for running in (True, False):
            spans = replay(happenings, waiting_since=None, running=running)
            assert any(span.is_running for span in spans) == running


def test_a_day_of_a_conversation() -> None:
    spans = read(
        happened(
            [
                (What.CUSTOMER, 0),
                (What.SNOOZED, 10),
                (What.WOKEN, 60),
                (What.REPLY, 20),
                (What.CUSTOMER, 30),
                (What.RESOLVED, 5),
            ]
        )
    )
    minutes = [(span.target, span.ended, [(a - START, b and b - START) for a, b in span.waits]) for span in spans]
    at = [timedelta(minutes=one) for one in (0, 10, 70, 90, 120, 125)]
    assert minutes == [
        (Target.FIRST_RESPONSE, ClockState.MET, [(at[0], at[1]), (at[2], at[3])]),
        (Target.RESOLUTION, ClockState.MET, [(at[0], at[1]), (at[2], at[3]), (at[4], at[5])]),
        (Target.NEXT_RESPONSE, ClockState.CANCELLED, [(at[4], at[5])]),
    ]
