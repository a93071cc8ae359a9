"""The chain over the audit log: sealed by the relay, verified by anybody, and named where it was tampered with."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from flask import Flask
from sqlalchemy.engine import make_url
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, Operator, clock, receive, resolve
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.jobs.relay import do_chores
from flask_cairnloop.privacy import service as privacy
from flask_cairnloop.testing import frozen

Rows = list[tuple[Any, ...]]


@pytest.fixture
def superuser(fresh_database_url: str) -> Callable[[str], Rows]:
    """Somebody who can switch triggers off."""

    def run(statement: str) -> Rows:
        plain = make_url(fresh_database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True, options="-c search_path=cairnloop") as connection:
            connection.execute("SET session_replication_role = replica")
            cursor = connection.execute(statement)
            return cursor.fetchall() if cursor.description else []

    return run


@pytest.fixture
def desk(make_app: Callable[..., Flask], fresh_database_url: str) -> Flask:
    return make_app(database_url=fresh_database_url)


@pytest.fixture
def decided(desk: Flask, customer: Customer, operator: Operator) -> Flask:
    """A desk with a log of a few entries, sealed."""
    with desk.app_context():
        session = desk.extensions["sqlalchemy"].session
        for _ in range(3):
            message = receive(session, customer=customer, body="May my ferret drive?", channel="host")
            resolve(session, message.conversation_id, actor=operator)
            session.commit()
    chores(desk)
    return desk


def chores(app: Flask) -> None:
    with app.app_context():
        do_chores(app.extensions["cairnloop"], {})


def verify(app: Flask, *arguments: str) -> dict[str, Any]:
    result = app.test_cli_runner().invoke(args=["cairnloop", "audit", "verify", "--json", *arguments])
    assert result.output, result.exception
    said: dict[str, Any] = json.loads(result.output)
    assert result.exit_code == (1 if said["fault"] else 0)
    return said


def test_what_is_committed_is_sealed_by_the_relay_and_verifies(decided: Flask) -> None:
    said = verify(decided)
    assert said["fault"] is None
    assert said["unsealed"] == 0
    assert said["verified"] >= 9
    assert said["head"].startswith(f"{said['verified']}:")


def test_an_entry_that_is_written_meanwhile_waits_and_nobody_waits_for_it(
    decided: Flask, customer: Customer, operator: Operator
) -> None:
    before = verify(decided)
    with decided.app_context(), Session(decided.extensions["cairnloop"].engine) as late:
        receive(late, customer=customer, body="One more thing.", channel="host")
        late.flush()
        with decided.app_context():
            session = decided.extensions["sqlalchemy"].session
            other = receive(
                session, customer=Customer("other", "Ada", "ada@customer.example"), body="Me first.", channel="host"
            )
            assert other.id
            session.commit()
        chores(decided)  # the later one is in the chain, the earlier one not
        between = verify(decided)
        late.commit()
    chores(decided)
    after = verify(decided)
    assert before["verified"] < between["verified"] < after["verified"]
    assert after["fault"] is None
    assert verify(decided, "--expect", between["head"])["fault"] is None


TAMPERING = {
    "an entry's actor": (
        "UPDATE audit_entries SET actor_id = 'omar' WHERE id = (SELECT entry_id FROM audit_chain WHERE position = 4)",
        4,
        "changed",
    ),
    "an entry's data": (
        "UPDATE audit_entries SET data = data || '{\"sequence\": 7}'"
        " WHERE id = (SELECT entry_id FROM audit_chain WHERE position = 2)",
        2,
        "changed",
    ),
    "an entry that is gone": (
        "DELETE FROM audit_entries WHERE id = (SELECT entry_id FROM audit_chain WHERE position = 5)",
        5,
        "removed",
    ),
    "an entry that is gone with its link": (
        "WITH gone AS (DELETE FROM audit_chain WHERE position = 5 RETURNING entry_id)"
        " DELETE FROM audit_entries WHERE id IN (SELECT entry_id FROM gone)",
        5,
        "missing",
    ),
    "two entries swapped": (
        "UPDATE audit_entries e SET action = o.action, occurred_at = o.occurred_at FROM audit_entries o"
        " WHERE (e.id, o.id) IN (SELECT a.entry_id, b.entry_id FROM audit_chain a, audit_chain b"
        " WHERE (a.position, b.position) IN ((3, 4), (4, 3)))",
        3,
        "changed",
    ),
    "two links swapped": (
        "UPDATE audit_chain l SET entry_id = -o.entry_id, entry_digest = o.entry_digest FROM audit_chain o"
        " WHERE (l.position, o.position) IN ((3, 4), (4, 3));"
        " UPDATE audit_chain SET entry_id = -entry_id WHERE entry_id < 0",
        3,
        "swapped",
    ),
    "an entry put in between": (
        "INSERT INTO audit_entries (occurred_at, actor_kind, actor_id, action, subject_type, subject_id, data)"
        " VALUES (now(), 'operator', 'mina', 'draft.approved', 'draft', 1, '{}')",
        None,
        "not in the chain",
    ),
}


@pytest.mark.parametrize("what", TAMPERING)
def test_what_a_superuser_tampers_with_is_named(decided: Flask, superuser: Callable[[str], Rows], what: str) -> None:
    statement, position, meaning = TAMPERING[what]
    assert verify(decided)["fault"] is None
    superuser(statement)
    fault = verify(decided)["fault"]
    assert fault["position"] == position
    assert meaning in fault["meaning"]


def test_a_tail_that_is_cut_off_is_seen_by_whoever_kept_the_head(
    decided: Flask, superuser: Callable[[str], Rows]
) -> None:
    kept = verify(decided)["head"]
    superuser(
        "WITH gone AS (DELETE FROM audit_chain WHERE position > 6 RETURNING entry_id)"
        " DELETE FROM audit_entries WHERE id IN (SELECT entry_id FROM gone)"
    )
    assert verify(decided)["fault"] is None
    assert "head you gave" in verify(decided, "--expect", kept)["fault"]["meaning"]


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE {}audit_entries SET actor_id = 'omar'",
        "DELETE FROM {}audit_entries",
        "TRUNCATE {}audit_entries CASCADE",
        "UPDATE {}audit_chain SET digest = ''",
        "DELETE FROM {}audit_chain",
        "TRUNCATE {}audit_chain",
        "INSERT INTO {}audit_checkpoints VALUES (3, ''::bytea, now())",
    ],
)
def test_the_database_refuses_what_is_no_new_entry(decided: Flask, statement: str) -> None:
    with decided.app_context(), pytest.raises(IntegrityError, match=r"refused|no such link"):
        decided.extensions["sqlalchemy"].session.connection().exec_driver_sql(statement.format("cairnloop."))


def test_forgetting_a_customer_takes_the_words_and_leaves_the_chain(
    decided: Flask, customer: Customer, operator: Operator, superuser: Callable[[str], Rows]
) -> None:
    with decided.app_context():
        session = decided.extensions["sqlalchemy"].session
        ((customer_id,),) = superuser(f"SELECT id FROM customers WHERE ref = '{customer.ref}'")
        record(
            session,
            Actor.operator(operator),
            "draft.discarded",
            "draft",
            1,
            words="Cleo lives in Hay.",
            customer_id=customer_id,
        )
        session.commit()
    chores(decided)
    assert verify(decided)["fault"] is None
    with decided.app_context():
        session = decided.extensions["sqlalchemy"].session
        privacy.forget(session, customer.ref, actor=operator)
        session.commit()
    chores(decided)
    assert superuser("SELECT * FROM audit_texts") == []
    said = verify(decided)
    assert said["fault"] is None
    assert said["reasons_erased"] == 1


def test_words_that_are_changed_are_named(decided: Flask, operator: Operator, superuser: Callable[[str], Rows]) -> None:
    with decided.app_context():
        session = decided.extensions["sqlalchemy"].session
        record(session, Actor.operator(operator), "draft.discarded", "draft", 1, words="It was wrong.")
        session.commit()
    chores(decided)
    superuser("UPDATE audit_texts SET words = 'It was right.'")
    assert "text was changed" in verify(decided)["fault"]["meaning"]


def test_retention_cuts_at_a_checkpoint_and_what_is_left_verifies(
    make_app: Callable[..., Flask], decided: Flask, fresh_database_url: str, operator: Operator, customer: Customer
) -> None:
    keeps = make_app(database_url=fresh_database_url, RETENTION_AUDIT=86_400)
    old = verify(keeps)
    chores(keeps)
    assert verify(keeps)["cut_up_to"] == 0  # nothing is old
    with frozen(clock.now() + timedelta(days=2)):
        chores(keeps)
        with keeps.app_context():
            session = keeps.extensions["sqlalchemy"].session
            receive(session, customer=customer, body="Two days later.", channel="host")
            session.commit()
        chores(keeps)
        chores(keeps)
    said = verify(keeps)
    assert said["cut_up_to"] == old["verified"]
    assert said["fault"] is None
    assert 0 < said["verified"] < old["verified"]
    assert verify(keeps, "--expect", old["head"])["fault"] is None  # the head of then is the checkpoint
