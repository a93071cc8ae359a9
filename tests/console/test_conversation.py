"""The conversation page: what it shows in every state, what its buttons do, and what it refuses."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from flask import Flask, Response, g
from flask.testing import FlaskClient
from sqlalchemy import select

from flask_cairnloop import ConversationInfo, Customer, add_note, receive, reply
from flask_cairnloop.actors import Actor
from flask_cairnloop.clock import now
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationRead,
    ConversationStatus,
    Message,
    MessageKind,
)
from flask_cairnloop.conversations.queries import TIMELINE_SIZE
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.drafting.types import DraftFailure, DraftKind, PolicyDecision
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.testing import frozen
from tests.console.conftest import Desk
from tests.support.host import OPERATORS, HostNote

HOSTILE = '<script>alert(1)</script><img src=x onerror=alert(2)>"\'><hx-partial hx-target="body">{{ 7*7 }}'
CLEO = Customer("cleo-conversation", "Cleo Marsh", "cleo@customer.example", "Marsh Bakery")


def page_of(client: FlaskClient, conversation_id: int) -> str:
    answer = client.get(f"/support/conversations/{conversation_id}")
    assert answer.status_code == 200
    return answer.get_data(as_text=True)


def messages(app: Flask, conversation_id: int, kind: MessageKind) -> list[str]:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        return list(
            session.scalars(
                select(Message.body)
                .where(Message.conversation_id == conversation_id, Message.kind == kind)
                .order_by(Message.sequence)
            )
        )


def shown(page: str) -> str:
    found = re.search(r'id="seen"[^>]*value="(\d+)"', page)
    assert found is not None
    return found[1]


# --- reading ---


def test_words_of_customers_are_only_ever_text(
    app: Flask, desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    hostile = Customer(f"h-{uuid.uuid4().hex[:8]}", HOSTILE[:200], '"><script>@x.example', HOSTILE[:200])
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        message = receive(session, customer=hostile, body=HOSTILE, channel="widget", subject=HOSTILE[:200])
        add_note(session, message.conversation_id, actor=Actor.operator(OPERATORS["omar"]), body=HOSTILE)
        session.commit()
        conversation_id = message.conversation_id
    source = {"number": 1, "article_id": 1, "title": HOSTILE, "heading": HOSTILE, "quote": HOSTILE}
    desk.draft(
        conversation_id,
        body=f"{HOSTILE} [1]",
        summary=HOSTILE,
        citations=[source],
        policy_reason=HOSTILE[:500],
        declined=HOSTILE,
    )
    path = f"/support/conversations/{conversation_id}"
    pages = [
        operator_client.get(path).get_data(as_text=True),
        operator_client.get(f"{path}/context").get_data(as_text=True),
        operator_client.get("/support/inbox").get_data(as_text=True),
        operator_client.get("/support/").get_data(as_text=True),
        fragment("GET", path).get_data(as_text=True),
        fragment("GET", path, "div#work").get_data(as_text=True),
        fragment("POST", f"{path}/reply", body=HOSTILE, seen="0", client_id=str(uuid.uuid4())).get_data(as_text=True),
    ]
    for page in pages:
        assert "<script>alert" not in page
        assert "<img src=x" not in page
        assert not re.search(r'<hx-partial hx-target="body"', page)
        assert "49" not in re.findall(r"\}\}[^<]*|\{\{[^<]*", page)
        assert not re.search(r"\son[a-z]+=[\"']", page)
        assert " style=" not in page
        assert "<script>" not in page
    assert "&lt;script&gt;alert" in pages[0]


def test_no_template_uses_what_our_policy_forbids() -> None:
    from flask_cairnloop.resources import folder

    files = list((folder("templates") / "cairnloop" / "console").glob("*.html"))
    assert len(files) > 20
    for file in files:
        text = file.read_text(encoding="utf-8")
        assert not re.search(r"hx-on|hx-live|js:|javascript:|hx-trigger=\"[^\"]*\[", text), file.name
        assert not re.search(r"<script(?![^>]*\ssrc=)|\sstyle=|\son\w+=", text), file.name


def test_a_note_cannot_be_taken_for_a_reply(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask()
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        add_note(session, conversation_id, actor=Actor.operator(OPERATORS["omar"]), body="Known issue.")
        reply(session, conversation_id, actor=Actor.operator(OPERATORS["omar"]), body="We are on it.")
        session.commit()
    page = page_of(operator_client, conversation_id)
    note = re.search(r'<article class="g"[^>]*>.*?</article>', page, re.DOTALL)
    assert note is not None
    assert "Known issue." in note[0]
    assert "Internal note, not sent" in note[0]
    answer = re.search(r'<article class="g msg from-team".*?</article>', page, re.DOTALL)
    assert answer is not None
    assert "We are on it." in answer[0]
    assert "Internal note" not in answer[0]


FACES: list[tuple[dict[str, Any], list[str], list[str]]] = [
    ({"state": DraftState.GENERATING, "kind": None, "body": ""}, ["Looking for sources"], ["Approve and send"]),
    (
        {},
        ["Approve and send", "Strong grounding", "Reset your password", "Sends as you", "Discard"],
        ["Copy into", "engine"],
    ),
    (
        {"kind": DraftKind.CLARIFICATION, "grounding": Strength.PARTIAL, "citations": []},
        ["Clarifying question", "Partial grounding", "Approve and send"],
        [],
    ),
    (
        {"declined": "It has no words today."},
        ["Your app’s draft engine did not write this: It has no words today.", "Approve and send"],
        [],
    ),
    (
        {"kind": DraftKind.ESCALATION, "citations": [], "declined": "It has no words today."},
        ["Your app’s draft engine did not write this: It has no words today."],
        ["Approve and send"],
    ),
    ({"policy": PolicyDecision.DRAFT_ONLY}, ["Copy into your reply", "Not sent as it stands"], ["Approve and send"]),
    (
        {"kind": DraftKind.ESCALATION, "grounding": Strength.NONE, "citations": [], "body": ""},
        ["Needs a person", "Write the reply yourself", "Nothing is sent", "No grounding"],
        ["Approve and send", "Copy into your reply"],
    ),
    (
        {"kind": DraftKind.ESCALATION, "grounding": Strength.NONE, "citations": [], "body": "Somebody will look."},
        [
            "Needs a person",
            "Somebody will look.",
            "Copy into your reply",
            "Write the reply yourself",
            "Nothing is sent",
        ],
        ["Approve and send"],
    ),
    (
        {"state": DraftState.FAILED, "kind": None, "failure": "KeyError: {'body'}"},
        ["No draft this time", "Try again", "The draft could not be written. Nothing was sent"],
        ["KeyError", "Approve and send"],
    ),
    (
        {"grounding_numbers": {"reason": "never heard of"}, "citations": ["odd", {"number": "x"}]},
        ["Strong grounding"],
        [],
    ),
]


@pytest.mark.parametrize(
    ("stored", "words"),
    [
        (DraftFailure.HOOK_RAISED, "Your app’s draft engine failed."),
        (DraftFailure.HOOK_TIMEOUT, "Your app’s draft engine did not answer in time."),
        (DraftFailure.HOOK_INVALID, "Your app’s draft engine wrote something that does not fit what was found."),
        (DraftFailure.WORKER_LOST, "The work was cut off before the draft was done."),
        (DraftFailure.JOB_DISCARDED, "Somebody discarded its job before it ran."),
        (DraftFailure.OTHER, "The draft could not be written."),
        ("HookFailed: CAIRNLOOP_DRAFT_GENERATOR timeout: no answer in time", "The draft could not be written."),
        (None, "The draft could not be written."),
    ],
)
def test_why_there_is_no_draft_is_said_in_a_sentence_of_ours(
    desk: Desk, operator_client: FlaskClient, stored: str | None, words: str
) -> None:
    conversation_id = desk.ask()
    desk.draft(conversation_id, state=DraftState.FAILED, kind=None, failure=stored)
    page = page_of(operator_client, conversation_id)
    assert f'<p class="dsay">{words} Nothing was sent, and the conversation is as it was.</p>' in page
    assert "HookFailed" not in page


@pytest.mark.parametrize(("changes", "there", "absent"), FACES)
def test_the_draft_card_has_a_face_for_every_state(
    desk: Desk, operator_client: FlaskClient, changes: dict[str, Any], there: list[str], absent: list[str]
) -> None:
    conversation_id = desk.ask()
    desk.draft(conversation_id, **changes)
    page = page_of(operator_client, conversation_id)
    assert [words for words in there if words not in page] == []
    assert [words for words in absent if words in page] == []


def test_a_citation_is_a_number_that_leads_to_its_source_and_to_the_passage(
    desk: Desk, operator_client: FlaskClient
) -> None:
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id)
    page = page_of(operator_client, conversation_id)
    assert f'href="#src-{draft_id}-1"' in page
    assert f'id="src-{draft_id}-1"' in page
    assert "/support/knowledge/7?revision=9#section-by-e-mail:~:text=The%20link%20works%20for%2030%20minutes." in page


def test_the_page_is_whole_without_scripts(desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask("Read me without a script")
    page = page_of(operator_client, conversation_id)
    assert "Read me without a script" in page
    assert f'action="/support/conversations/{conversation_id}/reply"' in page
    answer = operator_client.post(
        f"/support/conversations/{conversation_id}/reply",
        data={"body": "A plain form.", "seen": shown(page), "client_id": str(uuid.uuid4())},
    )
    assert answer.status_code == 303
    assert "A plain form." in page_of(operator_client, conversation_id)


def test_reading_moves_the_read_mark_forward_only(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask()
    for sequence, mark in (("1", 1), ("0", 1), ("999", 1), ("-3", 1), ("x", 1)):
        answer = operator_client.post(f"/support/conversations/{conversation_id}/read", data={"sequence": sequence})
        assert answer.status_code == 204
        with app.app_context():
            row = app.extensions["sqlalchemy"].session.get(ConversationRead, (conversation_id, "mina"))
            assert row.sequence == mark
    assert b"Unread" not in operator_client.get(f"/support/inbox/rows/{conversation_id}").data


def test_long_conversations_are_read_in_parts(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask("The very first words")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        for n in range(105):
            add_note(session, conversation_id, actor=Actor.operator(OPERATORS["omar"]), body=f"Note {n}.")
        session.commit()
    page = page_of(operator_client, conversation_id)
    assert "Earlier messages" in page
    assert 'id="m1"' not in page
    before = re.search(r"before=(\d+)", page)
    assert before is not None
    earlier = operator_client.get(f"/support/conversations/{conversation_id}?before={before[1]}").get_data(as_text=True)
    assert 'id="m1"' in earlier
    assert "Back to the newest" in earlier
    assert 'id="composer"' not in earlier, "nobody answers from the middle of a conversation"


def note_at(app: Flask, conversation_id: int, body: str, moment: datetime, count: int = 1) -> None:
    with app.app_context(), frozen(moment):
        session = app.extensions["sqlalchemy"].session
        for n in range(count):
            add_note(session, conversation_id, actor=Actor.operator(OPERATORS["omar"]), body=f"{body} {n}.")
        session.commit()


def test_what_became_of_a_draft_stands_on_one_page_where_it_happened(
    app: Flask, desk: Desk, operator_client: FlaskClient
) -> None:
    start, last = now() - timedelta(hours=6), TIMELINE_SIZE - 1
    omar = Actor.operator(OPERATORS["omar"])
    with frozen(start):
        conversation_id = desk.ask(customer=CLEO)
    for hour in (0, 2, 4):  # three pages, with something between them
        note_at(app, conversation_id, f"Hour {hour}", start + timedelta(hours=hour), TIMELINE_SIZE)
    for hour, reason in ((1, "tone"), (3, "not_needed"), (5, "incomplete")):
        with app.app_context(), frozen(start + timedelta(hours=hour)):
            session = app.extensions["sqlalchemy"].session
            drafting.regenerate(session, conversation_id, actor=omar)
            session.commit()
            draft_id = desk.draft(conversation_id)
            drafting.discard(session, draft_id, actor=omar, reason=reason)
            session.commit()
    pages: list[list[str]] = []
    path: str | None = f"/support/conversations/{conversation_id}"
    while path:
        page = operator_client.get(path).get_data(as_text=True)
        timeline = page.partition('id="timeline"')[2]
        pages.append(re.findall(rf"Hour \d {last}\.|Omar Reyes discarded a draft: [a-z ]*[a-z]", timeline))
        earlier = re.search(r'href="([^"]+)">Earlier messages', page)
        path = earlier[1].replace("&amp;", "&") if earlier else None
    told = "Omar Reyes discarded a draft:"
    assert pages == [
        [f"Hour 4 {last}.", f"{told} something was missing"],
        [f"Hour 2 {last}.", f"{told} it was not needed"],
        [f"Hour 0 {last}.", f"{told} the tone was off"],
        [],
    ]


def test_messages_stand_in_their_order_however_the_clocks_of_their_hosts_differ(
    app: Flask, desk: Desk, operator_client: FlaskClient
) -> None:
    midnight = datetime(2026, 3, 10, tzinfo=UTC)
    with frozen(midnight + timedelta(seconds=5)):
        conversation_id = desk.ask("First words")
    note_at(app, conversation_id, "Second words, from a host whose clock is behind", midnight - timedelta(seconds=20))
    note_at(app, conversation_id, "Third words", midnight + timedelta(seconds=9))
    page = page_of(operator_client, conversation_id).partition('id="timeline"')[2]
    assert page.index("First words") < page.index("Second words") < page.index("Third words")
    assert re.findall(r'id="(day-\d+)"', page) == ["day-20260310"]


# --- what is known about the customer ---


@pytest.mark.parametrize(
    ("provider", "words"),
    [
        (None, "Not configured"),
        (lambda _c, _id: {}, "knows nothing further"),
        (lambda _c, _id: 1 / 0, "did not answer"),
        (lambda _c, _id: {"plan": "Bakery", "Last charge": {"amount": "£12"}}, "Bakery"),
    ],
)
def test_the_customer_panel_tells_its_states_apart(make_app: Callable[..., Flask], provider: Any, words: str) -> None:
    app = make_app(CONTEXT_PROVIDER=provider)
    conversation_id = Desk(app).ask(customer=CLEO)
    client = app.test_client()
    page = client.get(f"/support/conversations/{conversation_id}/context", headers={"X-Operator": "mina"}).get_data(
        as_text=True
    )
    others = {"Not configured", "knows nothing further", "did not answer"} - {words}
    assert words in page
    assert not [other for other in others if other in page]
    assert "ZeroDivision" not in page
    assert "cleo@customer.example" in page


def test_the_host_is_told_which_conversation_and_no_transaction_waits_for_it(
    make_app: Callable[..., Flask], waiting_transactions: Callable[[], int]
) -> None:
    told: list[tuple[Customer, ConversationInfo, int]] = []

    def provider(customer: Customer, conversation: ConversationInfo) -> dict[str, str]:
        told.append((customer, conversation, waiting_transactions()))
        return {}

    app = make_app(CONTEXT_PROVIDER=provider)
    conversation_id = Desk(app).ask("My key does not turn", customer=CLEO)
    found = Desk(app).get(Conversation, conversation_id)
    app.test_client().get(f"/support/conversations/{conversation_id}/context", headers={"X-Operator": "mina"})
    info = ConversationInfo(conversation_id, "My key does not turn", "open", "widget", found.created_at)
    assert told == [(CLEO, info, 0)]


def test_the_panel_leaves_what_the_host_has_on_this_request_alone(make_app: Callable[..., Flask]) -> None:
    """As with Flask-Login, which keeps the user's row in ``g``; and a row the host means to commit at the end."""
    app = make_app(CONTEXT_PROVIDER=lambda *_: {"Plan": "Bakery"})
    conversation_id = Desk(app).ask(customer=CLEO)
    db = app.extensions["sqlalchemy"]
    with app.app_context():
        user = HostNote(body="never seen")
        db.session.add(user)
        db.session.commit()
        user_id = user.id

    @app.before_request
    def load() -> None:
        g.user = db.session.get(HostNote, user_id)
        db.session.add(HostNote(body=f"request of {user_id}"))

    @app.after_request
    def remember(answer: Response) -> Response:
        g.user.body = "seen"
        db.session.commit()
        return answer

    answer = app.test_client().get(f"/support/conversations/{conversation_id}/context", headers={"X-Operator": "mina"})
    assert b"Bakery" in answer.data
    with app.app_context():
        assert db.session.get(HostNote, user_id).body == "seen"
        assert db.session.scalars(select(HostNote).where(HostNote.body == f"request of {user_id}")).one()


