"""The audit log: who did what, to what, and why. The address says what is shown; it can be taken away as a file."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from itertools import groupby
from typing import Any

from flask import Blueprint, request, url_for
from sqlalchemy import Engine
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.audit import queries
from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.audit.queries import ActorSeen, Typed, Wanted
from flask_cairnloop.audit.service import record
from flask_cairnloop.console import audit_words
from flask_cairnloop.console.access import actor, requires
from flask_cairnloop.console.audit_words import EntryView
from flask_cairnloop.console.rendering import page, times, wanted
from flask_cairnloop.context import current
from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.hooks import Permission
from flask_cairnloop.paging import Cursor

QUERY_LENGTH = 200
CHUNK = 65_536  # characters of a file that are sent at once
FORMATS = {"csv": "text/csv", "jsonl": "application/jsonl"}
COLUMNS = ("id", "at", "actor_kind", "actor_id", "actor_name", "action", "subject", "subject_id", "reason", "data")


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/audit", "audit", audit)
    blueprint.add_url_rule("/audit/export", "export_audit", export, methods=["POST"])


@requires(Permission.AUDIT_READ)
def audit() -> Response:
    """A page of the log, or the part of it that was asked for: its entries, or how many have come since."""
    session = current().session()
    newest = Cursor.parse(request.args.get("than"))
    if wanted() == "newer" and newest is not None:
        asked = asked_for(request.args, session, seen=[])
        return page("_audit_newer.html", number=queries.newer(session, asked, newest), address=address_of(asked))
    seen = queries.actors(session)
    asked = asked_for(request.args, session, seen)
    after = Cursor.parse(request.args.get("after"))
    found = queries.audit_page(session, asked, after=after)
    views = [audit_words.entry_view(entry, found.words.get(entry.id)) for entry in found.entries]
    part = wanted() == "entries"
    answer = page(
        "_audit.html" if part else "audit.html",
        days=list(_days(views)),
        asked=asked,
        seen=seen,
        actions=audit_words.known_actions(queries.actions(session)),
        chips=list(chips(asked, seen)),
        given=parameters(asked),
        address=address_of,
        more=found.after,
        newest=Cursor(found.entries[0].occurred_at, found.entries[0].id) if found.entries and not after else None,
        paged=after is not None,
    )
    if part:
        answer.headers["HX-Replace-Url"] = address_of(asked)
    return answer


@requires(Permission.AUDIT_READ)
def export() -> Response:
    """All entries that are asked for, as a file. That somebody took it is an entry as well."""
    kind = request.form.get("format", "")
    if kind not in FORMATS:
        raise InvalidInput("format", "Choose CSV or JSON Lines.")
    cairnloop = current()
    session = cairnloop.session()
    asked = asked_for(request.form, session, queries.actors(session))
    record(session, actor(), "audit.export", "audit", 0, format=kind)
    session.commit()
    write = _csv if kind == "csv" else _json_lines
    answer = Response(write(cairnloop.engine, asked), mimetype=FORMATS[kind])
    name = f"audit-{datetime.now(UTC):%Y-%m-%d-%H%M}.{kind}"
    answer.headers["Content-Disposition"] = f'attachment; filename="{name}"'
    answer.headers["Cache-Control"] = "no-store"
    return answer


# --- what is asked for ------------------------------------------------------------------------------------------------


def asked_for(values: Any, session: Session, seen: list[ActorSeen]) -> Wanted:
    """What an address or a form asks for. A value that is none of ours narrows nothing.

    Args:
        seen: who has entries, for whom of them typed words may mean; looked up where they are needed and it is empty.
    """
    typed = _plain(values.get("q", ""))
    return Wanted(
        typed=_meaning(typed, seen or queries.actors(session), queries.actions(session)) if typed else Typed(),
        actor=_actor(_plain(values.get("actor", ""))),
        action=_plain(values.get("action", "")) or None,
        thread=_thread(values.get("thread", "")),
        since=_midnight(values.get("since", "")),
        until=_midnight(values.get("until", ""), days=1),
    )


def address_of(asked: Wanted, **changes: str | None) -> str:
    """The address of a list, without what narrows nothing."""
    return url_for("cairnloop.audit", **parameters(asked) | changes)


def parameters(asked: Wanted) -> dict[str, Any]:
    """What stands in the address of a list, and in the form that exports it."""
    return {
        "q": asked.typed.words or None,
        "actor": f"{asked.actor[0].value}:{asked.actor[1]}" if asked.actor else None,
        "action": asked.action,
        "thread": f"{asked.thread[0]}:{asked.thread[1]}" if asked.thread else None,
        "since": _day(asked.since),
        "until": _day(asked.until - timedelta(seconds=1)) if asked.until else None,
    }


def chips(asked: Wanted, seen: list[ActorSeen]) -> Iterator[tuple[str, str, str]]:
    """What narrows the list: what it is, in words, and the address of the list without it."""
    if asked.typed.words:
        yield "Words", f"“{asked.typed.words}”", address_of(asked, q=None)
    if asked.actor:
        name = next((one.name for one in seen if (one.kind, one.id) == asked.actor), asked.actor[1])
        yield "By", name, address_of(asked, actor=None)
    if asked.action:
        yield "Action", audit_words.action_title(asked.action), address_of(asked, action=None)
    if asked.thread:
        yield "About", audit_words.subject_title(*asked.thread), address_of(asked, thread=None)
    if asked.since:
        yield "From", times().date(asked.since), address_of(asked, since=None)
    if asked.until:
        yield "Until", times().date(asked.until - timedelta(seconds=1)), address_of(asked, until=None)


def _meaning(typed: str, seen: list[ActorSeen], actions: list[str]) -> Typed:
    words = typed.casefold()
    digits = typed.removeprefix("#")
    return Typed(
        typed,
        frozenset(action for action in actions if words in audit_words.action_title(action).casefold()),
        frozenset((one.kind, one.id) for one in seen if words in one.name.casefold() or words == one.id.casefold()),
        int(digits) if re.fullmatch(r"\d{1,18}", digits, re.ASCII) else None,
    )


def _actor(value: str) -> tuple[ActorKind, str] | None:
    kind, _, actor_id = value.partition(":")
    return (ActorKind(kind), actor_id) if kind in set(ActorKind) and actor_id else None


def _thread(value: str) -> tuple[str, int] | None:
    found = re.fullmatch(r"([a-z_]{1,50}):(\d{1,18})", value, re.ASCII)
    return (found[1], int(found[2])) if found else None


def _midnight(value: str, *, days: int = 0) -> datetime | None:
    """When a day begins for the reader, or the day so many days later."""
    try:
        found = date.fromisoformat(value) + timedelta(days=days)
        return datetime(found.year, found.month, found.day, tzinfo=times().zone).astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _day(moment: datetime | None) -> str | None:
    return moment.astimezone(times().zone).date().isoformat() if moment else None


def _plain(value: str) -> str:
    return "" if "\x00" in value else value.strip()[:QUERY_LENGTH]


def _days(views: list[EntryView]) -> Iterator[tuple[str, list[list[EntryView]]]]:
    """Entries by day, and within it those about one thing together, as long as nothing else comes between."""
    for day, of_day in groupby(views, key=lambda view: times().day(view.moment)):
        yield day, [list(thread) for _, thread in groupby(of_day, key=lambda view: view.thread)]


# --- taking it away ---------------------------------------------------------------------------------------------------


def _csv(engine: Engine, asked: Wanted) -> Iterator[str]:
    buffer = io.StringIO()
    writer = csv.DictWriter(buffer, COLUMNS)
    writer.writeheader()
    for row in _rows(engine, asked):
        row["data"] = json.dumps(row["data"], ensure_ascii=False, sort_keys=True)
        writer.writerow({name: _harmless(value) for name, value in row.items()})
        if buffer.tell() > CHUNK:
            yield buffer.getvalue()
            buffer.seek(0)
            buffer.truncate()
    yield buffer.getvalue()


def _json_lines(engine: Engine, asked: Wanted) -> Iterator[str]:
    for row in _rows(engine, asked):
        yield json.dumps(row, ensure_ascii=False) + "\n"


def _rows(engine: Engine, asked: Wanted) -> Iterator[dict[str, Any]]:
    with Session(engine) as session:
        for entry, words in queries.everything(session, asked):
            yield _row(entry, words)


def _row(entry: AuditEntry, words: str | None) -> dict[str, Any]:
    values = (
        entry.id,
        entry.occurred_at.astimezone(UTC).isoformat(),
        entry.actor_kind.value,
        entry.actor_id,
        entry.actor_name,
        entry.action,
        entry.subject_type,
        entry.subject_id,
        words,
        entry.data,
    )
    return dict(zip(COLUMNS, values, strict=True))


def _harmless(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula, see https://owasp.org/www-community/attacks/CSV_Injection."""
    return f"'{value}" if isinstance(value, str) and value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
