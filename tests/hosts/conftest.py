"""The harbour's office, installed by its own commands, and somebody who plays the proxy in front of it."""

from __future__ import annotations

import json
import re
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import unescape
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any

import psycopg
import pytest
from sqlalchemy.engine import make_url

from example_app.servers import Servers
from tests.hosts.harbour import PASSWORD
from tests.support import databases, projects
from tests.support.web import Answer, send
from tests.support.websocket import Chat, Line, handshake

HARBOUR = "tests.hosts.harbour:create_app"
PUBLIC = "https://public.example"
MOUNT = "/quay"
DESK = f"{MOUNT}/help/desk"
LIVE = f"{DESK}/live"
CHAT = f"{DESK}/widget/socket"
HIRE = """INSERT INTO customers (email, name, office, "left") VALUES (%s, %s, true, false)"""
DRAFT = """
    UPDATE "Front Desk".drafts
    SET state = 'ready', kind = 'reply', body = 'Moor at pier four.', grounding = 'strong', policy = 'require_approval',
        ready_at = now()
    WHERE conversation_id = %s AND state = 'generating' RETURNING id"""
HTMX = {"HX-Request": "true", "HX-Request-Type": "partial"}


@dataclass(frozen=True)
class Office:
    """The office's database, with its tables and ours in it."""

    database_url: str
    redis_url: str
    migrations: Path

    def env(self, **config: Any) -> dict[str, str]:
        return {
            "HARBOUR_DATABASE_URL": self.database_url,
            "HARBOUR_REDIS_URL": self.redis_url,
            "HARBOUR_MIGRATIONS": str(self.migrations),
            "HARBOUR_CONFIG": json.dumps(config),
        }

    def flask(self, *words: str, **config: Any) -> str:
        command = ["flask", "--app", HARBOUR, *words]
        return projects.run(command, self.migrations.parent, self.env(**config))

    def sql(self, statement: str, *values: Any) -> list[tuple[Any, ...]]:
        plain = make_url(self.database_url).set(drivername="postgresql").render_as_string(hide_password=False)
        with psycopg.connect(plain, autocommit=True) as connection:
            cursor = connection.execute(statement, values)
            return cursor.fetchall() if cursor.description else []


@pytest.fixture(scope="module")
def office(
    servers: Servers, worker_number: int, redis_url: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Office]:
    """Installed as the README says: the host's own history first, then one revision of ours on top."""
    name = f"h{worker_number}_{uuid.uuid4().hex[:8]}"
    with databases.database(servers.database_url, name, of_template=False) as url:
        office = Office(url, redis_url, tmp_path_factory.mktemp("harbour") / "migrations")
        office.flask("db", "init")
        office.flask("db", "migrate", "-m", "harbour")
        office.flask("cairnloop", "install")
        office.flask("db", "upgrade")
        office.sql(HIRE, "ada@harbour", "Ada Quay")
        office.sql(HIRE.replace("true", "false"), "bo@ship", "Bo Brig")
        yield office


class Page(Answer):
    """What came back through the proxy."""

    def forms(self) -> list[tuple[str, dict[str, str]]]:
        """Every form that is posted: where to, and its hidden fields, also those that stand elsewhere on the page."""
        found = []
        for opening, inside in re.findall(r"(<form\b[^>]*>)(.*?)</form>", self.text, re.DOTALL):
            if attribute(opening, "method").lower() != "post":
                continue
            name = attribute(opening, "id")
            outside = re.findall(rf'<input\b[^>]*\bform="{name}"[^>]*>', self.text) if name else []
            fields = [*re.findall(r'<input\b[^>]*type="hidden"[^>]*>', inside), *outside]
            found.append(
                (attribute(opening, "action"), {attribute(tag, "name"): attribute(tag, "value") for tag in fields})
            )
        return found

    def form(self, ending: str) -> tuple[str, dict[str, str]]:
        """The one form whose address ends so."""
        (found,) = {action: (action, fields) for action, fields in self.forms() if action.endswith(ending)}.values()
        return found


def attribute(tag: str, name: str) -> str:
    found = re.search(rf'\b{name}="([^"]*)"', tag)
    return unescape(found[1]) if found else ""


@dataclass
class Visitor:
    """A browser at ``https://public.example``, and the proxy that mounts the host at ``/quay`` between it and us."""

    upstream: str
    cookies: dict[str, str] = field(default_factory=dict)
    paths: dict[str, str] = field(default_factory=dict)

    def get(self, path: str, **headers: str) -> Page:
        return self.request("GET", path, headers=headers)

    def post(self, path: str, form: dict[str, str] | None = None, headers: dict[str, str] | None = None) -> Page:
        sent = {"Origin": PUBLIC, "Sec-Fetch-Site": "same-origin", "Referer": f"{PUBLIC}{DESK}/", **(headers or {})}
        return self.request("POST", path, sent, form)

    def request(
        self,
        method: str,
        path: str,
        headers: dict[str, str] | None = None,
        form: dict[str, str] | None = None,
        body: str | None = None,
    ) -> Page:
        assert path.startswith(MOUNT), f"{path} is somebody else's: the proxy would not bring it here."
        sent = {**self._forwarded(), **(headers or {})}
        answer = send(self.upstream, method, path.removeprefix(MOUNT) or "/", sent, form, body)
        for line in answer.headers.get_all("Set-Cookie", []):
            for name, morsel in SimpleCookie(line).items():
                if not morsel.value:  # taken away
                    self.cookies.pop(name, None)
                    continue
                assert morsel["secure"], f"{name} was set as if the page were not served over https."
                self.cookies[name], self.paths[name] = morsel.value, morsel["path"]
        return Page(answer.status, answer.headers, answer.text)

    def live(self) -> Line:
        """The console's socket, with this visitor's cookies."""
        return Line(self.upstream, LIVE.removeprefix(MOUNT), PUBLIC, self._forwarded())

    def chat(self) -> Chat:
        """The chat's socket."""
        return Chat(self.upstream, PUBLIC, CHAT.removeprefix(MOUNT), self._forwarded())

    def handshake(self, path: str, origin: str) -> int:
        return handshake(self.upstream, path.removeprefix(MOUNT), {**self._forwarded(), "Origin": origin})

    def sign_in(self, email: str) -> Visitor:
        page = self.get(f"{MOUNT}/accounts/sign-in")
        token = re.search(r'name="csrf_token"[^>]*value="([^"]+)"', page.text)
        assert token is not None
        form = {"email": email, "password": PASSWORD, "csrf_token": token[1]}
        assert self.post(f"{MOUNT}/accounts/sign-in", form).status == 303
        return self

    def _forwarded(self) -> dict[str, str]:
        return {
            "Cookie": "; ".join(f"{name}={value}" for name, value in self.cookies.items()),
            "X-Forwarded-For": "203.0.113.7",
            "X-Forwarded-Proto": "https",
            "X-Forwarded-Host": "public.example",
            "X-Forwarded-Prefix": MOUNT,
        }


def make_draft_ready(office: Office, conversation_id: int) -> int:
    """What the worker would have written: these tests are about what surrounds the desk."""
    ((draft,),) = office.sql(DRAFT, conversation_id)
    return int(draft)


def token_of(visitor: Visitor) -> str:
    """What the page that carries the chat says about who this is."""
    found = re.search(r'data-token="([^"]+)"', visitor.get(f"{MOUNT}/").text)
    assert found is not None
    return found[1]