# --- deciding ---


def test_approving_sends_once_however_often_it_is_pressed(
    app: Flask, desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id)
    path = f"/support/conversations/{conversation_id}/drafts/{draft_id}/approve"
    seen = shown(page_of(operator_client, conversation_id))
    first, second = (fragment("POST", path, seen=seen) for _ in range(2))
    assert first.status_code == second.status_code == 200
    assert "Choose Forgot password." in first.get_data(as_text=True)
    assert "sent already" in json.loads(second.headers["HX-Trigger"])["cairnloop:toast"]["text"]
    assert messages(app, conversation_id, MessageKind.REPLY) == ["Choose Forgot password."]
    assert desk.state(draft_id) is DraftState.APPROVED
    assert "You sent a draft as it stood, " in page_of(operator_client, conversation_id)


def test_an_edited_draft_is_sent_as_edited(
    app: Flask, desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id)
    path = f"/support/conversations/{conversation_id}/drafts/{draft_id}/approve"
    fragment(
        "POST", path, seen=shown(page_of(operator_client, conversation_id)), body="Choose Forgot password, Cleo. [1]"
    )
    assert messages(app, conversation_id, MessageKind.REPLY) == ["Choose Forgot password, Cleo."]
    assert desk.state(draft_id) is DraftState.EDITED
    page = page_of(operator_client, conversation_id)
    assert "You sent a draft with changes (43% of its words), " in page
    told = page.split('<details class="ev past"')[1].split("</details>")[0]
    assert "What was changed" in told
    assert "<del>" in told
    assert "password.<" in told.partition("<del>")[2].partition("</del>")[0]
    assert "password, Cleo.<" in told.partition("<ins>")[2].partition("</ins>")[0]


