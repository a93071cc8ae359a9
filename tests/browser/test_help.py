"""The help centre as a customer and an editor meet it: in a browser, beside the chat and the console."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.conftest import Site
from tests.browser.test_accessibility import complaints
from tests.browser.test_journeys import ready_draft
from tests.support.processes import wait_until

pytestmark = pytest.mark.browser

BODY = "To tune a bell to a higher note, take a little off the rim, all the way round.\n\n## Lower\n\nFile the inside."
ASKED = "How do I tune a bell to a higher note?"


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "HELP_URL_PREFIX": "/help", "HELP_CONTACT_URL": "/host/chat/somebody", "DRAFT_DELAY": 0.2}


def no_icon(route: Route) -> None:
    route.fulfill(status=204)


def test_what_is_written_and_published_is_found_in_palette_help_centre_chat_and_draft(site: Site) -> None:
    editor = site.operator(path="/knowledge/new")
    editor.get_by_label("Title").fill("Tune a bell")
    editor.locator("textarea[name=body]").fill(BODY)
    editor.get_by_role("button", name="Publish").first.click()
    expect(editor.get_by_role("heading", name="Tune a bell")).to_be_visible()

    def indexed() -> bool:
        found = editor.request.get(f"{site.url}/help/search?q={ASKED}")
        return "Tune a bell" in found.text()

    wait_until(indexed)
    editor.keyboard.press("Control+k")
    editor.locator("#palette-q").fill("tune a bell")
    expect(editor.locator("#palette-list")).to_contain_text("Tune a bell")

    visitor = site.new_page(viewport={"width": 390, "height": 844}, reduced_motion="reduce")
    visitor.context.route("**/favicon.ico", no_icon)  # which is the host's to have
    visitor.goto(f"{site.url}/help")
    assert complaints(visitor) == []
    visitor.get_by_label("Search the help").fill(ASKED)
    visitor.keyboard.press("Enter")
    result = visitor.get_by_role("link", name="Tune a bell")
    expect(result).to_be_visible()
    assert complaints(visitor) == []
    result.click()
    expect(visitor.locator("article")).to_contain_text("take a little off the rim")
    assert complaints(visitor) == []
    visitor.get_by_role("button", name="Yes").click()
    expect(visitor.get_by_role("status")).to_contain_text("Thank you")

    chat = site.customer()
    chat.page.context.route("**/favicon.ico", no_icon)
    chat.frame.locator("#body").press_sequentially(ASKED)
    offered = chat.frame.get_by_role("link", name="Tune a bell")
    expect(offered).to_be_visible()
    assert complaints(chat.frame) == []
    with chat.page.context.expect_page() as opened:  # before anything was sent
        offered.click()
    expect(opened.value.locator("article")).to_contain_text("take a little off the rim")
    opened.value.close()

    conversation_id = chat.ask(ASKED)  # a person is one key away all the while
    expect(chat.frame.locator("#suggest")).to_be_hidden()
    ready_draft(site, conversation_id)
    draft = site.operator(path=f"/conversations/{conversation_id}").locator(".draft")
    expect(draft).to_contain_text("take a little off the rim")
    expect(draft.locator(".sources")).to_contain_text("Tune a bell")
