"""The start page and the shop's page, for nobody, a customer and an operator."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from flask import Flask
from flask.testing import FlaskClient

from example_app import hooks, people

Browse = Callable[..., FlaskClient]


def test_the_start_page_offers_both_sides_to_nobody(browse: Browse) -> None:
    page = browse().get("/").text
    assert "Tess Halloran" in page
    assert "Mina Park" in page
    assert "<iframe" not in page


def test_the_start_page_shows_each_side_that_is_signed_in(browse: Browse) -> None:
    customer = browse("tess@demo.example").get("/").text
    assert re.findall(r'<iframe[^>]* src="([^"]+)"', customer) == ["/chat"]
    both = browse("tess@demo.example", "mina@demo.example").get("/").text
    assert re.findall(r'<iframe[^>]* src="([^"]+)"', both) == ["/chat", "/support/inbox"]


def test_both_sides_may_stand_in_a_frame_of_the_start_page_and_of_nobody_else(browse: Browse) -> None:
    client = browse("tess@demo.example", "mina@demo.example")
    for path in ("/chat", "/support/inbox"):
        policy = client.get(path).headers["Content-Security-Policy"]
        assert re.search(r"frame-ancestors ([^;]+)", policy)[1] == "'self'", path  # type: ignore[index]


def test_every_link_of_the_start_page_leads_somewhere(browse: Browse) -> None:
    client = browse("tess@demo.example", "mina@demo.example")
    links = set(re.findall(r'<a[^>]* href="(/[^"]*)"', client.get("/").text))
    assert len(links) >= 10
    assert {link: client.get(link).status_code for link in links} == dict.fromkeys(links, 200)


def test_the_shop_page_asks_nobody_and_an_operator_to_sign_in(browse: Browse) -> None:
    for client in (browse(), browse("mina@demo.example")):
        answer = client.get("/chat")
        assert (answer.status_code, answer.location) == (302, "/login?next=/chat")


def test_the_shop_page_carries_the_chat_of_the_person_who_is_signed_in(example: Flask, browse: Browse) -> None:
    page = browse("tess@demo.example").get("/chat").text
    assert "Lockside Cycles" in page
    tags = re.findall(r"<script[^>]*>", page)
    assert len(tags) == 1
    with example.app_context():
        customer = hooks.verify_customer(re.search(r'data-token="([^"]+)"', tags[0])[1])  # type: ignore[index]
    assert customer is not None
    assert (customer.name, customer.organization) == ("Tess Halloran", "Lockside Cycles")


def test_a_chat_that_stays_open_gets_a_fresh_token_for_the_same_person_only(example: Flask, browse: Browse) -> None:
    answer = browse("tess@demo.example").get("/chat/token")
    assert answer.headers["Cache-Control"] == "no-store"
    with example.app_context():
        customer = hooks.verify_customer(answer.json["token"])  # type: ignore[index]
    assert customer is not None
    assert customer.email == "tess@demo.example"
    assert browse().get("/chat/token").status_code == 401
    assert browse("mina@demo.example").get("/chat/token").status_code == 401


@pytest.mark.parametrize("email", [email for shop in people.SHOPS for email, _ in shop.people])
def test_every_customer_of_the_demo_has_a_page(browse: Browse, email: str) -> None:
    assert browse(email).get("/chat").status_code == 200


@pytest.mark.parametrize("path", ["/", "/login", "/chat"])
def test_pages_are_under_a_strict_policy(browse: Browse, path: str) -> None:
    policy = browse("tess@demo.example").get(path).headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
