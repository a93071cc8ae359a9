"""The inbox and a conversation at ten thousand, a hundred thousand and a million conversations of ten messages each."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import psycopg
from flask import Flask
from sqlalchemy import event, text
from sqlalchemy.engine import make_url

from bench.setting import Place, median, place, report, table, timed
from bench.traffic import traffic

# One conversation in twenty is open; of those a half waits for us, and a half of those has a draft to check. One open
# one in ten is snoozed. Whoever waits has a deadline, and of one in five it has passed. Forty people and seven teams
# have them, one in five open ones nobody. One in two hundred is tagged "late", one in two thousand "rare". One message
# in ten thousand holds a word that no other does.
FILL = (
    """
    INSERT INTO cairnloop.customers (ref, name, email, organization, created_at, last_seen_at)
    SELECT 'c-' || n, 'Customer ' || n, 'c' || n || '@example.org', 'Company ' || n % 5000, now(), now()
    FROM generate_series(1, greatest(1, {count} / 3)) AS n
    """,
    """
    INSERT INTO cairnloop.conversations (customer_id, channel, subject, status, last_sequence, last_message_at,
        last_message_kind, last_author_name, preview, last_customer_sequence, waiting_since, customer_seen, resolved_at,
        created_at, last_spoken_at, assignee_id, assignee_name, team, priority, snoozed_until, first_reply_at, due_at,
        due_target, due_state)
    SELECT 1 + n % greatest(1, {count} / 3), 'widget', 'Question number ' || n,
        CASE WHEN n % 20 = 0 THEN 'open' ELSE 'resolved' END, 10, at, 'customer', 'Customer', 'Where is my parcel?', 9,
        CASE WHEN n % 40 = 0 THEN at END, 8, CASE WHEN n % 20 <> 0 THEN at END, at - interval '1 day', at,
        CASE WHEN n % 100 <> 0 THEN 'u' || n % 37 END, CASE WHEN n % 100 <> 0 THEN 'Somebody ' || n % 37 END,
        'Team ' || n % 7, CASE WHEN n % 33 = 0 THEN 1 WHEN n % 11 = 0 THEN 2 ELSE 3 END,
        CASE WHEN n % 200 = 0 THEN now() + n * interval '1 second' END, CASE WHEN n % 60 <> 0 THEN at END,
        CASE WHEN n % 40 = 0 THEN at + interval '1 day' END, CASE WHEN n % 40 = 0 THEN 'next_response' END,
        CASE WHEN n % 200 = 0 THEN 'breached' WHEN n % 40 = 0 THEN 'running' END
    FROM (SELECT n, now() - ({count} - n) * interval '17 seconds' AS at FROM generate_series(1, {count}) AS n) AS made
    """,
    """
    INSERT INTO cairnloop.messages (conversation_id, sequence, kind, data, body, author_kind, author_id, author_name,
        automatic, created_at)
    SELECT id, s, CASE WHEN s % 2 = 1 THEN 'customer' ELSE 'reply' END, '{}',
        'Some words of about the length that people write into a chat, number ' || s || ', conversation ' || id || '.'
            || CASE WHEN s = 5 AND id % 1000 = 0 THEN ' Serial xq' || id ELSE '' END,
        CASE WHEN s % 2 = 1 THEN 'customer' ELSE 'operator' END, 'somebody', 'Somebody', false,
        last_message_at - (10 - s) * interval '1 minute'
    FROM cairnloop.conversations CROSS JOIN generate_series(1, 10) AS s
    """,
    """
    INSERT INTO cairnloop.drafts (conversation_id, state, kind, answers_sequence, question, body, summary, citations,
        evidence, grounding, grounding_numbers, policy, created_at, ready_at)
    SELECT id, 'ready', 'reply', 9, 'Where is my parcel?', 'It is on its way.', 'One article.', '[]', '[]', 'strong',
        '{}', 'require_approval', last_message_at, last_message_at
    FROM cairnloop.conversations WHERE id % 80 = 0
    """,
    """
    INSERT INTO cairnloop.tags (name, created_at) VALUES ('late', now()), ('rare', now())
    """,
    """
    INSERT INTO cairnloop.conversation_tags (conversation_id, tag_id, added_at)
    SELECT id, 1, now() FROM cairnloop.conversations WHERE id % 200 = 20
    UNION ALL SELECT id, 2, now() FROM cairnloop.conversations WHERE id % 2000 = 40
    """,
    """
    INSERT INTO cairnloop.audit_entries (occurred_at, actor_kind, actor_id, action, subject_type, subject_id, data)
    SELECT resolved_at, 'operator', 'mina', 'conversation.resolve', 'conversation', id, '{}'
    FROM cairnloop.conversations WHERE resolved_at IS NOT NULL
    """,
)
RUNS = 15
TRAFFIC = 50  # messages a second, for the second figure of a page
# An index on words is made at once, which takes a fraction of the time.
LATER = "SELECT pg_get_indexdef('cairnloop.ix_messages_terms'::regclass)"


@dataclass(frozen=True)
class Figure:
    """One page at one size: seconds at the median, quietly and while customers write; SELECTs and buffers they read."""

    seconds: float
    busy: float
    queries: int
    buffers: int


def fill(database_url: str, count: int) -> None:
    """Put so many conversations into an empty database."""
    plain = make_url(database_url).set(drivername="postgresql").render_as_string(hide_password=False)
    with psycopg.connect(plain, autocommit=True) as connection:
        later = connection.execute(LATER).fetchone()[0]  # type: ignore[index]
        connection.execute("DROP INDEX cairnloop.ix_messages_terms")
        for statement in FILL:
            connection.execute(statement.replace("{count}", str(count)).encode())
        connection.execute(later.encode())
        connection.execute("VACUUM ANALYZE")


class Reader:
    """An operator's browser that also counts what the database does for a page."""

    def __init__(self, app: Flask) -> None:
        self.app = app
        self.client = app.test_client()
        self.client.environ_base.update(HTTP_X_OPERATOR="mina")

    def get(self, path: str, **headers: str) -> str:
        answer = self.client.get(f"/support{path}", headers=headers)
        if answer.status_code != 200:
            raise SystemExit(f"{path} answered {answer.status_code}.")
        return answer.get_data(as_text=True)

    def seconds(self, path: str) -> float:
        return median(timed(lambda: self.get(path), RUNS))

    def work(self, path: str) -> tuple[int, int]:
        """How many SELECTs a page takes, and how many buffers they read."""
        statements = self._statements(path)
        return len(statements), self._buffers(statements)

    def _statements(self, path: str) -> list[tuple[str, Any]]:
        seen: list[tuple[str, Any]] = []

        def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, *_: Any) -> None:
            if statement.lstrip().upper().startswith("SELECT"):
                seen.append((statement, parameters))

        with self.app.app_context():
            engine = self.app.extensions["sqlalchemy"].engine
        event.listen(engine, "before_cursor_execute", note)
        try:
            self.get(path)
        finally:
            event.remove(engine, "before_cursor_execute", note)
        return seen

    def _buffers(self, statements: Sequence[tuple[str, Any]]) -> int:
        with self.app.app_context(), self.app.extensions["sqlalchemy"].engine.connect() as connection:
            cursor = connection.connection.cursor()
            total = 0
            for statement, parameters in statements:
                try:
                    cursor.execute(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement}", parameters)
                except psycopg.errors.QueryCanceled:  # a search that has a time, here as on the page
                    cursor.connection.rollback()
                    continue
                plan = cursor.fetchone()[0][0]["Plan"]
                total += plan.get("Shared Hit Blocks", 0) + plan.get("Shared Read Blocks", 0)
            connection.rollback()
        return total


