"""A policy as an operator writes it into a form, and back. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import date, time, timedelta
from typing import Any

from flask_cairnloop.conversations.models import Priority
from flask_cairnloop.errors import InvalidFields, InvalidInput
from flask_cairnloop.service_levels.targets import Target
from flask_cairnloop.service_levels.types import DAYS, MOST_HOLIDAYS, BusinessHours, Interval, Policy, Rule

_AMOUNT = re.compile(r"(?:(\d{1,4}) ?h(?:ours?)?)? ?(?:(\d{1,5}) ?m(?:in(?:utes)?)?)?", re.ASCII | re.IGNORECASE)
_INTERVAL = re.compile(r"(\d{1,2}):(\d{2}) ?[-–] ?(\d{1,2}):(\d{2})", re.ASCII)


def amount(text: str) -> timedelta | None:
    """``2h 30m``, ``45m`` or ``8h`` as time; ``None`` for nothing written.

    Raises:
        InvalidInput: it is something else.
    """
    text = " ".join(text.split())
    if not text:
        return None
    found = _AMOUNT.fullmatch(text)
    if found is None or not any(found.groups()):
        raise InvalidInput("targets", "Write hours and minutes, such as 30m, 2h or 1h 30m.")
    return timedelta(hours=int(found[1] or 0), minutes=int(found[2] or 0))


def spelled(given: timedelta | None) -> str:
    """What :func:`amount` reads."""
    if given is None:
        return ""
    hours, minutes = divmod(int(given.total_seconds() // 60), 60)
    return " ".join([f"{hours}h"] * bool(hours) + [f"{minutes}m"] * bool(minutes))


def intervals(text: str) -> tuple[Interval, ...]:
    """``09:00-12:30, 13:30-17:00`` as intervals; none for nothing written.

    Raises:
        InvalidInput: it is something else.
    """
    found = []
    for part in filter(None, (part.strip() for part in text.replace(";", ",").split(","))):
        match = _INTERVAL.fullmatch(part)
        if match is None:
            raise InvalidInput("hours", "Write from when until when, such as 09:00-12:30, 13:30-17:00.")
        first, second, third, fourth = map(int, match.groups())
        found.append(Interval(_time(first, second), _time(third, fourth)))
    return tuple(found)


def _time(hour: int, minute: int) -> time:
    if (hour, minute) == (24, 0):
        return time()
    try:
        return time(hour, minute)
    except ValueError:
        raise InvalidInput("hours", "A day has the times 00:00 to 24:00.") from None


def spelled_intervals(day: Iterable[Interval]) -> str:
    """What :func:`intervals` reads."""
    return ", ".join(f"{one.opens:%H:%M}-{one.closes:%H:%M}".replace("-00:00", "-24:00") for one in day)


def dates(text: str) -> frozenset[date]:
    """Dates such as ``2026-12-25``, with space or a comma between them.

    Raises:
        InvalidInput: one of them is none, or there are too many.
    """
    words = re.split(r"[\s,;]+", text.strip())
    if len(words) > MOST_HOLIDAYS:
        raise InvalidInput("holidays", f"There are more than {MOST_HOLIDAYS} holidays.")
    found = set()
    for word in filter(None, words):
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}", word, re.ASCII):
                raise ValueError
            found.add(date.fromisoformat(word))
        except ValueError:
            raise InvalidInput("holidays", f"“{word[:20]}” is no date. Write 2026-12-25, one on each line.") from None
    return frozenset(found)


def target_field(priority: Priority, target: Target) -> str:
    """The name of a target's field."""
    return f"{priority.word}-{target.value}"


def fields(policy: Policy) -> dict[str, str]:
    """A policy as the fields of its form."""
    hours = policy.hours
    found = {
        target_field(priority, target): spelled(policy.targets.get(priority, {}).get(target))
        for priority in Priority
        for target in Target
    }
    return {
        **found,
        "clock": "hours" if hours else "always",
        "zone": hours.zone if hours else "",
        **{f"day-{place}": spelled_intervals(hours.week[place]) if hours else "" for place in range(len(DAYS))},
        "holidays": "\n".join(sorted(day.isoformat() for day in hours.holidays)) if hours else "",
        "warn_at": str(round(policy.warn_at * 100)),
        "rule": policy.rule.value,
        "team": policy.team,
    }


def parse(form: Mapping[str, Any]) -> Policy:
    """The policy that a form's fields say.

    Raises:
        InvalidFields: some of them do not fit; each is told with what is wrong.
    """
    wrong: dict[str, str] = {}

    def take(name: str, read: Any, otherwise: Any) -> Any:
        try:
            return read(str(form.get(name, "")))
        except InvalidInput as error:
            wrong[name] = error.message
            return otherwise

    targets = {
        priority: {
            target: given
            for target in Target
            if (given := take(target_field(priority, target), _target, None)) is not None
        }
        for priority in Priority
    }
    hours = None
    if form.get("clock") == "hours":
        week = tuple(take(f"day-{place}", _day, ()) for place in range(len(DAYS)))
        holidays = take("holidays", dates, frozenset())
        try:
            hours = BusinessHours(str(form.get("zone", "")).strip(), week, holidays)
        except InvalidInput as error:
            wrong.setdefault(error.field, error.message)
    warn_at = take("warn_at", _share, 0.5)
    rule = next((one for one in Rule if one.value == form.get("rule")), Rule.NOTHING)
    team = " ".join(str(form.get("team", "")).replace("\x00", "").split())
    try:
        found = Policy(targets, hours, warn_at, rule, team if rule is Rule.TEAM else "")
    except InvalidInput as error:
        raise InvalidFields({error.field: error.message} | wrong) from None
    if wrong:
        raise InvalidFields(wrong)
    return found


def _target(text: str) -> timedelta | None:
    given = amount(text)
    if given is not None:
        Policy({Priority.NORMAL: {Target.RESOLUTION: given}})
    return given


def _day(text: str) -> tuple[Interval, ...]:
    found = intervals(text)
    if found:
        BusinessHours("UTC", (found, *((),) * (len(DAYS) - 1)))
    return found


def _share(text: str) -> float:
    if not re.fullmatch(r"\d{1,2}", text.strip(), re.ASCII) or not int(text):
        raise InvalidInput("warn_at", "A share is 1 to 99 per cent.")
    return int(text) / 100
