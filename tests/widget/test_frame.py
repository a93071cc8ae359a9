"""The chat in a real browser, on a host page with a strict content security policy."""

from __future__ import annotations

import html
import json
import re
import time
import uuid
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from flask import Flask
from playwright.sync_api import FrameLocator, Page, Route, WebSocketRoute, expect
from sqlalchemy import delete, select

from flask_cairnloop import Customer, Operator, disconnect
from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations import service
from flask_cairnloop.conversations.models import Conversation, CustomerRecord, Message, RatedVia, Rating
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.realtime import publish_now
from tests.support import sockets
from tests.support.processes import Process, environment, wait_until, web_server

pytestmark = pytest.mark.browser
POLICY = "default-src 'none'; script-src 'self'; frame-src 'self'; connect-src 'self'; img-src data:"
Desk = Callable[[Callable[..., Any]], Any]


class Site:
    """A page of the host with the chat on it, and the people at the desk."""

    def __init__(self, page: Page, url: str, customer: Customer, operator: Operator, desk: Desk) -> None:
        self.page, self.url, self.customer, self.desk = page, url, customer, desk
        self.mina = Actor.operator(operator)
        self.chat: FrameLocator = page.frame_locator("iframe")
        self.body = self.chat.get_by_label("Write a message")

    def visit(self, direction: str = "ltr", **attributes: str) -> None:
        """Open the page; the attributes are those of the script tag, without ``data-``."""
        data = " ".join(f'data-{name.replace("_", "-")}="{html.escape(value)}"' for name, value in attributes.items())
        text = (
            f'<!doctype html><html lang="en" dir="{direction}"><title>Host</title><link rel="icon" href="data:,">'
            f'<meta name="viewport" content="width=device-width"><h1>Host</h1><a href="#">A link</a>'
            f'<script src="/support/widget.js" {data} async></script></html>'
        )

        def answer(route: Route) -> None:
            route.fulfill(body=text, content_type="text/html", headers={"Content-Security-Policy": POLICY})

        self.page.route("**/shop", answer)
        self.page.goto(f"{self.url}/shop")

    def state(self, word: str) -> None:
        expect(self.chat.locator("#state-word")).to_have_text(word)

    def say(self, text: str) -> None:
        self.body.fill(text)
        self.body.press("Enter")

    def conversation(self) -> int:
        def find(session: Any) -> int:
            mine = select(Conversation.id).join(CustomerRecord).where(CustomerRecord.ref == self.customer.ref)
            return int(session.scalars(mine.order_by(Conversation.id.desc())).first())

        return int(self.desk(find))

    def reply(self, text: str) -> None:
        self.desk(lambda session: service.reply(session, self.conversation(), actor=self.mina, body=text))


@pytest.fixture
def site(
    page: Page, live_server: Process, customer: Customer, operator: Operator, at_the_desk: Desk, app: Flask
) -> Site:
    return Site(page, live_server.url, customer, operator, at_the_desk)


def test_a_question_and_its_answer_under_a_strict_policy(site: Site, token: str) -> None:
    site.visit(token=token, title="Help from the shop")
    site.page.get_by_role("button", name="Open Help from the shop").click()
    site.state("Connected")
    expect(site.chat.get_by_role("heading", name="Help from the shop")).to_be_visible()
    expect(site.chat.get_by_text("No messages yet")).to_be_visible()
    site.say("Where is my invoice?")
    expect(site.chat.get_by_text("Sent. Waiting for a person.")).to_be_visible()
    expect(site.chat.get_by_role("log").get_by_text("Where is my invoice?")).to_be_visible()
    site.reply("Under Billing.")
    expect(site.chat.get_by_role("log").get_by_text("Under Billing.")).to_be_visible()
    expect(site.chat.get_by_text("Sent. Waiting for a person.")).to_be_hidden()
    site.page.reload()
    site.page.get_by_role("button", name="Open Help from the shop").click()
    expect(site.chat.locator(".message .said")).to_have_text(["Where is my invoice?", "Under Billing."])


def test_focus_goes_in_and_comes_back(site: Site, token: str) -> None:
    site.visit(token=token)
    launcher = site.page.get_by_role("button", name="Open Chat")
    launcher.focus()
    site.page.keyboard.press("Enter")
    expect(site.body).to_be_focused()
    site.page.keyboard.press("Escape")
    expect(launcher).to_be_focused()
    expect(launcher).to_have_attribute("aria-expanded", "false")
    expect(site.page.locator("iframe")).to_be_hidden()
    launcher.click()
    site.chat.get_by_role("button", name="Close chat").click()
    expect(launcher).to_be_focused()


