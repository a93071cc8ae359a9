"""Files of messages: who may attach which, who is given it, and what a message says of it."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import event, select, text
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict
from werkzeug.test import TestResponse

from flask_cairnloop import Customer, Operator, Subject, add_note, keep_file, receive, reply
from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations.models import Conversation, Message, MessageFile
from flask_cairnloop.drafting import question
from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.files.models import File, KeptFor
from flask_cairnloop.files.storage import storage_of
from flask_cairnloop.knowledge import service as knowledge
from flask_cairnloop.testing import frozen, run_jobs
from tests.files.conftest import png
from tests.files.test_uploads import HTML, SVG

PDF = b"%PDF-1.7 steps"
MINA = Operator("mina", "Mina Keller")
MakeClient = Callable[..., FlaskClient]


def kept(actor: Any, data: bytes = PDF, name: str = "steps.pdf") -> UUID:
    return keep_file(io.BytesIO(data), name, actor=actor)


def ask(session: Session, customer: Customer, *files: UUID, body: str = "Look at this", **keys: Any) -> Message:
    message = receive(session, customer=customer, body=body, channel="widget", files=files, **keys)
    session.commit()
    return message


def taken(session: Session, message: Message) -> list[UUID]:
    rows = select(File.uuid).join(MessageFile, MessageFile.file_id == File.id).order_by(MessageFile.position)
    return list(session.scalars(rows.where(MessageFile.message_id == message.id)))


# --- attaching --------------------------------------------------------------------------------------------------------


def test_a_message_takes_the_files_of_its_customer_in_their_order(session: Session, customer: Customer) -> None:
    picture, steps = kept(customer, png(), "roof.png"), kept(customer)
    message = ask(session, customer, steps, picture)
    assert taken(session, message) == [steps, picture]
    assert message.data["files"] == [
        {"id": str(steps), "name": "steps.pdf", "type": "application/pdf", "size": len(PDF)},
        {"id": str(picture), "name": "roof.png", "type": "image/png", "size": len(png()), "width": 40, "height": 30},
    ]


def test_a_file_needs_no_words_and_then_names_the_conversation(session: Session, customer: Customer) -> None:
    message = ask(session, customer, kept(customer), body="  ")
    conversation = session.get_one(Conversation, message.conversation_id)
    assert (message.body, conversation.subject, conversation.preview) == ("", "steps.pdf", "steps.pdf")
    again = ask(session, customer, kept(customer, name="more.pdf"), body="", conversation_id=conversation.id)
    session.refresh(conversation)
    assert (again.sequence, conversation.preview) == (2, "more.pdf")
    with pytest.raises(InvalidInput, match="nothing to send"):
        ask(session, customer, body="")


def test_a_resend_attaches_nothing_twice(session: Session, customer: Customer) -> None:
    client_id, file = uuid.uuid4(), kept(customer)
    first = ask(session, customer, file, client_id=client_id)
    again = ask(session, customer, file, client_id=client_id)
    within = ask(session, customer, file, client_id=client_id, conversation_id=first.conversation_id)
    assert {first.id, again.id, within.id} == {first.id}
    assert taken(session, first) == [file]


@pytest.mark.parametrize(
    "whose", ["another's", "an operator's", "taken", "unknown", "an article's", "too many", "twice"]
)
def test_a_customer_attaches_nothing_but_their_own(session: Session, customer: Customer, whose: str) -> None:
    other = Customer(f"other-{uuid4().hex[:8]}", "Other")
    own = kept(customer)
    files = [own]
    match whose:
        case "another's":
            files = [kept(other)]
        case "an operator's":
            files = [kept(MINA)]
        case "taken":
            ask(session, customer, own)
        case "unknown":
            files = [uuid4()]
        case "an article's":
            row = session.scalars(select(File).where(File.uuid == own)).one()
            row.kept_for = KeptFor.ARTICLE
            session.commit()
        case "too many":
            files = [kept(customer, name=f"{number}.pdf") for number in range(6)]
        case "twice":
            files = [own, own]
    before = session.scalar(text("SELECT count(*) FROM cairnloop.messages"))
    with pytest.raises(InvalidInput) as refused:
        ask(session, customer, *files)
    session.rollback()
    assert refused.value.field == "files"
    assert session.scalar(text("SELECT count(*) FROM cairnloop.messages")) == before


def test_the_team_attaches_its_own_to_replies_and_notes(session: Session, customer: Customer) -> None:
    number = ask(session, customer).conversation_id
    sent = reply(session, number, actor=MINA, body="", files=[file := kept(MINA)])
    noted = add_note(session, number, actor=MINA, body="See inside", files=[inside := kept(MINA, png(), "in.png")])
    session.commit()
    assert (taken(session, sent), taken(session, noted)) == ([file], [inside])
    with pytest.raises(InvalidInput, match="not there any more"):
        reply(session, number, actor=MINA, body="Again", files=[file])
    session.rollback()
    with pytest.raises(InvalidInput, match="not there any more"):
        reply(session, number, actor=MINA, body="Theirs", files=[kept(customer)])
    session.rollback()


def test_words_alone_cost_one_statement_as_before(app: Flask, session: Session, customer: Customer) -> None:
    number = ask(session, customer).conversation_id
    statements: list[str] = []
    event.listen(session.get_bind(), "before_cursor_execute", lambda *call: statements.append(call[2]))
    receive(session, customer=customer, body="One more", channel="widget", conversation_id=number)
    session.commit()
    wrote = [statement for statement in statements if "messages" in statement and statement.startswith("WITH")]
    assert len(wrote) == 1
    assert not any("files" in statement for statement in statements)


def test_what_is_none_of_the_kinds_is_no_attachment(app: Flask, session: Session, customer: Customer) -> None:
    for data in (HTML, SVG, b"\x89PNG\r\n\x1a\n" + SVG, b"\x7fELF\x00\x01"):
        with pytest.raises(InvalidInput):
            kept(customer, data, "roof.png")
    assert session.scalar(select(File.id).where(File.name == "roof.png", File.author_id == customer.ref)) is None


def test_what_no_message_takes_goes_in_a_day_and_what_one_has_stays(
    app: Flask, session: Session, customer: Customer
) -> None:
    storage = storage_of(app.extensions["cairnloop"])
    assert storage is not None
    ask(session, customer, stays := kept(customer))
    goes = kept(customer, name="unsent.pdf")
    keys = dict(tuple(row) for row in session.execute(select(File.uuid, File.storage_key)))
    with frozen(datetime.now(UTC) + timedelta(days=1, hours=1)):
        run_jobs(app)
    session.rollback()
    assert set(session.scalars(select(File.uuid).where(File.uuid.in_([stays, goes])))) == {stays}
    there = {key for key, _ in storage.written()}
    assert (keys[stays] in there, keys[goes] in there) == (True, False)


def test_an_engine_hears_of_a_file_by_name_and_kind(session: Session, customer: Customer) -> None:
    message = ask(session, customer, kept(customer), body="")
    asked = question.read(session, session.get_one(Conversation, message.conversation_id))
    assert [(turn.body, turn.files) for turn in asked.turns] == [("", ("steps.pdf (PDF)",))]
    assert (asked.question, asked.words) == ("steps.pdf", ())


# --- giving, to the team ----------------------------------------------------------------------------------------------


def test_the_team_sees_files_of_conversations_it_may_see(
    make_app: Callable[..., Flask], make_client: MakeClient, customer: Customer
) -> None:
    hidden: set[int] = set()

    def authorize(_operator: Operator, _permission: Any, subject: Subject | None) -> bool:
        return subject is None or subject.kind != "conversation" or subject.id not in hidden

    app = make_app(AUTHORIZE=authorize)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        file = kept(customer, png(), "roof.png")
        number = ask(session, customer, file).conversation_id
    client, address = make_client(app, "mina"), f"/support/attachments/{file}/roof.png"
    given = client.get(address)
    assert (given.status_code, given.mimetype, given.data) == (200, "image/png", png())
    assert given.headers["X-Content-Type-Options"] == "nosniff"
    assert "sandbox" in given.headers["Content-Security-Policy"]
    assert "private" in given.headers["Cache-Control"]
    hidden.add(number)
    refused, unknown = client.get(address), client.get(f"/support/attachments/{uuid4()}/roof.png")
    assert (refused.status_code, refused.data) == (unknown.status_code, unknown.data) == (404, b"Not found")
    assert make_client(app).get(address).status_code == 401


def test_what_is_no_picture_is_a_download(
    app: Flask, session: Session, make_client: MakeClient, customer: Customer
) -> None:
    file = kept(customer, b"a,b", "list.csv")
    ask(session, customer, file)
    given = make_client(app, "mina").get(f"/support/attachments/{file}/list.csv")
    assert (given.mimetype, given.headers["Content-Disposition"]) == ("text/plain", "attachment; filename=list.csv")


def test_naming_it_in_an_article_shows_it_to_nobody(
    app: Flask, session: Session, make_client: MakeClient, customer: Customer
) -> None:
    """Neither does the address of articles' files, which whoever writes articles may ask for."""
    file = kept(customer, png(), "roof.png")
    ask(session, customer, file)
    words = knowledge.Words(f"a-{uuid4().hex[:8]}", "Stolen", f"![Roof](files/{file}/roof.png)")
    made = knowledge.create_article(session, words, actor=Actor.operator(MINA))
    knowledge.publish(session, made.id, actor=Actor.operator(MINA))
    session.commit()
    for who in ("", "mina"):
        assert make_client(app, who).get(f"/support/files/{file}/roof.png").status_code == 404


