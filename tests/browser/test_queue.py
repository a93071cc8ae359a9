"""A morning at the queue by keyboard, two who take one conversation, and a search, in real browsers."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from playwright.sync_api import expect

from flask_cairnloop import Customer, receive
from flask_cairnloop.conversations.models import Conversation, ConversationStatus
from tests.browser.conftest import Site
from tests.support.processes import wait_until

pytestmark = pytest.mark.browser


def ask(site: Site, body: str) -> int:
    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        customer = Customer(f"q-{uuid.uuid4().hex[:8]}", "Quinn Adler")
        found = receive(session, customer=customer, body=body, channel="widget").conversation_id
        session.commit()
        return int(found)


def column(site: Site, conversation_id: int, name: str) -> Any:
    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        found = getattr(session.get(Conversation, conversation_id, populate_existing=True), name)
        session.rollback()
        return found


def test_a_morning_by_keyboard(site: Site) -> None:
    made = [ask(site, f"Morning question {n}") for n in range(5)]
    page = site.operator(path="/inbox?view=open&sort=newest")
    row = page.locator(f"#row-{made[4]} .row")
    row.focus()
    page.keyboard.press("o")
    expect(page.locator("#triage")).to_contain_text("Nobody has it")

    page.keyboard.press("i")  # take it
    expect(page.locator("#m-assign")).to_contain_text("Mina Keller")
    page.keyboard.press("p")
    expect(page.locator("#m-priority .item").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#m-priority summary")).to_contain_text("Urgent")
    page.keyboard.press("l")
    page.locator("#new-tag").fill("Morning")
    page.keyboard.press("Enter")
    expect(page.locator("#m-tags summary")).to_contain_text("Morning")

    page.keyboard.press("Escape")
    page.keyboard.press("z")  # put it off: the next one opens
    expect(page.locator("#m-snooze .item").first).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("#thread-head")).to_contain_text("Snoozed")
    assert column(site, made[4], "snoozed_until") is not None

    page.locator(f"#row-{made[3]} .row").focus()
    page.keyboard.press("Enter")
    expect(page.locator(f"#work[data-conversation='{made[3]}']")).to_be_visible()
    page.keyboard.press("e")  # resolve, and the next one is there
    expect(page.locator(f"#work[data-conversation='{made[2]}']")).to_be_visible()
    assert column(site, made[3], "status") is ConversationStatus.RESOLVED

    page.locator(f"#row-{made[2]} .row").focus()
    page.keyboard.press("x")
    page.keyboard.press("j")
    page.keyboard.press("j")
    page.keyboard.press("Shift+X")
    expect(page.locator("[data-picked]")).to_have_text("3 ticked")
    page.keyboard.press("e")
    expect(page.locator("#toasts")).to_contain_text("3 conversations resolved")
    assert {column(site, one, "status") for one in made[:3]} == {ConversationStatus.RESOLVED}
    page.get_by_role("button", name="Undo").click()
    expect(page.locator("#toasts")).to_contain_text("3 conversations are as before")
    assert {column(site, one, "status") for one in made[:3]} == {ConversationStatus.OPEN}


def test_of_two_who_take_one_conversation_the_other_is_told_who_has_it(site: Site) -> None:
    conversation_id = ask(site, "Who takes me?")
    mina = site.operator("mina", f"/conversations/{conversation_id}")
    omar = site.operator("omar")
    # Omar's page hears nothing live: as when both press the key at once.
    omar.route_web_socket("**/support/live", lambda _socket: None)
    omar.goto(f"{site.url}/support/conversations/{conversation_id}")
    for page in (mina, omar):
        expect(page.locator("#claim-form")).to_contain_text("Take it")
    mina.keyboard.press("i")
    expect(mina.locator("#m-assign")).to_contain_text("Mina Keller")
    omar.keyboard.press("i")
    expect(omar.locator("#toasts")).to_contain_text("Mina Keller has it already.")
    expect(omar.locator("#m-assign")).to_contain_text("Mina Keller")
    assert column(site, conversation_id, "assignee_id") == "mina"


def test_a_search_and_its_chips(site: Site) -> None:
    word = f"zebra{uuid.uuid4().hex[:6]}"
    found, other = ask(site, f"My {word} is ill"), ask(site, "My horse is ill")
    page = site.operator(path="/inbox?view=open")
    expect(page.locator(f"#row-{other}")).to_be_visible()
    page.keyboard.press("/")
    page.keyboard.type(word)
    page.keyboard.press("Enter")
    expect(page.locator("#rows [data-row]")).to_have_count(1)
    expect(page.locator(f"#row-{found}")).to_be_visible()
    assert f"q={word}" in page.url
    page.locator(".chip", has_text=word).click()
    expect(page.locator(f"#row-{other}")).to_be_visible()


def test_what_comes_in_is_announced_and_moves_nothing(site: Site) -> None:
    ask(site, "First")
    page = site.operator(path="/inbox?view=open&sort=newest")
    first = page.locator("#rows [data-row]").first.get_attribute("id")
    wait_until(lambda: page.evaluate("document.readyState") == "complete")
    page.wait_for_timeout(500)
    ask(site, "Second")
    expect(page.locator("#pill")).to_contain_text("new")
    assert page.locator("#rows [data-row]").first.get_attribute("id") == first