def test_what_was_changed_is_only_ever_text(
    app: Flask, desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id, body="Write <b>this</b> into it. [1]")
    path = f"/support/conversations/{conversation_id}/drafts/{draft_id}/approve"
    body = "Write <script>that</script> into it."
    fragment("POST", path, seen=shown(page_of(operator_client, conversation_id)), body=body)
    page = page_of(operator_client, conversation_id)
    told = page.split('<details class="ev past"')[1].split("</details>")[0]
    assert "&lt;b&gt;this&lt;/b&gt;" in told
    assert "&lt;script&gt;that&lt;/script&gt;" in told
    assert "<b>this" not in page
    assert "<script>that" not in page


@pytest.mark.parametrize("typed", [None, "My own <b>careful</b> words."])
def test_approval_over_newer_words_is_refused_shown_and_keeps_the_text(
    app: Flask, desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any], typed: str | None
) -> None:
    conversation_id = desk.ask(customer=CLEO)
    draft_id = desk.draft(conversation_id)
    seen = shown(page_of(operator_client, conversation_id))
    desk.ask("Stop, it is about something else.", customer=CLEO, into=conversation_id)
    form = {"seen": seen} | ({"body": typed} if typed else {})
    path = f"/support/conversations/{conversation_id}/drafts/{draft_id}/approve"
    answer = fragment("POST", path, **form)
    page = answer.get_data(as_text=True)
    assert answer.status_code == 409
    assert answer.headers["HX-Retarget"] == "#held"
    assert "Nothing was sent: Cleo has written again" in page
    assert "Stop, it is about something else." in page
    assert ("My own &lt;b&gt;careful&lt;/b&gt; words." in page) is bool(typed)
    assert messages(app, conversation_id, MessageKind.REPLY) == []
    whole = operator_client.post(path, data=form)
    assert whole.status_code == 409
    assert "Nothing was sent" in whole.get_data(as_text=True)


