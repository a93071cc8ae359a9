"""What the palette finds for whom, what it may do, what a reply may cite, and which question is a gap."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import func, select, text

from flask_cairnloop import Actor, Customer
from flask_cairnloop.conversations import finding
from flask_cairnloop.conversations.models import Conversation, Message, MessageKind
from flask_cairnloop.database.words import beginnings
from flask_cairnloop.knowledge.models import Audience, Revision
from flask_cairnloop.knowledge.service import archive, publish, save_article
from flask_cairnloop.retrieval.models import Chunk
from flask_cairnloop.upkeep.models import GapEvent
from tests.console.conftest import Desk
from tests.support.embedders import Words

WRITER = Actor.system("test")


@pytest.fixture
def app(make_app: Callable[..., Flask]) -> Flask:
    return make_app(EMBEDDER=Words("palette"))


def article(app: Flask, title: str, body: str = "Words", audience: Audience = Audience.PUBLIC) -> tuple[int, str]:
    """A published article: its id, and what a reply names to cite it."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        made = save_article(session, slug=uuid.uuid4().hex, title=title, body=body, actor=WRITER, audience=audience)
        publish(session, made.id, actor=WRITER)
        session.commit()
        revision, passage = session.execute(
            select(Revision.id, Chunk.id)
            .join(Chunk, Chunk.revision_id == Revision.id)
            .where(Revision.article_id == made.id)
        ).first()
        return made.id, f"{revision}:{passage}"


def look(client: FlaskClient, typed: str, part: str = "found", conversation: int | str = "") -> str:
    answer = client.get(
        "/support/search",
        query_string={"q": typed, "conversation": conversation, "turn": "1"},
        headers={"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": f"div#palette-{part}"},
    )
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def groups(fragment: str) -> list[str]:
    return re.findall(r'role="presentation">([^<]+)<', fragment)


