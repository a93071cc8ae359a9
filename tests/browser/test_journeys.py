"""The main job, as people see it: two real browsers, a real web server, a real worker."""

from __future__ import annotations

import time
from contextlib import ExitStack

import pytest
from playwright.sync_api import Page, WebSocketRoute, expect
from sqlalchemy import select

from flask_cairnloop import add_note, reply
from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations.models import Message, MessageKind
from flask_cairnloop.drafting.models import Draft, DraftState
from tests.browser.conftest import Site
from tests.support.host import OPERATORS
from tests.support.processes import wait_until

pytestmark = pytest.mark.browser

QUESTION = "How do I reset my password?"
ANSWER = "choose Forgot password"
MARK = "window.neverReloaded = true"


def approve_button(page: Page):
    return page.get_by_role("button", name="Approve and send")


def replies(site: Site, conversation_id: int) -> list[str]:
    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        return list(
            session.scalars(
                select(Message.body)
                .filter_by(conversation_id=conversation_id, kind=MessageKind.REPLY)
                .order_by(Message.sequence)
            )
        )


def ready_draft(site: Site, conversation_id: int) -> None:
    def ready() -> int | None:
        with site.app.app_context():
            session = site.app.extensions["sqlalchemy"].session
            return session.scalar(select(Draft.id).filter_by(conversation_id=conversation_id, state=DraftState.READY))

    wait_until(ready)