# --- the console's forms ----------------------------------------------------------------------------------------------


@pytest.fixture
def write(app: Flask, make_client: MakeClient) -> Callable[..., TestResponse]:
    """``write(number, "reply", (data, name), …)`` sends the composer's form as a browser without scripts does."""

    def write(number: int, kind: str, *files: tuple[bytes, str], body: str = "Here", **form: str) -> TestResponse:
        fields = MultiDict({"body": body, "seen": "99", "client_id": str(uuid4()), **form})
        for data, name in files:
            fields.add("file", (io.BytesIO(data), name))
        return make_client(app, "mina").post(f"/support/conversations/{number}/{kind}", data=fields)

    return write


def newest(session: Session, number: int) -> Message:
    session.rollback()
    found = select(Message).where(Message.conversation_id == number).order_by(Message.sequence.desc()).limit(1)
    return session.scalars(found).one()


def test_a_reply_and_a_note_bring_files_by_a_plain_form(
    app: Flask, session: Session, customer: Customer, write: Callable[..., TestResponse], make_client: MakeClient
) -> None:
    number = ask(session, customer).conversation_id
    assert write(number, "reply", (PDF, "steps.pdf"), (png(), "roof.png")).status_code == 303
    message = newest(session, number)
    assert [file["name"] for file in message.data["files"]] == ["steps.pdf", "roof.png"]
    assert write(number, "note", (PDF, "inside.pdf"), body="").status_code == 303
    assert newest(session, number).data["files"][0]["name"] == "inside.pdf"
    page = make_client(app, "mina").get(f"/support/conversations/{number}").text
    steps, roof = (file["id"] for file in message.data["files"])
    assert f'href="/support/attachments/{steps}/steps.pdf" download' in page
    assert f'<img src="/support/attachments/{roof}/roof.png" alt="roof.png" width="160" height="120"' in page
    assert 'type="file" name="file" multiple' in page