def test_a_reply_over_newer_words_is_refused_and_goes_the_second_time(
    app: Flask, desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    conversation_id = desk.ask(customer=CLEO)
    path = f"/support/conversations/{conversation_id}/reply"
    form = {"body": "On its way.", "seen": "0", "client_id": str(uuid.uuid4())}
    refused = fragment("POST", path, **form)
    assert refused.status_code == 409
    form["seen"] = shown(refused.get_data(as_text=True))
    assert fragment("POST", path, **form).status_code == 200
    assert fragment("POST", path, **form).status_code == 200, "a resend is harmless"
    assert messages(app, conversation_id, MessageKind.REPLY) == ["On its way."]


@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({}, 422),
        ({"body": "x"}, 422),
        ({"body": "x", "seen": "9", "client_id": "no such thing"}, 422),
        ({"body": "   ", "client_id": str(uuid.uuid4()), "seen": "9"}, 422),
        ({"client_id": str(uuid.uuid4()), "seen": "9"}, 422),
        ({"body": "x", "client_id": str(uuid.uuid4())}, 409),  # nothing was seen
    ],
)
def test_an_incomplete_reply_changes_nothing(
    app: Flask, desk: Desk, fragment: Callable[..., Any], form: dict[str, str], status: int
) -> None:
    conversation_id = desk.ask()
    answer = fragment("POST", f"/support/conversations/{conversation_id}/reply", **form)
    assert answer.status_code == status
    assert messages(app, conversation_id, MessageKind.REPLY) == []


