"""The console's script in a real browser: answers that come late, and text that must not get lost or go astray."""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask, request
from playwright.sync_api import Locator, Page, Route, expect
from sqlalchemy import select

from flask_cairnloop import Customer
from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations.models import Message, MessageKind
from flask_cairnloop.drafting.models import Draft
from flask_cairnloop.knowledge.service import publish, save_article
from tests.console.conftest import CITATION, Desk
from tests.support import sockets
from tests.support.disk import TOO_MUCH, FullDisk
from tests.support.processes import Process

pytestmark = pytest.mark.browser

WRITER = Actor.system("test")


class Console:
    """An operator's browser with two customers waiting; one of them is open, and answers can be held up."""

    def __init__(self, page: Page, url: str, desk: Desk) -> None:
        self.page, self.url, self.desk = page, f"{url}/support", desk
        self.ann = desk.ask("Where is my parcel?", customer=Customer("ann", "Ann Ode"))
        self.ben = desk.ask("Can I pay by card?", customer=Customer("ben", "Ben Rue"))
        self.held_up: list[Route] = []
        page.goto(f"{url}/host/sign-in/mina")

    def ann_says(self, words: str) -> None:
        """Ann writes again, into the same conversation."""
        self.desk.ask(words, customer=Customer("ann", "Ann Ode"), into=self.ann)

    def open(self, conversation_id: int) -> None:
        self.page.goto(f"{self.url}/conversations/{conversation_id}?view=open")

    def hold_up(self, path: str) -> None:
        """Requests to this path wait for :meth:`let_through`."""

        def hold(route: Route) -> None:
            self.held_up.append(route)

        self.page.route(path, hold)

    def switch(self, conversation_id: int) -> None:
        self.page.locator(f"#row-{conversation_id} .row").click()
        self.shows(conversation_id)

    def shows(self, conversation_id: int) -> None:
        expect(self.page.locator("#work")).to_have_attribute("data-conversation", str(conversation_id))
        expect(self.page.locator(f"#reply-{conversation_id}")).to_be_visible()

    def let_through(self) -> None:
        with self.page.expect_response("**/conversations/**") as answer:
            self.held_up.pop().continue_()
        answer.value.finished()

    def toast(self, words: str) -> None:
        expect(self.page.locator("#toasts")).to_contain_text(words)

    def is_all_about_ben(self) -> None:
        """Nothing of Ann's stands where Ben's conversation is shown."""
        self.shows(self.ben)
        expect(self.page.locator("#thread-head .who")).to_have_text("Ben Rue")
        expect(self.page.locator("#timeline")).to_contain_text("Can I pay by card?")
        expect(self.page.locator("#timeline")).not_to_contain_text("parcel")
        expect(self.page.locator("#held")).to_be_empty()
        expect(self.page.locator(f'#main form[action*="/{self.ann}/"]')).to_have_count(0)

    def reply_field(self, conversation_id: int) -> Locator:
        return self.page.locator(f"#reply-{conversation_id}")

    def sent_to(self, conversation_id: int) -> list[str]:
        replies = select(Message.body).filter_by(conversation_id=conversation_id, kind=MessageKind.REPLY)
        with self.desk.app.app_context():
            return list(self.desk.app.extensions["sqlalchemy"].session.scalars(replies))


@pytest.fixture
def console(new_page: Callable[..., Page], live_server: Process, desk: Desk) -> Console:
    return Console(new_page(viewport={"width": 1280, "height": 800}), live_server.url, desk)


def go_by_row(console: Console) -> None:
    console.open(console.ann)


def go_by_history(console: Console) -> None:
    """Ben, then Ann: from her one goes back to him, and the page is renewed in place."""
    console.open(console.ben)
    console.switch(console.ann)


WAYS = pytest.mark.parametrize("come", [go_by_row, go_by_history])


@pytest.mark.parametrize("path", ["/", "/knowledge", "/inbox"])
def test_the_number_of_waiting_customers_follows_on_every_page(console: Console, path: str) -> None:
    page = console.page
    with page.expect_response(lambda answer: answer.request.headers.get("hx-request") == "true"):
        page.goto(console.url + path)  # it reads again once its socket hears: what comes from now on is not missed
    waiting = int(page.locator("#rail-count").get_attribute("data-waiting") or 0)
    console.desk.ask("Is anybody there?")
    expect(page.locator("#rail-count")).to_have_attribute("data-waiting", str(waiting + 1))
    expect(page).to_have_title(re.compile(rf"^\({waiting + 1}\) "))


def asks_within(page: Page, milliseconds: int) -> int:
    """How often the page reads something again in a time that passes at once, its look for outages left aside."""
    expect(page.locator(".htmx-request")).to_have_count(0)  # one under way would run out of time
    page.evaluate("window.asked = 0")
    page.clock.run_for(milliseconds)
    return int(page.evaluate("window.asked"))


