"""Every route and every method, as nobody, as a customer, as an operator without permission and as one with it."""

from __future__ import annotations

import io
import itertools
import re
import uuid
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from typing import Any
from uuid import UUID

import pytest
from flask import Flask, request
from flask.testing import FlaskClient
from sqlalchemy import text
from werkzeug.routing import Rule

from flask_cairnloop import Actor, Customer, Operator, Permission, add_note, keep_file
from flask_cairnloop.conversations import bulk, lists
from flask_cairnloop.conversations import service as conversations
from flask_cairnloop.conversations.filters import Filter, View
from flask_cairnloop.files import service as files
from flask_cairnloop.files.links import as_markdown
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.outbound import suppression
from flask_cairnloop.tokens import service as tokens
from tests.conftest import Client
from tests.console.conftest import Desk
from tests.files.conftest import png
from tests.support.host import OPERATORS, verifier
from tests.support.processes import Process
from tests.support.routes import CUSTOMERS, OPEN, SAFE, address, console_rules, open_rules, pages, rules
from tests.support.tools import KEYS
from tests.support.websocket import UPGRADE, handshake

METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"})
# Whatever a form of the console asks for.
FORM = {
    **{"body": "Words", "seen": "99", "sequence": "1", "reason": "other", "theme": "dark", "next": "/support/inbox"},
    **{"title": "Hours", "edits": "1", "at": f"{datetime.now(UTC) + timedelta(days=30):%Y-%m-%dT09:00}"},
    **{"format": "csv", "kind": "reply"},
    "scope": "tokens.manage",
    **{
        "tool": "tag",
        "input.mark": "m",
        "note": "Seen",
        "happened": "yes",
        "does": "reject",
        "action": "1",
        "days": "1",
    },
    **{"to": "me", "team": "Night", "until": "week", "priority": "high", "tag": "Parcel", "name": "Late", "list": ""},
    **{"id": "1", "set": "snooze:hours"},
    **{"subject": "Hello", "did": "delivered"},
}
SUGGESTED = "2"  # the version of a suggestion that was asked for and written
ANOTHER: dict[str, str] = {}  # a gap that the one of an address may be merged into
ELSEWHERE: dict[str, dict[str, str]] = {
    "says nothing": {},
    "says it is elsewhere": {"Sec-Fetch-Site": "cross-site"},
    "is a neighbour": {"Sec-Fetch-Site": "same-site"},
    "is another site": {"Origin": "https://elsewhere.example"},
    "is another site, and says the contrary": {"Origin": "https://elsewhere.example", "Sec-Fetch-Site": "same-origin"},
    "is hidden": {"Origin": "null"},
    "has another port": {"Origin": "http://localhost:81"},
    "has another scheme": {"Origin": "https://localhost"},
    "looks like us": {"Origin": "http://localhost.elsewhere.example"},
    "is no address": {"Origin": "http://["},
    "is no address, and says the contrary": {"Origin": "http://[", "Sec-Fetch-Site": "same-origin"},
}
DEAD_JOB = """
    INSERT INTO cairnloop.jobs
        (queue, name, arguments, state, run_at, attempt, max_attempts, created_at, finished_at)
    VALUES ('default', 'conversations.tell_resolved', '{"message_id": 0}', 'dead', now(), 8, 8, now(), now())
    RETURNING id"""

# What is nobody's decision: how the reader likes their pages, how far they have read, what is only shown, and what they
# looked for, or have not sent yet, and that they are about to write.
UNAUDITED = frozenset(
    {"set_theme", "mark_read", "preview_article", "settled", "keep_unsent", "read_mentions", "hand_off"}
)
WIDTHS = itertools.count(50)  # of pictures: one that is there already is not kept twice
# What has to come before, so that a form changes something: other ends of its address.
DRAFT = "edit"
BEFORE = {
    "reopen": ("resolve",),
    "restore_answer": ("reject",),
    "discard_article": (DRAFT,),
    "publish_article": (DRAFT,),
    "schedule_article": (DRAFT,),
    "unschedule_article": (DRAFT, "schedule"),
    "unarchive_article": ("archive",),
    "wake": ("snooze",),
    "untag": ("tag",),
    "unmark_spam": ("spam",),
}


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, **KEYS, "FILE_STORAGE": "memory://routes", "OPERATORS": "tests.support.host:night_team"}


@pytest.fixture
def desk(app: Flask) -> Desk:
    return Desk(app)