def test_a_form_that_is_refused_keeps_nothing(
    session: Session, customer: Customer, write: Callable[..., TestResponse]
) -> None:
    number = ask(session, customer).conversation_id
    before = session.scalar(text("SELECT count(*) FROM cairnloop.files"))
    refused = write(number, "reply", (PDF, "steps.pdf"), (SVG, "roof.png"))
    assert (refused.status_code, "no kind of file" in refused.text) == (422, True)
    many = write(number, "reply", *[(PDF, f"{place}.pdf") for place in range(6)])
    assert (many.status_code, "at most 5 files" in many.text) == (422, True)
    session.rollback()
    assert session.scalar(text("SELECT count(*) FROM cairnloop.files")) == before
    assert newest(session, number).sequence == 1


def test_a_reply_sent_twice_attaches_once(
    session: Session, customer: Customer, write: Callable[..., TestResponse]
) -> None:
    number = ask(session, customer).conversation_id
    form = {"client_id": str(uuid4())}
    for _ in range(2):
        assert write(number, "reply", (PDF, "steps.pdf"), **form).status_code == 303
    message = newest(session, number)
    assert (message.sequence, len(taken(session, message))) == (2, 1)


def test_a_form_longer_than_its_files_may_be_is_refused_before_it_is_read(
    make_app: Callable[..., Flask], make_client: MakeClient, customer: Customer
) -> None:
    app = make_app(FILE_SIZE_LIMIT=1000, ATTACHMENT_LIMIT=1)
    with app.app_context():
        number = ask(app.extensions["sqlalchemy"].session, customer).conversation_id
    form = {"body": "x", "client_id": str(uuid4()), "file": (io.BytesIO(b"a" * 400_000), "a.txt")}
    answer = make_client(app, "mina").post(f"/support/conversations/{number}/reply", data=form)
    assert (answer.status_code, "Nothing was sent" in answer.text) == (413, True)


@pytest.mark.parametrize("keys", [{"FILE_STORAGE": None}, {"ATTACHMENT_LIMIT": 0}], ids=["no storage", "turned off"])
def test_without_a_place_for_them_nothing_speaks_of_files(
    make_app: Callable[..., Flask], make_client: MakeClient, customer: Customer, keys: dict[str, Any]
) -> None:
    app = make_app(**keys)
    with app.app_context():
        number = ask(app.extensions["sqlalchemy"].session, customer).conversation_id
    client = make_client(app, "mina")
    page = client.get(f"/support/conversations/{number}")
    assert (page.status_code, "data-attach" in page.text) == (200, False)
    fields = {"body": "Here", "seen": "99", "client_id": str(uuid4())}
    assert client.post(f"/support/conversations/{number}/reply", data=fields).status_code == 303
    fields |= {"client_id": str(uuid4()), "file": (io.BytesIO(PDF), "a.pdf")}
    assert client.post(f"/support/conversations/{number}/reply", data=fields).status_code == 422
    assert client.get(f"/support/attachments/{uuid4()}/a.pdf").status_code == 404
    assert 'id="file"' not in client.get("/support/widget").text
