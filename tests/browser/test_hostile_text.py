"""Whatever somebody writes, wherever it is shown: nothing of it runs, with our content security policy and without."""

from __future__ import annotations

import io
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlencode

import pytest
from flask import Flask
from playwright.sync_api import Dialog, Frame, Page, expect
from sqlalchemy.orm import Session

from flask_cairnloop import Customer, add_note, keep_file, receive, reply
from flask_cairnloop.actors import Actor
from flask_cairnloop.clock import now
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.models import DraftState
from flask_cairnloop.drafting.types import DraftKind, PolicyDecision
from flask_cairnloop.files import service as files
from flask_cairnloop.files.links import as_markdown
from flask_cairnloop.knowledge import service as knowledge
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.testing import run_jobs
from tests.browser.hostile import EVERYTHING, FILE_NAMES, PLAIN
from tests.files.conftest import png
from tests.support.host import OPERATORS
from tests.support.processes import wait_until

pytestmark = pytest.mark.browser

# What only a text that was taken for markup would have put there.
NOT_OURS = (
    "script:not([src]), style, base, object, iframe:not([src*='/widget']), math, svg animate, meta[http-equiv=refresh],"
    " [onerror], [onload], [onclick], [onfocus], [onmouseover], [ontoggle], [onbegin], [srcdoc], [hx-on\\:\\:load]"
)
# A form may have a field named "action", which hides its own.
ADDRESSES = """[...document.querySelectorAll('[href], [src], [action]')].map(
    e => e.matches('form') ? new URL(e.getAttribute('action'), location).href : e.href || e.src || e.action)"""
SCHEMES = ("http:", "https:", "mailto:")


@dataclass(frozen=True)
class Desk:
    """A desk whose every text is hostile."""

    url: str
    ref: str
    conversation_id: int
    articles: tuple[int, ...]
    help_pages: tuple[str, ...]

    @property
    def pages(self) -> Iterator[str]:
        yield from ("/", "/inbox", "/inbox?view=all", "/knowledge", "/knowledge?state=draft", "/settings")
        yield from ("/audit", "/audit?action=draft.discarded", "/approvals", "/search?q=refund")
        for path in ("/conversations/{}", "/conversations/{}/context"):
            yield path.format(self.conversation_id)
        for article_id in self.articles:
            yield f"/knowledge/{article_id}"
        yield f"/knowledge/{self.articles[-1]}/edit"
        yield f"/knowledge/{self.articles[-1]}/history"


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, "FILE_STORAGE": "memory://hostile", "HELP_URL_PREFIX": "/help", "ATTACHMENT_LIMIT": 20}


def article_of_files(app: Flask, session: Session) -> int:
    """An article that shows, or links to, a file of each name."""
    system, cairnloop, shown = Actor.system("test"), app.extensions["cairnloop"], []
    for number, name in enumerate(FILE_NAMES):
        data = png() if number % 2 else b"Words"
        upload = files.examine(io.BytesIO(data), name, cairnloop.settings)
        kept = files.add(session, files.store(files.needed_storage(cairnloop), upload), actor=system)
        shown.append(as_markdown(kept.uuid, kept.name, is_image=upload.content.is_image, words=name))
    article = knowledge.save_article(
        session, slug=f"files-{uuid.uuid4().hex[:8]}", title="Files", body="\n\n".join(shown), actor=system
    )
    knowledge.publish(session, article.id, actor=system)
    return article.id


def attachments(session: Session, conversation_id: int, customer: Customer) -> None:
    """Messages of both sides with a file of each name, the last of them without a word of their own."""
    for start in range(0, len(FILE_NAMES), 20):
        some = list(enumerate(FILE_NAMES[start : start + 20]))
        for actor in (customer, OPERATORS["mina"]):
            ids = [keep_file(io.BytesIO(png() if at % 2 else b"Words"), name, actor=actor) for at, name in some]
            if actor is customer:
                keys = {"channel": "widget", "conversation_id": conversation_id}
                receive(session, customer=customer, body="", files=ids, **keys)
            else:
                reply(session, conversation_id, body="", actor=OPERATORS["mina"], files=ids)


