"""A host with tools and articles, tokens for it, and requests as a client of the protocol makes them."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from flask import Flask
from mcp_types import CLIENT_CAPABILITIES_META_KEY, PROTOCOL_VERSION_META_KEY
from mcp_types.version import LATEST_MODERN_VERSION
from sqlalchemy import select
from werkzeug.test import TestResponse

from flask_cairnloop import Actor, Customer, receive
from flask_cairnloop.knowledge.models import Article, Audience
from flask_cairnloop.knowledge.service import publish, save_article
from flask_cairnloop.mcp.projection import TASKS
from flask_cairnloop.tokens import service as tokens
from tests.conftest import Client
from tests.support.tools import BILLING, KEYS

SOMEONE = Actor.system("test")
ALL = (*tokens.SCOPES, BILLING)
NAMED = {"tools/call": "name", "resources/read": "uri", "tasks/get": "taskId", "tasks/cancel": "taskId"}
_names = itertools.count(1)


@pytest.fixture(scope="module")
def config(config: dict[str, Any]) -> dict[str, Any]:
    return {**config, **KEYS, "OPERATOR_LOADER": "tests.support.tools:load"}


@pytest.fixture(autouse=True)
def _rules(house_rules: None) -> None:
    """Every test here may change them."""


@dataclass(frozen=True)
class Key:
    id: int
    raw: str


@pytest.fixture
def make_token(at_the_desk: Callable[..., Any]) -> Callable[..., Key]:
    def make(*scopes: str, **options: Any) -> Key:
        name = options.pop("name", f"Machine {next(_names)}")
        made, raw = at_the_desk(
            lambda session: tokens.create(session, name, actor=SOMEONE, scopes=scopes or ALL, **options)
        )
        return Key(made.id, raw)

    return make


class Machine:
    """A client of the protocol, as far as a test wants to see every byte of it."""

    def __init__(self, app: Flask, raw: str | None) -> None:
        app.test_client_class = Client
        self._client, self._raw = app.test_client(), raw

    def post(self, body: Any, headers: dict[str, str] | None = None) -> TestResponse:
        said = {"Accept": "application/json, text/event-stream", "Content-Type": "application/json"}
        if self._raw is not None:
            said["Authorization"] = f"Bearer {self._raw}"
        data = body if isinstance(body, bytes) else json.dumps(body)
        return self._client.post("/support/mcp", data=data, headers={**said, **(headers or {})})

    def ask(self, method: str, *, tasks: bool = False, **params: Any) -> TestResponse:
        """A request in the newest revision."""
        extensions = {"extensions": {TASKS: {}}} if tasks else {}
        meta = {PROTOCOL_VERSION_META_KEY: LATEST_MODERN_VERSION, CLIENT_CAPABILITIES_META_KEY: extensions}
        headers = {"MCP-Protocol-Version": LATEST_MODERN_VERSION, "Mcp-Method": method}
        if method in NAMED:
            headers["Mcp-Name"] = str(params[NAMED[method]])
        return self.post({"jsonrpc": "2.0", "id": 7, "method": method, "params": {**params, "_meta": meta}}, headers)

    def result(self, method: str, **params: Any) -> dict[str, Any]:
        answer = self.ask(method, **params)
        assert answer.status_code == 200, answer.get_data(as_text=True)
        found: dict[str, Any] = answer.json["result"]  # type: ignore[index]
        return found

    def call(self, tool: str, /, *, tasks: bool = False, **arguments: Any) -> dict[str, Any]:
        return self.result("tools/call", tasks=tasks, name=tool, arguments=arguments)

    def tools(self) -> list[str]:
        return [tool["name"] for tool in self.result("tools/list")["tools"]]

    def get(self, method: str = "GET") -> TestResponse:
        headers = {"Authorization": f"Bearer {self._raw}"} if self._raw else {}
        return self._client.open("/support/mcp", method=method, headers=headers)


@pytest.fixture
def machine(app: Flask, make_token: Callable[..., Key]) -> Callable[..., Machine]:
    """``machine("actions.propose", tools=[...])`` is a client with a token of these scopes; of all without."""
    return lambda *scopes, **options: Machine(app, make_token(*scopes, **options).raw)


@pytest.fixture
def conversation(at_the_desk: Callable[..., Any], customer: Customer) -> int:
    message = at_the_desk(lambda s: receive(s, customer=customer, body="My money, please.", channel="widget"))
    return int(message.conversation_id)


@pytest.fixture
def articles(at_the_desk: Callable[..., Any]) -> None:
    def write(session: Any) -> None:
        if session.scalar(select(Article.id).where(Article.slug == "refunds")) is not None:
            return
        for slug, audience in (("refunds", Audience.PUBLIC), ("refund-limits", Audience.INTERNAL)):
            made = save_article(
                session, slug=slug, title=slug, body=f"# {slug}\n\nWords.", audience=audience, actor=SOMEONE
            )
            publish(session, made.id, actor=SOMEONE)
        save_article(session, slug="unpublished", title="No", body="Not yet.", actor=SOMEONE)

    at_the_desk(write)