def pages(reader: Reader, count: int) -> dict[str, str]:
    """What is looked at, by name."""
    deep = count // 2
    with reader.app.app_context(), reader.app.extensions["sqlalchemy"].engine.connect() as connection:
        at, id_ = connection.execute(
            text(
                "SELECT (extract(epoch FROM last_message_at) * 1000000)::bigint, id FROM cairnloop.conversations"
                " WHERE id >= :deep AND status = 'resolved' ORDER BY id LIMIT 1"
            ),
            {"deep": deep},
        ).one()
    return {
        "home": "/",
        "inbox, waiting": "/inbox?view=waiting",
        "inbox, drafts": "/inbox?view=draft_ready",
        "inbox, waiting on them": "/inbox?view=waiting_on_them",
        "inbox, open": "/inbox?view=open",
        "inbox, resolved": "/inbox?view=resolved",
        "inbox, all": "/inbox?view=all",
        "mine": "/inbox?view=open&assignee=u3",
        "nobody's": "/inbox?view=open&assignee=nobody",
        "a team's": "/inbox?view=open&team=Team+3",
        "a tag": "/inbox?view=all&tag=1",
        "a rare tag, by urgency": "/inbox?view=open&tag=2&sort=priority",
        "urgent": "/inbox?view=waiting&priority=urgent",
        "open, by urgency": "/inbox?view=open&sort=priority",
        "late": "/inbox?view=open&due=breached",
        "waiting, by deadline": "/inbox?view=waiting&sort=due",
        "snoozed": "/inbox?view=snoozed",
        "new, a person's, of a week": "/inbox?view=new&assignee=u3&since=2020-01-01",
        "three filters that nothing fits": "/inbox?view=resolved&assignee=u3&team=Team+3&priority=low",
        "a rare word": f"/inbox?view=all&q=xq{deep - deep % 1000}",
        "a word that is everywhere": "/inbox?view=all&q=words",
        "words of nobody": "/inbox?view=all&q=zzyzx",
        "by urgency, deep page": f"/inbox?view=open&sort=priority&after=3.{at}-{id_}",
        "a tag, deep page": f"/inbox?view=all&tag=1&after={at}-{id_}",
        "resolved, deep page": f"/inbox?view=resolved&after={at}-{id_}",
        "all, deep page": f"/inbox?view=all&after={at}-{id_}",
        "conversation": f"/conversations/{deep - deep % 80}?view=open",
        "one row": f"/inbox/rows/{deep}?view=all",
    }