def test_without_a_socket_the_page_asks_by_itself_until_there_is_one(console: Console) -> None:
    page = console.page
    page.clock.install()
    page.add_init_script(
        "window.asked = 0; addEventListener('refresh', (e) => { window.asked += e.target.id !== 'outage' }, true)"
    )
    sockets.block(page)
    console.open(console.ann)
    expect(page.locator("#banner")).to_have_text("Reconnecting. What you see may be out of date.")
    console.ann_says("I have the parcel now!")
    page.clock.run_for(10_000)
    expect(page.locator("#timeline")).to_contain_text("I have the parcel now!")
    expect(page.locator("#banner")).to_be_visible()

    page.evaluate("Object.defineProperty(document, 'hidden', { value: true, configurable: true })")
    assert asks_within(page, 60_000) == 0
    console.ann_says("Thank you!")
    page.evaluate("delete document.hidden; document.dispatchEvent(new Event('visibilitychange'))")
    expect(page.locator("#timeline")).to_contain_text("Thank you!")

    sockets.unblock(page)
    page.clock.run_for(15_000)
    expect(page.locator("#banner")).to_be_hidden()
    console.ann_says("Goodbye!")
    expect(page.locator("#timeline")).to_contain_text("Goodbye!")
    page.clock.run_for(2_000)  # what that message set off
    assert asks_within(page, 30_000) == 0


def test_a_page_without_a_socket_stops_asking_when_nobody_is_signed_in_any_more(console: Console) -> None:
    page = console.page
    page.clock.install()
    sockets.block(page)
    console.open(console.ann)
    expect(page.locator("#banner")).to_be_visible()
    page.request.get(f"{console.url.removesuffix('/support')}/host/sign-in/nobody")
    page.clock.run_for(10_000)
    expect(page.locator("#toasts .is-error")).to_have_count(1)
    assert asks_within(page, 30_000) == 0


def leave(console: Console, come: Callable[[Console], None]) -> None:
    if come is go_by_history:
        console.page.go_back()
        console.shows(console.ben)
    else:
        console.switch(console.ben)


def send(console: Console) -> None:
    with console.page.expect_request("**/reply"):
        console.page.locator("#reply-form .send").click()


@WAYS
def test_a_late_refusal_stays_out_of_the_conversation_opened_meanwhile(
    console: Console, come: Callable[[Console], None]
) -> None:
    come(console)
    console.hold_up("**/reply")
    console.reply_field(console.ann).fill("It is on its way.")
    send(console)
    leave(console, come)
    console.ann_says("I have the parcel now!")
    console.let_through()
    console.toast("Not sent to Ann Ode: the customer wrote again.")
    console.is_all_about_ben()
    assert console.sent_to(console.ann) == []
    console.switch(console.ann)
    expect(console.reply_field(console.ann)).to_have_value("It is on its way.")


@WAYS
def test_a_late_success_stays_out_too_and_its_text_does_not_come_back(
    console: Console, come: Callable[[Console], None]
) -> None:
    come(console)
    console.hold_up("**/reply")
    console.reply_field(console.ann).fill("It is on its way.")
    send(console)
    leave(console, come)
    console.reply_field(console.ben).fill("Yes, you")
    console.let_through()
    console.toast("Sent")
    console.is_all_about_ben()
    expect(console.reply_field(console.ben)).to_have_value("Yes, you")
    console.switch(console.ann)
    expect(console.page.locator("#timeline")).to_contain_text("It is on its way.")
    expect(console.reply_field(console.ann)).to_have_value("")
    assert console.sent_to(console.ann) == ["It is on its way."]


@WAYS
def test_a_late_refusal_of_an_edited_draft_keeps_the_text_for_its_conversation(
    console: Console, come: Callable[[Console], None]
) -> None:
    console.desk.draft(console.ann)
    come(console)
    console.hold_up("**/approve")
    console.page.locator("[data-edit]").click()
    console.page.locator(".dedit").fill("Look into items[1] first. [1]")
    with console.page.expect_request("**/approve"):
        console.page.get_by_role("button", name="Send your version").click()
    leave(console, come)
    console.ann_says("I have the parcel now!")
    console.let_through()
    console.toast("Not sent to Ann Ode: the customer wrote again.")
    console.is_all_about_ben()
    console.switch(console.ann)
    expect(console.reply_field(console.ann)).to_have_value("Look into items[1] first.")
    assert console.sent_to(console.ann) == []


@WAYS
def test_a_late_approval_stays_out_too(console: Console, come: Callable[[Console], None]) -> None:
    draft_id = console.desk.draft(console.ann)
    come(console)
    console.hold_up("**/approve")
    with console.page.expect_request("**/approve"):
        console.page.get_by_role("button", name="Approve and send").click()
    leave(console, come)
    console.let_through()
    console.toast("Sent")
    console.is_all_about_ben()
    assert console.sent_to(console.ann) == [console.desk.get(Draft, draft_id).body.removesuffix(" [1]")]