@pytest.fixture
def something(app: Flask, desk: Desk) -> Callable[[Rule], str]:
    """``something(rule)`` is the address of a fresh thing of the kind that this route is about."""

    def make(rule: Rule) -> str:
        values: dict[str, Any] = {}
        for argument in sorted(rule.arguments, key=lambda name: name == "answer_id"):  # which is about an article
            match argument:
                case "conversation_id":
                    values.setdefault(argument, desk.ask())  # a draft may have come first, with its own
                case "draft_id":
                    values[argument] = desk.draft(values.setdefault("conversation_id", desk.ask()))
                case "pending_id":
                    values[argument] = desk.pending(values.setdefault("conversation_id", desk.ask()))
                case "gap_id":
                    values[argument] = desk.gap(accepted=rule.endpoint == "cairnloop.reopen_gap")
                    ANOTHER["into"] = str(desk.gap())
                case "suggestion_id":
                    values[argument] = desk.suggestion_for(rule.endpoint.removeprefix("cairnloop."))
                case "macro_id":
                    values[argument] = desk.macro("mina")
                case "article_id":
                    values[argument] = article(app)
                case "number":
                    values[argument] = 1
                case "answer_id":
                    values[argument] = desk.answered(values["article_id"], desk.ask())
                case "template_id":
                    values[argument] = desk.template()
                case "envelope_id":
                    values[argument] = desk.outbound_for(rule.endpoint)[0]
                case "delivery_id":
                    values[argument] = desk.outbound_for(rule.endpoint)[1]
                case "token":
                    values[argument] = opt_out_token(app, desk.ask())
                case "suppression_id":
                    values[argument] = desk.suppressed()
                case "action_id":
                    endpoint = rule.endpoint.removeprefix("cairnloop.")
                    values[argument] = desk.action_for(endpoint, desk.ask())
                case "job_id":
                    values[argument] = dead_job(app)
                case "token_id":
                    values[argument] = a_token(app)
                case "step_id":
                    values[argument] = bulk_step(app, desk.ask())
                case "list_id":
                    values[argument] = saved_list(app)
                case "file_id":
                    attached = rule.endpoint == "cairnloop.attachment"
                    values[argument] = attached_file(app, desk.ask()) if attached else shown_file(app)
                case "name":
                    values[argument] = "plan.png"
                case "token":
                    values[argument] = "nothing"
                case "filename":
                    values[argument] = "widget/widget.js"
                case _:
                    pytest.fail(f"{rule.rule} is about a {argument}: say here how to make one.")
        where = address(rule, **values)
        if rule.endpoint == "cairnloop.new_follow_up":  # what is sent to whom may stand in its address
            where += f"?conversation={desk.ask()}&template={desk.template()}"
        return where

    return make


def article(app: Flask) -> int:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        someone = Actor.system("test")
        made = save_article(session, slug=f"a-{uuid.uuid4().hex[:8]}", title="Hours", body="From nine.", actor=someone)
        publish(session, made.id, actor=someone)
        session.commit()
        return int(made.id)


def shown_file(app: Flask) -> UUID:
    """A picture in a published article."""
    with app.app_context():
        session, cairnloop = app.extensions["sqlalchemy"].session, app.extensions["cairnloop"]
        upload = files.examine(io.BytesIO(png()), "plan.png", cairnloop.settings)
        kept = files.add(session, files.store(files.needed_storage(cairnloop), upload), actor=Actor.system("test"))
        shows, slug = as_markdown(kept.uuid, kept.name, is_image=True), f"a-{uuid.uuid4().hex[:8]}"
        made = save_article(session, slug=slug, title="Plan", body=shows, actor=Actor.system("test"))
        publish(session, made.id, actor=Actor.system("test"))
        session.commit()
        return kept.uuid


def attached_file(app: Flask, conversation_id: int) -> UUID:
    """A picture that came with a note."""
    with app.app_context():
        kept = keep_file(io.BytesIO(png()), "plan.png", actor=Actor.system("test"))
        session = app.extensions["sqlalchemy"].session
        add_note(session, conversation_id, actor=Actor.system("test"), body="", files=[kept])
        session.commit()
        return kept


def opt_out_token(app: Flask, conversation_id: int) -> str:
    """What the link holds that came with a follow-up to this customer."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        person = conversations.get(session, conversation_id).customer
        return suppression.opt_out_path(person).rsplit("/", 1)[1]


def bulk_step(app: Flask, conversation_id: int) -> int:
    """What Mina has done to one of several."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        step = bulk.Step(bulk.Does.ASSIGN, OPERATORS["mina"])
        done = bulk.do(session, [conversation_id], step, actor=Actor.operator(OPERATORS["mina"]))
        session.commit()
        assert done.step_id is not None
        return done.step_id


