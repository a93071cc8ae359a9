"""A deadline that passes while two people look on, and a countdown that stays true by itself, in real browsers."""

from __future__ import annotations

import re
import uuid
from datetime import timedelta
from typing import Any

import pytest
from playwright.sync_api import expect
from sqlalchemy.orm import Session

from flask_cairnloop import Actor, Customer, receive, reply
from flask_cairnloop.conversations.models import Priority
from flask_cairnloop.service_levels import service
from flask_cairnloop.service_levels.targets import Target
from flask_cairnloop.service_levels.types import Policy
from tests.browser.conftest import Site
from tests.support.host import OPERATORS

pytestmark = pytest.mark.browser


def do(site: Site, work: Any) -> Any:
    with site.app.app_context():
        session: Session = site.app.extensions["sqlalchemy"].session()
        found = work(session)
        session.commit()
        return found


def promise(site: Site, seconds: float) -> None:
    """The first answer within so long, the next ones whenever."""

    def write(session: Session) -> None:
        newest = service.newest(session)
        policy = Policy({Priority.NORMAL: {Target.FIRST_RESPONSE: timedelta(seconds=seconds)}})
        seen = newest.version if newest else 0
        service.save(session, policy, in_force=True, seen=seen, actor=Actor.system("test"))

    do(site, write)


def ask(site: Site) -> int:
    customer = Customer(f"late-{uuid.uuid4().hex[:8]}", "Lena Vogt")
    body = "Is anybody there?"
    return int(do(site, lambda s: receive(s, customer=customer, body=body, channel="widget").conversation_id))


def test_a_breach_is_seen_live_by_two_people_and_goes_with_the_answer(site: Site) -> None:
    promise(site, 5)
    number = ask(site)
    inbox = site.operator(path="/inbox?view=waiting")
    thread = site.operator("omar", path=f"/conversations/{number}")
    home = site.operator(path="/")
    in_rail = inbox.locator("#views a", has_text="Late").locator(".count")
    in_row, in_head = inbox.locator(f"#row-{number} .due"), thread.locator("#thread-head .due")
    expect(in_row).to_have_attribute("data-late", "yes")
    expect(in_row).to_contain_text("late")
    expect(in_rail).to_have_text("1")
    expect(in_head).to_have_attribute("data-late", "yes")
    expect(in_head).to_contain_text("First answer")
    expect(thread.locator("#timeline")).to_contain_text("First answer is late: its time has passed")
    expect(home.locator(".stats a", has_text="Late").locator("b")).not_to_have_text("0")
    home.locator(".stats a", has_text="Late").click()
    expect(home.locator(f"#row-{number}")).to_be_visible()

    actor = Actor.operator(OPERATORS["omar"])
    do(site, lambda s: reply(s, number, actor=actor, body="Here we are."))
    expect(in_head).to_have_count(0)
    expect(in_row).to_have_count(0)
    expect(in_rail).to_have_text("0")


# A clock that a test can put ahead, and what the page does each half minute in a fraction of that.
CLOCK = """
    const clock = Date.now, every = setInterval;
    window.ahead = 0;
    Date.now = () => clock() + window.ahead;
    window.setInterval = (does, time, ...rest) => every(does, time === 30000 ? 200 : time, ...rest);
"""


def test_a_countdown_stays_true_by_itself(site: Site) -> None:
    promise(site, 3600)
    number = ask(site)
    page = site.operator()
    page.add_init_script(CLOCK)
    page.goto(f"{site.url}/support/inbox?view=waiting&sort=due")
    words = page.locator(f"#row-{number} time[data-due]")
    expect(words).to_have_text(re.compile(r"^(59m|1h) left$"))
    page.evaluate("window.ahead = 20 * 60000")
    expect(words).to_have_text(re.compile(r"^(39|40)m left$"))
    page.evaluate("window.ahead = 65 * 60000")
    expect(words).to_have_text(re.compile(r"^[45]m late$"))
    expect(page.locator(f"#row-{number} .due")).to_have_attribute("data-late", "yes")


def test_the_policy_is_written_in_its_form(site: Site) -> None:
    page = site.operator(path="/settings/service-levels")
    page.get_by_label("Urgent: First answer").fill("30m")
    page.get_by_label("In these hours").check()
    page.get_by_label("Time zone").fill("Europe/Berlin")
    page.get_by_label("Monday").fill("09:00-12:00, 13:00-17:00")
    page.get_by_label("Holidays").fill("2026-12-25")
    page.get_by_role("button", name="Save policy").click()
    expect(page.get_by_label("Urgent: First answer")).to_have_value("30m")
    expect(page.get_by_label("Monday")).to_have_value("09:00-12:00, 13:00-17:00")
    page.get_by_label("Monday").fill("when I feel like it")
    page.get_by_role("button", name="Save policy").click()
    expect(page.locator("#wrong-day-0")).to_contain_text("Write from when until when")
    page.get_by_label("Round the clock").check()
    expect(page.get_by_label("Monday")).to_be_hidden()