@WAYS
def test_a_late_refetch_of_the_timeline_stays_out(console: Console, come: Callable[[Console], None]) -> None:
    come(console)
    timeline = f"**/conversations/{console.ann}?view=*"
    console.hold_up(timeline)
    with console.page.expect_request(timeline):
        console.page.locator("#timeline").evaluate("timeline => htmx.trigger(timeline, 'refresh')")
    leave(console, come)
    console.page.evaluate(
        """path => {
            window.dealtWith = new Promise((resolve) => addEventListener("htmx:finally:request", (event) => {
                if (event.detail.ctx.request.action.includes(path)) resolve();
            }));
        }""",
        f"/conversations/{console.ann}?",
    )
    console.let_through()
    console.page.evaluate("window.dealtWith")
    console.is_all_about_ben()
    expect(console.page.locator("#toasts")).to_be_empty()


def test_a_question_can_be_taken_from_an_article_and_given_back_by_mouse_and_by_keyboard(console: Console) -> None:
    with console.desk.app.app_context():
        session = console.desk.app.extensions["sqlalchemy"].session
        article_id = save_article(session, slug="opening", title="Opening", body="From nine.", actor=WRITER).id
        publish(session, article_id, actor=WRITER)
        session.commit()
    console.desk.answered(article_id, console.ann, "Since when are you open?")
    page = console.page
    page.goto(f"{console.url}/knowledge/{article_id}")
    page.get_by_role("button", name="It did not answer this").click()
    console.toast("Search no longer goes by it")
    expect(page.locator("#answers")).to_contain_text("Taken away: it did not answer this")
    page.get_by_role("button", name="It did answer it").focus()
    page.keyboard.press("Enter")
    console.toast("Search goes by it again")
    expect(page.get_by_role("button", name="It did not answer this")).to_be_visible()
    expect(page.get_by_role("heading", level=1)).to_have_text("Opening")  # only the list was renewed


def test_a_rescued_draft_loses_its_citation_numbers_and_nothing_else(console: Console) -> None:
    console.desk.draft(console.ann, citations=[CITATION, CITATION | {"number": 2}])
    console.open(console.ann)
    console.page.locator("[data-edit]").click()
    console.page.locator(".dedit").fill(
        "Take items[0] and items[1]. [1] [2]\n[1] Then [3] twice [2][1]\nrow [12] stays, as [x] does [2]."
    )
    console.ann_says("One more thing.")
    console.toast("Your version of it is in the reply field.")
    expect(console.reply_field(console.ann)).to_have_value(
        "Take items[0] and items[1].\nThen [3] twice\nrow [12] stays, as [x] does."
    )


def test_what_the_database_cannot_take_is_said_once_and_the_text_stays(console: Console) -> None:
    console.open(console.ann)
    with FullDisk(console.desk.app) as disk:
        disk.fill()
        console.reply_field(console.ann).fill(TOO_MUCH)
        console.page.keyboard.press("Control+Enter")
        console.toast("Nothing was done. The database could not take it just now.")
        expect(console.page.locator("#toasts > .toast")).to_have_count(1)
        expect(console.reply_field(console.ann)).to_have_value(TOO_MUCH)
    assert console.sent_to(console.ann) == []
    console.page.keyboard.press("Control+Enter")
    console.toast("Sent")
    assert console.sent_to(console.ann) == [TOO_MUCH]


@contextmanager
def never_resting(console: Console) -> Iterator[None]:
    """Something happens in Ann's conversation all the time, faster than a page can follow."""
    publisher = console.desk.app.extensions["cairnloop"].publisher
    event = {"topic": "console", "type": "message", "data": {"conversation_id": console.ann, "kind": "note"}}
    over = threading.Event()

    def happen() -> None:
        while not over.wait(0.03):
            publisher.send(event)

    happening = threading.Thread(target=happen)
    happening.start()
    try:
        yield
    finally:
        over.set()
        happening.join()


@pytest.mark.parametrize("late", [0.0, 0.3], ids=["quick", "slow"])
def test_a_page_follows_a_desk_that_never_rests(
    app: Flask, serve: Callable[[Flask], str], new_page: Callable[..., Page], desk: Desk, late: float
) -> None:
    """Slow is a server whose answers take longer than it takes a page to ask again."""
    app.before_request(lambda: time.sleep(late) if "HX-Request" in request.headers else None)
    console = Console(new_page(viewport={"width": 1280, "height": 800}), serve(app), desk)
    page = console.page
    console.open(console.ann)
    expect(page.locator("#timeline")).to_contain_text("Where is my parcel?")
    waiting = int(page.locator("#rail-count").get_attribute("data-waiting") or 0)
    with never_resting(console):
        console.ann_says("I have the parcel now!")
        console.desk.ask("Is anybody there?")
        for place in ("#timeline", f"#row-{console.ann}"):
            expect(page.locator(place)).to_contain_text("I have the parcel now!")
        expect(page.locator("#rail-count")).to_have_attribute("data-waiting", str(waiting + 1))
