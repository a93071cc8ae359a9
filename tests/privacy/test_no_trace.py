"""After forgetting and clearing, no file of the database, of the storage or of Redis holds a word of the person.

A customer leaves words in everything that the product can store, through the doors that people use. Then they are
forgotten, the job has cleared, and somebody who has the disk looks for them.
"""

from __future__ import annotations

import io
import json
import random
import uuid
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from redis import Redis
from sqlalchemy import Engine, select, text
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, keep_file, open_conversation, receive, reply, resolve
from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.sealing import seal, verify
from flask_cairnloop.conversations import ratings
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.governance import service as actions
from flask_cairnloop.jobs import JobContext, enqueue, job
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.privacy.service import export, forget
from flask_cairnloop.testing import run_jobs
from flask_cairnloop.tokens import service as tokens
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion, SuggestionQuestion
from tests.conftest import Client
from tests.files.conftest import png
from tests.support import pages, traces
from tests.support.articles import GAUGE
from tests.support.host import OPERATORS
from tests.support.tools import KEYS, PEOPLE

SCHEMA = "cairnloop"
MINA = Actor.operator(OPERATORS["mina"])
QUESTION = "How do I reset the brass gauge after a power cut?"
# Where a word is left, each under a word of its own: what is found says by itself which door was left open.
PLACES = (
    *("ref", "name", "mail", "domain", "company", "question", "later", "subject", "reply", "note", "unsent"),
    *("unsentnote", "undone", "pending", "discarded", "input", "reason", "approval", "rejected", "token", "theirfile"),
    *("ourfile", "unsentfile", "comment", "linkcomment", "metadata", "quoted", "palette", "bystander"),
)
QUOTED: list[str] = []


@job("quoting.all", max_attempts=1)
def quote(context: JobContext, *, conversation_id: int) -> None:
    """A job whose exception says what it read, as an exception may."""
    raise ValueError(QUOTED[-1])


@pytest.fixture(scope="module")
def words() -> dict[str, str]:
    """A word for each place: letters alone, and of an ending that no stemmer takes off, so that an index of words
    holds it as it is."""
    drawn = random.Random(4711)  # noqa: S311 - the same words each time

    def word() -> str:
        return "".join(drawn.choice("bdfgkmprtvz") + drawn.choice("aou") for _ in range(5)) + "k"

    return {place: word() for place in PLACES}


@pytest.fixture
def app(make_app: Callable[..., Flask], fresh_database_url: str, tmp_path: Path) -> Flask:
    return make_app(
        database_url=fresh_database_url,
        FILE_STORAGE=str(tmp_path / "files"),
        UNDO_SEND=60.0,
        ON_CONVERSATION_RESOLVED=lambda event: None,
        LOW_RATING_DOES="reopen",
        **KEYS,
    )


@pytest.fixture
def engine(app: Flask) -> Engine:
    with app.app_context():
        found: Engine = app.extensions["sqlalchemy"].engine
        with found.connect() as connection:
            if not connection.scalar(text("SELECT rolsuper FROM pg_roles WHERE rolname = current_user")):
                pytest.skip("only a superuser reads the files of the database")
        pages.store_plainly(found, SCHEMA)
        return found