def test_the_badge_counts_answers_that_were_not_looked_at(site: Site, token: str) -> None:
    site.visit(token=token)
    site.page.get_by_role("button", name="Open Chat").click()
    site.say("Hello")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    site.page.keyboard.press("Escape")
    site.reply("One")
    site.reply("Two")
    launcher = site.page.get_by_role("button", name="Open Chat, 2 new messages")
    expect(launcher).to_have_text("2")
    launcher.click()
    site.page.keyboard.press("Escape")
    expect(site.page.get_by_role("button", name="Open Chat", exact=True)).to_be_visible()
    site.page.reload()
    expect(site.page.get_by_role("button", name="Open Chat", exact=True)).to_be_visible()
    seen = site.desk(lambda session: session.get(Conversation, site.conversation()).customer_seen)
    assert seen == 3


def test_words_written_offline_go_out_once_when_the_line_is_back(site: Site, token: str) -> None:
    site.visit(token=token, open="")
    site.state("Connected")
    site.say("Before the tunnel")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    site.page.context.set_offline(True)
    site.state("Offline")
    site.say("In the tunnel")
    expect(site.chat.get_by_text("Not sent yet, no connection")).to_be_visible()
    site.reply("Meanwhile at the desk")
    site.page.context.set_offline(False)
    site.state("Connected")
    said = site.chat.locator(".message .said")
    expect(said).to_have_text(["Before the tunnel", "Meanwhile at the desk", "In the tunnel"])
    expect(site.chat.locator(".unsent")).to_have_count(0)
    written = select(Message.body).where(Message.conversation_id == site.conversation()).order_by(Message.sequence)
    assert site.desk(lambda session: session.scalars(written).all()) == said.all_text_contents()


def test_what_is_refused_comes_back_into_the_composer(site: Site, token: str) -> None:
    site.visit(token=token, open="")
    site.state("Connected")
    site.say("\x1c")  # blank to the server, not to the browser
    expect(site.chat.get_by_role("alert")).to_contain_text("Not sent.")
    expect(site.body).to_have_value("\x1c")
    expect(site.chat.locator(".message")).to_have_count(0)
    site.say("x" * 10_001)
    expect(site.chat.get_by_role("alert")).to_contain_text("10,000 fit")
    expect(site.body).to_have_value("x" * 10_001)
    site.body.fill("Short")
    expect(site.chat.get_by_role("alert")).to_be_hidden()


def test_one_who_writes_too_much_has_the_words_back(
    make_app: Callable[..., Flask], serve: Callable[[Flask], str], site: Site, token: str
) -> None:
    site.url = serve(make_app(RATE_LIMITS={"messages": "1/hour"}))
    site.visit(token=token, open="")
    site.state("Connected")
    site.say("One")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    site.say("Two")
    expect(site.chat.get_by_role("alert")).to_contain_text("Not sent. You have written a lot in a short time.")
    expect(site.body).to_have_value("Two")
    expect(site.chat.locator(".mine .said")).to_have_text("One")


def test_many_words_that_waited_for_a_line_all_arrive(
    database_url: str, redis_url: str, config: dict[str, Any], site: Site, token: str
) -> None:
    """They go out faster than a line may speak; the chat slows down by itself."""
    lines = [f"Line {number}" for number in range(9)]
    slow = environment(database_url, redis_url, **config, RATE_LIMITS={"frames": "4/second"})
    with web_server(slow) as server:
        site.url = server.url
        site.visit(token=token, open="")
        site.state("Connected")
        site.page.context.set_offline(True)
        for line in lines:
            site.say(line)
        site.page.context.set_offline(False)
        expect(site.chat.locator(".mine")).to_have_count(9)
        expect(site.chat.locator(".unsent")).to_have_count(0)
        expect(site.body).to_have_value("")
        site.page.goto("about:blank")
    written = select(Message.body).where(Message.conversation_id == site.conversation())
    assert sorted(site.desk(lambda session: session.scalars(written).all())) == lines


def test_enter_sends_and_shift_enter_does_not(site: Site, token: str) -> None:
    site.visit(token=token, open="")
    site.state("Connected")
    site.body.fill("First line")
    site.body.press("Shift+Enter")
    site.body.press_sequentially("Second line")
    expect(site.body).to_have_value("First line\nSecond line")
    site.body.press("Enter")
    expect(site.body).to_have_value("")
    expect(site.chat.locator(".mine .said")).to_have_text("First line\nSecond line")


