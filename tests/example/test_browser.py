"""The example app's pages in a real browser: both sides in one window, and what axe-core says about them."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import Frame, Page, expect

from flask_cairnloop.testing import run_jobs
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