def saved_list(app: Flask) -> int:
    """A list of everybody's, made by Lee."""
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        kept = lists.save(session, Filter(View.OPEN), "Open", actor=Actor.operator(Operator("lee", "Lee")), shared=True)
        session.commit()
        return int(kept.id)


def dead_job(app: Flask) -> int:
    with app.app_context(), app.extensions["sqlalchemy"].engine.begin() as connection:
        return int(connection.execute(text(DEAD_JOB)).scalar_one())


def a_token(app: Flask) -> int:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        made, _ = tokens.create(session, uuid.uuid4().hex, actor=Actor.system("test"), scopes=["knowledge.read"])
        session.commit()
        return int(made.id)


def form(of: Rule | None = None, app: Flask | None = None) -> dict[str, Any]:
    """What a form sends; that of a file brings one along, and that of the policy the version that it changes."""
    if of is not None and app is not None and of.endpoint == "cairnloop.service_policy":
        with app.app_context(), app.extensions["sqlalchemy"].engine.connect() as connection:
            newest = connection.scalar(text("SELECT coalesce(max(version), 0) FROM cairnloop.service_policies"))
        return {**FORM, "version": str(newest), "warn_at": "80"}
    if of is not None and of.endpoint == "cairnloop.edit_review":
        return {**FORM, "edits": SUGGESTED}
    brings = of is not None and of.endpoint == "cairnloop.upload_file"
    file = {"file": (io.BytesIO(png(width=next(WIDTHS))), "plan.png")} if brings else {}
    drawn = uuid.uuid4().hex
    return {**FORM, **ANOTHER, "client_id": str(uuid.uuid4()), "name": drawn, "whom": drawn, **file}


def browser(app: Flask, **environ: str) -> FlaskClient:
    app.test_client_class = Client
    client = app.test_client()
    client.environ_base.update(HTTP_ORIGIN="http://localhost", HTTP_SEC_FETCH_SITE="same-origin", **environ)
    return client


@pytest.fixture
def customer_client(app: Flask, customer: Customer) -> FlaskClient:
    """A customer: signed in at the host, where they are no operator, and with a valid token wherever one could look."""
    with app.app_context():
        token = verifier.issue(customer)
    client = browser(app, HTTP_AUTHORIZATION=f"Bearer {token}", HTTP_X_OPERATOR=customer.ref)
    client.get(f"/host/sign-in/{customer.ref}")
    client.set_cookie("token", token)
    return client


def answers(app: Flask, client: FlaskClient, of: list[Rule] | None = None) -> dict[str, int]:
    return {
        f"{method} {rule.rule}": client.open(address(rule), method=method, data=form()).status_code
        for rule, method in pages(app, of)
    }


# --- who ---


def test_the_walk_sees_every_route(app: Flask) -> None:
    known = {rule.endpoint.removeprefix("cairnloop.") for rule in rules(app)}
    assert known > OPEN | CUSTOMERS, "a route that is open to all, or to customers, is gone or called something else"
    assert len(list(pages(app))) >= 25
    assert sum(rule.websocket for rule in rules(app)) >= 2


def test_every_view_of_the_console_names_a_permission(app: Flask) -> None:
    bare = [
        rule.rule
        for rule in console_rules(app)
        if not rule.websocket and not hasattr(app.view_functions[rule.endpoint], "cairnloop_permission")
    ]
    assert bare == []


def test_nobody_gets_401_everywhere(app: Flask) -> None:
    assert {call: status for call, status in answers(app, browser(app)).items() if status != 401} == {}


def test_a_customer_gets_401_everywhere(app: Flask, customer_client: FlaskClient) -> None:
    assert {call: status for call, status in answers(app, customer_client).items() if status != 401} == {}


def test_an_operator_without_permission_gets_403_everywhere(app: Flask) -> None:
    outsider = browser(app, HTTP_X_OPERATOR="outsider")
    assert {call: status for call, status in answers(app, outsider).items() if status != 403} == {}


