"""The palette by keyboard alone, against everything running: find, do, answer with a source, and miss once."""

from __future__ import annotations

import re
import uuid
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect
from sqlalchemy import select

from flask_cairnloop.conversations.models import Conversation, Message, MessageKind
from flask_cairnloop.upkeep.models import GapEvent
from tests.browser.conftest import Site
from tests.support.processes import wait_until

pytestmark = pytest.mark.browser


def typed(page: Page, words: str) -> None:
    """Type into the open palette and wait for both answers to it."""
    page.keyboard.type(words)
    expect(page.locator("#palette-q")).to_have_value(words)
    expect(page.locator("#palette")).not_to_have_attribute("aria-busy", "true")


def opened(page: Page) -> None:
    page.wait_for_load_state()  # its words are there before its scripts are
    page.keyboard.press("Control+k")
    expect(page.locator("#palette-q")).to_be_focused()
    expect(page.locator("#palette-list [role=option]").first).to_be_visible()


def active(page: Page) -> str:
    """What a screen reader is told of: the option that the field says is active."""
    name = page.locator("#palette-q").get_attribute("aria-activedescendant")
    option = page.locator(f"#palette-list [id='{name}']")
    expect(option).to_have_attribute("aria-selected", "true")
    return option.inner_text()


def test_a_conversation_is_found_opened_and_taken_and_escape_goes_back(site: Site) -> None:
    mark = f"k{uuid.uuid4().hex[:6]}"
    conversation_id = site.customer().ask(f"The {mark} bell is silent")
    page = site.operator(path="/knowledge")
    link = page.get_by_role("link", name="Inbox")
    link.focus()
    opened(page)
    page.keyboard.press("End")
    assert "Settings" in active(page)
    page.keyboard.press("Home")
    first = active(page)
    page.keyboard.press("ArrowDown")
    assert active(page) != first
    page.keyboard.press("ArrowUp")
    assert active(page) == first
    typed(page, mark)
    page.keyboard.press("Escape")
    expect(page.locator("#palette-q")).to_have_value("")
    page.keyboard.press("Escape")
    expect(page.locator("#palette")).to_be_hidden()
    expect(link).to_be_focused()

    opened(page)
    typed(page, mark)
    assert mark in active(page)
    page.keyboard.press("Enter")
    expect(page.locator("#work")).to_have_attribute("data-conversation", str(conversation_id))
    opened(page)
    typed(page, "assi")
    page.keyboard.press("Enter")
    expect(page.locator("#toasts")).to_contain_text("It is yours")
    expect(page.locator("#timeline")).to_contain_text("You took this")
    opened(page)
    typed(page, "reso")
    page.keyboard.press("Enter")
    expect(page.locator("#thread-head")).to_have_attribute("data-resolved", "")
    with site.app.app_context():
        found = site.app.extensions["sqlalchemy"].session.get(Conversation, conversation_id)
        assert (found.assignee_id, found.resolved_at is not None) == ("mina", True)


def test_an_answer_goes_into_the_reply_with_its_source(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask("Hello, I have a question about money.")
    page = site.operator(path=f"/conversations/{conversation_id}")
    opened(page)
    typed(page, "refund a booking in full")
    while "Published article" not in active(page):
        page.keyboard.press("ArrowDown")
    expect(page.locator("#palette-side")).to_contain_text("back on the card after five to ten working days")
    page.keyboard.press("Enter")
    field = page.locator(f"#reply-{conversation_id}")
    expect(field).to_be_focused()
    expect(field).to_have_value(re.compile("five to ten working days"))
    expect(page.locator("#cites")).to_contain_text("Refund a booking")
    page.reload()  # what was not sent is kept, with its source
    expect(page.locator("#cites li")).to_have_count(1)
    field.focus()
    page.keyboard.press("Control+Enter")
    expect(page.locator("#timeline .from-team")).to_contain_text("five to ten working days")
    expect(page.locator("#cites")).to_be_hidden()
    expect(page.locator("#timeline .rests")).to_contain_text("Refund a booking")
    expect(chat.frame.locator(".theirs .said")).to_contain_text("five to ten working days")
    with site.app.app_context():
        sent = (
            site.app.extensions["sqlalchemy"]
            .session.scalars(select(Message).filter_by(conversation_id=conversation_id, kind=MessageKind.REPLY))
            .one()
        )
    assert [citation["title"] for citation in sent.data["citations"]] == ["Refund a booking"]


def test_a_question_without_an_answer_is_told_once_when_it_is_done_with(site: Site) -> None:
    mark = f"m{uuid.uuid4().hex[:6]}"
    page = site.operator(path="/inbox")

    def kept() -> list[str]:
        with site.app.app_context():
            asked = select(GapEvent.question).where(GapEvent.question.contains(mark))
            return list(site.app.extensions["sqlalchemy"].session.scalars(asked))

    question = f"may my {mark} ferret drive the bus"
    opened(page)
    typed(page, question)
    expect(page.locator("#palette-answers")).to_contain_text("No article answers this")
    assert kept() == []  # it is still being asked
    with page.expect_response("**/search/settled"):
        page.keyboard.press("Escape")
    page.keyboard.press("Escape")
    page.reload()
    opened(page)
    typed(page, question.upper())
    expect(page.locator("#palette-answers")).to_contain_text("No article answers this")
    with page.expect_response("**/search/settled"):
        page.keyboard.press("Control+k")
    assert kept() == [question]


def test_an_answer_that_comes_late_does_not_replace_a_newer_one(site: Site) -> None:
    page = site.operator(path="/knowledge")
    held: list[Route] = []

    def hold(route: Route) -> None:
        of = parse_qs(urlsplit(route.request.url).query).get("q", [""])
        if of == ["inb"]:
            held.append(route)
        else:
            route.continue_()

    page.route("**/search?**", hold)
    opened(page)
    page.keyboard.type("inb")
    wait_until(lambda: (page.wait_for_timeout(20), len(held) == 2)[1])
    page.keyboard.press("Control+a")
    typed(page, "settings")
    assert "Settings" in active(page)
    for route in held:
        route.continue_()
    page.keyboard.press("Escape")  # asks once more: what is older has been answered by then, or never will be
    expect(page.locator("#palette-list")).to_contain_text("Recent conversations")
    expect(page.locator("#palette")).not_to_have_attribute("aria-busy", "true")
    assert "Settings" not in active(page)