def test_words_are_text_and_only_web_addresses_are_links(site: Site, token: str) -> None:
    site.visit(token=token, open="")
    site.say('<img src=x onerror="top.hit=1"> javascript:alert(1) data:text/html,x')
    expect(site.chat.locator(".mine .said")).to_contain_text("<img src=x")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    site.reply('See https://shop.example/a?b=1&c=2. Or "http://shop.example/<b>x</b>", or ftp://x.example')
    links = site.chat.locator(".said a")
    expect(links).to_have_count(2)
    assert [link.get_attribute("href") for link in links.all()] == [
        "https://shop.example/a?b=1&c=2",
        "http://shop.example/",
    ]
    assert links.first.get_attribute("rel") == "noopener noreferrer nofollow"
    expect(site.chat.locator(".said img, .said b")).to_have_count(0)
    assert site.page.evaluate("window.hit") is None


def test_an_old_token_is_renewed_at_the_hosts_own_address(site: Site, token: str) -> None:
    asked: list[str] = []

    def answer(route: Route) -> None:
        asked.append(route.request.url)
        route.fulfill(json={"token": token})

    site.page.route("**/chat-token", answer)
    site.visit(token="long gone", token_url="/chat-token", open="")
    site.state("Connected")
    assert asked == [f"{site.url}/chat-token"]
    site.say("Here I am")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()


def test_without_a_good_token_the_chat_says_so_and_keeps_what_is_typed(site: Site) -> None:
    site.visit(token="long gone", open="")
    site.state("Offline")
    alert = site.chat.get_by_role("alert")
    expect(alert).to_have_text("Your sign-in has ended. Reload the page to go on.")
    site.say("Can you hear me?")
    expect(site.body).to_have_value("Can you hear me?")
    expect(alert).to_be_visible()


def test_refused_tokens_are_renewed_ever_more_slowly_and_not_for_ever(site: Site, token: str) -> None:
    asked: list[float] = []
    sockets: list[float] = []

    def answer(route: Route) -> None:
        asked.append(time.monotonic())
        route.fulfill(json={"token": f"refused as well {len(asked)}" if len(asked) <= 4 else token})

    site.page.route("**/chat-token", answer)
    site.page.on("websocket", lambda _: sockets.append(time.monotonic()))
    site.page.clock.install()
    site.visit(token="long gone", token_url="/chat-token", open="")
    alert = site.chat.get_by_role("alert")
    expect(alert).to_have_text("We could not sign you in. Send a message, or reload the page, to try again.")
    site.state("Offline")
    site.page.clock.run_for(120_000)
    assert (len(asked), len(sockets)) == (4, 5)
    waits = [round(after - before, 2) for before, after in pairwise(sockets)]
    assert waits[1] >= 0.2, waits  # the first fresh token goes out at once
    assert waits[2] >= 0.45, waits
    assert waits[3] >= 0.9, waits

    site.say("Can you hear me?")
    site.state("Connected")
    expect(alert).to_be_hidden()
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    expect(site.chat.locator(".mine .said")).to_have_text("Can you hear me?")
    assert len(asked) == 5


def test_a_server_that_asks_for_patience_gets_it(site: Site, token: str) -> None:
    sockets: list[float] = []

    def busy(socket: WebSocketRoute) -> None:
        sockets.append(time.monotonic())
        if len(sockets) <= 3:
            socket.close(code=1013, reason="try later")
        else:
            socket.connect_to_server()

    site.page.route_web_socket("**/widget/socket", busy)
    site.visit(token=token, open="")
    site.state("Connected")
    waits = [round(after - before, 2) for before, after in pairwise(sockets)]
    assert len(waits) == 3
    assert all(wait >= least for wait, least in zip(waits, (0.2, 0.45, 0.9), strict=True)), waits
    expect(site.chat.get_by_role("alert")).to_be_hidden()


