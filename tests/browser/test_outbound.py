"""Follow-ups, as operators send them and customers read them."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select

from flask_cairnloop.conversations.models import Message, MessageKind
from flask_cairnloop.outbound import templates
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundEnvelope
from flask_cairnloop.outbound.types import DeliveryState, EnvelopeState
from tests.browser.conftest import Site
from tests.support.host import OPERATORS, HostNote

pytestmark = pytest.mark.browser

CAP = 2


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "BULK_LIMIT": CAP, "ON_OUTBOUND": "tests.support.host:deliver"}


def rows(site: Site, statement: Any) -> list[Any]:
    with site.app.app_context():
        return list(site.app.extensions["sqlalchemy"].session.scalars(statement))


def template(site: Site, name: str, body: str) -> None:
    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        keys = {"subject": "About {{conversation.subject}}", "body": body, "cancel_on_reply": True}
        templates.save(session, None, operator=OPERATORS["mina"], name=name, **keys)
        session.commit()


def previewed(page: Page) -> list[str]:
    expect(page.get_by_role("button", name="Send to")).to_be_visible()
    return [text.inner_text() for text in page.locator("[data-text]").all()]


def test_a_single_follow_up_says_word_for_word_what_was_previewed(site: Site) -> None:
    name = f"Nudge {uuid.uuid4().hex[:6]}"  # tried again, it must not stand in its own way
    template(site, name, "Hi {{customer.name}},\n\nabout “{{conversation.subject}}”: did it help?\n\n— Mina")
    chat = site.customer()
    number = chat.ask("Where is my parcel?")
    page = site.operator(path=f"/conversations/{number}")
    page.get_by_role("link", name="Follow up", exact=True).click()
    page.get_by_label(name).check()
    page.get_by_role("button", name="Preview").click()
    (text,) = previewed(page)
    assert "about “Where is my parcel?”: did it help?" in text
    page.get_by_role("button", name="Send to 1 customer").click()
    expect(page.locator("#envelope")).to_contain_text("1 delivered.")

    said = chat.frame.locator("#messages .message").last
    expect(said).to_contain_text("did it help?")
    (message,) = rows(site, select(Message).filter_by(conversation_id=number, kind=MessageKind.FOLLOW_UP))
    assert message.body == text
    assert f"{message.body}" in rows(site, select(HostNote.body))
    page.locator("#envelope").get_by_role("link").first.click()
    expect(page.locator("#timeline")).to_contain_text("Follow-up")


def test_more_than_the_cap_are_refused_split_and_sent_in_parts(site: Site) -> None:
    template(site, "News", "Dear {{customer.name}}, we open at nine.")
    chats = [site.customer() for _ in range(CAP + 1)]
    numbers = [chat.ask("When do you open?") for chat in chats]
    page = site.operator(path="/inbox?view=open")
    for number in numbers:
        page.locator(f"#row-{number}").hover()
        page.locator(f"#row-{number} input[name=id]").check()
    page.get_by_role("button", name="Follow up", exact=True).click()
    expect(page.get_by_text(f"At most {CAP} get a follow-up at once")).to_be_visible()
    page.get_by_label("News").check()
    page.get_by_role("button", name="Preview").click()
    expect(page.locator("#envelope")).to_contain_text("Nothing was sent, and that it was refused stays on record")
    assert rows(site, select(Message.id).where(Message.conversation_id.in_(numbers), Message.kind == "follow_up")) == []

    page.get_by_role("button", name="Split into 2 previews").click()
    refused = page.url
    texts = []
    for part in (1, 2):
        page.goto(refused)
        page.get_by_role("link", name=f"Part {part}").click()
        texts += previewed(page)
        page.get_by_role("button", name="Send to").click()
        expect(page.locator("#envelope")).to_contain_text("delivered.")
    sent = rows(
        site,
        select(Message.body)
        .where(Message.conversation_id.in_(numbers), Message.kind == MessageKind.FOLLOW_UP)
        .order_by(Message.conversation_id),
    )
    assert sorted(sent) == sorted(texts)
    assert len(sent) == CAP + 1
    for chat in chats:
        expect(chat.frame.locator("#messages .message").last).to_contain_text("we open at nine")
    page.goto(f"{site.url}/support/outbound")
    expect(page.locator(".envelopes")).to_contain_text("Refused")
    states = rows(site, select(OutboundEnvelope.state).where(OutboundEnvelope.template_name == "News"))
    assert sorted(states) == sorted([EnvelopeState.REFUSED, EnvelopeState.SUBMITTED, EnvelopeState.SUBMITTED])
    delivered = select(OutboundDelivery.id).where(OutboundDelivery.state != DeliveryState.DELIVERED)
    assert rows(site, delivered.where(OutboundDelivery.conversation_id.in_(numbers))) == []