@pytest.fixture
def desk(app: Flask, serve: Callable[[Flask], str]) -> Desk:
    articles, system, help_pages = [], Actor.system("test"), ["/browse?" + urlencode({"category": PLAIN[1]})]
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        for number, start in enumerate(range(0, len(EVERYTHING), 12)):
            batch = EVERYTHING[start : start + 12]
            article = knowledge.save_article(
                session,
                slug=f"hostile-{uuid.uuid4().hex[:8]}",
                title=f"Refund {number} {batch[0]}"[:300].replace("\n", " "),
                body="\n\n".join(f"## Refund {text}\n\nThe refund {text} takes ten days.\n\n{text}" for text in batch),
                category=batch[1][:200],
                tags=[text[:100] for text in batch[2:6]],
                source_url=f"https://a.example/{batch[3]}"[:2000],
                actor=system,
            )
            articles.append(article.id)
            help_pages.append(f"/articles/{article.slug}?{urlencode({'q': batch[0]})}")
            knowledge.publish(session, article.id, actor=system)
        articles.append(article_of_files(app, session))
        session.commit()
    run_jobs(app)
    ref = f"h-{uuid.uuid4().hex[:8]}"
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        conversation_id = receive(
            session, customer=Customer(ref, PLAIN[1], PLAIN[7], PLAIN[10]), body="\n".join(EVERYTHING), channel="widget"
        ).conversation_id
        receive(session, customer=Customer(ref, PLAIN[1]), body="How long does a refund take?", channel="widget")
        add_note(session, conversation_id, body="\n".join(EVERYTHING), actor=OPERATORS["mina"])
        session.commit()
    run_jobs(app)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        reply(session, conversation_id, body="\n".join(EVERYTHING), actor=OPERATORS["mina"])
        attachments(session, conversation_id, Customer(ref, PLAIN[1]))
        for text in PLAIN:
            who = Customer(f"{ref}-{text}"[:200], text, text, text)
            receive(session, customer=who, body=text, subject=text, channel="widget")
        drafts(session, conversation_id, articles[0])
        session.commit()
    return Desk(serve(app), ref, conversation_id, tuple(articles), tuple(help_pages))


def drafts(session: Session, conversation_id: int, article_id: int) -> None:
    """One that was discarded with a note, one that was sent with changes, and one that waits."""
    text, mina = "\n".join(EVERYTHING), OPERATORS["mina"]
    revision = knowledge.published_revision(session, article_id)
    assert revision is not None
    about = {"article_id": article_id, "revision_id": revision.id, "chunk_id": 1, "title": PLAIN[0]}
    made = [{"number": 1, "heading": PLAIN[1], "quote": text, **about}]
    for decision in ("discard", "approve", "wait"):
        draft = drafting.regenerate(session, conversation_id, actor=Actor.operator(mina))
        draft.state, draft.kind, draft.body, draft.citations = (
            DraftState.READY,
            DraftKind.REPLY,
            f"Ten. [1]\n{text}",
            made,
        )
        draft.engine, draft.declined, draft.policy_reason = PLAIN[6], PLAIN[7], PLAIN[8]
        draft.grounding, draft.policy, draft.ready_at = Strength.STRONG, PolicyDecision.REQUIRE_APPROVAL, now()
        session.flush()
        if decision == "discard":
            note = "\n".join(PLAIN)[: drafting.NOTE_LENGTH]
            drafting.discard(session, draft.id, actor=Actor.operator(mina), reason="wrong", note=note)
        elif decision == "approve":
            drafting.approve(session, draft.id, actor=Actor.operator(mina), seen=10_000, body=f"{text}\nTen. [1]")


def runs_nothing(page: Page | Frame) -> None:
    """The page holds nothing that a text put there as markup, and no address that runs."""
    assert page.locator(NOT_OURS).count() == 0, page.locator(NOT_OURS).first.evaluate("e => e.outerHTML")
    addresses = [str(found) for found in page.evaluate(ADDRESSES) if found]
    assert [address for address in addresses if not address.startswith(SCHEMES)] == []


def walk(desk: Desk, page: Page) -> None:
    """Look at every page of the desk, and at the customer's chat."""
    page.goto(f"{desk.url}/host/sign-in/mina")
    for path in desk.pages:
        page.goto(f"{desk.url}/support{path}")
        if path == f"/conversations/{desk.conversation_id}":  # parts of it come later
            page.wait_for_load_state("networkidle")
            page.locator(".draft .dtext .cite").first.hover()
            expect(page.locator("#passage")).to_contain_text("<script>alert(1)</script>")
        runs_nothing(page)
    for path in ("", "/browse", f"/search?{urlencode({'q': PLAIN[0]})}", *desk.help_pages):
        page.goto(f"{desk.url}/help{path}")
        runs_nothing(page)
    page.goto(f"{desk.url}/host/chat/{desk.ref}")
    wait_until(lambda: page.frame(url="**/support/widget"))
    frame = page.frame(url="**/support/widget")
    assert frame is not None
    expect(frame.locator("body")).to_contain_text("<script>alert(1)</script>")
    names = frame.locator(".att-name").all_inner_texts() + frame.locator(".shot img").evaluate_all(
        "all => all.map(i => i.alt)"
    )
    assert len(names) >= 2 * len(FILE_NAMES)
    assert not any(turned in name for name in names for turned in "\u202e\u2028\n\r/\\")
    expect(frame.locator(".rests .section").last).to_have_text(PLAIN[1])
    runs_nothing(frame)


def test_no_text_of_anybody_runs_on_any_page(desk: Desk, new_page: Callable[..., Page]) -> None:
    ran: list[str] = []

    def dialog(opened: Dialog) -> None:
        ran.append(opened.message)
        opened.dismiss()

    for without_policy in (False, True):
        page = new_page(bypass_csp=without_policy, viewport={"width": 1440, "height": 900})
        page.on("dialog", dialog)
        page.route("**/favicon.ico", lambda route: route.fulfill(status=204))  # the host's to have
        walk(desk, page)
    assert ran == []