def test_words_that_cannot_be_taken_in_now_are_tried_again_ever_more_slowly(site: Site, token: str) -> None:
    sockets: list[float] = []

    def cannot_write(socket: WebSocketRoute) -> None:
        sockets.append(time.monotonic())
        server = socket.connect_to_server()

        def pass_on(frame: str | bytes) -> None:
            if json.loads(frame)["type"] == "message" and len(sockets) <= 4:
                socket.close(code=1013, reason="try later")
            else:
                server.send(frame)

        socket.on_message(pass_on)

    site.page.route_web_socket("**/widget/socket", cannot_write)
    site.visit(token=token, open="")
    site.state("Connected")
    site.say("Can you hear me?")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    waits = [round(after - before, 2) for before, after in pairwise(sockets)][1:]
    assert all(wait >= least for wait, least in zip(waits, (0.45, 0.9, 1.8), strict=True)), waits
    expect(site.chat.locator(".mine .said")).to_have_text("Can you hear me?")


def test_words_for_a_conversation_that_is_gone_go_into_a_new_one(site: Site, token: str) -> None:
    site.visit(token=token, open="")
    site.say("Hello")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    gone = site.conversation()
    site.desk(lambda session: session.execute(delete(Conversation).where(Conversation.id == gone)))
    site.say("Are you still there?")
    expect(site.chat.locator(".unsent")).to_have_count(0)
    expect(site.chat.locator(".mine .said")).to_have_text("Are you still there?")
    assert site.conversation() != gone


def test_where_no_socket_comes_through_the_chat_goes_by_asking(site: Site, token: str) -> None:
    opened: list[str] = []
    site.page.on("websocket", lambda socket: opened.append(socket.url))
    sockets.block(site.page)
    site.visit(token=token, open="")
    site.state("Connected")
    site.say("Where is my invoice?")
    expect(site.chat.get_by_text("Sent. Waiting for a person.")).to_be_visible()
    site.reply("Under Billing.")
    said = site.chat.locator(".message .said")
    expect(said).to_have_text(["Where is my invoice?", "Under Billing."])
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_hidden()
    site.say("\x1c")
    expect(site.chat.get_by_role("alert")).to_contain_text("Not sent.")
    site.body.fill("")
    site.page.context.set_offline(True)
    site.state("Offline")
    site.say("In the tunnel")
    expect(site.chat.get_by_text("Not sent yet, no connection")).to_be_visible()
    site.page.context.set_offline(False)
    site.state("Connected")
    expect(site.chat.locator(".unsent")).to_have_count(0)
    expect(said).to_have_text(["Where is my invoice?", "Under Billing.", "In the tunnel"])
    assert opened == []
    wait_until(lambda: site.desk(lambda session: session.get(Conversation, site.conversation()).customer_seen) == 2)


def test_the_state_is_connected_only_while_there_are_answers(site: Site, token: str) -> None:
    answered = True

    def answer(route: Route) -> None:
        if answered:
            route.continue_()

    site.page.route("**/widget/messages", answer)
    site.page.clock.install()
    sockets.block(site.page)
    site.visit(token=token, open="")
    site.state("Connected")
    answered = False
    site.say("Can you hear me?")
    site.page.clock.fast_forward(26_000)
    site.page.clock.fast_forward(9_000)
    site.state("Reconnecting")
    expect(site.chat.get_by_text("Not sent yet, no connection")).to_be_visible()
    answered = True
    site.page.clock.fast_forward(9_000)
    site.state("Connected")
    expect(site.chat.locator(".unsent")).to_have_count(0)


@pytest.mark.parametrize(("hidden", "wait"), [(False, 3_000), (True, 10_000)])
def test_a_hidden_page_asks_less_often(site: Site, token: str, hidden: bool, wait: int) -> None:
    site.page.add_init_script(
        f"""{{
            Object.defineProperty(Document.prototype, "hidden", {{ value: {json.dumps(hidden)} }});
            window.askedAt = [];
            const ask = fetch;
            window.fetch = (...what) => (askedAt.push(Date.now()), ask(...what));
        }}"""
    )
    site.page.clock.install()
    sockets.block(site.page)
    site.visit(token=token, open="")
    site.state("Connected")
    frame = site.page.frame(url="**/support/widget")
    assert frame is not None
    while len(asked := frame.evaluate("askedAt")) < 4:
        site.page.clock.run_for(200)  # while an answer is under way as well
    waits = [later - before for before, later in pairwise(asked)]
    assert min(waits) >= wait, waits
    assert hidden or min(waits) < 10_000, waits


