"""Writing articles in real browsers: from the first word to a customer's answer, and two people in one article."""

from __future__ import annotations

import re
import uuid
from typing import Any

import pytest
from playwright.sync_api import Page, expect
from sqlalchemy import select
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Actor
from flask_cairnloop.knowledge import service
from flask_cairnloop.knowledge.models import Article, Revision
from tests.browser.conftest import Site
from tests.files.conftest import png
from tests.support.processes import wait_until

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def config(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    return {**config, "FILE_STORAGE": str(tmp_path_factory.mktemp("files")), "FILE_SIZE_LIMIT": 200_000}


QUESTION = "How do I calibrate the altimeter of my drone?"
BODY = (
    "To calibrate the altimeter, put the drone on level ground and hold **Set** for five seconds.\n\n"
    "The altimeter of the drone is calibrated when the light is green.\n\n"
    "<script>alert(1)</script> [x](javascript:alert(2))"
)


def saved(page: Page) -> None:
    expect(page.locator("#save-state")).to_have_text(re.compile(r"^Saved \d\d:\d\d$"))


def draft_of(site: Site, article_id: int) -> str:
    with site.app.app_context():
        found = (
            site.app.extensions["sqlalchemy"]
            .session.scalars(select(Revision.body).where(Revision.article_id == article_id, Revision.state == "draft"))
            .one()
        )
        return str(found)


def test_what_is_written_is_saved_published_found_and_answers_a_customer(site: Site) -> None:
    page = site.operator(path="/knowledge")
    page.get_by_role("link", name="New article").click()
    page.get_by_label("Title").fill("Calibrate the altimeter")
    page.get_by_label("Text, in Markdown").fill(BODY)
    expect(page.locator("#preview strong")).to_have_text("Set")
    expect(page.locator("#preview")).to_contain_text("<script>alert(1)</script>")
    expect(page.locator("#preview [href^=javascript]")).to_have_count(0)
    saved(page)
    expect(page).to_have_url(re.compile(r"/knowledge/\d+/edit$"))
    page.reload()
    expect(page.get_by_label("Text, in Markdown")).to_have_value(BODY)

    page.get_by_label("Category").fill("Drones")
    page.get_by_role("button", name="Save and publish").click()
    expect(page.get_by_role("status").filter(has_text="Published.")).to_be_visible()
    page.goto(f"{site.url}/support/knowledge")
    page.get_by_label("Search articles").fill("level ground")
    expect(page).to_have_url(re.compile(r"q=level\+ground$|q=level%20ground$"))
    expect(page.locator("#articles .line")).to_have_count(1)
    expect(page.locator("#articles .line")).to_contain_text("Calibrate the altimeter")

    conversation_id = site.customer().ask(QUESTION)
    page.goto(f"{site.url}/support/conversations/{conversation_id}")
    expect(page.locator(".draft .src").first).to_contain_text("Calibrate the altimeter")


def test_two_people_in_one_article_lose_nothing(site: Site) -> None:
    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        words = service.Words(f"shared-{uuid.uuid4().hex[:6]}", "Shared", "One.\n\nTwo.\n\nThree.")
        article_id = service.create_article(session, words, actor=Actor.system("test")).id
        session.commit()
    path = f"/knowledge/{article_id}/edit"
    mina, omar = site.operator("mina", path), site.operator("omar", path)
    mina.get_by_label("Text, in Markdown").fill("One by Mina.\n\nTwo.\n\nThree.")
    saved(mina)
    omar.get_by_label("Text, in Markdown").fill("One.\n\nTwo.\n\nThree by Omar.")
    expect(omar.locator("#collision")).to_contain_text("Mina Keller saved a newer draft")
    expect(omar.locator("#save-state")).to_have_text("Not saved")
    assert draft_of(site, article_id) == "One by Mina.\n\nTwo.\n\nThree."

    omar.get_by_role("button", name="Compare and merge").click()
    expect(omar.get_by_role("heading", name="Two versions of this article")).to_be_visible()
    expect(omar.get_by_role("radio", checked=True)).to_have_count(2)  # each changed a paragraph of their own
    omar.get_by_role("button", name="Save what I chose").click()
    merged = "One by Mina.\n\nTwo.\n\nThree by Omar."
    expect(omar.get_by_label("Text, in Markdown")).to_have_value(merged)
    assert draft_of(site, article_id) == merged

    # Mina goes on in what is the older version by now.
    mina.get_by_label("Text, in Markdown").fill("One by Mina.\n\nTwo by Mina.\n\nThree.")
    mina.get_by_role("button", name=re.compile("^Save(?! and)")).click()
    expect(mina.get_by_role("heading", name="Two versions of this article")).to_be_visible()
    mina.get_by_role("button", name="Save what I chose").click()
    expect(mina.get_by_label("Text, in Markdown")).to_have_value("One by Mina.\n\nTwo by Mina.\n\nThree by Omar.")


def test_nobody_leaves_unsaved_words_unknowingly_and_an_old_version_comes_back(site: Site) -> None:
    with site.app.app_context():
        session = site.app.extensions["sqlalchemy"].session
        article = session.scalars(select(Article).where(Article.slug == "refunds")).one()
        article_id, body = article.id, draft_or_published(session, article.id)
    page = site.operator(path=f"/knowledge/{article_id}/edit")
    page.route(
        "**/edit", lambda route: route.fulfill(status=503) if route.request.method == "POST" else route.continue_()
    )
    page.get_by_label("Text, in Markdown").fill("All new.")
    expect(page.locator("#save-state")).to_contain_text("the server could not take it")
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.type), dialog.dismiss()))
    page.get_by_role("link", name="Leave the editor").click()
    expect(page.get_by_label("Text, in Markdown")).to_have_value("All new.")
    assert asked == ["beforeunload"]

    page.unroute("**/edit")
    page.get_by_role("button", name="Save and publish").click()
    expect(page.locator(".prose")).to_have_text("All new.")
    page.get_by_role("link", name="Versions").click()
    page.get_by_role("navigation", name="Versions").get_by_role("link", name="Version 1").click()
    page.get_by_role("button", name="Restore as a draft").click()
    page.get_by_role("link", name="See what changes").click()
    expect(page.locator(".diff del").first).to_contain_text("All new.")
    page.get_by_role("link", name="Edit").click()
    page.get_by_role("button", name="Save and publish").click()
    expect(page.get_by_role("status").filter(has_text="Published.")).to_be_visible()
    with site.app.app_context():
        assert draft_or_published(site.app.extensions["sqlalchemy"].session, article_id) == body


