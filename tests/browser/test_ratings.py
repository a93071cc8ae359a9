"""A customer says what they think of the help, in the chat and by the link, and the desk sees it as it happens."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, expect

from flask_cairnloop.conversations import ratings
from flask_cairnloop.conversations.models import Rating
from tests.browser.conftest import Site
from tests.browser.test_accessibility import complaints

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "LOW_RATING_DOES": "reopen"}


def kept(site: Site, conversation_id: int) -> tuple[Rating | None, str]:
    """What is kept of the newest resolution, and its link."""
    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        found = ratings.newest(session, conversation_id)
        link = ratings.link_of(found) if found is not None else ""
        session.expunge_all()
        return found, link or ""


def resolved(site: Site, conversation_id: int, **options: Any) -> Page:
    """Mina's page of a conversation that she has just resolved."""
    mina = site.operator(path=f"/conversations/{conversation_id}", **options)
    mina.locator("#status-form .btn").first.click()
    expect(mina.locator("#thread-head")).to_contain_text("Resolved")
    return mina


def test_rated_in_the_chat_changed_once_and_seen_live(site: Site) -> None:
    chat = site.customer()
    number = chat.ask("Where do I find my invoices?")
    mina = resolved(site, number)
    expect(mina.locator("#thread-head")).to_contain_text("Rating asked for")
    expect(chat.frame.locator("#rate")).to_be_visible()
    chat.frame.get_by_role("radio", name="4").check()
    chat.frame.get_by_label("Anything to add?").fill("Quick")
    chat.frame.get_by_role("button", name="Send rating").click()
    expect(chat.frame.get_by_text("You rated the help 4 of 5.")).to_be_visible()
    expect(mina.locator("#thread-head")).to_contain_text("Rated 4 of 5")
    expect(mina.locator("#timeline")).to_contain_text("rated 4 of 5: “Quick”")
    chat.frame.get_by_role("button", name="Change it").click()
    chat.frame.get_by_role("radio", name="5, very helpful").check()
    chat.frame.get_by_role("button", name="Send rating").click()
    expect(chat.frame.get_by_text("You rated the help 5 of 5.")).to_be_visible()
    expect(mina.locator("#thread-head")).to_contain_text("Rated 5 of 5")
    found, _ = kept(site, number)
    assert found is not None
    assert (found.score, found.comment) == (5, "Quick")


def test_resolved_without_the_question_nobody_is_asked(site: Site) -> None:
    chat = site.customer()
    number = chat.ask("Never mind, found it")
    mina = site.operator(path=f"/conversations/{number}")
    mina.get_by_label("More ways to resolve", exact=True).click()
    mina.locator("#status-form").get_by_role("button", name="Resolve, ask for no rating").click()
    expect(mina.locator("#thread-head")).to_contain_text("Resolved")
    expect(chat.frame.get_by_text("Resolved by Mina Keller")).to_be_visible()
    expect(chat.frame.locator("#rate")).to_be_hidden()
    assert kept(site, number)[0] is None


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_rated_by_the_link_without_a_script_and_a_low_one_reopens(site: Site, scheme: Any) -> None:
    chat = site.customer()
    number = chat.ask("Where is my parcel?")
    mina = resolved(site, number)
    _, link = kept(site, number)
    page = site.new_page(java_script_enabled=False, color_scheme=scheme, viewport={"width": 390, "height": 844})
    page.goto(f"{site.url}{link}?score=2")
    expect(page.get_by_label("2", exact=True)).to_be_checked()
    page.get_by_label("Anything to add?").fill("Not what I asked")
    page.get_by_role("button", name="Send rating").click()
    expect(page.get_by_role("heading", name="Thank you")).to_be_visible()
    expect(page.get_by_text("You rated the help 2 of 5.")).to_be_visible()
    expect(mina.locator("#timeline")).to_contain_text("rated 2 of 5: “Not what I asked”")
    expect(mina.locator("#timeline")).to_contain_text("Cairnloop reopened the conversation")
    expect(mina.locator("#bell-count")).to_contain_text("1")
    expect(chat.frame.get_by_text("Opened again, so that somebody looks at it")).to_be_visible()
    expect(chat.frame.get_by_text("You rated the help 2 of 5.")).to_be_visible()
    page.get_by_role("radio", name="5, very helpful").check()
    page.get_by_role("button", name="Change it").click()
    expect(page.get_by_text("You rated the help 5 of 5.")).to_be_visible()
    expect(chat.frame.get_by_text("You rated the help 5 of 5.")).to_be_visible()
    mina.goto(f"{site.url}/support/mentions")
    expect(mina.locator("#mentions")).to_contain_text("Rated the help 2 of 5")
    seen = site.new_page(color_scheme=scheme, viewport={"width": 390, "height": 844})
    seen.goto(f"{site.url}{link}")
    assert complaints(seen) == []
