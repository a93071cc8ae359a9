"""Suggested articles in real browsers: two changes of one paragraph, one published meanwhile, a second person, keys."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy.orm import Session

from flask_cairnloop.knowledge import service as knowledge
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion
from tests.browser.conftest import Site
from tests.console.conftest import Desk

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "REVIEW_SECOND_PERSON": True}


def published(site: Site, number: int) -> str:
    """What the article of a suggestion says to everybody."""
    with site.app.app_context(), Session(site.app.extensions["cairnloop"].engine) as session:
        revision = knowledge.published_revision(session, session.get_one(ArticleSuggestion, number).article_id or 0)
        return revision.body if revision else ""


def approve_and_publish(page: Page) -> None:
    page.get_by_role("button", name="Approve", exact=True).click()
    expect(page.locator(".artmeta .word")).to_have_text("Approved")
    page.get_by_role("button", name="Publish", exact=True).click()
    expect(page.locator(".artmeta .word")).to_have_text("Published")


def test_of_two_changes_of_one_paragraph_somebody_chooses_and_nothing_is_lost(site: Site) -> None:
    number = Desk(site.app).contested(mine="Two, as suggested.", theirs="Two, by Omar.")
    page = site.operator("omar", f"/knowledge/reviews/{number}")
    expect(page.get_by_text("Both changed the same paragraphs")).to_be_visible()
    page.get_by_role("link", name="Compare and choose").click()
    page.get_by_role("button", name="Take what I chose").click()  # nothing is chosen yet
    expect(page).to_have_url(re.compile(r"/merge$"))
    page.get_by_label("Both").check()
    page.get_by_role("button", name="Take what I chose").click()
    expect(page.locator(".artmeta .word")).to_have_text("To review")
    expect(page.locator(".proposal")).to_contain_text("Two, as suggested.")
    # He wrote a part of it now, so it is neither his nor Mina's to approve.
    expect(page.get_by_role("button", name="Approve", exact=True)).to_be_disabled()
    assert published(site, number) == "One.\n\nTwo."


def test_what_was_published_meanwhile_is_taken_in_with_one_button(site: Site) -> None:
    number = Desk(site.app).contested(mine="Two, as suggested.", draft=False)
    page = site.operator("omar", f"/knowledge/reviews/{number}")
    expect(page.locator(".artmeta .word")).to_have_text("Article changed since")
    page.get_by_role("button", name="Bring it up to date").click()
    approve_and_publish(page)
    assert published(site, number) == "One, anew.\n\nTwo, as suggested."


def test_who_writes_in_it_leaves_the_approval_to_a_second_person(site: Site) -> None:
    number = Desk(site.app).suggestion()
    mina = site.operator("mina", f"/knowledge/reviews/{number}")
    expect(mina.get_by_role("button", name="Approve", exact=True)).to_be_disabled()
    expect(mina.get_by_text("somebody else has to approve them")).to_be_visible()
    mina.get_by_role("button", name="Edit", exact=True).click()
    expect(mina).to_have_url(re.compile(rf"/reviews/{number}/edit$"))
    mina.wait_for_load_state("networkidle")  # what is typed is kept by the script
    mina.get_by_label("Text, in Markdown").fill("Ferrets ride for nothing.")
    expect(mina.locator("#save-state")).to_have_text(re.compile(r"^Saved \d\d:\d\d$"))
    mina.get_by_role("link", name="Leave the editor").click()
    expect(mina.get_by_text("Written by Mina Keller")).to_be_visible()
    omar = site.operator("omar", f"/knowledge/reviews/{number}")
    approve_and_publish(omar)
    assert published(site, number) == "Ferrets ride for nothing."


def test_a_review_is_done_by_keys_and_others_see_it_come(site: Site) -> None:
    desk = Desk(site.app)
    number, other = desk.suggestion(title="By keys"), desk.suggestion(title="Another one")
    watching = site.operator("omar", f"/knowledge/reviews/{number}")
    page = site.operator("mina", f"/knowledge/reviews/{other}?state=review")
    expect(page.locator("#rows-beside [aria-current]")).to_contain_text("Another one")
    page.keyboard.press("j")
    expect(page.locator("#rows-beside .row", has_text="By keys")).to_be_focused()
    page.keyboard.press("o")
    expect(page.get_by_role("heading", name="By keys")).to_be_visible()
    page.wait_for_load_state("networkidle")  # a key comes after the scripts
    page.keyboard.press("c")
    expect(page.get_by_label("What has to change")).to_be_focused()
    page.keyboard.type("Say what it costs")
    page.get_by_role("button", name="Ask for these changes").click()
    expect(page.locator(".artmeta .word")).to_have_text("Changes asked for")
    expect(watching.locator(".rnote")).to_have_text("Say what it costs")
    # Where nothing was done, the address is that of the decision: what comes meanwhile does not take it once more.
    watching.keyboard.press("d")
    watching.locator(".rbar [name=version]").first.evaluate("field => { field.value = '1' }")
    watching.get_by_role("button", name="Not needed").click()
    expect(watching.get_by_role("alert")).to_contain_text("since you last looked")
    page.get_by_role("button", name="Open again").click()
    expect(watching.locator(".artmeta .word")).to_have_text("To review")
    expect(watching.get_by_role("alert")).to_contain_text("since you last looked")
    watching.keyboard.press("y")
    expect(watching.locator(".artmeta .word")).to_have_text("Approved")
