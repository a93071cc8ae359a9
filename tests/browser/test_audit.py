"""The audit log in a browser, with a hundred thousand entries in it."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, Response, expect
from sqlalchemy import text

from flask_cairnloop import Actor, resolve
from tests.browser.conftest import Site
from tests.console.test_audit import MANY

pytestmark = pytest.mark.browser
# What a page may weigh. Only what is shown is sent, however much there is.
MOST_HTML = 120_000  # bytes, not compressed
MOST_REQUESTS = 25


@pytest.fixture(scope="module", autouse=True)
def _many(host: Any) -> None:
    with host.app_context():
        session = host.extensions["sqlalchemy"].session
        session.execute(text(MANY))
        session.commit()
        session.connection(execution_options={"isolation_level": "AUTOCOMMIT"}).execute(text("ANALYZE"))
        session.remove()


def weighed(page: Page) -> list[Response]:
    """The list that this page's answers go into from now on."""
    answers: list[Response] = []
    page.on("response", lambda answer: answers.append(answer))  # noqa: PLW0108 - Playwright wants a function of ours
    return answers


def test_whoever_is_on_call_finds_one_entry_among_a_hundred_thousand(site: Site) -> None:
    page = site.operator()
    answers = weighed(page)
    page.goto(f"{site.url}/support/audit")
    entries = page.locator("[id^=entry-]")
    expect(entries).to_have_count(50)
    page.wait_for_load_state("networkidle")
    html = next(answer for answer in answers if answer.request.resource_type == "document")
    assert len(html.body()) < MOST_HTML
    assert len(answers) <= MOST_REQUESTS

    page.get_by_placeholder("A person, an action").fill("operator 7")
    expect(page).to_have_url(re.compile(r"q=operator"))
    expect(entries.first).to_contain_text("Operator 7")
    page.get_by_label("What was done").select_option(label="Replied")
    expect(page).to_have_url(re.compile("action=message.reply"))
    expect(page.locator(".achip")).to_have_count(2)
    page.get_by_role("link", name=re.compile("Earlier")).click()
    expect(page).to_have_url(re.compile("after="))
    expect(entries).to_have_count(50)
    page.go_back()
    expect(page.locator(".achip")).to_have_count(2)
    page.locator(".achip", has_text="Replied").click()
    expect(page.locator(".achip")).to_have_count(1)

    page.get_by_placeholder("A person, an action").fill("there is no such thing")
    expect(page.get_by_text("Nothing matches")).to_be_visible()
    page.locator(".achip").first.click()
    expect(entries).to_have_count(50)


def test_what_is_new_is_announced_and_the_list_does_not_jump(site: Site, host: Any) -> None:
    conversation = site.customer().ask("Is anybody there?")
    page = site.operator(path="/audit")
    first = page.locator("[id^=entry-]").first.get_attribute("id")
    with host.app_context():
        session = host.extensions["sqlalchemy"].session
        resolve(session, conversation, actor=Actor.system("test"))
        session.commit()
        session.remove()
    expect(page.locator("#newer")).to_contain_text(re.compile(r"new entr"), timeout=45_000)
    assert page.locator("[id^=entry-]").first.get_attribute("id") == first
    page.locator("#newer").get_by_role("link").click()
    expect(page.locator("[id^=entry-]").first).not_to_have_attribute("id", first or "")
