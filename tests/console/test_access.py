"""What pages offer to whom, the way in over the host's sign-in, and what the host decides row by row."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from flask import Flask
from flask.testing import FlaskClient
from sqlalchemy import select

from flask_cairnloop import Actor, Customer, Operator, Permission, Subject
from flask_cairnloop.console.rendering import own_page
from flask_cairnloop.conversations import queries as reading
from flask_cairnloop.conversations.models import Conversation
from flask_cairnloop.knowledge.models import Article
from flask_cairnloop.knowledge.service import publish, save_article
from tests.conftest import Client
from tests.console.conftest import Desk
from tests.support.routes import address, console_rules
from tests.support.tools import KEYS


def test_a_page_offers_no_more_than_its_reader_may_do(desk: Desk, sign_in: Callable[[str], FlaskClient]) -> None:
    conversation_id = desk.ask()
    desk.draft(conversation_id)
    reader = sign_in("reader")
    page = reader.get(f"/support/conversations/{conversation_id}")
    assert page.status_code == 200
    assert b"Approve and send" not in page.data
    assert b'id="composer"' not in page.data
    assert reader.get("/support/knowledge").status_code == 403


def test_the_rail_offers_only_what_the_operator_may_open(sign_in: Callable[[str], FlaskClient]) -> None:
    def offered(operator_id: str, path: str) -> set[str]:
        rail = sign_in(operator_id).get(path).get_data(as_text=True).partition('class="rail"')[2].partition("</nav>")[0]
        return set(re.findall(r'<li(?: class="spare")?><a href="([^"]+)"', rail))

    assert offered("mina", "/support/knowledge") == {
        f"/support/{page}" for page in ("", "inbox", "outbound", "knowledge")
    }
    assert offered("reader", "/support/inbox") == {"/support/", "/support/inbox"}
    assert offered("editor", "/support/knowledge") == {"/support/knowledge"}


def test_pages_open_for_an_operator(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask()
    for path in ("/", "/inbox", f"/conversations/{conversation_id}", f"/conversations/{conversation_id}/context"):
        answer = operator_client.get(f"/support{path}")
        assert answer.status_code == 200, path
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert operator_client.get("/support/knowledge").status_code == 200


def test_without_an_operator_loader_the_console_names_the_key(make_app: Callable[..., Flask]) -> None:
    answer = make_app(OPERATOR_LOADER=None).test_client().get("/support/inbox")
    assert answer.status_code == 503
    assert b"CAIRNLOOP_OPERATOR_LOADER" in answer.data


def test_a_loader_that_fails_lets_nobody_in_and_shows_nothing_of_why(make_app: Callable[..., Flask]) -> None:
    def loader() -> Operator | None:
        raise RuntimeError("secret detail")

    answer = make_app(OPERATOR_LOADER=loader).test_client().get("/support/")
    assert answer.status_code == 503
    assert b"secret detail" not in answer.data


def test_whoever_is_not_signed_in_is_sent_to_the_host_and_back(make_app: Callable[..., Flask]) -> None:
    client = make_app(LOGIN_URL="/login?via=desk").test_client()
    answer = client.get("/support/inbox?view=open")
    assert answer.status_code == 302
    assert answer.location == "/login?via=desk&next=%2Fsupport%2Finbox%3Fview%3Dopen"
    headers = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Current-URL": "https://evil.example/x"}
    answer = client.get("/support/inbox", headers=headers)
    assert answer.status_code == 204
    assert answer.headers["HX-Redirect"] == "/login?via=desk&next=%2Fsupport"


def test_a_form_sent_after_the_sign_in_ran_out_leads_back_to_its_page(make_app: Callable[..., Flask]) -> None:
    """Every form of the console, sent without a script: what it leads to after the sign-in is a page that opens."""
    app = make_app(LOGIN_URL="/login", **KEYS)
    desk, client = Desk(app), app.test_client()
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id)
    action_id, macro_id, gap_id = desk.action(conversation_id), desk.macro(), desk.gap()
    suggestion_id = desk.suggestion()
    template_id, envelope_id = desk.template(), desk.envelope(conversation_id)
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        article_id = save_article(session, slug="form", title="Form", body="Words", actor=Actor.system("test")).id
        session.commit()
    page = f"/support/conversations/{conversation_id}"
    for rule in console_rules(app):
        if "POST" not in (rule.methods or ()):
            continue
        answer = client.post(
            address(
                rule,
                conversation_id=conversation_id,
                draft_id=draft_id,
                article_id=article_id,
                action_id=action_id,
                macro_id=macro_id,
                template_id=template_id,
                envelope_id=envelope_id,
                gap_id=gap_id,
                suggestion_id=suggestion_id,
            ),
            data={"next": "/support/inbox?view=open"},
            headers={"Origin": "http://localhost"},
        )
        (back,) = parse_qs(urlsplit(answer.location).query)["next"]
        about_an_article = "article_id" in rule.arguments
        other_pages = {
            "cairnloop.edit_article": f"/support/knowledge/{article_id}/edit",
            "cairnloop.new_article": "/support/knowledge/new",
            "cairnloop.preview_article": "/support/inbox?view=open",
            "cairnloop.upload_file": "/support/inbox?view=open",
            "cairnloop.set_theme": "/support/inbox?view=open",
            **dict.fromkeys(
                (f"cairnloop.{name}" for name in ("several", "undo_several", "save_list", "delete_list")),
                "/support/inbox?view=open",
            ),
            "cairnloop.settled": "/support/inbox?view=open",
            "cairnloop.export_audit": "/support/inbox?view=open",
            "cairnloop.decide_several": "/support/inbox?view=open",
            "cairnloop.new_macro": "/support/settings/macros",
            "cairnloop.save_macro": f"/support/settings/macros/{macro_id}",
            "cairnloop.delete_macro": f"/support/settings/macros/{macro_id}",
            "cairnloop.read_mentions": "/support/mentions",
            "cairnloop.new_follow_up": "/support/outbound/new",
            "cairnloop.outbound_templates": "/support/outbound/templates",
            **{
                f"cairnloop.{does}_envelope": f"/support/outbound/{envelope_id}"
                for does in ("send", "discard", "split", "cancel", "retry")
            },
            **dict.fromkeys(
                (f"cairnloop.{does}_delivery" for does in ("cancel", "retry", "settle")), "/support/outbound"
            ),
            **dict.fromkeys(
                ("cairnloop.outbound_template", "cairnloop.archive_template"),
                f"/support/outbound/templates/{template_id}",
            ),
            **dict.fromkeys(("cairnloop.suppressed", "cairnloop.unsuppress"), "/support/outbound/suppressed"),
            **{
                f"cairnloop.{does}_review": f"/support/knowledge/reviews/{suggestion_id}/{does}"
                for does in ("edit", "merge")
            },
            "cairnloop.retry_job": "/support/settings",
            "cairnloop.discard_job": "/support/settings",
            "cairnloop.tokens": "/support/settings/tokens",
            "cairnloop.service_policy": "/support/settings/service-levels",
            "cairnloop.revoke_token": "/support/settings/tokens",
        }
        usual = f"/support/knowledge/{article_id}" if about_an_article else page
        if "action_id" in rule.arguments:
            usual = f"/support/approvals/{action_id}"
        if "gap_id" in rule.arguments:
            usual = f"/support/knowledge/gaps/{gap_id}"
        if "suggestion_id" in rule.arguments:
            usual = f"/support/knowledge/reviews/{suggestion_id}"
        assert back == other_pages.get(rule.endpoint, usual)
        assert signed_in(app).get(back, follow_redirects=True).status_code == 200
    below = client.post(
        f"{page}/reply", headers={"Origin": "http://localhost"}, environ_overrides={"SCRIPT_NAME": "/a"}
    )
    assert below.location == f"/login?next=%2Fa%2Fsupport%2Fconversations%2F{conversation_id}"
    astray = client.post(
        "/support/preferences/theme", data={"next": "https://evil.example/"}, headers={"Origin": "http://localhost"}
    )
    assert astray.location == "/login?next=%2Fsupport%2F"


def test_what_does_not_exist_is_a_calm_404(operator_client: FlaskClient, fragment: Callable[..., Any]) -> None:
    for path in ("conversations/999999", "conversations/9223372036854775807", "knowledge/999999"):
        answer = operator_client.get(f"/support/{path}")
        assert answer.status_code == 404
        assert b"This is not here" in answer.data
    answer = fragment("GET", "/support/conversations/999999")
    assert answer.status_code == 404
    assert answer.headers["HX-Reswap"] == "none"
    assert "cairnloop:toast" in answer.headers["HX-Trigger"]


def test_the_theme_is_kept_in_a_cookie_and_leads_back_to_a_page_of_ours(operator_client: FlaskClient) -> None:
    answer = operator_client.post(
        "/support/preferences/theme", data={"theme": "dark", "next": "/support/inbox?view=open"}
    )
    assert answer.status_code == 303
    assert answer.location == "/support/inbox?view=open"
    assert b'data-theme="dark"' in operator_client.get("/support/").data
    assert operator_client.post("/support/preferences/theme", data={"theme": "neon"}).status_code == 422


@pytest.mark.parametrize(
    "address", ["https://evil.example/", "//evil.example", "/support//evil.example", "/supportive", "/support\\..", ""]
)
def test_the_way_back_never_leads_elsewhere(address: str) -> None:
    assert own_page(address, "/support") == "/support/"


def test_behind_a_proxy_that_mounts_the_app_lower_every_address_carries_its_root(operator_client: FlaskClient) -> None:
    below = {"SCRIPT_NAME": "/desk"}
    page = operator_client.get("/support/inbox", environ_overrides=below).get_data(as_text=True)
    assert 'data-prefix="/desk/support"' in page
    assert 'data-socket="/desk/support/live"' in page
    assert 'name="next" value="/desk/support/inbox"' in page
    assert 'href="/support' not in page
    form = {"theme": "dark", "next": "/desk/support/inbox"}
    answer = operator_client.post("/support/preferences/theme", data=form, environ_overrides=below)
    assert answer.location == "/desk/support/inbox"
    assert "Path=/desk/support" in answer.headers["Set-Cookie"]


# --- what the host decides row by row ---


class Discretion:
    """An ``AUTHORIZE`` that keeps single things from Mina, and remembers what it was asked."""

    def __init__(self, waiting_transactions: Callable[[], int] = lambda: 0) -> None:
        self.refused: set[Subject] = set()
        self.asked: list[tuple[Permission, Subject | None]] = []
        self.waited: set[int] = set()
        self._waiting_transactions = waiting_transactions

    def __call__(self, operator: Operator, permission: Permission, subject: Subject | None) -> bool:
        self.asked.append((permission, subject))
        self.waited.add(self._waiting_transactions())
        return operator.id != "mina" or subject not in self.refused

    def refuse(self, kind: str, *ids: int) -> None:
        self.refused |= {Subject(kind, id_) for id_ in ids}


def article(app: Flask, slug: str) -> int:
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        made = save_article(session, slug=slug, title=slug, body="Words", actor=Actor.system("test"))
        publish(session, made.id, actor=Actor.system("test"))
        session.commit()
        return int(made.id)


def signed_in(app: Flask) -> FlaskClient:
    app.test_client_class = Client
    client = app.test_client()
    client.environ_base.update(HTTP_ORIGIN="http://localhost", HTTP_X_OPERATOR="mina")
    return client


def test_what_the_host_refuses_stands_in_no_list(make_app: Callable[..., Flask]) -> None:
    may = Discretion()
    app = make_app(AUTHORIZE=may)
    desk, client = Desk(app), signed_in(app)
    cleo = Customer("cleo-discreet", "Cleo Marsh")
    secret = desk.ask("A very private matter", customer=cleo)
    plain = desk.ask("An everyday question", customer=cleo)
    desk.draft(secret)
    private, public = article(app, "private-page"), article(app, "public-page")
    may.refuse("conversation", secret)
    may.refuse("article", private)

    def page(path: str) -> str:
        answer = client.get(f"/support{path}")
        assert answer.status_code == 200
        return answer.get_data(as_text=True)

    conversation = f"/conversations/{plain}"
    for path in ("/", "/inbox", "/inbox?view=all", "/inbox?view=draft_ready", conversation, f"{conversation}/context"):
        shown = page(path)
        assert "private matter" not in shown, path
        assert f"/conversations/{secret}" not in shown, path
    assert "An everyday question" in page("/")
    assert f'data-row="{plain}"' in page("/inbox")
    for typed in ("", "Cleo", "private", "matter", f"%23{secret}", "private-page"):
        shown = page(f"/search?q={typed}")
        assert "private matter" not in shown, typed
        assert f"/conversations/{secret}" not in shown, typed
        assert f"/knowledge/{private}" not in shown, typed
    assert "An everyday question" in page("/search?q=cleo+every")
    listed = page("/knowledge")
    assert f"/support/knowledge/{public}" in listed
    assert "private-page" not in listed
    for path in (f"/conversations/{secret}", f"/inbox/rows/{secret}", f"/knowledge/{private}"):
        assert client.get(f"/support{path}").status_code == 403


def test_a_list_of_which_nothing_may_be_seen_says_so_and_counts_are_of_all(make_app: Callable[..., Flask]) -> None:
    may = Discretion()
    app = make_app(AUTHORIZE=may)
    desk, client = Desk(app), signed_in(app)
    cleo = Customer("cleo-unseen", "Cleo Marsh")
    shown, hidden = desk.ask("One", customer=cleo), desk.ask("Two", customer=cleo)
    article(app, "unseen")
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        may.refuse("conversation", *session.scalars(select(Conversation.id).where(Conversation.id != shown)))
        may.refuse("article", *session.scalars(select(Article.id)))
        waiting = reading.view_counts(session)[reading.View.WAITING]
    may.refuse("conversation", shown)
    for path in ("/support/", "/support/inbox", "/support/inbox?view=all", "/support/knowledge"):
        page = client.get(path).get_data(as_text=True)
        assert "What your account may not open is left out." in page, path
        for untrue in (
            "Everyone has an answer",
            "Nobody is waiting for you",
            "No conversations yet",
            "no articles yet",
        ):
            assert untrue not in page, path
        assert f'data-waiting="{waiting}"' in page
    may.refused -= {Subject("conversation", shown)}
    panel = client.get(f"/support/conversations/{shown}/context").get_data(as_text=True)
    assert "This is the first one" not in panel
    assert str(hidden) not in re.findall(r"conversations/(\d+)", panel)


def test_a_page_of_refused_rows_leads_on_to_the_next(make_app: Callable[..., Flask]) -> None:
    may = Discretion()
    app = make_app(AUTHORIZE=may)
    desk, client = Desk(app), signed_in(app)
    last = desk.ask("Said before all the others")
    may.refuse("conversation", *(desk.ask(f"Number {n}") for n in range(reading.PAGE_SIZE)))
    with app.app_context():
        session = app.extensions["sqlalchemy"].session
        everything = set(session.scalars(select(Conversation.id)))
    seen, path, pages = [], "/support/inbox?view=all", 0
    while path:
        page = client.get(path).get_data(as_text=True)
        seen += [int(found) for found in re.findall(r'data-row="(\d+)"', page)]
        more = re.search(r'<li id="more"[^>]*><a href="([^"]+)"', page)
        path, pages = more[1].replace("&amp;", "&") if more else "", pages + 1
        assert not (more and "That is everything" in page)
    assert pages > 1
    assert last in seen
    assert set(seen) == {id_ for id_ in everything if Subject("conversation", id_) not in may.refused}
    assert len(seen) == len(set(seen))


def test_no_transaction_of_ours_waits_for_the_host_and_nothing_is_asked_twice(
    make_app: Callable[..., Flask], waiting_transactions: Callable[[], int]
) -> None:
    may = Discretion(waiting_transactions)
    app = make_app(AUTHORIZE=may)
    desk, client = Desk(app), signed_in(app)
    cleo = Customer("cleo-patient", "Cleo Marsh")
    conversation_id = desk.ask(customer=cleo)
    draft_id = desk.draft(conversation_id)
    desk.ask("Earlier", customer=cleo)
    article_id = article(app, "asked-once")
    one = f"/conversations/{conversation_id}"
    fragment = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": "div#timeline"}
    visits: list[tuple[str, dict[str, str] | None, dict[str, str]]] = [
        ("/", None, {}),
        ("/inbox", None, {}),
        (one, None, {}),
        (one, None, fragment),
        (f"{one}/context", None, {}),
        (f"/inbox/rows/{conversation_id}", None, {}),
        ("/knowledge", None, {}),
        (f"/knowledge/{article_id}", None, {}),
        ("/settings", None, {}),
        ("/search?q=asked", None, {}),
        ("/conversations/999999", None, {}),
        (f"{one}/read", {"sequence": "1"}, {}),
        (f"{one}/reply", {"body": "Too early", "seen": "0", "client_id": str(uuid.uuid4())}, {}),
        (f"{one}/note", {"body": "A note", "client_id": str(uuid.uuid4())}, fragment),
        (f"{one}/drafts/{draft_id}/approve", {"seen": "9"}, fragment),
        ("/settings/macros", None, {}),
        (f"{one}/macros", None, {}),
        (f"{one}/macros/{desk.macro()}/use", {"a": "b"}, fragment),
        ("/mentions", None, {}),
        (f"{one}/unsent/keep", {"kind": "reply", "body": "Begun"}, fragment),
    ]
    for path, form, headers in visits:
        may.asked.clear()
        client.open(f"/support{path}", method="POST" if form else "GET", data=form, headers=headers)
        assert may.asked, path
        assert len(may.asked) == len(set(may.asked)), path
        assert may.waited == {0}, path
