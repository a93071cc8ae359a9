"""Writing, as operators do it: by keyboard from one customer to the next, beside each other, and interrupted."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import delete, select

from flask_cairnloop.conversations.models import Conversation, ConversationStatus, Mention, UnsentText
from flask_cairnloop.macros import service as macros
from flask_cairnloop.macros.models import Macro
from tests.browser.conftest import Site
from tests.browser.test_journeys import replies, without_live_updates
from tests.support.host import OPERATORS
from tests.support.processes import wait_until

pytestmark = pytest.mark.browser

WAIT = 4  # seconds in which a reply can be taken back here


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "UNDO_SEND": WAIT}


def rows(site: Site, statement: Any) -> list[Any]:
    with site.app.app_context():
        return list(site.app.extensions["sqlalchemy"].session.scalars(statement))


def is_open(page: Page, conversation_id: int) -> None:
    expect(page.locator("#work")).to_have_attribute("data-conversation", str(conversation_id))


def reply_field(page: Page, conversation_id: int) -> Any:
    return page.locator(f"#reply-{conversation_id}")


def kept(site: Site, conversation_id: int) -> list[str]:
    return rows(site, select(UnsentText.body).filter_by(conversation_id=conversation_id))


def test_a_stretch_by_keyboard_alone(site: Site) -> None:
    """Open, note with a mention, macro, taken back, sent and resolved, and the next one: no pointer."""
    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        session.execute(delete(Macro))
        text = "Hi {{customer.name}}, it is conversation {{conversation.id}}."
        macros.save(session, None, operator=OPERATORS["mina"], name="Number", body=text, does=["assign"], shared=True)
        session.commit()
    first, second = site.customer().ask("What is my number?"), site.customer().ask("And mine?")
    page = site.operator(path="/inbox?view=open")
    keyboard = page.keyboard
    expect(page.locator(f"#row-{second}")).to_be_visible()
    while page.evaluate("document.activeElement.closest('[data-row]')?.dataset.row") != str(second):
        keyboard.press("j")
    keyboard.press("Enter")
    is_open(page, second)

    keyboard.press("n")
    keyboard.type("Do you know this one, @om")
    expect(page.get_by_role("option", name="Omar Reyes")).to_be_visible()
    keyboard.press("Enter")
    keyboard.type("?")
    keyboard.press("Control+Enter")
    expect(page.locator("#timeline .note")).to_contain_text("Do you know this one, @Omar Reyes ?")
    assert rows(site, select(Mention.operator_id).filter_by(conversation_id=second)) == ["omar"]

    keyboard.press("Escape")
    keyboard.press("r")
    keyboard.type("/num")
    expect(page.get_by_role("option", name="Number")).to_contain_text(f"it is conversation {second}.")
    keyboard.press("Enter")
    expect(reply_field(page, second)).to_have_value(re.compile(rf"^Hi .+, it is conversation {second}\.$"))
    expect(page.get_by_label("Assign to me")).to_be_checked()
    keyboard.press("Control+Enter")
    expect(page.locator(".pending")).to_contain_text("Sending")
    expect(reply_field(page, second)).to_have_value("")
    keyboard.press("Escape")
    keyboard.press("u")
    expect(reply_field(page, second)).to_have_value(re.compile("it is conversation"))
    expect(page.locator(".pending")).to_have_count(0)

    expect(reply_field(page, second)).to_be_focused()
    keyboard.press("Control+Shift+Enter")
    is_open(page, first)
    expect(page.locator("#toasts")).to_contain_text("Sends and resolves")
    wait_until(lambda: len(replies(site, second)) == 1)
    done = rows(site, select(Conversation).filter_by(id=second))[0]
    assert (done.status, done.assignee_id) == (ConversationStatus.RESOLVED, "mina")
    assert kept(site, second) == []


def test_what_is_taken_back_after_going_on_is_in_its_field_again(site: Site) -> None:
    first, second = site.customer().ask("One?"), site.customer().ask("Two?")
    page = site.operator(path=f"/conversations/{second}?view=open")
    expect(page.locator(f"#row-{first}")).to_be_visible()
    reply_field(page, second).fill("Not quite.")
    page.keyboard.press("Control+Shift+Enter")
    expect(page.locator("#work")).not_to_have_attribute("data-conversation", str(second))
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    is_open(page, second)
    expect(reply_field(page, second)).to_have_value("Not quite.")
    assert replies(site, second) == []


def test_what_could_not_be_taken_back_is_said_and_the_page_stays(site: Site) -> None:
    first, second = site.customer().ask("One?"), site.customer().ask("Two?")
    page = site.operator(path=f"/conversations/{second}?view=open")
    expect(page.locator(f"#row-{first}")).to_be_visible()
    reply_field(page, second).fill("Not quite.")
    page.keyboard.press("Control+Shift+Enter")
    expect(page.locator("#work")).not_to_have_attribute("data-conversation", str(second))
    page.route("**/pending/*/undo", lambda route: route.fulfill(status=503))
    page.locator("#toasts").get_by_role("button", name="Undo").click()
    expect(page.locator("#toasts .is-error")).to_contain_text("It was not taken back")
    expect(page.locator("#work")).not_to_have_attribute("data-conversation", str(second))
    page.unroute("**/pending/*/undo")
    page.locator("#toasts .is-error").get_by_role("button", name="Open").click()
    is_open(page, second)
    expect(page.locator(".pending")).to_contain_text("Not quite.")


def test_two_tabs_see_the_same_reply_on_its_way_and_the_customer_none(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask("Is it open?")
    page = site.operator(path=f"/conversations/{conversation_id}")
    other = page.context.new_page()
    other.goto(page.url)
    reply_field(page, conversation_id).fill("Until six.")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".pending")).to_contain_text("Until six.")
    expect(other.locator(".pending")).to_contain_text("Until six.")
    expect(chat.frame.locator(".theirs")).to_have_count(0)
    page.close()  # closing the page it was sent from changes nothing
    expect(chat.frame.locator(".theirs .said")).to_contain_text("Until six.")
    expect(other.locator(".pending")).to_have_count(0)
    expect(other.locator("#timeline .from-team")).to_contain_text("Until six.")


def test_a_customer_who_writes_meanwhile_stops_it_and_is_shown(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask("Where is my parcel?")
    page = site.operator(path=f"/conversations/{conversation_id}")
    reply_field(page, conversation_id).fill("I will ask.")
    page.keyboard.press("Control+Enter")
    expect(page.locator(".pending")).to_contain_text("Sending")
    chat.ask("It has just come.")
    expect(page.locator(".pending")).to_contain_text("Not sent: the customer has written again")
    expect(page.locator("#timeline")).to_contain_text("It has just come.")
    page.get_by_role("button", name="Move into the reply").click()
    expect(reply_field(page, conversation_id)).to_have_value("I will ask.")
    assert replies(site, conversation_id) == []


def test_of_two_operators_who_answer_at_once_the_second_is_held_and_shown_the_first(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask("Is it open?")
    mina, omar = (site.operator(who) for who in ("mina", "omar"))
    without_live_updates(omar)  # as where the news has not come yet
    for page in (mina, omar):
        page.goto(f"{site.url}/support/conversations/{conversation_id}")
    reply_field(omar, conversation_id).fill("No idea.")
    reply_field(mina, conversation_id).fill("Until six.")
    mina.keyboard.press("Control+Enter")
    expect(mina.locator(".pending")).to_be_visible()
    reply_field(omar, conversation_id).press("Control+Enter")
    expect(omar.locator("#held")).to_contain_text("Nothing was sent: Mina has answered")
    expect(omar.locator("#held")).to_contain_text("Until six.")
    expect(reply_field(omar, conversation_id)).to_have_value("No idea.")
    expect(chat.frame.locator(".theirs .said")).to_contain_text("Until six.")
    assert replies(site, conversation_id) == ["Until six."]


def test_who_else_is_here_and_who_writes_is_said_while_it_is_so(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask("Is it open?")
    mina, omar = (site.operator(who, f"/conversations/{conversation_id}") for who in ("mina", "omar"))
    expect(mina.locator("#viewers")).to_have_text("Omar is here too")
    expect(omar.locator("#viewers")).to_have_text("Mina is here too")
    reply_field(omar, conversation_id).press_sequentially("Until s")
    expect(mina.locator("#viewers")).to_have_text("Omar is replying…")
    expect(chat.frame.get_by_text("Omar Reyes is typing")).to_be_visible()
    expect(mina.locator("#viewers")).to_have_text("Omar is here too")
    chat.frame.locator("#body").press_sequentially("Hello")
    expect(mina.locator("#typing")).to_contain_text("is typing")
    omar.goto(f"{site.url}/support/knowledge")
    expect(mina.locator("#viewers")).to_be_hidden()


def test_unsent_text_is_there_after_a_reload_elsewhere_and_in_a_second_tab(site: Site) -> None:
    conversation_id = site.customer().ask("Is it open?")
    page = site.operator(path=f"/conversations/{conversation_id}")
    other = page.context.new_page()
    other.goto(page.url)
    reply_field(page, conversation_id).press_sequentially("Half a sent")
    expect(reply_field(other, conversation_id)).to_have_value("Half a sent")
    page.keyboard.type("ence")
    page.reload()  # at once, before anything was saved
    expect(reply_field(page, conversation_id)).to_have_value("Half a sentence")
    page.goto(f"{site.url}/support/knowledge")
    page.goto(f"{site.url}/support/conversations/{conversation_id}")
    expect(reply_field(page, conversation_id)).to_have_value("Half a sentence")
    elsewhere = site.operator(path=f"/conversations/{conversation_id}")  # another computer
    expect(reply_field(elsewhere, conversation_id)).to_have_value("Half a sentence")
    colleague = site.operator("omar", f"/conversations/{conversation_id}")
    expect(reply_field(colleague, conversation_id)).to_have_value("")
    reply_field(page, conversation_id).press("Control+Enter")
    expect(reply_field(page, conversation_id)).to_have_value("")
    expect(reply_field(other, conversation_id)).to_have_value("")
    wait_until(lambda: kept(site, conversation_id) == [])
    assert page.evaluate("Object.keys(sessionStorage).filter((key) => key.includes('reply-'))") == []


def test_a_mention_rings_the_bell_at_once_and_leads_to_the_very_note(site: Site) -> None:
    conversation_id = site.customer().ask("Is it open?")
    omar = site.operator("omar", "/knowledge")
    expect(omar.locator("#bell-count")).to_be_attached()
    omar.wait_for_timeout(500)
    before = int(omar.locator("#bell-count").get_attribute("data-unread") or 0)
    mina = site.operator(path=f"/conversations/{conversation_id}")
    mina.keyboard.press("n")
    mina.locator(f"#note-{conversation_id}").fill("@Omar Reyes, is it?")
    mina.keyboard.press("Control+Enter")
    expect(omar.locator("#bell-count")).to_have_attribute("data-unread", str(before + 1))
    expect(omar.locator("#toasts")).to_contain_text("A colleague mentions you")
    expect(omar.locator("link[rel=icon]")).to_have_attribute("href", re.compile("icon-unread"))
    omar.locator(".bell").click()
    omar.locator(".mrow a", has_text="is it?").first.click()
    expect(omar.locator("#m2:target")).to_contain_text("@Omar Reyes, is it?")
    expect(omar.locator("#bell-count")).to_have_attribute("data-unread", str(before))


def test_the_sheet_lists_what_the_keyboard_does_and_nothing_is_done_while_typing(site: Site) -> None:
    conversation_id = site.customer().ask("Is it open?")
    page = site.operator(path=f"/conversations/{conversation_id}")
    page.keyboard.press("?")
    sheet = page.get_by_role("dialog", name="Keyboard shortcuts")
    for words in (
        "Next conversation",
        "Send and resolve",
        "Take back the reply",
        "insert a macro",
        "Find or do anything",
    ):
        expect(sheet).to_contain_text(words)
    page.keyboard.press("e")  # the sheet is open: nothing is resolved
    page.keyboard.press("Escape")
    reply_field(page, conversation_id).press_sequentially("rejun?")
    expect(reply_field(page, conversation_id)).to_have_value("rejun?")
    expect(sheet).to_be_hidden()
    expect(page.locator("#status-form button[data-key=e]")).to_have_attribute(
        "title", "Resolve, and open the next one (E). Asks the customer for a rating"
    )
    assert rows(site, select(Conversation.status).filter_by(id=conversation_id)) == [ConversationStatus.OPEN]


def test_notifications_are_asked_for_by_a_click_and_hold_words_only_where_wanted(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask("Very private words")
    page = site.operator()
    page.add_init_script(
        """window.shown = []; window.asked = 0;
        window.Notification = class { constructor(title, options) { window.shown.push([title, options.body]); } };
        Notification.permission = "default";
        Notification.requestPermission = async () => { window.asked += 1; return Notification.permission = "granted"; };
        Object.defineProperty(document, "hidden", { get: () => Boolean(window.away) });"""
    )
    page.goto(f"{site.url}/support/conversations/{conversation_id}")
    expect(page.locator("#account .seg [data-notify=off]")).to_have_attribute("aria-pressed", "true")

    def away_while_they_say(words: str) -> None:
        page.evaluate("window.away = true")
        chat.ask(words)

    away_while_they_say("Nobody is told of this.")
    expect(page.locator("#timeline")).to_contain_text("Nobody is told of this.")
    assert page.evaluate("[window.asked, window.shown.length]") == [0, 0]
    page.locator("#account summary").click()
    page.get_by_role("button", name="On", exact=True).click()
    assert page.evaluate("window.asked") == 1
    away_while_they_say("My number is 4711.")
    wait_until(lambda: page.evaluate("window.shown.length") == 1)
    assert page.evaluate("window.shown[0]") == ["A customer has written", ""]
    page.get_by_role("button", name="With text").click()
    away_while_they_say("My number is 4712.")
    wait_until(lambda: page.evaluate("window.shown.length") == 2)
    assert "4712" in page.evaluate("window.shown[1][1]")