@pytest.mark.parametrize("stored", [False, True])
def test_a_socket_that_comes_back_takes_over_and_nothing_is_lost_or_doubled(
    site: Site, token: str, stored: bool
) -> None:
    """Also not what is under way then, whether or not it had arrived."""
    posts: list[str] = []
    site.page.clock.install()
    sockets.block(site.page)
    site.visit(token=token, open="")
    site.state("Connected")
    site.say("First")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    held: list[Route] = []

    def hold(route: Route) -> None:
        posts.append(route.request.post_data or "")
        if '"Under way"' not in posts[-1]:
            route.continue_()
            return
        if stored:
            route.fetch()
        held.append(route)

    site.page.route("**/widget/messages", hold)
    site.say("Under way")
    wait_until(lambda: site.page.title() and held)
    sockets.unblock(site.page)
    with site.page.expect_websocket():
        site.page.clock.fast_forward(61_000)
    expect(site.chat.locator(".unsent")).to_have_count(0)
    site.reply("Hello to you")
    expect(site.chat.locator(".message .said")).to_have_text(["First", "Under way", "Hello to you"])
    site.state("Connected")
    posts.clear()
    site.page.clock.fast_forward(20_000)
    site.say("By the socket")
    expect(site.chat.locator(".unsent")).to_have_count(0)
    assert posts == []
    written = select(Message.body).where(Message.conversation_id == site.conversation()).order_by(Message.sequence)
    assert site.desk(lambda session: session.scalars(written).all()) == [
        "First",
        "Under way",
        "Hello to you",
        "By the socket",
    ]


def test_a_page_on_plain_http_can_send(site: Site, token: str) -> None:
    site.page.add_init_script("delete Crypto.prototype.randomUUID")  # browsers offer it to secure contexts only
    site.visit(token=token, open="")
    site.state("Connected")
    site.say("Hello")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()


def test_a_cut_customer_stays_away_until_the_page_is_loaded_again(site: Site, token: str, app: Flask) -> None:
    site.visit(token=token, open="")
    site.state("Connected")
    with app.app_context():
        disconnect(site.customer.ref)
    site.state("Offline")
    expect(site.chat.get_by_role("alert")).to_contain_text("This chat was closed.")
    site.page.reload()
    site.state("Connected")


def test_typing_is_shown_while_it_is_true(site: Site, token: str, app: Flask) -> None:
    site.visit(token=token, open="")
    site.say("Hello")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    number = site.conversation()
    topic = f"conversation:{number}"
    publish_now(
        app.extensions["cairnloop"], topic, "typing", conversation_id=number, author="operator", name="Mina Keller"
    )
    expect(site.chat.get_by_text("Mina Keller is typing")).to_be_visible()
    site.reply("Hello to you")
    expect(site.chat.get_by_text("Mina Keller is typing")).to_be_hidden()


def test_resolved_rated_by_keyboard_and_opened_again(site: Site, token: str) -> None:
    site.visit(token=token, open="")
    site.say("Hello")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    site.reply("Hello to you")
    site.desk(lambda session: service.resolve(session, site.conversation(), actor=site.mina))
    expect(site.chat.get_by_text("Resolved by Mina Keller. Write again to reopen it")).to_be_visible()
    expect(site.chat.get_by_role("group", name="How was the help from Mina Keller?")).to_be_visible()
    site.chat.get_by_role("radio", name="3").focus()
    site.page.keyboard.press("ArrowRight")
    site.chat.get_by_label("Anything to add?").fill("Quick and kind")
    site.chat.get_by_role("button", name="Send rating").press("Enter")
    expect(site.chat.get_by_text("You rated the help 4 of 5.")).to_be_visible()
    kept = select(Rating).where(Rating.conversation_id == site.conversation())
    row = site.desk(lambda session: session.scalars(kept).one())
    assert (row.score, row.comment, row.via) == (4, "Quick and kind", RatedVia.WIDGET)
    site.chat.get_by_role("button", name="Change it").press("Enter")
    expect(site.chat.get_by_role("radio", name="4")).to_be_focused()
    site.page.keyboard.press("ArrowRight")
    site.chat.get_by_role("button", name="Send rating").press("Enter")
    expect(site.chat.get_by_text("You rated the help 5 of 5.")).to_be_visible()
    row = site.desk(lambda session: session.scalars(kept).one())
    assert (row.score, row.comment) == (5, "Quick and kind")
    site.say("One more thing")
    expect(site.chat.get_by_text("You wrote again, so this is open again")).to_be_visible()
    expect(site.chat.get_by_text("You rated the help")).to_be_hidden()