class Life:
    """What somebody leaves at the desk."""

    def __init__(self, app: Flask, words: dict[str, str], issue: Callable[[Customer], str]) -> None:
        self.app, self.words = app, words
        self.customer = Customer(
            words["ref"], f"Ana {words['name']}", f"{words['mail']}@{words['domain']}.example", words["company"]
        )
        self.token = issue(self.customer)
        app.test_client_class = Client
        self.desk, self.visitor = app.test_client(), app.test_client()
        self.desk.environ_base.update(HTTP_ORIGIN="http://localhost", HTTP_X_OPERATOR="mina")
        self.visitor.environ_base.update(HTTP_ORIGIN="http://localhost")

    @property
    def session(self) -> Session:
        found: Session = self.app.extensions["sqlalchemy"].session()
        return found

    def live(self) -> None:
        first = self.asks()
        self.is_answered(first)
        self.is_worked_on(first)
        self.is_written_about(first)
        self.rates(first)
        self.opens_another()

    def chat(self, *frames: dict[str, Any]) -> list[dict[str, Any]]:
        join = {"type": "join", "token": self.token, "conversation": None, "after": None}
        answer = self.visitor.post("/support/widget/messages", json=[join, *frames])
        assert answer.status_code == 200, answer.text
        return list(answer.json or ())

    def is_written_about(self, number: int) -> None:
        """An article is suggested for their question, and made of the reply to it."""
        assert self.desk.post(f"/support/conversations/{number}/suggest").status_code == 303
        run_jobs(self.app)
        found = self.session.scalars(select(ArticleSuggestion).filter_by(conversation_id=number)).one()
        assert self.words["reply"] in found.body
        (asked,) = self.session.scalars(select(SuggestionQuestion.question).filter_by(suggestion_id=found.id))
        assert self.words["later"] in (asked or "")
        self.session.rollback()

    def asks(self) -> int:
        """In the chat, with a file, and with one that no message takes."""
        upload = {"token": self.token, "file": (io.BytesIO(png()), f"{self.words['theirfile']}.png")}
        file = self.visitor.post("/support/widget/files", data=upload).json
        unsent = {"token": self.token, "file": (io.BytesIO(png()), f"{self.words['unsentfile']}.png")}
        assert self.visitor.post("/support/widget/files", data=unsent).status_code == 200
        body = f"{QUESTION} It says {self.words['question']}. {self.words['domain']} Street."
        said = {"type": "message", "client_id": str(uuid.uuid4()), "body": body, "files": [file["id"]]}
        answers = self.chat(said, {"type": "typing"}, {"type": "seen", "cursor": 1})
        run_jobs(self.app)
        return int(next(frame["conversation"] for frame in answers if frame["type"] == "accepted"))

    def is_answered(self, number: int) -> None:
        """From a draft, which is learned; then a reply with a file, a note, and all that is not sent."""
        draft = self.session.scalars(select(Draft).where(Draft.conversation_id == number)).one()
        assert draft.state is DraftState.READY
        self.session.rollback()
        self.post(number, f"/drafts/{draft.id}/approve", seen=99, body=f"{draft.body} {self.words['reply']}")
        self.post(number, f"/pending/{self.pending(number)}/send", seen=99)
        files = [keep_file(io.BytesIO(b"%PDF-1.7"), f"{self.words['ourfile']}.pdf", actor=MINA)]
        reply(self.session, number, actor=MINA, body=f"And {self.words['reply']}", files=files)
        self.session.commit()
        self.post(number, "/note", body=f"@Omar Reyes {self.words['note']}", client_id=str(uuid.uuid4()))
        self.chat({"type": "message", "client_id": str(uuid.uuid4()), "body": f"Then {self.words['later']}"})
        run_jobs(self.app)
        newest = select(Draft).where(Draft.conversation_id == number).order_by(Draft.id.desc()).limit(1)
        draft = self.session.scalars(newest).one()
        self.session.rollback()
        self.post(number, f"/drafts/{draft.id}/discard", reason="tone", note=self.words["discarded"])
        self.send(number, self.words["undone"])
        self.post(number, f"/pending/{self.pending(number)}/undo")
        self.post(number, "/unsent/keep", kind="reply", body=f"{self.words['unsent']} {self.words['undone']}", tab="t")
        self.post(number, "/unsent/keep", kind="note", body=self.words["unsentnote"], tab="t")

    def is_worked_on(self, number: int) -> None:
        """Actions, a token, a question to the articles, a job that fails, tags and lists."""
        mark = {"mark": self.words["input"]}
        for decide in ("approve", "reject"):
            made = actions.propose_action(
                self.session,
                "tag",
                mark | {"amount": len(decide)},
                actor=PEOPLE["ada"],
                conversation_id=number,
                reason=self.words["reason"],
            )
            self.session.commit()
            if decide == "approve":
                actions.approve(self.session, made.id, actor=PEOPLE["ben"], note=self.words["approval"])
            else:
                actions.reject(self.session, made.id, actor=PEOPLE["ben"], reason=self.words["rejected"])
            self.session.commit()
        tokens.create(
            self.session, self.words["token"], actor=MINA, scopes=["knowledge.read"], customer_ref=self.customer.ref
        )
        self.session.commit()
        asked = {"q": f"does {self.words['palette']} sing in the rain?", "conversation": str(number)}
        assert self.desk.post("/support/search/settled", data=asked).status_code < 400
        QUOTED.append(self.words["quoted"])
        enqueue(self.session, "quoting.all", {"conversation_id": number})
        self.session.commit()
        run_jobs(self.app)
        self.post(number, "/assign", to="me")
        self.post(number, "/priority", priority="high")
        several = {"id": str(number), "step": "resolve", "list": f"q={self.words['question']}"}
        assert self.desk.post("/support/inbox/several", data=several).status_code < 400

    def rates(self, number: int) -> None:
        """In the chat, and another time by the link."""
        self.chat({"type": "rate", "rating": 4, "comment": self.words["comment"]})
        self.chat({"type": "message", "client_id": str(uuid.uuid4()), "body": f"Again {self.words['later']}"})
        resolve(self.session, number, actor=MINA, metadata={"theirs": self.words["metadata"]})
        self.session.commit()
        asked = ratings.newest(self.session, number)
        assert asked is not None
        link = ratings.link_of(asked)
        self.session.rollback()
        assert link is not None
        said = self.visitor.post(link, data={"score": "1", "comment": self.words["linkcomment"]})
        assert said.status_code == 303
        self.send(number, self.words["pending"], kept="1")  # what stands in the field stays there
        run_jobs(self.app)

    def opens_another(self) -> None:
        open_conversation(self.session, customer=self.customer, actor=MINA, subject=f"About {self.words['subject']}")
        self.session.commit()

    def send(self, number: int, body: str, **fields: str) -> None:
        self.post(number, "/reply", body=body, seen=99, shown=99, client_id=str(uuid.uuid4()), **fields)

    def pending(self, number: int) -> int:
        newest = "SELECT max(id) FROM cairnloop.pending_replies WHERE conversation_id = :number AND state = 'pending'"
        found = self.session.scalar(text(newest), {"number": number})
        self.session.rollback()
        assert found is not None
        return int(found)

    def post(self, number: int, path: str, **fields: Any) -> None:
        answer = self.desk.post(f"/support/conversations/{number}{path}", data=fields)
        assert answer.status_code < 400, (path, answer.status_code, answer.text[-600:])