def test_a_question_gets_a_live_draft_an_approval_and_a_live_answer(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask("Hello, is anybody there?")
    operator = site.operator(path=f"/conversations/{conversation_id}")
    operator.evaluate(MARK)
    chat.page.evaluate(MARK)

    chat.ask(QUESTION)
    expect(operator.locator("#timeline")).to_contain_text(QUESTION)
    expect(operator.locator(".draft .dtext")).to_contain_text(ANSWER)
    expect(operator.locator(".draft .sources")).to_contain_text("Reset your password")
    approve_button(operator).click()

    expect(chat.frame.locator(".theirs .said")).to_contain_text(ANSWER)
    expect(operator.locator("#timeline .from-team")).to_contain_text(ANSWER)
    expect(operator.locator(".draft")).to_have_count(0)
    assert operator.evaluate("window.neverReloaded")
    assert chat.page.evaluate("window.neverReloaded")
    assert "[1]" not in chat.frame.locator(".theirs .said").inner_text()
    assert len(replies(site, conversation_id)) == 1


def test_the_inbox_learns_of_a_new_conversation_without_a_reload(site: Site) -> None:
    inbox = site.operator(path="/inbox")
    inbox.evaluate(MARK)
    conversation_id = site.customer().ask(QUESTION)
    row = inbox.locator(f"#row-{conversation_id}")
    pill = inbox.locator("#pill")
    expect(inbox.locator(f"#row-{conversation_id}:visible, #pill:visible").first).to_be_visible()
    if pill.is_visible():  # rows never jump under the pointer: newcomers wait to be let in
        pill.click()
    expect(row).to_contain_text("How do I reset")
    assert inbox.evaluate("window.neverReloaded")


def test_two_operators_and_double_clicks_at_once_send_one_message(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask(QUESTION)
    ready_draft(site, conversation_id)
    pages = [site.operator(who, f"/conversations/{conversation_id}") for who in ("mina", "omar")]
    for page in pages:
        expect(approve_button(page)).to_be_visible()
    moment = time.time() * 1000 + 1000
    with ExitStack() as answers:
        for page in pages:
            answers.enter_context(page.expect_response("**/approve"))
            approve_button(page).evaluate(
                "(button, moment) => setTimeout(() => { button.click(); button.click(); }, moment - Date.now())", moment
            )
    for page in pages:
        expect(page.locator("#timeline .from-team")).to_contain_text(ANSWER)
    # Both have their answer. Whatever else a click had sent would stand before these last words.
    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        reply(session, conversation_id, actor=OPERATORS["omar"], body="The last words.")
        session.commit()
    expect(chat.frame.locator(".theirs .said").last).to_contain_text("The last words.")
    expect(chat.frame.locator(".theirs")).to_have_count(2)
    sent, last = replies(site, conversation_id)
    assert ANSWER in sent
    assert last == "The last words."


def test_words_that_came_between_view_and_approval_stop_it_and_keep_the_typed_text(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask(QUESTION)
    ready_draft(site, conversation_id)
    operator = site.operator()
    without_live_updates(operator)
    operator.goto(f"{site.url}/support/conversations/{conversation_id}")

    operator.get_by_role("button", name="Edit", exact=False).first.click()
    edited = operator.locator(".dedit")
    edited.fill("Dear Cleo, the link is on the sign-in page.")
    chat.ask("Wait, I found the link, but it has run out.")
    operator.get_by_role("button", name="Send your version").click()

    held = operator.locator("#held")
    expect(held).to_contain_text("Nothing was sent")
    expect(held).to_contain_text("it has run out")
    expect(held.locator("textarea")).to_have_value("Dear Cleo, the link is on the sign-in page.")
    expect(operator.locator("#timeline")).to_contain_text("it has run out")
    assert replies(site, conversation_id) == []

    held.get_by_role("button", name="Send it now").click()
    expect(chat.frame.locator(".theirs .said")).to_contain_text("Dear Cleo")
    assert len(replies(site, conversation_id)) == 1


def test_a_typed_reply_is_refused_over_newer_words_and_stays_in_its_field(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask(QUESTION)
    operator = site.operator()
    without_live_updates(operator)
    operator.goto(f"{site.url}/support/conversations/{conversation_id}")
    reply = operator.locator(f"#reply-{conversation_id}")
    reply.fill("I will look into it.")
    chat.ask("Never mind, it works.")
    operator.get_by_role("button", name="Send", exact=False).last.click()
    expect(operator.locator("#held")).to_contain_text("Nothing was sent")
    expect(operator.locator("#held")).to_contain_text("Never mind, it works.")
    expect(reply).to_have_value("I will look into it.")
    assert replies(site, conversation_id) == []


def test_live_updates_leave_typed_text_focus_and_open_sources_alone(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask(QUESTION)
    ready_draft(site, conversation_id)
    page = site.operator(path=f"/conversations/{conversation_id}")
    source = page.locator(".sources details").first
    if source.get_attribute("open") is not None:  # the first one opens by itself: close it, so that we own its state
        source.locator("summary").click()
    page.locator(f"#reply-{conversation_id}").click()
    page.keyboard.type("Half a sent")

    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        add_note(session, conversation_id, actor=Actor.operator(OPERATORS["omar"]), body="I know this customer.")
        session.commit()

    expect(page.locator("#timeline")).to_contain_text("I know this customer.")
    assert source.get_attribute("open") is None
    page.keyboard.type("ence")
    expect(page.locator(f"#reply-{conversation_id}")).to_have_value("Half a sentence")

    source.locator("summary").click()
    page.locator(f"#reply-{conversation_id}").click()
    chat.frame.locator("#body").press_sequentially("typing")  # the typing line comes and goes
    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        add_note(session, conversation_id, actor=Actor.operator(OPERATORS["omar"]), body="Second note.")
        session.commit()
    expect(page.locator("#timeline")).to_contain_text("Second note.")
    assert source.get_attribute("open") is not None
    expect(page.locator(f"#reply-{conversation_id}")).to_be_focused()


def test_a_customer_who_comes_back_finds_what_was_missed(site: Site) -> None:
    chat = site.customer()
    conversation_id = chat.ask(QUESTION)
    ready_draft(site, conversation_id)
    chat.page.close()
    operator = site.operator(path=f"/conversations/{conversation_id}")
    approve_button(operator).click()
    expect(operator.locator("#timeline .from-team")).to_be_visible()
    back = site.customer(chat.ref)
    expect(back.frame.locator(".mine")).to_contain_text(QUESTION)
    expect(back.frame.locator(".theirs .said")).to_contain_text(ANSWER)


def without_live_updates(page: Page) -> None:
    """This page's live socket says nothing, so that the page stays as it was read."""

    def silence(socket: WebSocketRoute) -> None:
        socket.on_message(lambda _: None)

    page.route_web_socket("**/support/live", silence)
