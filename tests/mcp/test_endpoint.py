"""The endpoint as clients of each revision meet it: who gets in, what fits, and with which status."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
from flask import Flask
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_MODERN_VERSION

from flask_cairnloop import clock
from tests.mcp.conftest import Key, Machine

INITIALIZE = {
    "jsonrpc": "2.0",
    "id": 1,
    "method": "initialize",
    "params": {"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"}},
}
PING = {"jsonrpc": "2.0", "id": "p", "method": "ping"}


def code(answer: Any) -> int:
    return int(answer.json["error"]["code"])


def test_without_a_token_nothing_is_told_and_the_way_in_is_named(app: Flask) -> None:
    for raw in (None, "", "cairnloop_1_" + "x" * 43, "cairnloop_x", "é"):
        nobody = Machine(app, raw)
        for answer in (nobody.ask("tools/call", name="refund"), nobody.post(b"{"), nobody.get(), nobody.get("DELETE")):
            assert answer.status_code == 401
            assert "resource_metadata=" in answer.headers["WWW-Authenticate"]
            assert "refund" not in answer.get_data(as_text=True)
    where = "/.well-known/oauth-protected-resource"
    client = app.test_client()
    told = [client.get(f"{where}/support/mcp"), client.get(where)]
    assert [answer.json["resource"] for answer in told] == ["http://localhost/support/mcp"] * 2
    assert told[0].json["bearer_methods_supported"] == ["header"]
    assert "actions.propose" in told[0].json["scopes_supported"]
    assert "billing.refund" not in told[0].json["scopes_supported"]  # what tools there are is not for everybody


def test_a_token_stops_when_it_expires_or_is_revoked(
    app: Flask, make_token: Callable[..., Key], at_the_desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask_cairnloop.tokens import service

    soon = make_token(expires_at=clock.now() + timedelta(hours=1))
    gone = make_token()
    for key in (soon, gone):
        assert Machine(app, key.raw).ask("tools/list").status_code == 200
    at_the_desk(lambda session: service.revoke(session, gone.id, actor=service.Actor.system("test")))
    assert Machine(app, gone.raw).ask("tools/list").status_code == 401
    later = clock.now() + timedelta(hours=2)
    monkeypatch.setattr(service, "now", lambda: later)
    assert Machine(app, soon.raw).ask("tools/list").status_code == 401


def test_only_the_secret_opens_and_no_copy_of_it_is_kept(
    app: Flask, make_token: Callable[..., Key], session: Any
) -> None:
    from sqlalchemy import text

    key = make_token()
    other = make_token()
    wrong = f"cairnloop_{key.id}_{other.raw.rsplit('_', 1)[1]}"
    assert Machine(app, wrong).ask("tools/list").status_code == 401
    row = session.execute(text(f"SELECT access_tokens::text FROM cairnloop.access_tokens WHERE id = {key.id}")).scalar()
    assert key.raw.split("_", 2)[2] not in row


def test_the_form_of_a_request_is_held_to(machine: Callable[..., Machine]) -> None:
    client = machine()
    get = client.get()
    assert (get.status_code, get.headers["Allow"]) == (405, "POST")
    assert client.post(PING, {"Accept": "text/html"}).status_code == 406
    assert client.post(PING, {"Content-Type": "text/plain"}).status_code == 415
    assert client.post(PING, {"Origin": "https://evil.example"}).status_code == 403
    assert client.post(PING, {"Origin": "http://localhost"}).status_code == 200
    assert client.post(b" " * 1_000_001).status_code == 413


def test_a_page_of_a_trusted_origin_may_ask_and_read_the_answer(
    make_app: Callable[..., Flask], make_token: Callable[..., Key]
) -> None:
    app, raw, page = make_app(TRUSTED_ORIGINS=["https://app.example"]), make_token().raw, "https://app.example"
    asks = {"Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    before = app.test_client().options("/support/mcp", headers={"Origin": page, **asks})
    assert (before.status_code, before.headers["Access-Control-Allow-Origin"]) == (204, page)
    assert {"Authorization", "Mcp-Method"} <= set(before.headers["Access-Control-Allow-Headers"].split(", "))
    for key, status in ((raw, 200), (None, 401)):
        answer = Machine(app, key).post(PING, {"Origin": page})
        assert (answer.status_code, answer.headers["Access-Control-Allow-Origin"]) == (status, page)
        assert "Origin" in answer.headers["Vary"]
        assert "Access-Control-Allow-Credentials" not in answer.headers
    stranger = app.test_client().options("/support/mcp", headers={"Origin": "https://evil.example", **asks})
    assert stranger.status_code == 403
    assert "Access-Control-Allow-Origin" not in stranger.headers


def test_hosts_can_be_named(make_app: Callable[..., Flask], make_token: Callable[..., Key]) -> None:
    named = make_app(MCP_HOSTS=["desk.example"])
    client = Machine(named, make_token().raw)
    assert client.ask("tools/list").status_code == 421
    assert client.post(PING, {"Host": "desk.example"}).status_code == 200


def test_how_often_is_limited_for_each_token(app: Flask, make_token: Callable[..., Key]) -> None:
    slow, other = Machine(app, make_token(rate="2/minute").raw), Machine(app, make_token(rate=None).raw)
    assert [slow.post(PING).status_code for _ in range(3)] == [200, 200, 429]
    assert int(slow.post(PING).headers["Retry-After"]) > 0
    assert [other.post(PING).status_code for _ in range(5)] == [200] * 5


@pytest.mark.parametrize("version", HANDSHAKE_PROTOCOL_VERSIONS)
def test_every_revision_with_a_handshake_is_spoken(machine: Callable[..., Machine], version: str) -> None:
    client = machine()
    hello = client.post({**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": version}}).json["result"]
    assert hello["protocolVersion"] == version
    assert hello["capabilities"].keys() == {"tools", "resources"}
    assert "resultType" not in hello
    headers = {"MCP-Protocol-Version": version}
    done = client.post({"jsonrpc": "2.0", "method": "notifications/initialized"}, headers)
    assert (done.status_code, done.data) == (202, b"")
    assert client.post(PING, headers).json == {"jsonrpc": "2.0", "id": "p", "result": {}}
    listed = client.post({"jsonrpc": "2.0", "id": 2, "method": "tools/list"}, headers).json["result"]
    assert "refund" in [tool["name"] for tool in listed["tools"]]
    assert (
        client.post({"jsonrpc": "2.0", "id": 3, "method": "server/discover"}, headers).json["error"]["code"] == -32601
    )


def test_an_unknown_revision_is_answered_with_one_that_is_known(machine: Callable[..., Machine]) -> None:
    client = machine()
    wanted = {**INITIALIZE, "params": {**INITIALIZE["params"], "protocolVersion": "2031-01-01"}}
    assert client.post(wanted).json["result"]["protocolVersion"] == "2025-11-25"
    refused = client.post({"jsonrpc": "2.0", "method": "notifications/x"}, {"MCP-Protocol-Version": "2031-01-01"})
    assert (refused.status_code, code(refused)) == (400, -32022)


def test_the_stateless_revision_says_what_it_is_without_a_handshake(machine: Callable[..., Machine]) -> None:
    client = machine()
    told = client.result("server/discover")
    assert told["supportedVersions"][0] == LATEST_MODERN_VERSION
    assert told["resultType"] == "complete"
    assert "io.modelcontextprotocol/tasks" in told["capabilities"]["extensions"]
    assert client.ask("ping").status_code == 404
    assert code(client.ask("initialize")) == -32601
    listed = client.result("tools/list")
    assert (listed["ttlMs"], listed["cacheScope"]) == (0, "private")


def test_headers_and_body_must_agree(machine: Callable[..., Machine]) -> None:
    client = machine()
    meta = {
        "io.modelcontextprotocol/protocolVersion": LATEST_MODERN_VERSION,
        "io.modelcontextprotocol/clientCapabilities": {},
    }
    body = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "refund", "_meta": meta}}
    right = {"MCP-Protocol-Version": LATEST_MODERN_VERSION, "Mcp-Method": "tools/call", "Mcp-Name": "refund"}
    assert client.post(body, right).status_code == 200
    wrapped = {**right, "Mcp-Name": "=?base64?cmVmdW5k?="}
    assert client.post(body, wrapped).status_code == 200
    for wrong in (
        {"Mcp-Method": "tools/list"},
        {"Mcp-Name": "payout"},
        {"Mcp-Name": "=?base64?cGF5b3V0?="},
        {"Mcp-Name": "=?base64?%%?="},
        {"MCP-Protocol-Version": "2025-06-18"},
    ):
        answer = client.post(body, {**right, **wrong})
        assert (answer.status_code, code(answer)) == (400, -32020)
    unknown = {**meta, "io.modelcontextprotocol/protocolVersion": "2031-01-01"}
    answer = client.post(
        {**body, "params": {"name": "refund", "_meta": unknown}}, {**right, "MCP-Protocol-Version": "2031-01-01"}
    )
    assert (answer.status_code, code(answer)) == (400, -32022)
    assert LATEST_MODERN_VERSION in answer.json["error"]["data"]["supported"]
    lacking = {"jsonrpc": "2.0", "id": 1, "method": "tools/list", "params": {}}
    answer = client.post(lacking, {"MCP-Protocol-Version": LATEST_MODERN_VERSION, "Mcp-Method": "tools/list"})
    assert (answer.status_code, code(answer), answer.json["id"]) == (400, -32602, 1)


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{", -32700),
        (b"\xff", -32700),
        (b"[" * 100_000, -32700),
        (b'{"jsonrpc":"2.0","id":NaN,"method":"ping"}', -32700),
        (b"7", -32600),
        (b"{}", -32600),
        (b'{"jsonrpc":"1.0","id":1,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":{},"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":null,"method":"ping"}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"method":"ping","params":[1]}', -32600),
        (b'{"jsonrpc":"2.0","id":1,"result":{}}', -32600),
        (b"[]", -32600),
    ],
)
def test_what_is_no_request_is_told_so(machine: Callable[..., Machine], body: bytes, expected: int) -> None:
    answer = machine().post(body)
    assert (answer.status_code, code(answer), answer.json["id"]) == (400, expected, None)


def test_a_batch_is_taken_from_the_one_revision_that_has_them(machine: Callable[..., Machine]) -> None:
    client = machine()
    batch = [
        PING,
        {"jsonrpc": "2.0", "method": "notifications/initialized"},
        {"jsonrpc": "2.0", "id": 2, "method": "x"},
    ]
    for headers in ({}, {"MCP-Protocol-Version": "2025-03-26"}):
        answers = client.post(batch, headers).json
        assert [answer["id"] for answer in answers] == ["p", 2]
        assert answers[1]["error"]["code"] == -32601
    for version in ("2025-06-18", "2025-11-25", LATEST_MODERN_VERSION):
        assert client.post(batch, {"MCP-Protocol-Version": version}).status_code == 400
    assert client.post([PING] * 21).status_code == 400


def test_parameters_that_do_not_fit_name_the_place_and_not_the_value(machine: Callable[..., Machine]) -> None:
    client = machine()
    answer = client.ask("tools/call", name={"secret": 1})
    assert code(answer) in (-32602, -32020)
    answer = client.post({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": ["hush"]}})
    assert (answer.status_code, code(answer)) == (200, -32602)
    assert "hush" not in json.dumps(answer.json)


def test_lists_come_in_pages_and_in_one_order(
    machine: Callable[..., Machine], articles: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from flask_cairnloop.mcp import methods

    client = machine()
    whole = client.tools()
    assert whole[:-1] == sorted(whole[:-1])
    assert whole[-1] == "action_status"
    monkeypatch.setattr(methods, "TOOLS_A_PAGE", 4)
    monkeypatch.setattr(methods, "ARTICLES_A_PAGE", 1)
    for method, key, name in (("tools/list", "tools", "name"), ("resources/list", "resources", "uri")):
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            page = client.result(method, **cursor)
            found += [one[name] for one in page[key]]
            if "nextCursor" not in page:
                break
            cursor = {"cursor": page["nextCursor"]}
        assert len(found) == len(set(found)) > 1
        assert found == (whole if key == "tools" else found)
        for wrong in ("%%%", "é", "b25l" if key == "resources" else "%"):
            assert client.ask(method, cursor=wrong).status_code == 400


def test_published_articles_are_resources_for_who_may_read_them(
    machine: Callable[..., Machine], articles: None, conversation: int, customer: Any
) -> None:
    reader, other = machine("knowledge.read"), machine("actions.propose")
    bound = [machine(conversation_id=conversation), machine(customer_ref=customer.ref)]
    uris = [one["uri"] for one in reader.result("resources/list")["resources"]]
    assert uris == ["cairnloop://articles/refunds", "cairnloop://articles/refund-limits"]
    (content,) = reader.result("resources/read", uri=uris[0])["contents"]
    assert content == {"uri": uris[0], "mimeType": "text/markdown", "text": "# refunds\n\nWords."}
    for client in bound:
        assert [one["uri"] for one in client.result("resources/list")["resources"]] == uris[:1]
        assert client.ask("resources/read", uri=uris[1]).status_code == 400
    assert other.result("resources/list")["resources"] == []
    assert other.result("resources/templates/list")["resourceTemplates"] == []
    assert reader.result("resources/templates/list")["resourceTemplates"][0]["uriTemplate"].endswith("{slug}")
    for uri in (uris[0].replace("refunds", "unpublished"), "cairnloop://articles/", "file:///etc/passwd", "x\x00y"):
        gone = reader.ask("resources/read", uri=uri) if "\x00" not in uri else None
        assert gone is None or (gone.status_code, code(gone)) == (400, -32602)
    legacy = reader.post({"jsonrpc": "2.0", "id": 1, "method": "resources/read", "params": {"uri": "x\x00"}})
    assert code(legacy) == -32002
    assert other.ask("resources/read", uri=uris[0]).status_code == 400
