"""Every form of the console, filled in as no browser would: refused calmly, or taken, never a 500."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient

from tests.console.conftest import Desk
from tests.console.test_access import address, console_rules
from tests.support.tools import KEYS

# As they go over the wire: bytes that are no text, text that no column holds, numbers that no column holds.
VALUES = (
    "",
    "a%00b",
    "%ED%A0%80",  # half a surrogate pair
    "%FF%0D%0AX-Header:%20y",
    "%D9%A3",  # a digit, though not of ours
    "-1",
    "9" * 19,
    "9" * 5000,
    "x" * 20_000,
)
# What an editor sends of an article.
WRITTEN = {
    "slug": "may-my-ferret",
    "title": "May my ferret drive?",
    "body": "It%20may.",
    "category": "Ferrets",
    "tags": "bus, ferret",
    "audience": "public",
    "language": "en",
    "edits": "1",
    "base": "1",
    "auto": "1",
    "then": "publish",
}
# Each form with all its fields as they should be.
FORMS: dict[str, dict[str, str]] = {
    "reply": {
        "body": "Words",
        "seen": "1",
        "client_id": "",
        "view": "open",
        "kept": "1",
        "cite": "1:1",
        "then": "resolve:ask",
        "shown": "0",
    },
    **{f"{how}_macro": {"name": "Hi", "body": "Words", "does": "resolve", "shared": "1"} for how in ("new", "save")},
    **{name: {} for name in ("delete_macro", "use_macro")},
    "suggest_from_conversation": {},
    "accept_gap": {"version": "1", "note": "Soon"},
    "dismiss_gap": {"version": "1", "reason": "rare", "note": "No"},
    "snooze_gap": {"version": "1", "until": "week"},
    "reopen_gap": {"version": "2"},
    "assign_gap": {"version": "1", "to": "me"},
    "merge_gap": {"version": "1", "into": "1"},
    **{f"suggest_from_{origin}": {} for origin in ("gap", "conversation")},
    "approve_suggestion": {"version": "2", "note": "Good"},
    "publish_suggestion": {"version": "3"},
    "return_suggestion": {"version": "2", "note": "More"},
    "reject_suggestion": {"version": "2", "reason": "other", "note": "No"},
    "defer_suggestion": {"version": "2", "until": "week", "note": "Later"},
    "reopen_suggestion": {"version": "3"},
    "regenerate_suggestion": {"version": "2", "write": "auto", "drop_edits": "1"},
    "assign_suggestion": {"version": "2", "to": "me"},
    "merge_review": {"version": "3", "choose": "1", "against": "1", "replace": "1", "p0": "mine", "f-title": "mine"},
    "hand_off": {"conversation": "1"},
    "edit_review": {**WRITTEN, "edits": "2", "merging": "1", "p0": "both"},
    "read_mentions": {"mention": "1"},
    "undo_reply": {"view": "open"},
    "send_now": {"seen": "1", "view": "open"},
    "keep_unsent": {"kind": "reply", "body": "Words", "tab": "t"},
    "note": {"body": "Words", "client_id": "", "view": "open"},
    "approve": {"body": "Words", "seen": "1", "shown": "0", "view": "open"},
    "discard": {"reason": "tone", "view": "open"},
    "regenerate": {"view": "open"},
    "resolve": {"seen": "1", "view": "open", "asking": "quiet"},
    "reopen": {"view": "open"},
    "assign": {"to": "me", "had": "", "view": "open"},
    "set_team": {"team": "", "view": "open"},
    "snooze": {"until": "tomorrow", "at": "2030-01-01T09:00", "seen": "1", "view": "open"},
    "wake": {"view": "open"},
    "set_priority": {"priority": "high", "view": "open"},
    "tag": {"tag": "Parcel", "view": "open"},
    "untag": {"tag": "Parcel", "view": "open"},
    "mark_spam": {"view": "open"},
    "unmark_spam": {"view": "open"},
    "new_follow_up": {
        "template": "1",
        "at": "2030-01-01T09:00",
        "conversation": "",
        "id": "1",
        "list": "view=open",
        "customers": "c-1",
    },
    **{f"{does}_envelope": {} for does in ("send", "discard", "split", "cancel", "retry")},
    **{f"{does}_delivery": {"from": "thread"} for does in ("cancel", "retry")},
    "settle_delivery": {"did": "delivered", "reason": "Seen", "from": "thread"},
    **{
        name: {"name": "Nudge", "subject": "Hello", "body": "Words", "cancel_on_reply": "1", "edits": "1"}
        for name in ("outbound_templates", "outbound_template")
    },
    "archive_template": {},
    "suppressed": {"whom": "c-1"},
    "unsuppress": {"reason": "Asked"},
    "several": {
        "id": "1",
        "step": "snooze",
        "set": "",
        "to": "me",
        "tag": "Parcel",
        "priority": "low",
        "until": "week",
        "at": "2030-01-01T09:00",
        "list": "view%3Dopen",
    },
    "undo_several": {"list": "view%3Dopen"},
    "save_list": {"name": "Mine", "shared": "yes", "list": "view%3Dopen%26assignee%3Dme"},
    "delete_list": {},
    "mark_read": {"sequence": "1"},
    "reject_answer": {},
    "restore_answer": {},
    "index_article": {},
    "retry_job": {},
    "discard_job": {},
    "settled": {"q": "may my ferret drive the bus", "conversation": "1"},
    **dict.fromkeys(("new_article", "edit_article", "preview_article", "merge_article"), WRITTEN),
    **{name: {"edits": "1"} for name in ("publish_article", "discard_article", "restore_article")},
    **{name: {} for name in ("verify_article", "unschedule_article", "archive_article", "unarchive_article")},
    "schedule_article": {"edits": "1", "at": "2030-01-01T09:00"},
    "export_audit": {"format": "csv", "q": "mina", "actor": "operator:mina", "thread": "conversation:1"},
    "upload_file": {"alt": "A%20plan", "file": "plan.png"},
    "approve_action": {
        "revision": "0",
        "change": "yes",
        "input.mark": "m",
        "input.amount": "2",
        "input.how": "",
        "confirmation": "tag",
        "note": "Fine",
        "at": "conversation",
        "show": "waiting",
    },
    "reject_action": {"reason": "No", "at": "list", "show": "waiting"},
    "defer_action": {"reason": "Later", "days": "3", "at": "list", "show": "waiting"},
    "settle_action": {"happened": "yes", "note": "Seen", "at": "list", "show": "look"},
    **{name: {"at": "list", "show": "waiting"} for name in ("back_action", "withdraw_action", "propose_again")},
    "decide_several": {"action": "1", "does": "reject", "reason": "No", "days": "3", "show": "waiting"},
    "propose_action": {"tool": "tag", "input.mark": "m", "input.amount": "2", "reason": "Why"},
    "tokens": {
        "name": "Machine",
        "scope": "knowledge.read",
        "tool": "tag",
        "conversation": "",
        "customer": "",
        "days": "90",
        "rate": "60/minute",
    },
    "revoke_token": {},
    "service_policy": {
        "version": "0",
        "in_force": "yes",
        "normal-first_response": "2h 30m",
        "low-resolution": "40h",
        "clock": "hours",
        "zone": "Europe/Berlin",
        "day-0": "09:00-12:30, 13:30-17:00",
        "day-6": "",
        "holidays": "2026-12-25",
        "warn_at": "80",
        "rule": "team",
        "team": "Night",
    },
    "set_theme": {"theme": "dark", "next": "/support/inbox"},
}


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, **KEYS, "FILE_STORAGE": "memory://forms"}


def fillings(name: str) -> list[dict[str, str]]:
    """A form without each of its fields, without any, and with each of the values in each field."""
    form = FORMS[name]
    missing = [{field: value for field, value in form.items() if field != absent} for absent in form]
    return [{}, *missing, *(form | {field: value} for field in form for value in VALUES)]


def test_every_form_of_the_console_is_filled_in_here(app: Flask) -> None:
    assert {f"cairnloop.{name}" for name in FORMS} == {
        rule.endpoint for rule in console_rules(app) if "POST" in (rule.methods or ())
    }


@pytest.mark.parametrize("name", FORMS)
def test_a_form_of_nonsense_is_no_error_of_ours(
    app: Flask, desk: Desk, sign_in: Callable[[str], FlaskClient], name: str
) -> None:
    app.testing, app.config["PROPAGATE_EXCEPTIONS"] = False, False
    client = sign_in("mina")
    rule = next(rule for rule in console_rules(app) if rule.endpoint == f"cairnloop.{name}")
    failed, path = [], ""
    for number, filling in enumerate(fillings(name)):
        if (
            not path
            or name in ("approve", "discard", "resolve")
            or {"action_id", "pending_id", "macro_id", "gap_id", "suggestion_id"} & rule.arguments
        ):  # what is decided once needs a new one each time
            conversation_id = desk.ask()
            about = {"draft_id": desk.draft(conversation_id)}
            if "gap_id" in rule.arguments:
                about["gap_id"] = desk.gap(accepted=name == "reopen_gap")
            if "suggestion_id" in rule.arguments:
                about["suggestion_id"] = desk.suggestion_for(name)
            if "macro_id" in rule.arguments:
                about["macro_id"] = desk.macro()
            if "pending_id" in rule.arguments:
                about["pending_id"] = desk.pending(conversation_id)
            if "action_id" in rule.arguments:
                about["action_id"] = desk.action(conversation_id)
            path = address(rule, conversation_id=conversation_id, **about)
        if filling.get("client_id") == FORMS[name].get("client_id") == "":
            filling["client_id"] = str(uuid.uuid4())
        body = "&".join(f"{field}={value}" for field, value in filling.items())
        headers = {"HX-Request": "true", "HX-Target": "div#timeline"} if number % 2 else {}
        answer = client.post(path, data=body, headers=headers, content_type="application/x-www-form-urlencoded")
        if answer.status_code >= 500:
            failed.append((answer.status_code, body[:200]))
    assert failed == []