def test_a_draft_is_reached_through_its_own_conversation_only(desk: Desk, fragment: Callable[..., Any]) -> None:
    mine, other = desk.ask(), desk.ask()
    draft_id = desk.draft(other)
    desk.draft(mine)
    for step, form in (("approve", {"seen": "9"}), ("discard", {"reason": "wrong"})):
        answer = fragment("POST", f"/support/conversations/{mine}/drafts/{draft_id}/{step}", **form)
        assert answer.status_code == 404
    assert desk.state(draft_id) is DraftState.READY


def test_what_may_not_be_sent_is_not_sent(app: Flask, desk: Desk, fragment: Callable[..., Any]) -> None:
    for changes in ({"policy": PolicyDecision.DRAFT_ONLY}, {"kind": DraftKind.ESCALATION, "citations": []}):
        conversation_id = desk.ask()
        draft_id = desk.draft(conversation_id, **changes)
        for form in ({"seen": "9"}, {"seen": "9", "body": "Words of an operator's own."}):
            path = f"/support/conversations/{conversation_id}/drafts/{draft_id}/approve"
            assert fragment("POST", path, **form).status_code == 409
        assert messages(app, conversation_id, MessageKind.REPLY) == []
        assert desk.state(draft_id) is DraftState.READY


def test_discarding_needs_a_reason_and_leaves_one_quiet_line(
    desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id)
    path = f"/support/conversations/{conversation_id}/drafts/{draft_id}/discard"
    assert fragment("POST", path).status_code == 422
    assert fragment("POST", path, reason="tone").status_code == 200
    page = page_of(operator_client, conversation_id)
    assert "You discarded a draft: the tone was off" in page
    assert "Draft a reply from the articles" in page
    again = fragment("POST", path, reason="tone")
    assert "discarded already" in again.headers["HX-Trigger"]


