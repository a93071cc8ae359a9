"""The pictures of the documentation, from a running demo: ``bin/screenshots`` starts one and calls this.

python -m tests.support.screenshots URL FOLDER
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, expect, sync_playwright
from sqlalchemy import select

from example_app import create_app
from example_app.models import db
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.knowledge.models import Article
from flask_cairnloop.retrieval.types import Strength
from tests.support import chromium

DESKTOP, WIDE, PHONE = (1280, 800), (1440, 900), (390, 844)
OPERATOR, CUSTOMER = "mina@demo.example", "tess@demo.example"
LIMIT = 250_000  # bytes: pictures are cloned with the repository


@dataclass(frozen=True)
class Picture:
    """One file, and how to get it.

    Args:
        path: the page.
        email: who looks at it; nobody when empty.
    """

    name: str
    path: str
    email: str = OPERATOR
    dark: bool = False
    size: tuple[int, int] = DESKTOP


def pictures() -> list[Picture]:
    """What is shown, with the ids the seeds gave."""
    with create_app().app_context():
        conversation = db.session.scalars(
            select(Draft.conversation_id)
            .join(Conversation, Conversation.id == Draft.conversation_id)
            .where(Draft.state == DraftState.READY, Draft.kind == DraftKind.REPLY, Draft.grounding == Strength.STRONG)
            .order_by(Conversation.last_message_at.desc())
        ).first()
        article = db.session.scalars(select(Article.id).where(Article.slug == "refunds")).one()
    thread = f"/support/conversations/{conversation}"
    return [
        Picture("start", "/", email=""),
        Picture("chat", "/chat", email=CUSTOMER),
        Picture("home", "/support/"),
        Picture("inbox-dark", "/support/inbox", dark=True),
        Picture("conversation-light", thread, size=WIDE),
        Picture("conversation-dark", thread, dark=True, size=WIDE),
        Picture("conversation-phone", thread, size=PHONE),
        Picture("settings", "/support/settings"),
        Picture("article-dark", f"/support/knowledge/{article}", dark=True),
    ]


def take(browser: Browser, url: str, picture: Picture, folder: Path) -> Path:
    """Make one picture."""
    width, height = picture.size
    context = browser.new_context(
        base_url=url,
        viewport={"width": width, "height": height},
        color_scheme="dark" if picture.dark else "light",
        reduced_motion="reduce",
        locale="en-GB",
    )
    page = context.new_page()
    if picture.email:
        sign_in(page, picture.email)
    page.goto(picture.path)
    if picture.path == "/chat":
        wait_for_chat(page)
    page.wait_for_load_state("networkidle")
    page.wait_for_timeout(500)  # fonts, and the last fragment
    file = folder / f"{picture.name}.png"
    page.screenshot(path=file, animations="disabled", caret="hide")
    context.close()
    with Image.open(file) as image:  # 256 colours are enough for flat surfaces and text, at a third of the bytes
        compact = image.convert("RGB").quantize(256, dither=Image.Dither.NONE)
    compact.save(file, optimize=True)
    return file


def sign_in(page: Page, email: str) -> None:
    page.goto("/login")
    page.fill("input[name=email]", email)
    page.fill("input[name=password]", "demo")
    page.keyboard.press("Enter")
    page.wait_for_url(lambda url: "/login" not in url)


def wait_for_chat(page: Page) -> None:
    """Its frame is in a closed shadow root, where only the list of frames finds it."""
    page.wait_for_timeout(500)
    frame = next(frame for frame in page.frames if frame.url.endswith("/support/widget"))
    expect(frame.locator("#state-word")).to_have_text("Connected", timeout=10_000)


def main(url: str, folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium.find(playwright), args=chromium.flags())
        files = [take(browser, url, picture, folder) for picture in pictures()]
        browser.close()
    for file in files:
        print(f"{file}  {file.stat().st_size:,} bytes")  # noqa: T201 - a command's output
    return int(any(file.stat().st_size > LIMIT for file in files))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