def test_an_operator_gets_every_page_and_may_do_everything(app: Flask, something: Callable[[Rule], str]) -> None:
    mina = browser(app, HTTP_X_OPERATOR="mina")
    failed = {}
    for rule, method in pages(app):
        answer = mina.open(something(rule), method=method, data=None if method in SAFE else form(rule, app))
        if answer.status_code not in (HTTPStatus.OK, HTTPStatus.NO_CONTENT, HTTPStatus.SEE_OTHER):
            failed[f"{method} {rule.rule}"] = answer.status
    assert failed == {}


def test_whatever_an_operator_changes_is_in_the_audit_log_under_their_name(
    app: Flask, something: Callable[[Rule], str]
) -> None:
    mina = browser(app, HTTP_X_OPERATOR="mina")
    unseen = []
    for rule in console_rules(app):
        name = rule.endpoint.removeprefix("cairnloop.")
        if "POST" not in (rule.methods or ()):
            continue
        path, edits = something(rule), int(form(rule, app)["edits"])
        for step in BEFORE.get(name, ()):
            data = form(rule, app) | {"edits": str(edits)}
            assert mina.post(re.sub(r"/[a-z]+$", f"/{step}", path), data=data).status_code < 400, (name, step)
            edits += step == DRAFT
        before = newest_entry(app)
        about = {"id": str(Desk(app).ask())} if name == "several" else {}
        assert mina.post(path, data=form(rule, app) | {"edits": str(edits)} | about).status_code < 400, name
        told = actors_since(app, before)
        if name in UNAUDITED:
            assert told == [], name
        elif ("operator", "mina") not in told:
            unseen.append(name)
    assert unseen == [], ", ".join(unseen)


def give_to(app: Flask, operator_id: str) -> None:
    with app.app_context(), app.extensions["sqlalchemy"].engine.begin() as connection:
        connection.execute(text("UPDATE cairnloop.pending_replies SET author_id = :who"), {"who": operator_id})
        connection.execute(text("UPDATE cairnloop.macros SET owner_id = :who"), {"who": operator_id})
        connection.execute(text("UPDATE cairnloop.suggestion_handoffs SET operator_id = :who"), {"who": operator_id})


def newest_entry(app: Flask) -> int:
    with app.app_context(), app.extensions["sqlalchemy"].engine.connect() as connection:
        return int(connection.execute(text("SELECT coalesce(max(id), 0) FROM cairnloop.audit_entries")).scalar_one())


def actors_since(app: Flask, entry_id: int) -> list[tuple[str, str]]:
    since = text("SELECT actor_kind, actor_id FROM cairnloop.audit_entries WHERE id > :id")
    with app.app_context(), app.extensions["sqlalchemy"].engine.connect() as connection:
        return [(kind, actor_id) for kind, actor_id in connection.execute(since, {"id": entry_id})]


def test_each_view_asks_for_the_permission_it_names_and_for_no_other(
    make_app: Callable[..., Flask], something: Callable[[Rule], str]
) -> None:
    def loader() -> Operator:
        return Operator("lee", "Lee", permissions=frozenset(request.headers["X-May"].split()))

    app = make_app(OPERATOR_LOADER=loader)
    wrong = {}
    for rule, method in pages(app):
        view: Any = app.view_functions[rule.endpoint]
        needed = {view.cairnloop_permission, *view.cairnloop_instead}
        besides = set(view.cairnloop_besides)
        without = (set(Permission) - needed, *(set(Permission) - {one} for one in besides))
        for may, right in (*((rest, False) for rest in without), *(({one, *besides}, True) for one in needed)):
            client = browser(app, HTTP_X_MAY=" ".join(may))
            path = something(rule)
            give_to(app, "lee")  # nobody has a hand in another's replies, macros and editor
            answer = client.open(path, method=method, data=None if method in SAFE else form(rule, app))
            if (answer.status_code < 400) != right or (not right and answer.status_code != 403):
                wrong[f"{method} {rule.rule}, {'only' if right else 'without'} {may if right else needed}"] = (
                    answer.status
                )
    assert wrong == {}


def test_files_probes_and_the_chat_are_open_to_all(
    app: Flask, something: Callable[[Rule], str], customer_client: FlaskClient
) -> None:
    for client in (browser(app), customer_client, browser(app, HTTP_X_OPERATOR="outsider")):
        for rule, method in pages(app, open_rules(app)):
            assert method in SAFE, rule.rule
            with client.open(something(rule), method=method) as answer:
                assert answer.status_code == HTTPStatus.OK, rule.rule


