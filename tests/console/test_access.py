"""Every route of the console: nobody, an operator without the permission, an operator; and other people's pages."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.routing import Rule

from flask_cairnloop import Operator
from flask_cairnloop.console.preferences import own_page
from tests.console.conftest import Desk

OPERATIONS = ("cairnloop.static", "cairnloop.widget", "cairnloop.health", "cairnloop.ready", "cairnloop.metrics")


def console_rules(app: Flask) -> Iterator[Rule]:
    for rule in app.url_map.iter_rules():
        if rule.endpoint.startswith("cairnloop.") and not rule.endpoint.startswith(OPERATIONS):
            yield rule


def address(rule: Rule, conversation_id: int = 1, draft_id: int = 1) -> str:
    values = {"conversation_id": conversation_id, "draft_id": draft_id, "article_id": 1, "job_id": 1}
    return re.sub(r"<(?:[^<>]*:)?(\w+)>", lambda part: str(values[part[1]]), rule.rule)


def walk(app: Flask) -> Iterator[tuple[str, str]]:
    for rule in console_rules(app):
        if rule.websocket:
            continue
        for method in sorted((rule.methods or set()) & {"GET", "POST", "PUT", "PATCH", "DELETE"}):
            yield method, address(rule)


def test_every_view_of_the_console_names_a_permission(app: Flask) -> None:
    rules = [rule for rule in console_rules(app) if not rule.websocket]
    assert len(rules) >= 15
    assert [r.rule for r in rules if not hasattr(app.view_functions[r.endpoint], "cairnloop_permission")] == []


def test_nobody_gets_401_everywhere(app: Flask, client: FlaskClient) -> None:
    assert {client.open(path, method=method).status_code for method, path in walk(app)} == {401}


def test_an_operator_without_permission_gets_403_everywhere(app: Flask, sign_in: Callable[[str], FlaskClient]) -> None:
    outsider = sign_in("outsider")
    assert {outsider.open(path, method=method).status_code for method, path in walk(app)} == {403}


def test_reading_alone_does_not_let_one_write(app: Flask, desk: Desk, sign_in: Callable[[str], FlaskClient]) -> None:
    conversation_id = desk.ask()
    draft_id = desk.draft(conversation_id)
    reader = sign_in("reader")
    for rule in console_rules(app):
        path = address(rule, conversation_id, draft_id)
        if "POST" in (rule.methods or ()) and rule.endpoint not in ("cairnloop.mark_read", "cairnloop.set_theme"):
            assert reader.post(path, data={"body": "x", "seen": "99"}).status_code == 403, rule.rule
    page = reader.get(f"/support/conversations/{conversation_id}")
    assert page.status_code == 200
    assert b"Approve and send" not in page.data
    assert b'id="composer"' not in page.data
    assert reader.get("/support/knowledge").status_code == 403


def test_the_rail_offers_only_what_the_operator_may_open(sign_in: Callable[[str], FlaskClient]) -> None:
    def offered(operator_id: str, path: str) -> set[str]:
        rail = sign_in(operator_id).get(path).get_data(as_text=True).partition('class="rail"')[2].partition("</nav>")[0]
        return set(re.findall(r'<li><a href="([^"]+)"', rail))

    assert offered("mina", "/support/knowledge") == {"/support/", "/support/inbox", "/support/knowledge"}
    assert offered("reader", "/support/inbox") == {"/support/", "/support/inbox"}
    assert offered("editor", "/support/knowledge") == {"/support/knowledge"}


def test_pages_open_for_an_operator(app: Flask, desk: Desk, operator_client: FlaskClient) -> None:
    conversation_id = desk.ask()
    for path in ("/", "/inbox", f"/conversations/{conversation_id}", f"/conversations/{conversation_id}/context"):
        answer = operator_client.get(f"/support{path}")
        assert answer.status_code == 200, path
        assert "script-src 'self'" in answer.headers["Content-Security-Policy"]
    assert operator_client.get("/support/knowledge").status_code == 200


@pytest.mark.parametrize("origin", [None, "https://elsewhere.example", "null"])
def test_an_unsafe_request_of_another_site_is_refused(
    app: Flask, operator_client: FlaskClient, origin: str | None
) -> None:
    environ = {"HTTP_SEC_FETCH_SITE": "cross-site", "HTTP_ORIGIN": origin or ""}
    for method, path in walk(app):
        if method == "GET":
            continue
        client_environ = {key: value for key, value in environ.items() if value}
        saved = operator_client.environ_base.pop("HTTP_ORIGIN", None)
        try:
            answer = operator_client.open(path, method=method, environ_overrides=client_environ)
        finally:
            operator_client.environ_base["HTTP_ORIGIN"] = saved
        assert answer.status_code == 403, path


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