def test_it_finds_by_the_beginnings_of_words(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    mark = f"q{uuid.uuid4().hex[:6]}"
    person = Customer(f"r-{mark}", "Ottilie Brandt", f"ottilie@{mark}.example", f"{mark} Works")
    conversation_id = desk.ask(f"The {mark} lamp does not glow", customer=person)
    article_id, _ = article(app, f"Lamps of {mark}")
    shown = look(operator_client, f"{mark} lam")
    assert f"/conversations/{conversation_id}" in shown
    assert f"/knowledge/{article_id}" in shown
    assert groups(shown) == ["Conversations", "Articles"]
    assert groups(look(operator_client, f"otti {mark}")) == ["Conversations", "Customers"]
    assert f"/conversations/{conversation_id}" in look(operator_client, f"#{conversation_id}")
    assert groups(look(operator_client, "")) == ["Recent conversations", "Go to"]
    for odd in ("'", "\\", "a:*", "& | !", "%", "\x00", "🦉", "1e5", "<b>", "9" * 400):
        look(operator_client, odd)
        look(operator_client, odd, "answers")


def test_what_is_old_is_found_by_the_index_and_the_newest_need_none(
    app: Flask, desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    mark = f"w{uuid.uuid4().hex[:6]}"
    old = desk.ask(f"Where is {mark}?", customer=Customer(f"c-{mark}", f"Olga {mark}a"))
    desk.ask("Something newer")
    monkeypatch.setattr(finding, "RECENT", 1)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        assert [found.id for found, _ in finding.conversations(session, mark, 5)] == [old]
        assert [found.id for found, _ in finding.conversations(session, f"olga {mark}", 5)] == [old]
        ((record, theirs),) = finding.customers(session, f"{mark}A", 5)
        assert (record.ref, [found.id for found in theirs]) == (f"c-{mark}", [old])
        session.get_one(Conversation, old).subject = "Renamed"
        session.flush()
        by_subject = {found.id for found, _ in finding.conversations(session, "renamed", 5)}
        assert by_subject == {old}
        session.rollback()
        monkeypatch.setattr(finding, "INDEX_TIME", 1)
        monkeypatch.setattr(finding, "_BY_SUBJECT", "SELECT 1 FROM pg_sleep(5) WHERE :wanted <> '' LIMIT :limit")
        assert [found.id for found, _ in finding.conversations(session, mark, 5)] in ([old], [])  # not waited for
        assert session.scalar(text("SHOW statement_timeout")) == "0"  # and nobody else's limit
        assert session.scalars(select(Conversation.id).where(Conversation.id == old)).all() == [old]
    assert beginnings(" ... ") is None


def test_it_offers_what_its_reader_may_do(app: Flask, desk: Desk, sign_in: Callable[[str], FlaskClient]) -> None:
    conversation_id = desk.ask(f"Tea {uuid.uuid4().hex[:6]}")
    article(app, "Tea and cake")
    mine = look(sign_in("mina"), "", conversation=conversation_id)
    for action in ("Write a reply", "Add a note", "Resolve", "Assign to me"):
        assert action in mine
    reader = look(sign_in("reader"), "", conversation=conversation_id)
    assert "Customer details" in reader
    assert not re.search("Write a reply|Add a note|Resolve|Assign", reader)
    assert "/knowledge" not in look(sign_in("reader"), "know") + look(sign_in("reader"), "tea")
    assert look(sign_in("reader"), "tea and cake", "answers").strip() == ""
    editor = look(sign_in("editor"), "tea", conversation=conversation_id)
    assert groups(editor) == ["Articles"]
    assert groups(look(sign_in("editor"), "")) == ["Go to"]
    assert sign_in("editor").get("/support/search?q=tea").status_code == 200


def test_an_operator_takes_a_conversation_and_gives_it_back(
    app: Flask, desk: Desk, operator_client: FlaskClient
) -> None:
    conversation_id = desk.ask()
    path = f"/support/conversations/{conversation_id}/assign"
    assert operator_client.post(path, data={"to": "me"}).status_code == 303
    assert desk.get(Conversation, conversation_id).assignee_id == "mina"
    assert "Give it back" in look(operator_client, "", conversation=conversation_id)
    operator_client.post(path, data={"to": "nobody"})
    assert desk.get(Conversation, conversation_id).assignee_id is None


def test_a_reply_cites_what_is_published_for_its_customer_and_nothing_else(
    app: Flask, desk: Desk, operator_client: FlaskClient
) -> None:
    conversation_id = desk.ask()
    article_id, cite = article(app, "Boil an egg", "Seven minutes.")
    _, internal = article(app, "Eggs, for us", "Never say how old.", Audience.INTERNAL)
    gone_id, gone = article(app, "Fry an egg", "Three minutes.")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        archive(session, gone_id, actor=WRITER)
        session.commit()

    def send(*cites: str) -> int:
        form: dict[str, Any] = {"body": "Seven.", "seen": "9", "client_id": str(uuid.uuid4()), "cite": list(cites)}
        return operator_client.post(f"/support/conversations/{conversation_id}/reply", data=form).status_code

    for refused in ((internal,), (cite, internal), (gone,), ("999999:1",), ("x",), tuple(f"{n}:" for n in range(11))):
        assert send(*refused) == 422, refused
    assert send(cite) == 303
    revision = cite.partition(":")[0]
    assert send(f"{revision}:999999") == 303  # indexed anew meanwhile: the article is cited, without the passage
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        sent = session.scalars(
            select(Message)
            .filter_by(conversation_id=conversation_id, kind=MessageKind.REPLY)
            .order_by(Message.sequence)
        ).all()
    assert [[(c["article_id"], c["title"], c["quote"]) for c in reply.data["citations"]] for reply in sent] == [
        [(article_id, "Boil an egg", "Seven minutes.")],
        [(article_id, "Boil an egg", "")],
    ]


def test_answers_say_how_far_they_are_to_be_trusted(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask()
    article(app, "Boil water gently", "Boil the water gently for nine minutes.")
    article(app, "Boil water, for us", "Boil the water gently, says the boss.", Audience.INTERNAL)
    shown = look(operator_client, "boil the water gently", "answers", conversation_id)
    assert "Published article" in shown
    assert "Team only" in shown
    assert "never quoted to a customer" in shown
    inserts = re.findall(r'data-title="([^"]+)"', shown)
    assert "Boil water gently" in inserts
    assert "Boil water, for us" not in inserts
    assert "data-cite" not in look(operator_client, "boil the water gently", "answers")


def test_only_a_question_that_no_article_answers_is_a_gap(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    mark = f"z{uuid.uuid4().hex[:6]}"
    conversation_id = desk.ask(f"About {mark}")
    article(app, f"Water {mark}b plants", f"Water {mark}b plants twice a week.")

    def settle(typed: str, conversation: int | str = "") -> int:
        form = {"q": typed, "conversation": conversation}
        assert operator_client.post("/support/search/settled", data=form).status_code == 204
        with app.app_context():
            return app.extensions["sqlalchemy"].session.scalar(
                select(func.count()).select_from(GapEvent).where(GapEvent.question.contains(mark))
            )

    assert settle(f"water {mark}b") == 0  # an article is called so
    assert settle(mark) == 0  # a name: a conversation is about it
    assert settle("", conversation_id) == 0
    assert settle(f"how do I juggle {mark}c owls", conversation_id) == 1
    assert settle(f"How do I juggle {mark}C owls?", conversation_id) == 1
    assert "data-miss" in look(operator_client, f"how do I juggle {mark}c owls", "answers")
