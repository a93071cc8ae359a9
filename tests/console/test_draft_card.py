"""The draft card in a real browser: every state it can be in, by mouse and by keyboard, without a violation."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import Locator, Page, expect
from sqlalchemy import select

from flask_cairnloop import Customer
from flask_cairnloop.conversations.models import Message, MessageKind
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.types import DraftFailure, DraftKind, PolicyDecision
from flask_cairnloop.retrieval.types import Strength
from tests.console.conftest import CITATION, Desk
from tests.support.processes import Process

pytestmark = pytest.mark.browser

WCAG = ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa"]
ANN = Customer("ann", "Ann Ode")
BODY = "Choose Forgot password. [1]\n\nThe link works for 30 minutes. [2]"
SENT = "Choose Forgot password.\n\nThe link works for 30 minutes."
CITATIONS = [CITATION, {**CITATION, "number": 2, "title": "When the link does not arrive", "heading": ""}]


class Card:
    """An operator's page with one customer's conversation, and the card of its draft."""

    def __init__(self, page: Page, url: str, desk: Desk) -> None:
        self.page, self.url, self.desk = page, url, desk
        self.conversation = desk.ask("How do I reset my password?", customer=ANN)
        page.goto(f"{url}/host/sign-in/mina")

    def show(self, **changes: Any) -> int:
        """A draft in a state, on a page that has just been opened; a new one where the last is decided."""
        self.desk.ask("And another thing", customer=ANN, into=self.conversation)
        draft_id = self.desk.draft(self.conversation, **{"body": BODY, "citations": CITATIONS} | changes)
        self.page.goto(f"{self.url}/support/conversations/{self.conversation}?view=all")
        expect(self.section).to_be_visible()
        return draft_id

    @property
    def section(self) -> Locator:
        return self.page.locator(".draft")

    @property
    def composer(self) -> Locator:
        return self.page.locator(f"#reply-{self.conversation}")

    def button(self, words: str) -> Locator:
        return self.section.get_by_role("button", name=words)

    def tells(self, words: str) -> None:
        expect(self.page.locator("#timeline .ev").last).to_contain_text(words)

    def became(self, draft_id: int, state: DraftState) -> Draft:
        expect(self.page.locator(f"#draft-{draft_id}")).to_have_count(0)
        draft: Draft = self.desk.get(Draft, draft_id)
        assert draft.state is state
        return draft

    def sent(self) -> str:
        replies = select(Message.body).filter_by(conversation_id=self.conversation, kind=MessageKind.REPLY)
        with self.desk.app.app_context():
            newest = replies.order_by(Message.sequence.desc()).limit(1)
            return str(self.desk.app.extensions["sqlalchemy"].session.scalar(newest))

    def fine(self) -> None:
        """No violation, nothing to scroll sideways."""
        found = Axe().run(self.page, options={"runOnly": WCAG}).response["violations"]
        told = [f"{one['id']}: {node['html'][:200]} {node['failureSummary']}" for one in found for node in one["nodes"]]
        assert told == []
        assert self.page.evaluate("document.documentElement.scrollWidth <= innerWidth")


@pytest.fixture
def width() -> int:
    return 1280


@pytest.fixture
def card(width: int, new_page: Callable[..., Page], live_server: Process, desk: Desk) -> Card:
    return Card(new_page(viewport={"width": width, "height": 844}, reduced_motion="reduce"), live_server.url, desk)


ON_A_PHONE_TOO = pytest.mark.parametrize("width", [1280, 390])


def test_a_draft_that_comes_is_approved_by_mouse_and_by_keyboard(card: Card) -> None:
    draft_id = card.show(state=DraftState.GENERATING, kind=None, body="", citations=[])
    expect(card.section.get_by_role("status")).to_contain_text("Looking for sources")
    card.fine()
    card.desk.draft(card.conversation, body=BODY, citations=CITATIONS)
    card.page.reload()  # no worker tells of it here: this test writes the row itself
    expect(card.section).to_contain_text("Strong grounding")
    expect(card.section).to_contain_text("It goes out only when one of your team approves it.")
    card.fine()
    card.button("Approve and send").click()
    card.tells("You sent a draft as it stood")
    card.became(draft_id, DraftState.APPROVED)
    assert card.sent() == SENT
    expect(card.page.locator("#tl")).to_be_focused()
    draft_id = card.show()
    card.page.keyboard.press("Control+Enter")
    card.tells("You sent a draft as it stood")
    card.became(draft_id, DraftState.APPROVED)


def test_a_question_back_and_a_draft_from_partial_evidence_say_so_and_are_sent_by_enter(card: Card) -> None:
    ask = {"kind": DraftKind.CLARIFICATION, "body": "Which address do you sign in with?", "citations": []}
    draft_id = card.show(grounding=Strength.PARTIAL, **ask)
    expect(card.section).to_contain_text("Clarifying question")
    expect(card.section).to_contain_text("Partial grounding")
    card.fine()
    card.button("Approve and send").press("Enter")
    card.became(draft_id, DraftState.APPROVED)
    assert card.sent() == "Which address do you sign in with?"
    draft_id = card.show(grounding=Strength.PARTIAL, policy_reason="Money is for people.", engine="yours-1")
    expect(card.section).to_contain_text("Money is for people.")
    expect(card.section).to_contain_text("by yours-1")
    card.section.locator("details.src summary").last.press("Enter")
    expect(card.section.locator("details.src").last.locator("blockquote")).to_be_visible()
    card.fine()
    card.button("Approve and send").press(" ")
    card.became(draft_id, DraftState.APPROVED)


@ON_A_PHONE_TOO
def test_a_draft_is_changed_in_place_and_the_difference_can_be_seen_afterwards(card: Card) -> None:
    draft_id = card.show()
    field = card.section.get_by_label("Draft reply, editable")
    card.button("Edit").click()
    expect(field).to_be_focused()
    field.fill("Something else")
    card.fine()
    card.button("Undo changes").press("Enter")
    expect(field).to_be_hidden()
    expect(card.section.locator(".dtext")).to_contain_text("Choose Forgot password.")
    card.page.locator("#tl").focus()
    card.page.keyboard.press("Shift+E")
    expect(field).to_have_value(BODY)
    field.fill(BODY.replace("30 minutes", "an hour"))
    expect(card.button("Send your version")).to_be_visible()
    card.page.keyboard.press("Control+Enter")
    card.tells("You sent a draft with changes (22% of its words)")
    assert card.sent() == SENT.replace("30 minutes", "an hour")
    assert card.became(draft_id, DraftState.EDITED).changed == pytest.approx(4 / 18)
    history = card.page.locator(f"#d{draft_id}")
    history.locator("summary").press("Enter")
    expect(history.locator("del")).to_have_text("[taken out: 30 minutes.]", use_inner_text=False)
    expect(history.locator("ins")).to_contain_text("an hour.")
    card.fine()
    history.locator("summary").click()
    expect(history.locator("del")).to_be_hidden()


@ON_A_PHONE_TOO
def test_a_draft_is_discarded_with_a_reason_and_a_note_by_mouse_and_by_keyboard(card: Card) -> None:
    draft_id = card.show()
    card.section.locator(".why > summary").click()
    card.section.get_by_label("Note for your team").fill("The link is gone.")
    card.fine()
    card.button("It is wrong").click()
    card.tells("You discarded a draft: it was wrong")
    decided = card.became(draft_id, DraftState.DISCARDED)
    assert (decided.decision_reason, decided.decision_note) == ("wrong", "The link is gone.")
    card.page.locator(f"#d{draft_id} summary").click()
    expect(card.page.locator(f"#d{draft_id}")).to_contain_text("“The link is gone.”")
    draft_id = card.show()
    menu = card.section.locator(".why > summary")
    menu.press("Enter")
    card.page.keyboard.press("Tab")
    expect(card.section.get_by_label("Note for your team")).to_be_focused()
    card.page.keyboard.press("Escape")
    expect(menu).to_be_focused()
    expect(card.button("It is wrong")).to_be_hidden()
    menu.press("Enter")
    for _ in range(3):
        card.page.keyboard.press("Tab")
    expect(card.button("Something is missing")).to_be_focused()
    card.page.keyboard.press("Enter")
    card.tells("You discarded a draft: something was missing")
    card.became(draft_id, DraftState.DISCARDED)
    card.page.get_by_role("button", name="Draft a reply from the articles").press("Enter")
    expect(card.section.get_by_role("status")).to_contain_text("Looking for sources")


def test_a_draft_that_failed_or_needs_a_person_says_so_and_offers_what_there_is(card: Card) -> None:
    card.show(state=DraftState.FAILED, kind=None, body="", citations=[], failure=DraftFailure.HOOK_TIMEOUT)
    expect(card.section).to_contain_text("did not answer in time")
    card.fine()
    card.button("Write the reply yourself").press("Enter")
    expect(card.composer).to_be_focused()
    card.button("Try again").press("Enter")
    card.tells("A draft was tried without success: your app’s draft engine did not answer in time")
    expect(card.section.get_by_role("status")).to_contain_text("Looking for sources")
    none = {"body": "", "citations": [], "grounding": Strength.NONE, "summary": "Nothing covers this."}
    card.show(kind=DraftKind.ESCALATION, declined="The model did not answer in time.", **none)
    expect(card.section).to_contain_text(
        "Your app’s draft engine did not write this: The model did not answer in time."
    )
    card.fine()
    card.button("Write the reply yourself").click()
    expect(card.composer).to_be_focused()
    card.button("Look again").click()
    expect(card.section.get_by_role("status")).to_contain_text("Looking for sources")


def test_a_draft_to_copy_goes_into_the_reply_without_its_numbers(card: Card) -> None:
    card.show(policy=PolicyDecision.DRAFT_ONLY)
    expect(card.button("Approve and send")).to_have_count(0)
    card.fine()
    card.button("Copy into your reply").press("Enter")
    expect(card.composer).to_be_focused()
    expect(card.composer).to_have_value(SENT)
    card.composer.fill("")
    card.button("Copy into your reply").click()
    expect(card.composer).to_have_value(SENT)


def test_a_draft_set_aside_while_it_is_edited_leaves_the_words(card: Card) -> None:
    card.show()
    card.button("Edit").click()
    card.section.get_by_label("Draft reply, editable").fill("My own words. [1]")
    card.desk.ask("Never mind", customer=ANN, into=card.conversation)
    expect(card.composer).to_have_value("My own words.")
    card.tells("A draft was set aside because the customer wrote again")


def test_a_draft_over_newer_words_is_not_sent_though_its_card_still_stands(card: Card) -> None:
    card.page.route_web_socket("**", lambda _: None)  # nothing is heard of what happens elsewhere
    card.show()
    card.desk.ask("Never mind", customer=ANN, into=card.conversation)
    before = card.sent()
    card.page.keyboard.press("Control+Enter")
    expect(card.page.locator("#timeline")).to_contain_text("Never mind")
    card.tells("A draft was set aside because the customer wrote again")
    assert card.sent() == before
    card.fine()


@ON_A_PHONE_TOO
def test_a_citation_shows_its_passage_on_hover_and_on_focus(card: Card) -> None:
    card.show()
    passage, (first, second) = card.page.locator("#passage"), card.section.locator(".dtext .cite").all()
    first.hover()
    expect(passage).to_contain_text("Reset your password")
    expect(passage).to_contain_text("“The link works for 30 minutes.”")
    card.fine()
    box = passage.bounding_box()
    assert box is not None
    assert 0 <= box["x"] <= box["x"] + box["width"] <= card.page.viewport_size["width"]  # type: ignore[index]
    passage.hover()  # the pointer may go there
    card.page.wait_for_timeout(400)
    expect(passage).to_be_visible()
    card.page.keyboard.press("Escape")
    expect(passage).to_have_count(0)
    card.page.locator("#thread-head").hover()
    card.page.locator("#tl").focus()
    card.page.keyboard.press("Tab")
    while not first.evaluate("one => one === document.activeElement"):
        card.page.keyboard.press("Tab")
    expect(passage).to_contain_text("Reset your password")
    expect(first).to_have_attribute("aria-describedby", "passage")
    card.page.keyboard.press("Tab")
    expect(passage.get_by_role("link", name="Open article")).to_be_focused()
    card.page.keyboard.press("Tab")
    expect(second).to_be_focused()
    expect(passage).to_contain_text("When the link does not arrive")
    card.page.keyboard.press("Escape")
    expect(passage).to_have_count(0)
    expect(second).to_be_focused()
    card.page.keyboard.press("Enter")  # leads to the source below the text, as it does without a script
    expect(card.section.locator("details.src").nth(1)).to_have_attribute("open", "")