def draft_or_published(session: Session, article_id: int) -> str:
    found = service.draft_of(session, article_id) or service.published_revision(session, article_id)
    assert found is not None
    return found.body


PASTE = """data => {
    const clipboardData = new DataTransfer();
    clipboardData.items.add(new File([new Uint8Array(data)], "image.png", { type: "image/png" }));
    const paste = new ClipboardEvent("paste", { clipboardData, bubbles: true, cancelable: true });
    document.getElementById("e-body").dispatchEvent(paste);
}"""
WIDTHS = "images => images.map(image => image.complete ? image.naturalWidth : 0)"


def test_images_are_chosen_and_pasted_previewed_published_and_seen_by_readers(site: Site) -> None:
    page = site.operator(path="/knowledge/new")
    text = page.get_by_label("Text, in Markdown")
    page.get_by_label("Title").fill("Read the tracker's light")
    text.fill("Look at it:\n\n")
    chosen = {"name": "the [red] light.png", "mimeType": "image/png", "buffer": png(64, 48)}
    with page.expect_file_chooser() as chooser:
        page.get_by_text("Add an image or file").locator("visible=true").click()
    chooser.value.set_files([chosen])
    expect(page.locator("#file-state")).to_have_text(
        "the [red] light.png is in the text. Say in the brackets what it shows."
    )
    expect(text).to_have_value(
        re.compile(r"^Look at it:\n\n!\[the \\\[red\\\] light\]\(files/[0-9a-f-]{36}/\S+\.png\)$")
    )
    page.keyboard.type("A red light")  # what it is called was selected, to be said better
    text.press("Control+End")
    text.press_sequentially("\n\n")
    page.evaluate(PASTE, list(png(32, 24)))
    expect(text).to_have_value(re.compile(r"!\[A red light\]\(.+\)\n\n!\[image\]\(files/.+/image\.png\)$"))

    images = page.locator("#preview img")
    expect(images).to_have_count(2)
    wait_until(lambda: images.evaluate_all(WIDTHS) == [64, 32])
    expect(images.first).to_have_attribute("alt", "A red light")

    page.locator("#adding input").set_input_files({"name": "l.png", "mimeType": "image/png", "buffer": bytes(200_001)})
    expect(page.locator("#file-state")).to_have_text("l.png: The file is larger than 195.3 KB.")
    text.press("Control+End")
    two = [{"name": name, "mimeType": "text/csv", "buffer": name.encode()} for name in ("one.csv", "two.csv")]
    page.locator("#adding input").set_input_files(two)
    expect(text).to_have_value(re.compile(r"image\.png\)\[one\.csv\]\(files/\S+\)\n\n\[two\.csv\]\(files/\S+\)$"))
    saved(page)

    page.get_by_role("button", name="Save and publish").click()
    expect(page.get_by_role("status").filter(has_text="Published.")).to_be_visible()
    images = page.locator(".prose img")
    images.last.scroll_into_view_if_needed()
    wait_until(lambda: images.evaluate_all(WIDTHS) == [64, 32])
    reader = site.new_page()
    reader.goto(site.url + str(images.first.get_attribute("src")))
    assert reader.locator("img").evaluate("image => image.naturalWidth") == 64

    page.get_by_role("link", name="Edit").click()
    expect(page.get_by_role("region", name="Details")).to_contain_text("image.png PNG, 32 × 24")