@pytest.fixture
def life(app: Flask, engine: Engine, words: dict[str, str], issue: Callable[[Customer], str]) -> Life:
    """Somebody who has left a word in every place, and somebody else who has not."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        article = save_article(session, slug="gauge", title="Resetting the brass gauge", body=GAUGE, actor=MINA)
        publish(session, article.id, actor=MINA)
        session.commit()
    run_jobs(app)
    life = Life(app, words, issue)
    with app.app_context():
        life.live()
        other = Customer("somebody-else", "Bo Else", "bo@else.example")
        receive(life.session, customer=other, body=f"Hello from {words['bystander']}", channel="widget")
        life.session.commit()
    run_jobs(app)
    return life


def test_nothing_is_left_in_any_file(
    app: Flask, life: Life, engine: Engine, redis: Redis, words: dict[str, str], tmp_path: Path
) -> None:
    places = {word: place for place, word in words.items()}

    def doors(found: set[str]) -> set[str]:
        return {f"{places[one.partition(' in ')[0]]} in {one.partition(' in ')[2]}" for one in found}

    before = doors(pages.found(engine, SCHEMA, words.values()))
    assert {one.partition(" in ")[0] for one in before} == set(PLACES), "every door was used, and the looking works"
    assert len({one.partition(" in ")[2] for one in before}) > 20
    stored = sorted(path for path in (tmp_path / "files").rglob("*") if path.is_file())
    assert len(stored) == 3

    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        held = json.dumps(export(session, words["ref"])).casefold()
        # What an exception said is a copy of what is handed out.
        assert {place for place, word in words.items() if word not in held} == {"quoted", "bystander"}
        forget(session, words["ref"], actor=MINA)
        session.commit()
        session.remove()
    assert doors(pages.found(engine, SCHEMA, words.values())) > {"bystander in cairnloop.messages"}, "dead rows stay"
    run_jobs(app, within=timedelta(hours=2))

    left = doors(pages.found(engine, SCHEMA, words.values()))
    assert {one for one in left if not one.startswith("bystander in ")} == set()
    assert "bystander in cairnloop.messages" in left
    assert [path for path in stored if path.exists()] == []
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        gone = [word for place, word in words.items() if place != "bystander"]
        assert traces.found(session, redis, gone, left_out=frozenset({"host_notes"})) == set()
        session.commit()
        while seal(session):
            session.commit()
        session.commit()
        assert verify(session).fault is None
        session.remove()


def test_rewritten_tables_hold_nothing_between_their_rows_either(
    app: Flask, life: Life, engine: Engine, words: dict[str, str]
) -> None:
    """What ``docs/privacy.md`` says of the gaps: a rewrite fills them with nothing."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        forget(session, words["ref"], actor=MINA)
        session.commit()
        session.remove()
    run_jobs(app, within=timedelta(hours=2))
    with engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        for table in connection.scalars(text("SELECT tablename FROM pg_tables WHERE schemaname = 'cairnloop'")).all():
            connection.execute(text(f"VACUUM (FULL, ANALYZE) cairnloop.{table}"))
    gone = [word for place, word in words.items() if place != "bystander"]
    assert pages.found(engine, SCHEMA, gone, everywhere=True) == set()
