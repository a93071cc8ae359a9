"""Two operators and a refund: proposed in a conversation, approved by the other, seen live by the first."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import Site
from tests.browser.test_accessibility import SIZES, complaints
from tests.browser.test_journeys import MARK
from tests.support.host import HostNote
from tests.support.tools import KEYS

pytestmark = [pytest.mark.browser, pytest.mark.usefixtures("house_rules")]


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, **KEYS, "OPERATOR_LOADER": "tests.support.tools:load"}


def test_a_refund_is_approved_by_the_other_and_seen_live_by_the_first(site: Site) -> None:
    conversation = site.customer().ask("You charged me twice.")
    ada = site.operator("ada", f"/conversations/{conversation}")
    ben = site.operator("ben", "/approvals")
    for page in (ada, ben):
        page.evaluate(MARK)

    ada.keyboard.press("t")
    ada.locator("#propose-body a", has_text="Refund a charge").click()
    ada.get_by_label("Mark").fill("zinc")
    ada.get_by_label("Amount").fill("30")
    ada.get_by_label("How").fill("unknown")
    ada.get_by_role("button", name="Propose", exact=True).click()
    expect(ada.locator("#propose-body .awrong")).to_have_text("There is no such charge.")
    ada.get_by_label("How").fill("")
    ada.get_by_role("button", name="Propose", exact=True).click()
    card = ada.locator(".acard")
    expect(card).to_contain_text("Leaves zinc with 30.")
    expect(card).to_contain_text("You proposed it, so somebody else has to approve it.")
    expect(card.get_by_role("button", name="Approve")).to_have_count(0)
    expect(ada.locator("#propose")).not_to_be_visible()

    row = ben.locator("#rows .row", has_text="Refund a charge")
    expect(row).to_be_visible()  # it came by itself
    expect(ben.locator("#approvals-count")).to_have_text("1")
    ben.keyboard.press("j")
    ben.keyboard.press("Enter")
    expect(ben.locator("#detail .lead")).to_have_text("Leaves zinc with 30.")
    ben.keyboard.press("Shift+R")
    expect(ben.locator("#detail textarea[name=reason]").last).to_be_focused()
    ben.keyboard.press("Escape")
    ben.keyboard.press("Escape")
    ben.keyboard.press("Control+Enter")
    expect(ben.locator("#detail")).to_contain_text("Refunded 30.")

    expect(ada.locator(".act-past")).to_contain_text("Done · Refunded 30.")
    assert all(page.evaluate("window.neverReloaded") for page in (ada, ben))
    with site.app.app_context():
        notes = site.app.extensions["sqlalchemy"].session.query(HostNote).filter(HostNote.body.like("refund:zinc:%"))
        assert notes.count() == 1


@pytest.mark.parametrize("size", SIZES)
def test_approvals_have_no_violation(site: Site, size: str) -> None:
    conversation = site.customer().ask("Erase it all.")
    ada = site.operator("ada", f"/conversations/{conversation}/actions/new?tool=erase", viewport=SIZES[size])
    found = {"form": complaints(ada)}
    ada.get_by_label("Mark").fill("zinc")
    ada.get_by_role("button", name="Propose", exact=True).click()
    for theme in ("light", "dark"):
        page = site.operator("ben", "/approvals", viewport=SIZES[size], color_scheme=theme, reduced_motion="reduce")
        found[f"list {theme}"] = complaints(page)
        page.locator("#rows .row", has_text="Erase an account").first.click()
        expect(page.locator("#detail .lead")).to_be_visible()
        found[f"one {theme}"] = complaints(page)
        page.goto(f"{site.url}/support/conversations/{conversation}")
        expect(page.locator(".acard")).to_be_visible()
        found[f"card {theme}"] = complaints(page)
    assert {name: faults for name, faults in found.items() if faults} == {}
