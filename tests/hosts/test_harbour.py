"""A grown app of somebody else's behind a proxy, with its own forms, headers and names, and the desk inside it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import pytest

from flask_cairnloop import Customer, receive
from tests.hosts.conftest import (
    CHAT,
    DESK,
    HARBOUR,
    HIRE,
    HTMX,
    LIVE,
    MOUNT,
    PUBLIC,
    Office,
    Visitor,
    make_draft_ready,
    token_of,
)
from tests.support import processes
from tests.support.processes import Process, wait_until
from tests.support.websocket import Chat

CARGO = "How long may cargo stay on the quay?"


@pytest.fixture(scope="module")
def harbour(office: Office) -> Iterator[Process]:
    env = {**processes.environment(office.database_url, office.redis_url), **office.env()}
    with processes.web_server(env, app=f"{HARBOUR}()") as process:
        yield process


@pytest.fixture
def ada(harbour: Process) -> Visitor:
    """Of the office: an operator."""
    return Visitor(harbour.url).sign_in("ada@harbour")


@pytest.fixture
def bo(harbour: Process) -> Visitor:
    """An agent: a customer."""
    return Visitor(harbour.url).sign_in("bo@ship")


def asked(bo: Visitor, words: str = CARGO) -> tuple[Chat, int]:
    """Bo's chat, and the number of the conversation in which these words are."""
    chat = bo.chat()
    chat.join(token_of(bo))
    return chat, int(chat.say(words)["conversation"])


def test_the_way_in_leads_over_the_hosts_sign_in_and_back(harbour: Process, bo: Visitor) -> None:
    nobody = Visitor(harbour.url)
    answer = nobody.get(f"{DESK}/inbox?view=open")
    assert answer.status == HTTPStatus.FOUND
    back = quote(f"{DESK}/inbox?view=open", safe="")
    assert answer.headers["Location"] == f"{MOUNT}/accounts/sign-in?next={back}"
    fragment = nobody.get(f"{DESK}/inbox", **HTMX, **{"HX-Current-URL": f"{PUBLIC}{DESK}/inbox?view=open"})
    assert fragment.headers["HX-Redirect"] == answer.headers["Location"]
    ada = nobody.sign_in("ada@harbour")
    assert ada.get(f"{DESK}/inbox?view=open").status == HTTPStatus.OK
    assert bo.get(f"{DESK}/inbox").status == HTTPStatus.FOUND, "signed in, but no operator"


def test_every_address_on_a_page_is_below_the_mount(ada: Visitor, bo: Visitor) -> None:
    chat, conversation_id = asked(bo)
    with chat:
        for path in ("/", "/inbox", f"/conversations/{conversation_id}", "/knowledge", "/settings"):
            page = ada.get(f"{DESK}{path}")
            assert page.status == HTTPStatus.OK, path
            attributes = re.findall(
                r'\b(?:href|src|action|hx-get|hx-post|data-prefix|data-socket)="(/[^"]*)"', page.text
            )
            assert len(attributes) > 8
            assert [address for address in attributes if not address.startswith(f"{DESK}")] == [], path
            for address in set(re.findall(rf'\b(?:href|src)="({DESK}/static/[^"]*)"', page.text)):
                assert ada.get(address).status == HTTPStatus.OK, address


def test_the_hosts_names_and_templates_stay_its_own_and_ours_ours(ada: Visitor, bo: Visitor) -> None:
    assert "The quay, stormy" in bo.get(f"{MOUNT}/").text
    home = ada.get(f"{DESK}/").text
    assert re.search(r'aria-current="page"[^>]*><svg.*?<span>Home</span>', home, re.DOTALL)
    for foreign in ("stormy", "ahoy", "kelp", "crane", "harbour’s own"):
        assert foreign not in home
    inbox = ada.get(f"{DESK}/inbox").text
    assert "<hx-partial" not in inbox, "a whole page is not a fragment, whatever the host calls `alone`"
    assert "<title>" in inbox
    assert inbox.count("<title>") == 1
    assert 'id="rail-count"' in inbox


