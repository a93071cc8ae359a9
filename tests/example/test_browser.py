"""The example app's pages in a real browser: both sides in one window, and what axe-core says about them."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Frame, Page, expect
from sqlalchemy import select

from example_app.models import db
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import Message
from flask_cairnloop.testing import frozen, run_jobs
from tests.support.processes import wait_until

pytestmark = pytest.mark.browser

QUESTION = "How do I connect a new tracker to one of our bikes?"
SIZES = {
    "desktop": {"width": 1440, "height": 900},
    "tablet": {"width": 820, "height": 1180},
    "phone": {"width": 390, "height": 844},
}


def sign_in(page: Page, url: str, *names: str) -> None:
    """With one click each on the start page."""
    for name in names:
        page.goto(url)
        page.get_by_role("button", name=name).click()
        page.get_by_role("button", name=name).wait_for(state="detached")


def frame(page: Page, pattern: str) -> Frame:
    found: list[Frame] = []

    def look() -> bool:
        found[:] = [each for each in page.frames if pattern in each.url]
        page.wait_for_timeout(50)
        return bool(found)

    wait_until(look)
    return found[0]


def test_one_person_plays_both_sides_in_one_window(
    example: Flask, example_site: str, new_page: Callable[..., Page]
) -> None:
    page = new_page(viewport=SIZES["desktop"])
    sign_in(page, example_site, "Dele Adebayo", "Omar Siddiqui")
    chat = frame(page, "/support/widget")
    expect(chat.locator("#state-word")).to_have_text("Connected")
    chat.locator("#body").fill(QUESTION)
    chat.locator("#body").press("Enter")
    expect(chat.locator(".mine").last).to_contain_text(QUESTION)

    desk = frame(page, "/support/inbox")
    row = desk.get_by_role("link", name="Dele Adebayo").filter(has_text=QUESTION)
    pill = desk.locator("#pill")
    expect(row.or_(pill).locator("visible=true").first).to_be_visible()
    if pill.is_visible():  # newcomers wait to be let in, so that no row moves under the pointer
        pill.click()
    row.click()
    run_jobs(example)
    expect(desk.locator(".draft .dtext")).to_contain_text("press Add tracker")
    desk.get_by_role("button", name="Approve and send").click()
    expect(desk.locator(".pending")).to_contain_text("Sending")
    run_jobs(example)  # the time in which it could be taken back is over
    expect(chat.locator(".theirs .said").last).to_contain_text("press Add tracker")


def test_an_answer_that_nobody_saw_is_brought_by_the_app_and_one_that_was_seen_is_not(
    example: Flask, example_site: str, new_page: Callable[..., Page]
) -> None:
    shop = new_page(viewport=SIZES["desktop"])
    sign_in(shop, example_site, "Tess Halloran")
    number = ask(example, shop, f"{example_site}/chat", "Is there a pump for cargo bikes?")
    shop.goto(f"{example_site}/help")  # she leaves, and no chat is open any more

    desk = new_page(viewport=SIZES["desktop"])
    sign_in(desk, example_site, "Omar Siddiqui")
    desk.goto(f"{example_site}/support/conversations/{number}")
    answer(example, desk, "There is, come in any day.")
    expect(desk.locator("#timeline .delivery")).to_have_text("Not seen yet")
    let_time_pass(example)
    expect(desk.locator("#timeline .delivery")).to_contain_text("Not seen, passed on by your app")

    shop.goto(f"{example_site}/chat")
    told = shop.locator("#activity li", has_text="Omar Siddiqui answered “")
    expect(told).to_have_count(1)
    expect(frame(shop, "/support/widget").locator(".theirs .said").last).to_have_text("There is, come in any day.")
    expect(desk.locator("#timeline .delivery")).to_have_text("Seen")

    answer(example, desk, "And one for tandems.")
    expect(frame(shop, "/support/widget").locator(".theirs .said").last).to_have_text("And one for tandems.")
    expect(desk.locator("#timeline .delivery")).to_have_text("Seen")
    let_time_pass(example)
    shop.reload()
    expect(told).to_have_count(1)


def ask(app: Flask, page: Page, address: str, words: str) -> int:
    """Say something in the chat of a page; the id of its conversation."""
    page.goto(address)
    chat = frame(page, "/support/widget")
    expect(chat.locator("#state-word")).to_have_text("Connected")
    chat.locator("#body").fill(words)
    chat.locator("#body").press("Enter")

    def conversation() -> int | None:
        with app.app_context():
            return db.session.scalar(select(Message.conversation_id).filter_by(body=words))

    return wait_until(conversation)


def answer(app: Flask, desk: Page, words: str) -> None:
    """Write a reply in the open conversation, and let the time be over in which it could be taken back."""
    desk.locator("#reply-form textarea").fill(words)
    desk.locator("#reply-form textarea").press("Control+Enter")
    expect(desk.locator(".pending")).to_contain_text("Sending")
    run_jobs(app)
    expect(desk.locator("#timeline")).to_contain_text(words)
    expect(desk.locator(".pending")).to_have_count(0)


def let_time_pass(app: Flask) -> None:
    """Until a customer should have seen what was sent last."""
    seconds = app.extensions["cairnloop"].settings.reply_unseen_after
    with frozen(now() + timedelta(seconds=seconds + 1)):
        run_jobs(app, within=timedelta(0))


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_pages_have_no_violation_and_never_scroll_sideways(
    example_site: str, new_page: Callable[..., Page], theme: str, size: str
) -> None:
    page = new_page(viewport=SIZES[size], color_scheme=theme, reduced_motion="reduce")
    found: dict[str, list[str]] = {}
    for path in ("/", "/login"):
        page.goto(example_site + path)
        found[path] = complaints(page)
    sign_in(page, example_site, "Tess Halloran")
    page.goto(f"{example_site}/chat")
    expect(page.locator("#today-title")).to_be_visible()
    found["/chat"] = complaints(page)
    assert {path: wrong for path, wrong in found.items() if wrong} == {}


def complaints(page: Page) -> list[str]:
    wide = page.evaluate("document.documentElement.scrollWidth > window.innerWidth")
    rules = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
    violations = Axe().run(page, options={"runOnly": rules}).response["violations"]
    return ["scrolls sideways"] * wide + [f"{each['id']}: {each['nodes'][0]['html'][:200]}" for each in violations]