def test_a_note_beside_the_reason_stands_with_what_was_discarded(
    desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id)
    path = f"/support/conversations/{conversation_id}/drafts/{draft_id}/discard"
    assert fragment("POST", path, reason="wrong", note="x" * 501).status_code == 422
    assert desk.state(draft_id) is DraftState.READY
    fragment("POST", path, reason="wrong", note="The link is <i>gone</i>.")
    told = page_of(operator_client, conversation_id).split('<details class="ev past"')[1].split("</details>")[0]
    assert "You discarded a draft: it was wrong" in told
    assert "“The link is &lt;i&gt;gone&lt;/i&gt;.”" in told
    assert '<div class="text">Choose Forgot password.</div>' in told
    assert desk.get(Draft, draft_id).decision_note == "The link is <i>gone</i>."


def test_try_again_makes_a_new_draft(desk: Desk, fragment: Callable[..., Any]) -> None:
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id, state=DraftState.FAILED, kind=None, failure="The search was away.")
    answer = fragment("POST", f"/support/conversations/{conversation_id}/draft")
    assert "Looking for sources" in answer.get_data(as_text=True)
    assert desk.state(draft_id) is DraftState.SUPERSEDED
    assert "A draft was tried without success: it could not be written" in answer.get_data(as_text=True)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({}, "It goes out only when one of your team approves it."),
        ({"policy_reason": "Your app’s policy failed, so a person decides."}, "failed, so a person decides."),
        ({"policy": PolicyDecision.DRAFT_ONLY}, "Your policy keeps this one for you to rewrite."),
        (
            {"engine": "deterministic-1", "declined": "The model did not answer in time."},
            "Your app’s draft engine did not write this: The model did",
        ),
        ({"engine": "yours-1"}, "by yours-1 from 1 source"),
    ],
)
def test_the_card_says_who_wrote_it_and_what_the_policy_says(
    desk: Desk, operator_client: FlaskClient, changes: dict[str, Any], words: str
) -> None:
    conversation_id = desk.ask()
    desk.draft(conversation_id, **changes)
    assert words in page_of(operator_client, conversation_id)


