"""Everything running: published articles, gunicorn, workers; and the two sides of a conversation in a browser."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from playwright.sync_api import Frame, Page, expect
from sqlalchemy import select

from flask_cairnloop.actors import Actor
from flask_cairnloop.conversations.models import Conversation, CustomerRecord, Message
from flask_cairnloop.knowledge import service as knowledge
from flask_cairnloop.testing import run_jobs
from tests.conftest import close
from tests.support.host import make_host
from tests.support.processes import Process, wait_until

ARTICLES = {
    "reset-password": (
        "Reset your password",
        "You can reset your password yourself, at any time.\n\n## By e-mail\n\nOpen the sign-in page and choose "
        "**Forgot password**. We send a link to the address of your account. The link works for 30 minutes. "
        "Choose a new password of at least twelve characters.\n\n## The link does not arrive\n\nLook into the spam "
        "folder first. A password link goes only to the address that the account was opened with.\n",
    ),
    "refunds": (
        "Refund a booking",
        "A booking can be refunded for up to 180 days after the payment.\n\n## Refund in full\n\nOpen the booking, "
        "press **Refund** and choose **Full refund**. The money is back on the card after five to ten working days.\n",
    ),
}


@pytest.fixture(scope="module")
def host(database_url: str, redis_url: str, config: dict[str, Any]) -> Iterator[Flask]:
    """The host in this process, for looking at rows and for what happens behind the browser's back."""
    app = make_host(database_url, redis_url, **config)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        for slug, (title, body) in ARTICLES.items():
            article = knowledge.save_article(
                session, slug=slug, title=title, body=body, actor=Actor.system("test"), category="Account"
            )
            knowledge.publish(session, article.id, actor=Actor.system("test"))
        session.commit()
    run_jobs(app)
    yield app
    close(app)


@dataclass
class Site:
    """The running site and its people."""

    url: str
    app: Flask
    new_page: Callable[..., Page]

    def operator(self, operator_id: str = "mina", path: str = "", **options: Any) -> Page:
        """A page of the console, in a browser of this operator's own."""
        page = self.new_page(**({"viewport": {"width": 1280, "height": 800}} | options))
        page.goto(f"{self.url}/host/sign-in/{operator_id}")
        if path:
            page.goto(f"{self.url}/support{path}")
        return page

    def customer(self, ref: str | None = None, **options: Any) -> Chat:
        """The host's page with the open chat, in a browser of this customer's own."""
        ref = ref or f"cleo-{uuid.uuid4().hex[:6]}"
        page = self.new_page(**options)
        page.goto(f"{self.url}/host/chat/{ref}")
        wait_until(lambda: page.frame(url="**/support/widget"))
        frame = page.frame(url="**/support/widget")
        assert frame is not None
        expect(frame.locator("#state-word")).to_have_text("Connected")
        return Chat(self, ref, page, frame)


@dataclass
class Chat:
    """A customer's chat."""

    site: Site
    ref: str
    page: Page
    frame: Frame

    def ask(self, words: str) -> int:
        """Send a message; returns the id of its conversation once the server has taken it."""
        self.frame.locator("#body").fill(words)
        self.frame.locator("#body").press("Enter")
        expect(self.frame.locator(".mine").last).to_contain_text(words)
        # The copy above is shown before anything is sent: only the row says that the words are there for everybody.
        return wait_until(lambda: self._conversation_of(words))

    def _conversation_of(self, words: str) -> int | None:
        with self.site.app.app_context():
            return self.site.app.extensions["sqlalchemy"].session.scalar(
                select(Message.conversation_id)
                .join(Conversation, Conversation.id == Message.conversation_id)
                .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
                .where(CustomerRecord.ref == self.ref, Message.body == words)
                .limit(1)
            )


@pytest.fixture
def site(host: Flask, live_server: Process, worker: Process, new_page: Callable[..., Page]) -> Site:
    return Site(live_server.url, host, new_page)