def test_the_chat_by_post_takes_a_customers_token_and_nothing_else(app: Flask, customer: Customer) -> None:
    """However somebody is signed in: who a chat belongs to is said by the token in it."""
    with app.app_context():
        valid = verifier.issue(customer)
    (rule,) = (rule for rule in rules(app) if rule.endpoint == "cairnloop.widget_messages")
    for client in (browser(app), browser(app, HTTP_X_OPERATOR="mina")):
        for token, status in ((valid, 200), (f"{valid}x", 401), ("", 401)):
            answer = client.post(address(rule), json=[{"type": "join", "token": token}])
            assert answer.status_code == status, answer.text


def test_an_upload_to_the_chat_takes_a_customers_token_and_nothing_else(app: Flask, customer: Customer) -> None:
    with app.app_context():
        valid = verifier.issue(customer)
    for client in (browser(app), browser(app, HTTP_X_OPERATOR="mina"), browser(app, HTTP_AUTHORIZATION=valid)):
        for token, status in ((valid, 200), (f"{valid}x", 401), ("", 401)):
            data = {"token": token, "file": (io.BytesIO(png()), "plan.png")}
            assert client.post("/support/widget/files", data=data).status_code == status


def test_no_route_has_a_method_it_does_not_name(app: Flask, something: Callable[[Rule], str]) -> None:
    mina = browser(app, HTTP_X_OPERATOR="mina")
    for rule in rules(app):
        if rule.websocket:
            continue
        for method in METHODS - (rule.methods or set()):
            assert mina.open(something(rule), method=method, data=form()).status_code == 405, f"{method} {rule.rule}"
        options = browser(app).options(something(rule))
        assert (options.status_code, options.data) == (HTTPStatus.OK, b""), rule.rule


# --- from where ---


@pytest.mark.parametrize("headers", ELSEWHERE.values(), ids=ELSEWHERE)
def test_what_another_site_made_the_browser_send_is_refused(app: Flask, headers: dict[str, str]) -> None:
    app.test_client_class = Client
    client = app.test_client()
    unsafe = [(rule, method) for rule, method in pages(app, rules(app)) if method not in SAFE]
    assert len(unsafe) >= 10
    for rule, method in unsafe:
        answer = client.open(address(rule), method=method, data=form(), headers={"X-Operator": "mina", **headers})
        assert answer.status_code == 403, f"{method} {rule.rule}"


@pytest.mark.parametrize(
    "headers", [*ELSEWHERE.values(), {"Origin": "https://shop.example"}], ids=[*ELSEWHERE, "may embed the widget"]
)
def test_a_handshake_from_elsewhere_is_refused(make_app: Callable[..., Flask], headers: dict[str, str]) -> None:
    """A page that may embed the widget is no exception: the widget's frame, which opens the socket, is ours."""
    app = make_app(WIDGET_ORIGINS=["https://shop.example"])
    sockets = [rule for rule in rules(app) if rule.websocket]
    for rule in sockets:
        answer = app.test_client().get(address(rule), headers={**UPGRADE, "X-Operator": "mina", **headers})
        assert answer.status_code == 403, rule.rule


@pytest.mark.parametrize(
    "headers", [{"Origin": "http://localhost"}, {"Origin": "https://desk.example"}, {"Sec-Fetch-Site": "same-origin"}]
)
def test_what_a_page_of_ours_sends_is_let_through(make_app: Callable[..., Flask], headers: dict[str, str]) -> None:
    client = make_app(TRUSTED_ORIGINS=["https://desk.example"]).test_client()
    answer = client.post("/support/conversations/999999/resolve", headers={"X-Operator": "mina", **headers})
    assert answer.status_code == 404  # and no longer 403


def test_sockets_open_for_whom_their_pages_do(app: Flask, live_server: Process, customer: Customer) -> None:
    with app.app_context():
        token = verifier.issue(customer)
    callers: dict[str, tuple[dict[str, str], int]] = {
        "nobody": ({}, 401),
        "a customer": ({"Authorization": f"Bearer {token}", "X-Operator": customer.ref}, 401),
        "an operator without permission": ({"X-Operator": "outsider"}, 403),
        "an operator": ({"X-Operator": "mina"}, 101),
    }
    for rule in rules(app):
        if not rule.websocket:
            continue
        for who, (headers, status) in callers.items():
            wanted = status if rule in console_rules(app) else 101
            found = handshake(live_server.url, address(rule), {"Origin": live_server.url, **headers})
            assert found == wanted, f"{rule.rule} as {who}"