@pytest.mark.parametrize(
    ("ready", "decided", "words"),
    [
        (0, 0, "as it stood, at once"),
        (0, 45, "after 45 s"),
        (0, 600, "after 10 min"),
        (0, 7200, "after 2 h"),
        (0, 260_000, "after 3 days"),
        (10, 0, "at once"),
    ],
)
def test_the_time_to_a_decision_is_told_in_one_unit(
    desk: Desk, operator_client: FlaskClient, ready: int, decided: int, words: str
) -> None:
    conversation_id, start = desk.ask(), now()
    desk.draft(
        conversation_id,
        state=DraftState.APPROVED,
        decided_by="mina",
        decided_by_name="Mina Keller",
        ready_at=start + timedelta(seconds=ready),
        decided_at=start + timedelta(seconds=decided),
    )
    assert words in page_of(operator_client, conversation_id)


def test_a_withheld_draft_shows_why_and_no_text(desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask()
    desk.draft(
        conversation_id, state=DraftState.WITHHELD, body="Secret proposal", policy_reason="It mentions an injury."
    )
    page = page_of(operator_client, conversation_id)
    assert "A draft was withheld by your policy: It mentions an injury" in page
    assert "Secret proposal" not in page


def test_resolving_reopening_and_writing_to_a_resolved_one(
    desk: Desk, operator_client: FlaskClient, fragment: Callable[..., Any]
) -> None:
    conversation_id = desk.ask()
    path = f"/support/conversations/{conversation_id}"
    refused = fragment("POST", f"{path}/resolve", seen="0")
    assert refused.status_code == 409, "words that were not shown"
    assert "It was not resolved: Cleo has written again" in refused.get_data(as_text=True)
    seen = shown(page_of(operator_client, conversation_id))
    assert "Resolved" in fragment("POST", f"{path}/resolve", seen=seen).headers["HX-Trigger"]
    assert "already" in fragment("POST", f"{path}/resolve", seen=seen).headers["HX-Trigger"]
    page = page_of(operator_client, conversation_id)
    assert "data-resolved" in page
    assert "Sending reopens it" in page
    fragment("POST", f"{path}/reopen")
    assert desk.get(Conversation, conversation_id).status is ConversationStatus.OPEN
    assert "already" in fragment("POST", f"{path}/reopen").headers["HX-Trigger"]
    page = page_of(operator_client, conversation_id)
    assert "You resolved the conversation" in page
    assert "You reopened the conversation" in page


def test_a_note_waits_for_nobody_and_never_reaches_the_customer(
    app: Flask, desk: Desk, fragment: Callable[..., Any]
) -> None:
    conversation_id = desk.ask(customer=CLEO)
    form = {"body": "She called as well.", "client_id": str(uuid.uuid4())}
    for _ in range(2):
        answer = fragment("POST", f"/support/conversations/{conversation_id}/note", **form)
        assert answer.status_code == 200
    assert json.loads(answer.headers["HX-Trigger"])["cairnloop:sent"] == {
        "mode": "note",
        "conversation": conversation_id,
    }
    assert messages(app, conversation_id, MessageKind.NOTE) == ["She called as well."]
    assert messages(app, conversation_id, MessageKind.REPLY) == []


def test_kept_text_that_is_sent_leaves_the_composer_alone(desk: Desk, fragment: Callable[..., Any]) -> None:
    conversation_id = desk.ask(customer=CLEO)
    draft_id = desk.draft(conversation_id)
    desk.ask("One more thing", customer=CLEO, into=conversation_id)
    path = f"/support/conversations/{conversation_id}"
    held = fragment("POST", f"{path}/drafts/{draft_id}/approve", seen="1", body="My version.")
    assert held.status_code == 409
    form = dict(re.findall(r'<input type="hidden" name="(\w+)" value="([^"]*)">', held.text.split("data-kept>")[1]))
    sent = fragment("POST", f"{path}/reply", body="My version.", **form)
    assert json.loads(sent.headers["HX-Trigger"])["cairnloop:sent"]["mode"] == "kept"


def test_a_replaced_draft_is_told_from_a_decided_one(desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask(customer=CLEO)
    draft_id = desk.draft(conversation_id)
    desk.ask("One more thing", customer=CLEO, into=conversation_id)
    assert desk.get(Draft, draft_id).state is DraftState.SUPERSEDED
    assert "set aside because the customer wrote again" in page_of(operator_client, conversation_id)
