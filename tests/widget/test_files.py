"""Files in the chat: sent by whoever the token stands for, and given by addresses that hold for one customer."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit
from uuid import UUID

import pytest
from flask import Flask
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st
from sqlalchemy.orm import Session
from werkzeug.test import TestResponse

from flask_cairnloop import Customer, Operator, add_note, keep_file, reply
from flask_cairnloop.channels.widget.tickets import HOLDS, STEP, holds, ticket
from flask_cairnloop.privacy.service import forget
from flask_cairnloop.testing import frozen
from tests.files.conftest import png
from tests.files.test_uploads import HTML, SVG
from tests.widget.test_messages import Poller, words

PATH = "/support/widget/files"
PDF = b"%PDF-1.7 steps"
MINA = Operator("mina", "Mina Keller")
Send = Callable[..., TestResponse]


@pytest.fixture
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "FILE_STORAGE": f"memory://{uuid.uuid4().hex}"}


@pytest.fixture
def send(client: FlaskClient, token: str) -> Send:
    """``send(data, name)`` uploads as the chat does."""

    def send(data: bytes = PDF, name: str = "steps.pdf", token: str = token, client: FlaskClient = client) -> Any:
        return client.post(PATH, data={"token": token, "file": (io.BytesIO(data), name)})

    return send


@pytest.fixture
def poller(client: FlaskClient, token: str) -> Poller:
    return Poller(client, token)


def sent(poller: Poller, *files: str, body: str = "See") -> dict[str, Any]:
    """What the server answers to a message with files: its ``accepted``."""
    frames = poller.ask({**words(body), "files": list(files)})
    (accepted,) = (frame for frame in frames if frame["type"] == "accepted")
    return accepted


# --- in ---------------------------------------------------------------------------------------------------------------


def test_a_picture_goes_with_a_message_and_comes_back_with_every_replay(
    send: Send, poller: Poller, client: FlaskClient
) -> None:
    told = send(png(), "photos/roof.png").json
    assert told == {
        **{"id": told["id"], "name": "roof.png", "type": "image/png"},
        **{"size": len(png()), "width": 40, "height": 30},
    }
    accepted = sent(poller, told["id"], body="")
    (file,) = accepted["files"]
    assert {key: file[key] for key in told} == told
    got = client.get(file["url"])
    assert (got.status_code, got.mimetype, got.data) == (200, "image/png", png())
    assert "sandbox" in got.headers["Content-Security-Policy"]
    assert got.headers["Cache-Control"] == "private, no-cache"
    poller.cursor = 0
    (message,) = poller.ask()[0]["messages"]
    assert (message["body"], message["files"]) == ("", [file])


def test_a_second_send_of_the_same_message_attaches_nothing_twice(send: Send, poller: Poller) -> None:
    frame = {**words("See"), "files": [send().json["id"]]}
    first, again = (next(answer for answer in poller.ask(frame) if answer["type"] == "accepted") for _ in range(2))
    assert first == again
    assert len(first["files"]) == 1


def test_a_file_belongs_to_whoever_sent_it(
    send: Send, client: FlaskClient, issue: Callable[[Customer], str], poller: Poller
) -> None:
    theirs = send(token=issue(Customer(f"other-{uuid.uuid4().hex[:6]}", "Other"))).json["id"]
    frame = {**words("Mine"), "files": [theirs]}
    refused = poller.ask(frame)[-1]
    assert (refused["type"], refused["code"], refused["client_id"]) == ("error", "files", frame["client_id"])


@pytest.mark.parametrize("token", ["", "forged", "x" * 9000])
def test_nobody_sends_without_a_token(send: Send, token: str) -> None:
    answer = send(token=token)
    assert (answer.status_code, answer.json["code"]) == (401, "unauthorized")


@pytest.mark.parametrize("data", [HTML, SVG, b"\x89PNG\r\n\x1a\n" + HTML, b"\x00\x01\x02", b""])
def test_a_page_that_says_it_is_a_picture_is_refused(send: Send, data: bytes) -> None:
    answer = send(data, "roof.png")
    assert (answer.status_code, answer.json["code"]) == (422, "invalid")


def test_a_file_above_the_limit_is_refused_calmly(make_app: Callable[..., Flask], send: Send, token: str) -> None:
    client = make_app(FILE_SIZE_LIMIT=1000).test_client()
    client.environ_base["HTTP_ORIGIN"] = "http://localhost"
    for size in (1001, 300_000):
        answer = send(b"a" * size, "a.txt", client=client)
        assert (answer.status_code, answer.json["message"]) in (
            (422, "The file is larger than 1000 bytes."),
            (413, "The file is larger than 1000 bytes."),
        )


def test_a_customer_is_held_to_a_number_and_to_bytes(
    make_app: Callable[..., Flask], send: Send, issue: Callable[[Customer], str]
) -> None:
    def fresh() -> str:
        return issue(Customer(f"much-{uuid.uuid4().hex[:6]}", "Much"))

    few = make_app(RATE_LIMITS={"attachments": "2/hour"}).test_client()
    small = make_app(ATTACHMENT_DAILY_BYTES=30).test_client()
    for client, code in ((few, 429), (small, 429)):
        client.environ_base["HTTP_ORIGIN"] = "http://localhost"
        who = fresh()
        answers = [send(token=who, client=client) for _ in range(3)]
        assert [answer.status_code for answer in answers] == [200, 200, code]
        assert int(answers[-1].headers["Retry-After"]) > 0
        assert send(token=fresh(), client=client).status_code == 200


@pytest.mark.parametrize("keys", [{"FILE_STORAGE": None}, {"ATTACHMENT_LIMIT": 0}])
def test_where_messages_take_none_there_is_no_such_address(
    make_app: Callable[..., Flask], send: Send, token: str, keys: dict[str, Any]
) -> None:
    client = make_app(**keys).test_client()
    client.environ_base["HTTP_ORIGIN"] = "http://localhost"
    assert send(client=client).status_code == 404
    assert client.get(f"{PATH}/{uuid.uuid4()}/a.pdf?ticket=1").status_code == 404
    assert "takes" not in Poller(client, token).ask()[0]


def test_joining_says_what_is_taken(poller: Poller) -> None:
    takes = poller.ask()[0]["takes"]
    assert (takes["most"], takes["size"]) == (5, 10 * 1024 * 1024)
    assert "image/png" in takes["types"]


# --- out --------------------------------------------------------------------------------------------------------------


def test_a_reply_brings_a_file_and_a_note_never_does(
    app: Flask, client: FlaskClient, send: Send, poller: Poller, at_the_desk: Callable[[Callable[..., Any]], Any]
) -> None:
    number = sent(poller, send().json["id"])["conversation"]
    with app.app_context():
        shown, inside = (keep_file(io.BytesIO(PDF), f"{name}.pdf", actor=MINA) for name in ("shown", "inside"))
    at_the_desk(lambda s: reply(s, number, actor=MINA, body="Here", files=[shown]))
    at_the_desk(lambda s: add_note(s, number, actor=MINA, body="Only us", files=[inside]))
    (joined,) = poller.ask()
    (message,) = joined["messages"]
    (file,) = message["files"]
    got = client.get(file["url"])
    assert (got.data, got.headers["Content-Disposition"]) == (PDF, "attachment; filename=shown.pdf")
    # Not even with a ticket that we signed for it: the way to it leads through what the customer may see.
    secret, ref = app.secret_key.encode(), poller_ref(app, number)
    for which, status in ((shown, 200), (inside, 404)):
        key = ticket(secret, ref, which, datetime.now(UTC).timestamp())
        assert client.get(f"{PATH}/{which}/x?ticket={key}").status_code == status
    links = next(frame for frame in poller.ask({"type": "links"}) if frame["type"] == "links")["files"]
    assert set(links) == {str(shown), *(f for f in links if f != str(shown))}
    assert (str(inside) in links, len(links)) == (False, 2)


def poller_ref(app: Flask, number: int) -> str:
    from flask_cairnloop.conversations.service import get

    with app.app_context():
        return str(get(app.extensions["sqlalchemy"].session, number).customer.ref)


def test_an_address_holds_for_a_while_and_for_one_customer_and_file(
    app: Flask, client: FlaskClient, send: Send, poller: Poller
) -> None:
    one, other = (sent(poller, send(name=f"{name}.pdf").json["id"])["files"][0] for name in "ab")
    address, key = urlsplit(one["url"]).path, urlsplit(one["url"]).query
    unknown = client.get(f"{PATH}/{uuid.uuid4()}/a.pdf?{key}")
    for wrong in (address, f"{address}?ticket=", f"{address}?{urlsplit(other['url']).query}", f"{address}?{key}0"):
        refused = client.get(wrong)
        assert (refused.status_code, refused.data) == (unknown.status_code, unknown.data) == (404, b"Not found")
    assert client.get(one["url"]).status_code == 200
    with frozen(datetime.now(UTC) + timedelta(seconds=HOLDS)):
        assert client.get(one["url"]).status_code == 404
        fresh = next(frame for frame in poller.ask({"type": "links"}) if frame["type"] == "links")["files"]
        assert client.get(fresh[one["id"]]).status_code == 200


def test_nothing_is_given_of_whoever_was_forgotten(
    app: Flask, client: FlaskClient, session: Session, send: Send, poller: Poller, customer: Customer
) -> None:
    url = sent(poller, send().json["id"])["files"][0]["url"]
    forget(session, customer.ref, actor=MINA)
    session.commit()
    assert client.get(url).status_code == 404


@given(
    ref=st.text(max_size=40),
    other=st.text(max_size=40),
    moment=st.integers(0, 4_000_000_000),
    later=st.integers(0, 2 * HOLDS),
    file=st.uuids(),
)
def test_a_ticket_is_what_it_says(ref: str, other: str, moment: int, later: int, file: UUID) -> None:
    key = ticket(b"secret", ref, file, moment)
    until = (moment // STEP) * STEP + HOLDS
    assert holds(b"secret", ref, file, key, moment + later) is (moment + later < until)
    assert not holds(b"other", ref, file, key, moment)
    assert not holds(b"", ref, file, ticket(b"", ref, file, moment), moment)
    assert holds(b"secret", other, file, key, moment) is (other == ref)
    assert not holds(b"secret", ref, file, key.replace(str(until), str(until + 1)), moment)


@given(text=st.text(max_size=100))
def test_nothing_else_is_a_ticket(text: str) -> None:
    assert not holds(b"secret", "ref", UUID(int=1), text, 0)