def test_no_page_needs_a_name_that_nobody_gave(office: Office, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host has Jinja refuse undefined names. Without its own variables none of ours can stand on one of them."""
    from tests.conftest import Client, close
    from tests.hosts import harbour as package

    env = office.env(WTF_CSRF_ENABLED=False, SESSION_COOKIE_SECURE=False)
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(package, "VARIABLES", {})
    app = package.create_app()
    app.test_client_class = Client
    client = app.test_client()
    client.environ_base.update(HTTP_ORIGIN="http://localhost")
    client.post("/accounts/sign-in", data={"email": "ada@harbour", "password": package.PASSWORD})
    with app.app_context():
        asked = receive(package.db.session, customer=Customer("strict"), body="A question", channel="host")
        package.db.session.commit()
        conversation_id = asked.conversation_id
    make_draft_ready(office, conversation_id)
    paths = ("/", "/inbox", f"/conversations/{conversation_id}", "/knowledge", "/settings", "/settings/outage")
    targets = ("", "home", "rail-count", "views", "list", "more", "work", "timeline", "settings", "outage")
    for path in (*paths, f"/conversations/{conversation_id}/context", "/conversations/999", "/widget"):
        for target in targets:
            headers = {**HTMX, "HX-Target": f"div#{target}"} if target else {}
            answer = client.get(f"/help/desk{path}", headers=headers)
            assert answer.status_code in (HTTPStatus.OK, HTTPStatus.NOT_FOUND), (path, target)
    close(app)


def test_answers_carry_the_hosts_headers(ada: Visitor) -> None:
    from tests.hosts.harbour import POLICY

    for path in (f"{DESK}/inbox", f"{DESK}/widget", f"{DESK}/health"):
        answer = ada.get(path)
        assert answer.headers.get_all("Content-Security-Policy") == [POLICY], path
    assert ada.get(f"{DESK}/inbox").headers["Cache-Control"] == "no-store"


# --- the host's form token ------------------------------------------------------------------------------------------


def test_every_form_carries_the_token_and_none_is_taken_without(ada: Visitor, bo: Visitor, office: Office) -> None:
    chat, conversation_id = asked(bo, "What does a berth cost for a night?")
    with chat:
        make_draft_ready(office, conversation_id)
        office.sql(DEAD_JOB)
        forms = {
            action: fields
            for path in ("/", f"/conversations/{conversation_id}", "/settings", "/knowledge")
            for action, fields in ada.get(f"{DESK}{path}").forms()
        }
        kinds = {re.sub(r"\d+", "N", action.removeprefix(DESK)) for action in forms}
        assert kinds >= {
            "/preferences/theme",
            "/conversations/N/reply",
            "/conversations/N/note",
            "/conversations/N/resolve",
            "/conversations/N/drafts/N/approve",
            "/conversations/N/drafts/N/discard",
            "/settings/jobs/N/retry",
            "/settings/jobs/N/discard",
        }
        assert [action for action, fields in forms.items() if not fields.get("csrf_token")] == []
        for action, fields in forms.items():
            bare = {name: value for name, value in fields.items() if name != "csrf_token"}
            refused = ada.post(action, {**bare, "body": "Nothing of this", "reason": "other", "theme": "dark"})
            assert refused.status == HTTPStatus.BAD_REQUEST, action
            assert "The harbour has no berth" in refused.text
        office.sql('DELETE FROM "Front Desk".jobs WHERE state = %s', "dead")
        page = ada.get(f"{DESK}/conversations/{conversation_id}")
        assert "Nothing of this" not in page.text


def test_reply_approve_resolve_and_theme_with_the_token(ada: Visitor, bo: Visitor, office: Office) -> None:
    chat, conversation_id = asked(bo, "May we moor at pier four?")
    with chat:
        draft = make_draft_ready(office, conversation_id)
        page = ada.get(f"{DESK}/conversations/{conversation_id}")
        action, fields = page.form("/reply")
        assert ada.post(action, {**fields, "body": "I will ask the pilot."}).status == HTTPStatus.SEE_OTHER
        assert chat.expect("message")["body"] == "I will ask the pilot."
        assert sql_state(office, draft) == "superseded"

        chat.say("Please do, we are close.")
        draft = make_draft_ready(office, conversation_id)
        action, fields = ada.get(f"{DESK}/conversations/{conversation_id}").form("/approve")
        sent = ada.post(action, fields, HTMX | {"HX-Target": "div#timeline"})
        assert sent.status == HTTPStatus.OK
        assert sent.headers.get_all("HX-Trigger")
        assert chat.expect("message", body="Moor at pier four.")["author"] == "Ada Quay"
        assert sql_state(office, draft) == "approved"

        action, fields = ada.get(f"{DESK}/conversations/{conversation_id}").form("/resolve")
        assert ada.post(action, fields).status == HTTPStatus.SEE_OTHER
        assert chat.expect("status", status="resolved")

    action, fields = ada.get(f"{DESK}/knowledge").form("/theme")
    answer = ada.post(action, {**fields, "theme": "dark"})
    assert answer.status == HTTPStatus.SEE_OTHER
    assert answer.headers["Location"] == f"{DESK}/knowledge"
    assert ada.paths["cairnloop_theme"] == DESK
    assert 'data-theme="dark"' in ada.get(f"{DESK}/").text


def test_the_header_that_htmx_sends_is_enough(ada: Visitor, bo: Visitor) -> None:
    chat, conversation_id = asked(bo, "Where do we get fresh water?")
    chat.close()
    page = ada.get(f"{DESK}/conversations/{conversation_id}")
    header = re.search(r"hx-headers:inherited='\{\"X-CSRFToken\": \"([^\"]+)\"\}'", page.text)
    assert header is not None
    action, fields = page.form("/note")
    bare = {**fields, "body": "At pier two", "csrf_token": ""}
    answer = ada.post(action, bare, HTMX | {"X-CSRFToken": header[1]})
    assert answer.status == HTTPStatus.OK
    assert "At pier two" in answer.text


def test_the_chat_by_post_needs_no_form_token_but_its_own_and_the_public_origin(bo: Visitor) -> None:
    words = {"type": "message", "client_id": str(uuid.uuid4()), "body": CARGO}
    frames = json.dumps([{"type": "join", "token": token_of(bo)}, words])
    headers = {"Content-Type": "application/json", "Referer": f"{PUBLIC}{DESK}/widget"}
    answer = bo.request("POST", f"{DESK}/widget/messages", {**headers, "Origin": PUBLIC}, body=frames)
    assert answer.status == HTTPStatus.OK
    assert [frame["type"] for frame in json.loads(answer.text)][:2] == ["joined", "accepted"]
    elsewhere = {**headers, "Origin": "https://elsewhere.example"}
    assert bo.request("POST", f"{DESK}/widget/messages", elsewhere, body=frames).status == HTTPStatus.FORBIDDEN


# --- sockets --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", [LIVE, CHAT])
def test_sockets_open_for_the_public_origin_alone(ada: Visitor, path: str) -> None:
    assert ada.handshake(path, PUBLIC) == HTTPStatus.SWITCHING_PROTOCOLS
    for origin in ("http://public.example", "https://elsewhere.example", "null", ada.upstream):
        assert ada.handshake(path, origin) == HTTPStatus.FORBIDDEN, origin


def test_pages_hear_of_what_the_other_side_does(ada: Visitor, bo: Visitor) -> None:
    with ada.live() as live:
        live.expect("refetch")
        chat, conversation_id = asked(bo, "Is the lock open at night?")
        with chat:
            assert live.expect("message", conversation_id=conversation_id)["kind"] == "customer"


@pytest.fixture(scope="module")
def impatient(office: Office) -> Iterator[Process]:
    env = {**processes.environment(office.database_url, office.redis_url), **office.env()}
    with processes.web_server(env, app="tests.hosts.impatient:create_app()") as process:
        yield process


def test_who_has_left_is_put_out_of_an_open_console(impatient: Process, office: Office) -> None:
    """Flask-Login remembers a user for as long as the request, and a socket's request lasts for hours."""
    office.sql(HIRE, "cy@harbour", "Cy Pier")
    with Visitor(impatient.url).sign_in("cy@harbour").live() as line:
        for _ in range(3):  # at the start, and after being asked about twice
            line.expect("refetch")
        office.sql('UPDATE customers SET "left" = true WHERE email = %s', "cy@harbour")
        assert line.closed() == 1008


def test_open_consoles_hold_no_connection_of_the_hosts_pool(impatient: Process, office: Office) -> None:
    """The pool has three. Asking who is there takes one for a moment, not for as long as the socket."""
    ada = Visitor(impatient.url).sign_in("ada@harbour")
    lines = [ada.live() for _ in range(5)]
    for _ in range(3):
        for line in lines:
            line.expect("refetch")
    assert ada.get(f"{DESK}/inbox").status == HTTPStatus.OK
    for line in lines:
        line.close()
    held = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND state LIKE 'idle in %%'"
    wait_until(lambda: office.sql(held) == [(0,)], seconds=5)


# --- made by hand ----------------------------------------------------------------------------------------------------

DEAD_JOB = """
    INSERT INTO "Front Desk".jobs
        (queue, name, arguments, state, run_at, attempt, max_attempts, created_at, finished_at, last_error)
    VALUES ('default', 'conversations.tell_resolved', '{}', 'dead', now(), 8, 8, now(), now(), 'It did not work.')"""


def sql_state(office: Office, draft: int) -> Any:
    return office.sql('SELECT state FROM "Front Desk".drafts WHERE id = %s', draft)[0][0]