def test_words_kept_for_a_reload_are_the_same_persons_only(
    site: Site, token: str, issue: Callable[[Customer], str]
) -> None:
    site.visit(token=token, open="")
    site.state("Connected")
    site.body.fill("Half a thought")
    site.page.reload()
    expect(site.body).to_have_value("Half a thought")
    site.visit(token=issue(Customer("the-next-person-here")), open="")
    site.state("Connected")
    expect(site.body).to_have_value("")


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [390, 1440])
def test_accessible_in_every_state(
    new_page: Callable[..., Page], live_server: Process, site: Site, token: str, scheme: str, width: int
) -> None:
    page = new_page(viewport={"width": width, "height": 844}, color_scheme=scheme, reduced_motion="reduce")
    site = Site(page, live_server.url, site.customer, Operator("mina", "Mina Keller"), site.desk)
    site.visit(token=token)
    page.get_by_role("button", name="Open Chat").click()
    site.state("Connected")
    fine(page)
    site.say("Hello, see https://shop.example/ please")
    expect(site.chat.get_by_text("Sent. Waiting")).to_be_visible()
    site.reply("Hello to you")
    number = site.conversation()

    def cite(session: Any) -> None:
        article = save_article(session, slug=uuid.uuid4().hex, title="Refunds", body="By card.", actor=site.mina)
        revision = publish(session, article.id, actor=site.mina)
        cited = [{"article_id": article.id, "revision_id": revision.id, "heading": "In full"}]
        for actor in (Actor.policy("faq"), site.mina):
            service.send(session, service.lock(session, number), actor=actor, body="By card.", citations=cited)

    site.desk(cite)
    expect(site.chat.locator(".automatic .sources")).to_have_text("Refunds In full")
    sources = site.chat.locator(".theirs .rests").filter(visible=True)
    expect(sources).to_have_count(1)  # the typed reply before it has none
    expect(sources.locator("li")).to_be_hidden()
    sources.locator("summary").press("Enter")
    expect(sources.locator("li")).to_have_text("Refunds In full")
    fine(page)
    site.desk(lambda session: service.resolve(session, number, actor=site.mina))
    site.chat.get_by_role("radio", name="3").check(force=True)
    expect(site.chat.get_by_role("button", name="Send rating")).to_be_visible()
    fine(page)
    page.context.set_offline(True)
    site.say("Not yet")
    expect(site.chat.get_by_text("Not sent yet")).to_be_visible()
    site.say("x" * 10_001)
    expect(site.chat.get_by_role("alert")).to_be_visible()
    fine(page)


def fine(page: Page) -> None:
    """No violation inside the frame, nothing to scroll sideways, nothing to press that is too small."""
    frame = next(frame for frame in page.frames if frame.url.endswith("/support/widget"))
    frame.evaluate("() => Promise.all(document.getAnimations().map(one => one.finished.catch(() => {})))")
    found = Axe().run(frame)  # type: ignore[arg-type]  # a frame runs axe as a page does
    told = [
        (violation["id"], [node["html"] for node in violation["nodes"]]) for violation in found.response["violations"]
    ]
    assert told == [], json.dumps(told, indent=1)
    assert frame.evaluate("document.documentElement.scrollWidth <= innerWidth")
    small = frame.evaluate(
        """() => [...document.querySelectorAll("button, label:has(input), textarea")]
             .filter(element => element.checkVisibility() && element.getBoundingClientRect().height < 44)
             .map(element => element.outerHTML)"""
    )
    assert small == []


def test_on_a_phone_it_fills_the_screen_and_right_to_left_is_mirrored(
    new_page: Callable[..., Page], live_server: Process, site: Site, token: str
) -> None:
    page = new_page(viewport={"width": 390, "height": 844})
    site = Site(page, live_server.url, site.customer, Operator("mina", "Mina Keller"), site.desk)
    site.visit(token=token, open="")
    site.state("Connected")
    assert page.locator("iframe").bounding_box() == {"x": 0, "y": 0, "width": 390, "height": 844}
    page.set_viewport_size({"width": 1440, "height": 900})
    box = page.locator("iframe").bounding_box()
    assert box is not None
    assert (round(box["x"]), round(box["width"])) == (1440 - 24 - 392, 392)
    site.visit(direction="rtl", token=token)
    launcher = page.get_by_role("button", name=re.compile("Open Chat")).bounding_box()
    assert launcher is not None
    assert round(launcher["x"]) == 24