def at_size(count: int) -> dict[str, Figure]:
    """Every page at one size, on a database made for it."""
    with place() as here:
        return _measure(here, count)


def _measure(here: Place, count: int) -> dict[str, Figure]:
    fill(here.database_url, count)
    reader = Reader(here.app())
    wanted = pages(reader, count)
    quiet = {name: reader.seconds(path) for name, path in wanted.items()}
    work = {name: reader.work(path) for name, path in wanted.items()}
    with traffic(here, TRAFFIC):
        busy = {name: reader.seconds(path) for name, path in wanted.items()}
    for name in wanted:
        print(f"{count:,} {name}: {quiet[name] * 1000:.1f} ms, {busy[name] * 1000:.1f} ms busy", file=sys.stderr)
    return {name: Figure(quiet[name], busy[name], *work[name]) for name in wanted}


def run(sizes: Sequence[int], *, write: bool) -> None:
    """Measure all sizes; the first is the one the others are held against."""
    found = {count: at_size(count) for count in sizes}
    base = found[sizes[0]]
    head = ["Page", "SELECTs"]
    for count in sizes:
        head += [f"{count:,}: ms", f"at {TRAFFIC}/s", "buffers"]
    head += ["time ×", f"at {TRAFFIC}/s ×", "buffers ×"]
    rows = []
    for name, first in base.items():
        last = found[sizes[-1]][name]
        row: list[object] = [name, last.queries]
        for count in sizes:
            figure = found[count][name]
            row += [f"{figure.seconds * 1000:.1f}", f"{figure.busy * 1000:.1f}", f"{figure.buffers:,}"]
        rows.append(
            [
                *row,
                f"{last.seconds / first.seconds:.2f}",
                f"{last.busy / first.busy:.2f}",
                f"{last.buffers / max(1, first.buffers):.2f}",
            ]
        )
    report("inbox", re.sub(r" +\n", "\n", table(head, rows)), write=write)
