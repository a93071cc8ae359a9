"""The same office in a real browser, mounted below a path by the server: what only scripts and policies break."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import Browser, Frame, Page, expect

from tests.hosts.conftest import DESK, HARBOUR, MOUNT, Office, make_draft_ready
from tests.hosts.harbour import PASSWORD
from tests.support import processes
from tests.support.processes import Process, wait_until

pytestmark = pytest.mark.browser
TOKEN_SECONDS = 4  # for which the host's form tokens are good; an hour by default


@pytest.fixture(scope="module")
def mounted(office: Office) -> Iterator[Process]:
    env = {
        **processes.environment(office.database_url, office.redis_url),
        **office.env(SESSION_COOKIE_SECURE=False, WTF_CSRF_TIME_LIMIT=TOKEN_SECONDS),
        "SCRIPT_NAME": MOUNT,  # read by gunicorn
    }
    with processes.web_server(env, app=f"{HARBOUR}()") as process:
        yield process


@pytest.fixture
def sign_in(mounted: Process, new_page: Callable[..., Page]) -> Callable[..., Page]:
    """``sign_in("ada@harbour")`` is a page of a browser in which this person has signed in by the host's own form."""

    def browser(email: str, page: Page | None = None) -> Page:
        page = page or new_page(viewport={"width": 1280, "height": 800})
        page.goto(f"{mounted.url}{MOUNT}/accounts/sign-in")
        page.locator("[name=email]").fill(email)
        page.locator("[name=password]").fill(PASSWORD)
        page.get_by_role("button", name="Sign in").click()
        page.wait_for_url(f"{mounted.url}{MOUNT}/")
        return page

    return browser


@pytest.fixture
def bo(sign_in: Callable[..., Page]) -> Frame:
    """An agent's chat, connected."""
    page = sign_in("bo@ship")
    frame = wait_until(lambda: page.frame(url=f"**{DESK}/widget"))
    expect(frame.locator("#state-word")).to_have_text("Connected")
    return frame


def ask(bo: Frame, office: Office, words: str) -> int:
    bo.locator("#body").fill(words)
    bo.locator("#body").press("Enter")
    found = 'SELECT conversation_id FROM "Front Desk".messages WHERE body = %s'
    return int(wait_until(lambda: office.sql(found, words))[0][0])


def test_reply_approve_read_and_theme_under_the_hosts_policy_and_token(
    mounted: Process, sign_in: Callable[..., Page], bo: Frame, office: Office
) -> None:
    conversation_id = ask(bo, office, "Is there a crane for ten tons?")
    ada = sign_in("ada@harbour")
    ada.goto(f"{mounted.url}{DESK}/inbox")
    ada.locator(f"#row-{conversation_id} a").click()
    reply = ada.locator(f"#reply-{conversation_id}")
    reply.fill("I am asking the crane driver.")
    reply.press("Control+Enter")
    expect(bo.locator(".theirs .said").last).to_contain_text("I am asking the crane driver.")
    expect(reply).to_have_value("")

    ask(bo, office, "We wait at pier four.")
    make_draft_ready(office, conversation_id)
    ada.reload()
    ada.get_by_role("button", name="Approve and send").click()
    expect(bo.locator(".theirs .said").last).to_contain_text("Moor at pier four.")
    expect(ada.locator(".draft")).to_have_count(0)

    read = 'SELECT sequence FROM "Front Desk".conversation_reads WHERE conversation_id = %s'
    wait_until(lambda: office.sql(read, conversation_id) == [(4,)])  # by fetch, with the token

    ada.locator("#account summary").click()
    ada.get_by_role("button", name="Dark").click()
    expect(ada.locator("html")).to_have_attribute("data-theme", "dark")
    assert ada.url.startswith(f"{mounted.url}{DESK}/conversations/{conversation_id}")


def test_a_page_that_stays_open_longer_than_the_hosts_token_goes_on_working(
    mounted: Process, sign_in: Callable[..., Page], bo: Frame, office: Office
) -> None:
    conversation_id = ask(bo, office, "What time is high water?")
    ada = sign_in("ada@harbour")
    ada.goto(f"{mounted.url}{DESK}/conversations/{conversation_id}")
    opened = time.monotonic()
    wait_until(lambda: time.monotonic() - opened > TOKEN_SECONDS + 1)
    with ada.expect_response(
        "**/settings/outage"
    ):  # what the page asks for all the time, and when it is looked at again
        ada.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    reply = ada.locator(f"#reply-{conversation_id}")
    reply.fill("At ten to five.")
    reply.press("Control+Enter")
    expect(bo.locator(".theirs .said").last).to_contain_text("At ten to five.")

    ada.locator("#account summary").click()
    ada.get_by_role("button", name="Dark").click()
    expect(ada.locator("html")).to_have_attribute("data-theme", "dark")


def test_what_the_host_refuses_leaves_the_page_and_the_words_alone(
    mounted: Process, sign_in: Callable[..., Page], bo: Frame, office: Office, browser: Browser
) -> None:
    conversation_id = ask(bo, office, "May we fish from the pier?")
    ada = sign_in("ada@harbour", browser.new_page())  # not one that must have nothing refused
    ada.goto(f"{mounted.url}{DESK}/conversations/{conversation_id}")
    reply = ada.locator(f"#reply-{conversation_id}")
    reply.fill("Only on Sundays.")
    ada.evaluate("document.querySelectorAll('[name=csrf_token]').forEach((field) => { field.value = 'forged' })")
    reply.press("Control+Enter")
    expect(ada.locator("#toasts")).to_contain_text("refused")
    expect(ada.locator("#timeline")).to_contain_text("May we fish")
    expect(ada.locator("body")).not_to_contain_text("no berth")
    expect(reply).to_have_value("Only on Sundays.")
    ada.context.close()
