"""axe-core on every page, in both themes, on a desk and on a phone."""

from __future__ import annotations

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import expect

from tests.browser.conftest import Site
from tests.browser.test_journeys import QUESTION, ready_draft
from tests.console.conftest import Desk

pytestmark = pytest.mark.browser

PAGES = (
    *("/", "/inbox", "/inbox?view=resolved", "/conversations/{id}", "/conversations/{id}/context", "/knowledge"),
    *("/audit", "/settings", "/settings/tokens", "/settings/service-levels"),
    *("/inbox?view=open&assignee=nobody&priority=normal", "/inbox/filters", "/inbox/people"),
    *("/conversations/{id}/assignees", "/conversations/{id}/tags"),
    *(
        "/knowledge/gaps",
        "/knowledge/reviews",
        "/knowledge/reviews/{suggestion}",
        "/knowledge/reviews/{contested}/merge",
    ),
    *("/analytics", "/settings/macros", "/mentions", "/conversations/{id}/macros"),
    *("/outbound", "/outbound/new", "/outbound/templates", "/outbound/suppressed", "/outbound/{envelope}"),
    *("/outbound/new?conversation={id}", "/outbound/templates/{template}"),
    *("/knowledge/new", "/knowledge/1/edit", "/knowledge/1/history"),
)
WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
SIZES = {"desktop": {"width": 1280, "height": 800}, "phone": {"width": 390, "height": 844}}


def complaints(target) -> list[str]:  # a page, or the frame of the chat
    found = Axe().run(target, options={"runOnly": WCAG}).response["violations"]
    return [
        f"{each['id']}: {node['html'][:200]} — {node['failureSummary']}" for each in found for node in each["nodes"]
    ]


@pytest.fixture(scope="module")
def conversation() -> dict[str, int]:
    return {}


@pytest.mark.parametrize("theme", ["light", "dark"])
@pytest.mark.parametrize("size", SIZES)
def test_the_console_has_no_violation(site: Site, conversation: dict[str, int], theme: str, size: str) -> None:
    if not conversation:
        conversation["id"] = site.customer().ask(QUESTION)
        ready_draft(site, conversation["id"])
        desk = Desk(site.app)
        conversation["envelope"], conversation["template"] = desk.envelope(conversation["id"]), desk.template()
        desk.suppressed()
        conversation["suggestion"], conversation["contested"] = desk.suggestion(), desk.contested(theirs="Two by Omar.")
    page = site.operator(color_scheme=theme, viewport=SIZES[size], reduced_motion="reduce")
    found = {}
    for path in PAGES:
        page.goto(f"{site.url}/support{path.format(**conversation)}")
        page.wait_for_load_state("networkidle")
        found[path] = complaints(page)
    page.goto(f"{site.url}/support/knowledge")
    page.get_by_role("link", name="Reset your password").first.click()
    page.wait_for_load_state("networkidle")
    found["article"] = complaints(page)
    page.goto(f"{site.url}/support/search?q=password")
    found["search"] = complaints(page)
    page.goto(f"{site.url}/support/conversations/{conversation['id']}")
    page.wait_for_load_state("networkidle")  # what is refetched meanwhile would take the key's answer with it
    page.keyboard.press("Control+k")
    expect(page.locator("#palette-list [role=option]").first).to_be_visible()
    found["palette"] = complaints(page)
    page.locator("#palette-q").fill("password link")
    expect(page.locator("#palette-side")).to_contain_text("Published article")
    found["answers"] = complaints(page)
    assert {path: list_ for path, list_ in found.items() if list_} == {}


@pytest.mark.parametrize("theme", ["light", "dark"])
def test_the_chat_has_no_violation(site: Site, theme: str) -> None:
    chat = site.customer(color_scheme=theme, reduced_motion="reduce")
    chat.ask(QUESTION)
    expect(chat.frame.locator("#waiting")).to_be_visible()
    assert complaints(chat.frame) == []
