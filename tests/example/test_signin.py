"""Sign-in of the example host."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from example_app import signin
from example_app.models import User, db
from flask_cairnloop.realtime import Event, Refetch

Browse = Callable[..., FlaskClient]


def test_a_customer_comes_to_the_shop_and_an_operator_to_the_desk(browse: Browse) -> None:
    as_customer = browse().post("/login", data={"email": "Tess@demo.example ", "password": "demo"})
    assert (as_customer.status_code, as_customer.location) == (303, "/chat")
    as_operator = browse().post("/login", data={"email": "mina@demo.example", "password": "demo"})
    assert (as_operator.status_code, as_operator.location) == (303, "/support/")


@pytest.mark.parametrize(
    ("email", "password"), [("tess@demo.example", "wrong"), ("nobody@demo.example", "demo"), ("", "")]
)
def test_a_wrong_pair_signs_nobody_in(browse: Browse, email: str, password: str) -> None:
    client = browse()
    answer = client.post("/login", data={"email": email, "password": password})
    assert answer.status_code == 401
    assert "do not belong together" in answer.text
    assert client.get("/chat").status_code == 302


def test_both_roles_fit_into_one_browser_and_leave_it_one_by_one(browse: Browse) -> None:
    client = browse("tess@demo.example", "omar@demo.example")
    assert client.get("/chat").status_code == 200
    assert client.get("/support/inbox").status_code == 200
    client.post("/logout", data={"role": "operator"})
    assert client.get("/chat").status_code == 200
    assert client.get("/support/inbox").status_code in (302, 303)
    client.post("/logout")
    assert client.get("/chat").status_code == 302


def test_signing_out_of_the_desk_ends_what_its_open_pages_hear(browse: Browse, example: Flask) -> None:
    client = browse("tess@demo.example", "omar@demo.example")
    with example.app_context():
        omar = db.session.scalars(select(User.id).filter_by(email="omar@demo.example")).one()
        db.session.remove()
    with example.extensions["cairnloop"].hub.subscribe([f"operator:user-{omar}"]) as heard:
        assert heard.get(5) == Refetch()
        client.post("/logout", data={"role": "customer"})
        client.post("/logout", data={"role": "operator"})
        assert heard.get(5) == Event(f"operator:user-{omar}", "disconnect", {})
        assert heard.get(0) is None


def test_a_customer_is_not_let_into_the_desk(browse: Browse) -> None:
    answer = browse("tess@demo.example").get("/support/inbox")
    assert answer.status_code in (302, 303)
    assert answer.location.startswith("/login?next=")


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "null", "Sec-Fetch-Site": "cross-site"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://["},
    ],
)
@pytest.mark.parametrize("path", ["/login", "/logout"])
def test_another_site_can_neither_sign_people_in_nor_out(browse: Browse, path: str, headers: dict[str, str]) -> None:
    client = browse("tess@demo.example")
    client.environ_base.clear()
    answer = client.post(path, data={"email": "graham@demo.example", "password": "demo"}, headers=headers)
    assert answer.status_code == 403
    assert "Lockside Cycles" in client.get("/chat").text


@pytest.mark.parametrize("target", ["https://evil.example/", "//evil.example", "/\\evil.example", "chat", "/a\nb"])
def test_sign_in_leads_to_pages_of_this_site_only(browse: Browse, target: str) -> None:
    answer = browse().post(
        "/login", query_string={"next": target}, data={"email": "tess@demo.example", "password": "demo"}
    )
    assert answer.location == "/chat"


def test_sign_in_leads_back_to_where_it_was_asked_for(browse: Browse) -> None:
    answer = browse().post(
        "/login", data={"email": "mina@demo.example", "password": "demo", "next": "/support/knowledge"}
    )
    assert answer.location == "/support/knowledge"


def test_passwords_are_stored_as_salted_hashes(example: Flask) -> None:
    with example.app_context():
        hashes = db.session.scalars(select(User.password_hash)).all()
    assert len(set(hashes)) == len(hashes)
    assert all(value.startswith("scrypt:") for value in hashes)


def test_local_paths() -> None:
    assert signin.local_path("/chat?x=1") == "/chat?x=1"
    assert signin.local_path(None) is None
