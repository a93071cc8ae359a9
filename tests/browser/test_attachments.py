"""Files both ways, as people see them: a customer's picture, an operator's PDF, and what is refused calmly."""

from __future__ import annotations

import uuid
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Frame, Page, expect

from tests.browser.conftest import Chat, Site
from tests.files.conftest import png
from tests.files.test_uploads import SVG
from tests.support.processes import wait_until

pytestmark = pytest.mark.browser

PDF = b"%PDF-1.7\nOne screw at a time."


@pytest.fixture(scope="module")
def config(config: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Web server and test look into the same folder."""
    return {**config, "FILE_STORAGE": str(tmp_path_factory.mktemp("files"))}


def payload(name: str, data: bytes, media_type: str = "application/octet-stream") -> dict[str, Any]:
    return {"name": name, "mimeType": media_type, "buffer": data}


def choose(frame: Frame, *files: dict[str, Any]) -> None:
    frame.locator("#file").set_input_files(list(files))


def natural_width(page: Page | Frame, selector: str) -> int:
    """Of a picture that the browser has decoded."""
    picture = page.locator(selector).last
    expect(picture).to_be_visible()
    return int(wait_until(lambda: picture.evaluate("image => image.complete && image.naturalWidth")))


def send(chat: Chat) -> None:
    chat.frame.get_by_role("button", name="Send", exact=True).click()


def test_a_picture_one_way_and_a_pdf_the_other(site: Site) -> None:
    chat = site.customer()
    number = chat.ask("My roof rack does not fit")
    operator = site.operator(path=f"/conversations/{number}")
    operator.evaluate("window.neverReloaded = true")

    choose(chat.frame, payload("roof.png", png(320, 200), "image/png"))
    expect(chat.frame.locator(".chip .att-name")).to_have_text("roof.png")
    chat.frame.locator("#body").fill("It looks like this")
    send(chat)
    assert natural_width(chat.frame, ".mine:not(.unsent) .shot img") == 320
    expect(chat.frame.locator("#chips")).to_be_hidden()

    assert natural_width(operator, "#timeline .shot img") == 320
    picture = operator.locator("#timeline .shot img")
    expect(picture).to_have_attribute("alt", "roof.png")
    assert picture.bounding_box()["width"] == 160  # type: ignore[index]

    operator.locator("#reply-form [data-attach]").set_input_files([payload("steps.pdf", PDF, "application/pdf")])
    expect(operator.locator("#reply-form .chosen li")).to_contain_text("steps.pdf")
    operator.locator(f"#reply-{number}").fill("One screw at a time")
    operator.locator("#reply-form .send").click()
    expect(operator.locator("#timeline .from-team .att")).to_contain_text("steps.pdf")
    expect(operator.locator("#reply-form .chosen li")).to_have_count(0)
    assert operator.evaluate("window.neverReloaded")

    row = chat.frame.locator(".theirs .att")
    expect(row).to_contain_text("steps.pdf")
    with chat.page.expect_download() as started:
        row.click()
    assert Path(started.value.path()).read_bytes() == PDF

    chat.page.reload()
    wait_until(lambda: chat.page.frame(url="**/support/widget"))
    frame = chat.page.frame(url="**/support/widget")
    assert frame is not None
    assert natural_width(frame, ".mine .shot img") == 320


def test_a_file_alone_is_a_message(site: Site) -> None:
    chat = site.customer()
    choose(chat.frame, payload("only.png", png(64, 48), "image/png"))
    send(chat)  # while it is still on its way, perhaps: it goes as soon as it is there
    assert natural_width(chat.frame, ".mine:not(.unsent) .shot img") == 64
    expect(chat.frame.locator(".mine .said")).to_be_hidden()


def test_what_cannot_be_taken_is_said_and_can_be_removed(site: Site) -> None:
    chat = site.customer()
    choose(chat.frame, payload("trick.png", SVG, "image/png"))
    chip = chat.frame.locator(".chip")
    expect(chip).to_contain_text("no kind of file")
    expect(chat.frame.locator(".send")).to_have_attribute("aria-disabled", "true")
    chip.get_by_role("button", name="Remove trick.png").click()
    expect(chat.frame.locator("#chips")).to_be_hidden()

    choose(chat.frame, payload("big.txt", b"a" * (10 * 1024 * 1024 + 1), "text/plain"))
    expect(chat.frame.locator("#alert")).to_contain_text("larger than 10 MB")
    choose(chat.frame, *(payload(f"{place}.txt", b"Words", "text/plain") for place in range(6)))
    expect(chat.frame.locator("#alert")).to_contain_text("at most 5 files")
    expect(chat.frame.locator(".chip")).to_have_count(5)
    chat.frame.get_by_role("button", name="Remove 0.txt").click()
    expect(chat.frame.locator(".chip")).to_have_count(4)
    chat.ask("Four of them")
    expect(chat.frame.locator(".mine .att")).to_have_count(4)


DROP = """({target, name, text}) => {
    const carrier = new DataTransfer();
    carrier.items.add(new File([text], name, {type: 'text/plain'}));
    document.querySelector(target).dispatchEvent(
        new DragEvent('drop', {bubbles: true, cancelable: true, dataTransfer: carrier}));
    document.querySelector(target).dispatchEvent(
        new ClipboardEvent('paste', {bubbles: true, cancelable: true, clipboardData: carrier}));
}"""


def test_files_are_dropped_and_pasted_on_both_sides(site: Site) -> None:
    chat = site.customer()
    name = f"log-{uuid.uuid4().hex[:6]}.txt"
    chat.frame.evaluate(DROP, {"target": "#body", "name": name, "text": "It failed"})
    expect(chat.frame.locator(".chip")).to_have_count(2)
    number = chat.ask("Logs")
    operator = site.operator(path=f"/conversations/{number}")
    expect(operator.locator("#timeline .att")).to_have_count(2)
    operator.locator("#m-note").check(force=True)
    operator.evaluate(DROP, {"target": f"#note-{number}", "name": name, "text": "Seen"})
    expect(operator.locator("#note-form .chosen li")).to_have_count(2)
    operator.get_by_role("button", name=f"Remove {name}").first.click()
    operator.locator("#note-form .add").click()
    expect(operator.locator("#timeline .note .att")).to_have_count(1)
    chat.ask("Anything?")
    expect(chat.frame.locator(".theirs")).to_have_count(0)
    expect(chat.frame.locator(".att")).to_have_count(2)


def test_without_scripts_a_form_brings_its_files(site: Site) -> None:
    chat = site.customer()
    number = chat.ask("Plain, please")
    operator = site.operator(path=f"/conversations/{number}", java_script_enabled=False)
    operator.locator(f"#reply-{number}").fill("Here")
    operator.locator("#reply-form input[type=file]").set_input_files([payload("steps.pdf", PDF, "application/pdf")])
    operator.locator("#reply-form .send").click()
    expect(operator.locator("#timeline .from-team .att")).to_contain_text("steps.pdf")
    expect(chat.frame.locator(".theirs .att")).to_contain_text("steps.pdf")
