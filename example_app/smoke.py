"""The whole journey against a running demo, through the doors that people use: ``bin/demo --smoke``.

A customer asks in the chat, an operator's console hears of it, the worker writes a draft, the operator approves it, and
the customer reads it, all over HTTP and WebSocket. Then the rows are looked at. One line a step; the first step that
does not hold ends it with status 1.

    python -m example_app.smoke URL          # the journey
    python -m example_app.smoke --wait URL   # only wait until web server and worker are ready
"""

from __future__ import annotations

import base64
import http.cookiejar
import json
import os
import signal
import time
import urllib.error
import urllib.parse
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import replace
from datetime import timedelta
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any, TypeVar

import click
from flask import Flask
from simple_websocket import Client, ConnectionClosed
from simple_websocket import ConnectionError as SocketError
from sqlalchemy import inspect, select, text
from sqlalchemy.orm import Session

from example_app import create_app
from example_app.hooks import RATE
from example_app.models import Account, Activity, Charge, ChargeState, Letter, Refund, Role, User, db
from flask_cairnloop import ActionProposal, Actor, DraftKind, ProposalState, Strength, search
from flask_cairnloop.audit import sealing
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import Conversation, Mention, Message, MessageKind, Priority, Rating
from flask_cairnloop.database.base import quote
from flask_cairnloop.drafting.models import Draft, DraftState
from flask_cairnloop.files.models import File
from flask_cairnloop.files.storage import storage_of
from flask_cairnloop.jobs.models import WorkerKind, WorkerProcess
from flask_cairnloop.jobs.queries import worker_states
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundEnvelope
from flask_cairnloop.outbound.types import DeliveryState
from flask_cairnloop.service_levels import service as service_levels
from flask_cairnloop.service_levels.models import ServiceClock
from flask_cairnloop.service_levels.targets import Target
from flask_cairnloop.service_levels.types import Policy
from flask_cairnloop.upkeep.models import GapEvent, GapQuestion
from flask_cairnloop.upkeep.suggestion_models import ArticleSuggestion

SECONDS = 60.0
COVERED = "How do I connect a new tracker to one of our bikes?"
IN_OTHER_WORDS = "We bought a tracker, what do we have to do so that it works with our bike?"
VAGUE = "Something is wrong with a payment."
BY_HAND = "Who can help us with the new tracker?"
NEWS = "How do I wax the chain of a cargo bike?"
NEW_WORDS = (
    "To wax the chain of a cargo bike, clean the chain and warm the wax to 70 degrees.\n\n"
    "Wax the chain of a cargo bike every 300 kilometres, and every 150 in winter."
)
PICTURE = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
STEPS = b"%PDF-1.7\nOne screw at a time.\n"
MISSING = (
    "Can I take my dog along in the front box, the {} model?",
    "Is it allowed to carry a dog in the front box of the {} model?",
    "The {} model: may a dog ride in its front box?",
)
DOG_TITLE = "Take a dog along in the front box"
DOG_WORDS = (
    "You can take a dog along in the front box of every model: a dog may ride in its front box on a lead.\n\n"
    "1. Fasten the short lead to the ring in the front box.\n2. Let the dog sit with its back to the wind.\n\n"
    "It is allowed to carry a dog of up to 30 kilograms in the front box."
)
UNCOVERED = "Can you recommend a good dentist in Lisbon?"
T = TypeVar("T")


class Failed(Exception):
    """A step did not hold; the message says which and what was there instead."""


def say(step: str, **ids: object) -> None:
    """One line for a step that held, with the ids it saw."""
    click.echo("  ".join([f"ok  {step:<58}", *(f"{name}={value}" for name, value in ids.items())]))


def need(condition: object, failure: str) -> None:
    if not condition:
        raise Failed(failure)


def until(what: str, look: Callable[[], T | None], seconds: float = SECONDS) -> T:
    """Look until there is something."""
    deadline = time.monotonic() + seconds
    while True:
        found = look()
        if found:
            return found
        if time.monotonic() > deadline:
            raise Failed(f"{what}: not within {seconds:.0f} seconds.")
        time.sleep(0.1)


class Page(HTMLParser):
    """What a client needs from a page: its forms with their hidden fields, and the attributes of its elements."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.html = html
        self.elements: list[dict[str, str]] = []
        self._forms: list[tuple[dict[str, str], dict[str, str]]] = []
        self._belonging: list[tuple[str, str, str]] = []
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        values = {name: value or "" for name, value in attrs}
        self.elements.append(values)
        if tag == "form":
            self._forms.append((values, {}))
        elif tag == "input" and values.get("type") == "hidden":
            name, value = values["name"], values.get("value", "")
            if "form" in values:  # it belongs to a form elsewhere on the page
                self._belonging.append((values["form"], name, value))
            elif self._forms:
                self._forms[-1][1][name] = value

    def form(self, ending: str) -> tuple[str, dict[str, str]]:
        """Where the form whose target ends so is sent, and its hidden fields."""
        for form, fields in self._forms:
            if form.get("action", "").endswith(ending):
                outside = {name: value for owner, name, value in self._belonging if owner == form.get("id")}
                return form["action"], fields | outside
        raise Failed(f"The page has no form for {ending}.")

    def attribute(self, name: str) -> str:
        """The first value of this attribute on the page."""
        for values in self.elements:
            if name in values:
                return values[name]
        raise Failed(f"The page has no {name}.")


class Browser:
    """One person's browser: cookies, and the headers a real one sends."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.cookies = http.cookiejar.CookieJar()
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(self.cookies))

    def get(self, path: str) -> Page:
        return self._open(urllib.request.Request(urllib.parse.urljoin(self.url, path)))  # noqa: S310

    def part(self, path: str, element: str, **query: object) -> Page:
        """The part of a page for one of its elements, as the page's own script asks for it."""
        headers = {"HX-Request": "true", "HX-Request-Type": "partial", "HX-Target": f"div#{element}"}
        address = f"{urllib.parse.urljoin(self.url, path)}?{urllib.parse.urlencode(query)}"
        return self._open(urllib.request.Request(address, headers=headers))  # noqa: S310

    def post(self, path: str, fields: Mapping[str, str | list[str]]) -> Page:
        body = urllib.parse.urlencode(fields, doseq=True).encode()
        headers = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        return self._open(urllib.request.Request(urllib.parse.urljoin(self.url, path), body, headers))  # noqa: S310

    def bring(self, path: str, fields: dict[str, str], name: str, data: bytes) -> str:
        """Send a form with one file, and read the answer."""
        mark = uuid.uuid4().hex
        parts = [f'--{mark}\r\nContent-Disposition: form-data; name="{key}"\r\n\r\n{fields[key]}' for key in fields]
        parts.append(f'--{mark}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n')
        body = "\r\n".join(parts).encode() + data + f"\r\n--{mark}--\r\n".encode()
        headers = {"Origin": self.url, "Sec-Fetch-Site": "same-origin"}
        headers["Content-Type"] = f"multipart/form-data; boundary={mark}"
        address = urllib.parse.urljoin(self.url, path)
        return self._read(urllib.request.Request(address, body, headers)).decode()  # noqa: S310

    def fetch(self, path: str) -> bytes:
        """The bytes of a file."""
        return self._read(urllib.request.Request(urllib.parse.urljoin(self.url, path)))  # noqa: S310

    def _open(self, request: urllib.request.Request) -> Page:
        return Page(self._read(request).decode())

    def _read(self, request: urllib.request.Request) -> bytes:
        with self._opener.open(request, timeout=30) as answer:
            return bytes(answer.read())

    def sign_in(self, email: str) -> None:
        self.post("/login", {"email": email, "password": "demo"})

    @contextmanager
    def socket(self, path: str) -> Iterator[Socket]:
        """A WebSocket of this browser, with its cookies and its origin."""
        cookies = "; ".join(f"{cookie.name}={cookie.value}" for cookie in self.cookies)
        url = urllib.parse.urljoin(self.url.replace("http", "ws", 1), path)
        client = SocketClient(url, headers={"Origin": self.url, "Cookie": cookies})
        try:
            yield Socket(client)
        finally:
            with suppress(ConnectionClosed):  # the server may have closed it first
                client.close()


class Machine:
    """A client of the Model Context Protocol, in its revision without a handshake."""

    REVISION = "2026-07-28"
    NAMED_BY: Mapping[str, str] = {"tools/call": "name", "resources/read": "uri"}

    def __init__(self, url: str, token: str) -> None:
        self._endpoint = urllib.parse.urljoin(url, "/support/mcp")
        self._token = token

    def ask(self, method: str, **params: Any) -> dict[str, Any]:
        """The result of a request."""
        known = {f"io.modelcontextprotocol/{name}": value for name, value in self._about().items()}
        body = {"jsonrpc": "2.0", "id": 1, "method": method, "params": {**params, "_meta": known}}
        headers = {
            "Authorization": f"Bearer {self._token}",
            "Content-Type": "application/json",
            "Accept": "application/json, text/event-stream",
            "MCP-Protocol-Version": self.REVISION,
            "Mcp-Method": method,
        }
        if method in self.NAMED_BY:
            headers["Mcp-Name"] = params[self.NAMED_BY[method]]
        request = urllib.request.Request(self._endpoint, json.dumps(body).encode(), headers)  # noqa: S310
        with urllib.request.urlopen(request, timeout=30) as answer:  # noqa: S310 - our own demo
            told: dict[str, Any] = json.load(answer)
        return dict(told["result"])

    def _about(self) -> dict[str, Any]:
        return {"protocolVersion": self.REVISION, "clientCapabilities": {}}


class SocketClient(Client):  # type: ignore[misc]
    """Names the port in ``Host``, as browsers do; without it, as the library has it, we look like another site."""

    host: str
    port: int

    def handshake(self) -> None:
        self.host = f"{self.host}:{self.port}"
        super().handshake()


class Socket:
    """JSON frames, and waiting for one of them."""

    token = ""  # of the customer, where it is a chat's

    def __init__(self, client: Client) -> None:
        self._client = client

    def send(self, **frame: Any) -> None:
        self._client.send(json.dumps(frame))

    def expect(self, what: str, fits: Callable[[dict[str, Any]], bool], seconds: float = SECONDS) -> dict[str, Any]:
        """The next frame that fits; others are passed over."""
        deadline = time.monotonic() + seconds
        seen: list[str] = []
        while (left := deadline - time.monotonic()) > 0:
            try:
                text = self._client.receive(timeout=left)
            except ConnectionClosed as closed:
                raise Failed(f"{what}: the socket was closed ({closed.reason}).") from closed
            if text is None:
                break
            frame = json.loads(text)
            if fits(frame):
                return dict(frame)
            seen.append(str(frame.get("type")))
        raise Failed(f"{what}: not within {seconds:.0f} seconds; came: {', '.join(seen) or 'nothing'}.")


class Journey:
    """Questions of new customers, what becomes of them, and of one customer who wants to be forgotten.

    Args:
        url: of the running web server.
        app: the same app in this process, to look at the rows.
        traces: where web server and worker write their spans, if they do.
    """

    def __init__(self, url: str, app: Flask, traces: Path | None = None) -> None:
        self.url = url.rstrip("/")
        self.app = app
        self.traces = traces
        self.desk = Browser(self.url)

    def run(self) -> None:
        self.desk.sign_in("mina@demo.example")
        home = self.desk.get("/support/")
        need("Home" in home.html, "The operator's home page has no heading.")
        say("operator signs in and sees the desk", email="mina@demo.example")
        with self.desk.socket("/support/live") as live:
            self._answered(live)
            self._from_the_palette()
            self._gathered(live)
            self._with_files()
            self._helped()
            self._written(live)
            self._refunded(live)
            self._sorted()
            self._rated(live)
            self._left_and_told()
            self._late(live)
            self._followed_up()
            self._refused_and_split()
            self._asked_by_a_machine()
            self._one_question_back(live)
            self._handed_over(live)
            self._survives(live)
            self._forgotten(live)
        self._sealed()
        self._well()

    def _answered(self, live: Socket) -> None:
        with self._customer() as (customer, chat):
            conversation_id = self._ask(customer, chat, COVERED)
            draft = self._draft(live, conversation_id)
            need(draft.kind is DraftKind.REPLY, f"The covered question got a {draft.kind}: {draft.summary}")
            need(draft.grounding is Strength.STRONG, f"The draft's grounding is {draft.grounding}.")
            need(draft.citations, "The draft has no citation.")
            cited = draft.citations[0]
            page = self.desk.get(f"/support/conversations/{conversation_id}")
            need(cited["title"] in page.html, f"The console does not show the source {cited['title']!r}.")
            say("strong draft with its source is on the console", draft=draft.id, source=repr(cited["title"]))
            self._approve(page, draft, chat)
            self._learned(int(cited["article_id"]))

    def _approve(self, page: Page, draft: Draft, chat: Socket) -> None:
        action, fields = page.form(f"/drafts/{draft.id}/approve")
        self.desk.post(action, fields)
        say("operator approves", draft=draft.id)
        frame = chat.expect("The reply in the chat", lambda frame: frame.get("kind") == "reply")
        self.desk.post(action, fields)  # a second click
        with self.app.app_context():
            replies = db.session.scalars(
                select(Message).filter_by(conversation_id=draft.conversation_id, kind=MessageKind.REPLY)
            ).all()
            decided = db.session.get_one(Draft, draft.id)
            need(len(replies) == 1, f"There are {len(replies)} replies, not one.")
            need(replies[0].draft_id == draft.id, "The reply is not the draft's.")
            need(decided.state is DraftState.APPROVED, f"The draft is {decided.state}.")
            need(
                replies[0].body in json.dumps(frame, ensure_ascii=False).replace("\\n", "\n"), f"The chat got {frame}."
            )
            say(
                "reply arrives in the chat, once for two clicks",
                message=replies[0].id,
                cursor=replies[0].sequence,
                by=replies[0].author_id,
            )
        named = [source["title"] for source in frame.get("sources", ())]
        need(draft.citations[0]["title"] in named, f"The chat names {named} as what the reply rests on.")
        say("customer reads what the reply rests on", sources=repr(", ".join(named)))

    def _learned(self, article_id: int) -> None:
        """The article's page has the question that it answered, and search goes by it for the next one who asks."""

        def on_the_page() -> bool:
            return COVERED in self.desk.get(f"/support/knowledge/{article_id}").html

        until("The question among those that the article answered", on_the_page)
        with self.app.app_context():
            best = search(db.session(), IN_OTHER_WORDS).passages[0]
            need(best.article_id == article_id, f"In other words {best.title!r} comes first.")
            need(best.answered, "Search does not go by the question that was answered.")
        say("search has learned from the answer", article=article_id, answered=best.answered)

    def _from_the_palette(self) -> None:
        """The operator finds a conversation, answers it from an article, cites that, and asks what nobody knows."""
        with self._customer() as (customer, chat):
            conversation_id = self._ask(customer, chat, BY_HAND)
            found = self.desk.part("/support/search", "palette-found", q="help new trac")
            need(f"/conversations/{conversation_id}" in found.html, "The palette does not find the conversation.")
            say("palette finds the conversation by parts of words", conversation=conversation_id)
            asked = {"q": COVERED, "conversation": conversation_id}
            answers = self.desk.part("/support/search", "palette-answers", **asked)
            words, cite, title = (answers.attribute(f"data-{name}") for name in ("insert", "cite", "title"))
            action, fields = self.desk.get(f"/support/conversations/{conversation_id}").form("/reply")
            self.desk.post(action, fields | {"body": words, "cite": cite})
            chat.expect("The reply in the chat", lambda frame: frame.get("kind") == "reply")
            page = self.desk.get(f"/support/conversations/{conversation_id}")
            need("Rests on" in page.html, "The reply does not say what it rests on.")
            say("operator's own reply cites the article it was taken from", source=repr(title))
            question = {"q": f"{UNCOVERED} {uuid.uuid4().hex[:8]}", "conversation": str(conversation_id)}
            for _ in range(2):
                self.desk.post("/support/search/settled", question)
            with self.app.app_context():
                kept = db.session.scalars(select(GapEvent).filter_by(conversation_id=conversation_id)).all()
                need(len(kept) == 1, f"There are {len(kept)} gaps, not one.")
                say("question that no article answers is kept, once", gap=kept[0].id, reason=kept[0].reason.value)

    def _gathered(self, live: Socket) -> None:
        """Three customers ask the same that nothing answers, each in their own words: one gap, and then an article."""
        mark = uuid.uuid4().hex[:8]
        with ExitStack() as stack:
            asked = []
            for words in MISSING:
                customer, chat = stack.enter_context(self._customer())
                asked.append(self._ask(customer, chat, words.format(mark)))
            with self.app.app_context():

                def joined() -> set[int]:
                    db.session.rollback()
                    of_them = select(GapQuestion.candidate_id, GapEvent.conversation_id).join(
                        GapEvent, GapEvent.question_id == GapQuestion.id
                    )
                    rows = db.session.execute(of_them.where(GapEvent.conversation_id.in_(asked))).all()
                    all_there = {row.conversation_id for row in rows} == set(asked)
                    return {row.candidate_id for row in rows} if all_there else set()

                found = until("All three questions are counted", joined)
            need(len(found) == 1, f"The three questions make {len(found)} candidates, not one.")
            address = f"/support/knowledge/gaps/{found.pop()}"
            if "/reopen" in self.desk.get(address).html:  # another run of this journey has accepted it
                action, fields = self.desk.get(address).form("/reopen")
                self.desk.post(action, fields)
            action, fields = self.desk.get(address).form("/accept")
            self.desk.post(action, fields)
            need("Accepted" in self.desk.get(address).html, "The gap was not accepted.")
            need(address in self.desk.get("/support/knowledge/gaps?state=accepted").html, "It is not listed.")
            say("same question of three customers makes one gap, accepted", gap=address.rpartition("/")[2])
        self._answered_for_good(live, address, MISSING[0].format(mark))

    def _answered_for_good(self, live: Socket, gap: str, question: str) -> None:
        """An article is suggested for the gap, written by one, approved by the other, and answers the same question."""
        omar = Browser(self.url)
        omar.sign_in("omar@demo.example")
        shown = self.desk.post(*self.desk.get(gap).form("/suggest"))
        address = f"/support/knowledge/reviews/{shown.attribute('data-suggestion')}"

        def written() -> bool:
            return "Being written" not in self.desk.get(address).html

        until("A suggested article", written)
        say("article is suggested for the gap", review=address.rpartition("/")[2])
        editor = self.desk.post(*self.desk.get(address).form("/hand-off"))
        action, fields = editor.form("/edit")
        self.desk.post(action, {**fields, "title": DOG_TITLE, "body": DOG_WORDS, "then": "edit"})
        omar.post(*omar.get(address).form("/approve"))
        omar.post(*omar.get(address).form("/publish"))

        def asked_again() -> ArticleSuggestion | None:
            with self.app.app_context():
                found = db.session.get_one(ArticleSuggestion, int(address.rpartition("/")[2]))
                return found if found.asked_again_at is not None else None

        done = until("Its questions asked again", asked_again)
        need(done.answered_after == done.asked > 0, f"{done.answered_after} of {done.asked} questions are answered.")
        say("another publishes it; its questions are asked again", review=done.id, answered=done.answered_after)
        with self._customer() as (customer, chat):
            draft = self._draft(live, self._ask(customer, chat, question))
            titles = {citation["title"] for citation in draft.citations}
            need(draft.kind is DraftKind.REPLY and DOG_TITLE in titles, f"The draft is a {draft.kind} from {titles}.")
            say("the same question is answered from the new article", draft=draft.id)
        need(DOG_TITLE in self.desk.get("/support/analytics/knowledge?days=7").html, "The board does not show it.")
        say("and the board shows what came of it", page="/support/analytics/knowledge")

    def _with_files(self) -> None:
        """A customer sends a picture, the operator sees it and answers with a PDF, which the customer downloads."""
        with self._customer() as (customer, chat):
            picture = self._upload(chat, "rack.png", PICTURE)
            conversation_id = self._ask(customer, chat, BY_HAND, picture)
            page = self.desk.get(f"/support/conversations/{conversation_id}")
            sources = (values.get("src", "") for values in page.elements)
            shown = next((source for source in sources if "/attachments/" in source), "")
            need(shown, "The console does not show the picture.")
            need(self.desk.fetch(shown).startswith(PICTURE[:8]), "The console's picture is none.")
            say("operator sees the customer's picture", conversation=conversation_id, file=picture)
            action, fields = page.form("/reply")
            self.desk.bring(action, fields | {"body": "One screw at a time."}, "steps.pdf", STEPS)
            frame = chat.expect("The reply in the chat", lambda frame: frame.get("kind") == "reply")
            (file,) = frame.get("files", ())
            need(Browser(self.url).fetch(file["url"]) == STEPS, "The customer does not get the operator's file.")
            say("customer downloads the file that came with the reply", file=file["id"], name=repr(file["name"]))
            try:
                self._upload(chat, "rack.png", b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'/>")
            except urllib.error.HTTPError as refused:
                need(refused.code == 422, f"A page that is called a picture got {refused.code}.")
            else:
                raise Failed("A page that is called a picture was taken.")
            say("a page that is called a picture is refused")

    def _rated(self, live: Socket) -> None:
        """A conversation is resolved with the question how the help was; by the link in the host's hands the answer
        comes, is seen beside the conversation, and a low one opens it again, once."""
        with self._customer() as (customer, chat):
            conversation_id = self._ask(customer, chat, BY_HAND)
            page = self.desk.get(f"/support/conversations/{conversation_id}")
            action, fields = page.form("/resolve")
            self.desk.post(action, fields | {"asking": "ask"})
            chat.expect("The question in the chat", lambda frame: frame.get("asks") is True)
            say("resolved, and the customer is asked how the help was", conversation=conversation_id)

            def linked() -> str | None:
                with self.app.app_context():
                    of_it = Activity.key.startswith(f"conversation:{conversation_id}:resolved:")
                    return db.session.scalar(select(Activity.text).where(of_it, Activity.key.endswith(RATE)))

            link = until("The link among the shop's own rows", linked)
            somewhere = Browser(self.url)  # nobody is signed in there
            action, fields = somewhere.get(link).form(link)
            for score in ("1", "2"):
                said = somewhere.post(action, fields | {"score": score, "comment": "Not what I asked."})
                need(f"rated the help {score} of 5" in said.html, "The page of the link does not say what was rated.")
            live.expect("The desk's news of the rating", lambda frame: "rating" in json.dumps(frame))
            page = self.desk.get(f"/support/conversations/{conversation_id}")
            need("rated 2 of 5: “Not what I asked.”" in page.html, "The console does not show the rating.")
            need("/resolve" in page.form("/resolve")[0], "The low rating did not open it again.")
            with self.app.app_context():
                kept = db.session.scalars(select(Rating).filter_by(conversation_id=conversation_id)).one()
                told = db.session.scalars(select(Mention).filter_by(conversation_id=conversation_id)).all()
                need((kept.score, len(told)) == (2, 1), f"Kept: {kept.score}; told {len(told)} times.")
                say("a low rating by the link reopens it and is told, once", rating=kept.id, score=kept.score)
            need("What customers said" in self.desk.get("/support/analytics").html, "Analytics has no comments.")

    def _upload(self, chat: Socket, name: str, data: bytes) -> str:
        """A file of the customer whose chat this is, by its id."""
        answer = Browser(self.url).bring("/support/widget/files", {"token": chat.token}, name, data)
        return str(json.loads(answer)["id"])

    def _helped(self) -> None:
        """Somebody nobody knows finds an article in the help centre, and says that it helped."""
        visitor = Browser(self.url)
        found = visitor.get("/help/search?" + urllib.parse.urlencode({"q": COVERED}))
        addresses = [values["href"] for values in found.elements if "/help/articles/" in values.get("href", "")]
        need(addresses, "The help centre finds nothing for the covered question.")
        action, fields = visitor.get(addresses[0]).form("/vote")
        said = visitor.post(action, fields | {"helpful": "yes"})
        need("Thank you" in said.html, "The help centre does not say that the vote was kept.")
        slug = action.split("/")[-2]
        say("a visitor finds an article in the help centre, and votes", article=slug)

    def _sealed(self) -> None:
        """Everything above is in the audit log, sealed by the relay, and verifies."""

        def look() -> sealing.Verified | None:
            with self.app.app_context(), Session(db.engine) as session:
                found = sealing.verify(session)
            return found if found.fault is not None or found.unsealed == 0 else None

        found = until("Everything is sealed", look)
        need(found.fault is None, f"The audit log is not what it was: {found.fault}")
        page = self.desk.get("/support/audit?action=draft.approved")
        need("approved a draft" in page.html, "The audit log does not show the approval.")
        say("the audit log is sealed and verifies", entries=found.links)

    def _written(self, live: Socket) -> None:
        """An article is written and published; the next customer who asks about it is answered from it."""
        action, fields = self.desk.get("/support/knowledge/new").form("/knowledge/new")
        about = {"title": "Wax the chain", "category": "Workshop", "tags": "chain, wax", "audience": "public"}
        action, fields = self.desk.post(action, fields | about | {"body": "Words to come."}).form("/edit")
        article_id = int(action.split("/")[-2])
        say("operator begins an article", article=article_id)
        self.desk.post(action, fields | about | {"body": NEW_WORDS, "then": "publish"})
        try:
            self.desk.post(action, fields | about | {"body": "Older words, saved late."})
        except urllib.error.HTTPError as refused:
            need(refused.code == 409, f"A late save got {refused.code}.")
            need("Older words, saved late." in refused.read().decode(), "The late words are not shown.")
        else:
            raise Failed("A save over newer words was taken.")
        say("a save over newer words is refused, and shows both")
        page = self.desk.get("/support/knowledge?" + urllib.parse.urlencode({"q": "wax", "state": "published"}))
        need(f"/support/knowledge/{article_id}" in page.html, "The list does not find the article.")
        with self._customer() as (customer, chat):
            draft = self._draft(live, self._ask(customer, chat, NEWS))
            cited = {int(citation["article_id"]) for citation in draft.citations}
            need(article_id in cited, f"The draft cites {cited or 'nothing'}: {draft.summary}")
            say("the next question is answered from it", draft=draft.id, grounding=draft.grounding)

    def _refunded(self, live: Socket) -> None:
        """One operator proposes a refund, cannot approve it, and sees its end after the other has."""
        with self._customer() as (customer, chat):
            conversation_id = self._ask(customer, chat, BY_HAND)
            with self.app.app_context():
                shop = db.session.get_one(User, customer).account
                paid = select(Charge).filter_by(account_id=shop.id if shop else 0, state=ChargeState.PAID)
                charge = db.session.scalars(paid.order_by(Charge.id)).first()
                need(charge is not None, "The shop has no charge.")
                reference = charge.reference if charge else ""
            there = f"/support/conversations/{conversation_id}/actions"
            action, fields = self.desk.get(f"{there}/new?tool=refund_charge").form("/actions")
            self.desk.post(action, fields | {"input.charge": reference, "input.amount": "0.50", "reason": "A test"})
            with self.app.app_context():
                proposal = db.session.scalars(select(ActionProposal).filter_by(conversation_id=conversation_id)).one()
                number = proposal.id
                need(proposal.state is ProposalState.PENDING, f"The refund is {proposal.state}: {proposal.failure}")
            say("operator proposes a refund in the conversation", action=number, charge=reference)
            approve = f"/support/approvals/{number}/approve"
            try:
                self.desk.post(approve, {"revision": "0"})
            except urllib.error.HTTPError as refused:
                need(refused.code == 409, f"Approving one’s own got {refused.code}.")
            else:
                raise Failed("The operator could approve their own refund.")
            say("who proposed it cannot approve it", action=number)
            other = Browser(self.url)
            other.sign_in("omar@demo.example")
            action, fields = other.get(f"/support/approvals/{number}").form(f"/approvals/{number}/approve")
            other.post(action, {name: value for name, value in fields.items() if name != "change"})
            say("the other operator approves it", action=number)
            live.expect(
                "The console's news of the refund",
                lambda frame: frame.get("proposal_id") == number and frame.get("state") == "succeeded",
            )
            need(
                "0.50 was sent back" in self.desk.get(f"/support/approvals/{number}").html, "The outcome is not shown."
            )
            with self.app.app_context():
                key = db.session.get_one(ActionProposal, number).run_key
                refunds = db.session.scalars(select(Refund).filter_by(key=key)).all()
                need(len(refunds) == 1, f"There are {len(refunds)} refunds, not one.")
            say("the first one sees that it was done, once", refund=refunds[0].id, pence=refunds[0].amount)

    def _sorted(self) -> None:
        """Two take one conversation; it is put off and comes back with the customer; a reply is taken back."""
        with self._customer() as (customer, chat):
            conversation_id = self._ask(customer, chat, BY_HAND)
            there = f"/support/conversations/{conversation_id}"
            action, fields = self.desk.get(there).form("/assign")
            other = Browser(self.url)
            other.sign_in("omar@demo.example")
            self.desk.post(action, fields)
            try:
                other.post(action, fields)
            except urllib.error.HTTPError as refused:
                need(refused.code == 409, f"Taking what somebody has got {refused.code}.")
                need("Mina Park" in refused.read().decode(), "The other is not told who has it.")
            else:
                raise Failed("Two operators took one conversation.")
            say("of two who take it, one has it, and the other is told who", conversation=conversation_id)
            action, fields = self.desk.get(there).form("/snooze")
            self.desk.post(action, fields | {"until": "tomorrow"})
            need(self._snoozed(conversation_id), "The conversation is not put off.")
            self._ask(customer, chat, "One more thing about the tracker.")
            need(not self._snoozed(conversation_id), "It did not come back with the customer's words.")
            say("a conversation that was put off is back with the customer's words", conversation=conversation_id)
            action, fields = self.desk.get(there).form("/reply")
            page = self.desk.post(action, fields | {"body": "Not like this."})
            self.desk.post(*page.form("/undo"))
            need("Not like this." in self.desk.get(there).html, "The words are not back in the reply field.")
            with self.app.app_context():
                sent = select(Message).filter_by(conversation_id=conversation_id, kind=MessageKind.REPLY)
                need(not db.session.scalars(sent).all(), "The reply was sent all the same.")
            say("a reply is taken back before the customer sees it", conversation=conversation_id)

    def _late(self, live: Socket) -> None:
        """What is urgent has seconds by this policy, so it is late before anybody answers: the app is told, once."""
        with self.app.app_context():
            newest = service_levels.newest(db.session())
            usual = service_levels.read(newest) if newest is not None else None
            if usual is None:
                raise Failed("The seeds have left no policy.")
            seconds = {Target.FIRST_RESPONSE: timedelta(seconds=4)}
            self._promise(replace(usual, targets={**usual.targets, Priority.URGENT: seconds}))
        try:
            with self._customer() as (customer, chat):
                conversation_id = self._ask(customer, chat, BY_HAND)
                there = f"/support/conversations/{conversation_id}"
                until("The countdown", lambda: "data-due" in self.desk.get(there).html)
                say("the conversation shows by when it is due", conversation=conversation_id)
                action, fields = self.desk.get(there).form("/priority")
                self.desk.post(action, fields | {"priority": "urgent"})

                def told() -> Activity | None:
                    with self.app.app_context():
                        clock = select(ServiceClock.id).filter_by(conversation_id=conversation_id)
                        key = f"service_clock:{db.session.scalars(clock).one()}:breached"
                        return db.session.scalars(select(Activity).filter_by(key=key)).one_or_none()

                row = until("The app is told that an answer is late", told)
                live.expect(
                    "The console's news of it",
                    lambda frame: frame["type"] == "service_level" and frame["conversation_id"] == conversation_id,
                )
                need("its time has passed" in self.desk.get(there).html, "The thread does not say that it is late.")
                late = self.desk.get("/support/inbox?view=open&due=breached")
                need(f"row-{conversation_id}" in late.html, "The list of what is late does not hold it.")
                need(">Late</span>" in self.desk.get("/support/inbox").html, "The rail has no list of what is late.")
                say("nobody has answered in time: the desk shows it, and the app is told once", activity=row.id)
        finally:
            with self.app.app_context():
                self._promise(usual)

    def _promise(self, policy: Policy) -> None:
        newest = service_levels.newest(db.session())
        seen = newest.version if newest else 0
        actor = Actor.system("smoke")
        service_levels.save(db.session(), policy, in_force=True, seen=seen, actor=actor)
        db.session.commit()

    def _snoozed(self, conversation_id: int) -> bool:
        with self.app.app_context():
            return db.session.get_one(Conversation, conversation_id).snoozed_until is not None

    def _left_and_told(self) -> None:
        """A customer has left when the answer comes: the app is told, and tells them in its own way."""
        with self._customer() as (customer, chat):
            conversation_id = self._ask(customer, chat, BY_HAND)
            action, fields = self.desk.get(f"/support/conversations/{conversation_id}").form("/reply")
            self.desk.post(action, fields | {"body": "We do: come in any day before noon."})

            def told() -> Activity | None:
                with self.app.app_context():
                    key = f"conversation:{conversation_id}:unseen:%"
                    return db.session.scalars(select(Activity).where(Activity.key.like(key))).one_or_none()

            row = until("The app is told of the unseen reply", told)
            page = self.desk.get(f"/support/conversations/{conversation_id}")
            need("passed on by your app" in page.html, "The thread does not say that the reply was passed on.")
            say("a reply that nobody saw is passed on by the app", activity=row.id)

    def _followed_up(self) -> None:
        """An operator follows up: what the app gets and the customer reads is what was previewed."""
        with self._customer() as (customer, chat):
            conversation_id = self._ask(customer, chat, BY_HAND)
            preview = self._previewed(conversation=str(conversation_id))
            action, fields = preview.form("/send")
            with self.app.app_context():
                envelope = int(action.split("/")[-2])
                shown = db.session.scalars(select(OutboundDelivery).filter_by(envelope_id=envelope)).one()
            need(escape(shown.body) in preview.html, "The preview does not show the text.")
            self.desk.post(action, fields)
            frame = chat.expect("The follow-up in the chat", lambda frame: frame.get("kind") == "follow_up")
            need(frame["body"] == shown.body, f"The chat says {frame['body']!r}, and the preview {shown.body!r}.")
            with self.app.app_context():
                letter = db.session.scalars(select(Letter).filter_by(key=shown.key)).one()
            need((letter.body, letter.user_id) == (shown.body, customer), f"The app got {letter.body!r}.")
            say("a follow-up reaches app and customer as it was previewed", envelope=envelope, letter=letter.id)
            page = self.desk.get(letter.opt_out)
            need("No more of these messages" in page.html, "The link of the letter does not ask.")
            self.desk.post(letter.opt_out, {})
            again = self._previewed(conversation=str(conversation_id))
            need("They get no follow-ups" in again.html, "Who opted out would get another one.")
            self.desk.post(*again.form("/discard"))
            say("who follows its link gets no more of them", customer=customer)

    def _previewed(self, **whom: str) -> Page:
        """The page of a preview with the team's first template."""
        query = urllib.parse.urlencode(whom)
        asks = self.desk.get(f"/support/outbound/new?{query}")
        action, fields = asks.form("/outbound/new")
        choice = next(values["value"] for values in asks.elements if values.get("name") == "template")
        return self.desk.post(action, fields | {"template": choice})

    def _refused_and_split(self) -> None:
        """More than the cap are refused, on record, and can be split. Nothing is sent."""
        refused = self._previewed(list="view=all")
        need("too many at once" in refused.html, "More than the cap were not refused.")
        action, fields = refused.form("/split")
        split = self.desk.post(action, fields)
        number = int(action.split("/")[-2])
        with self.app.app_context():
            parts = db.session.scalars(select(OutboundEnvelope).filter_by(parent_id=number)).all()
            limit = current().settings.bulk_limit
            states = set(db.session.scalars(select(OutboundDelivery.state).filter_by(envelope_id=number)))
        need(len(parts) > 1 and "Part 2" in split.html, f"It was split into {len(parts)}.")
        need(all(0 < part.eligible <= limit for part in parts), "A part is over the cap.")
        need(DeliveryState.DELIVERED not in states, "Something of what was refused was sent.")
        for part in parts:
            self.desk.post(*self.desk.get(f"/support/outbound/{part.id}").form("/discard"))
        say("too many at once are refused on record, and split", envelope=number, parts=len(parts))

    def _asked_by_a_machine(self) -> None:
        """A machine with a token proposes a note, an operator approves it, and the machine reads that it was done."""
        action, fields = self.desk.get("/support/settings/tokens").form("/settings/tokens")
        name = f"Smoke {uuid.uuid4().hex[:8]}"
        scopes = ["knowledge.read", "actions.propose", "conversations.note"]
        given: dict[str, str | list[str]] = {**fields, "name": name, "scope": scopes, "days": "30"}
        made = self.desk.post(action, given | {"rate": "600/minute"})
        raw = next((one["value"] for one in made.elements if one.get("aria-label") == "Token"), "")
        need(raw.startswith("cairnloop_"), "The new token is not shown.")
        machine = Machine(self.url, raw)
        tools = {tool["name"] for tool in machine.ask("tools/list")["tools"]}
        need({"add_note", "action_status"} <= tools, f"The machine sees {sorted(tools)}.")
        need("refund_charge" not in tools, "The machine sees a tool that its token has no scope for.")
        article = machine.ask("resources/list")["resources"][0]["uri"]
        need(machine.ask("resources/read", uri=article)["contents"][0]["text"], "The article has no words.")
        say("a machine lists tools, and reads an article", token=name.split()[1], article=article.rpartition("/")[2])
        with self._customer() as (customer, chat):
            about = {"body": "The machine was here.", "conversation_id": self._ask(customer, chat, BY_HAND)}
            first = machine.ask("tools/call", name="add_note", arguments=about)["structuredContent"]
            need(first["state"] == "pending", f"The machine's action is {first['state']}.")
            number = first["action_id"]
            say("its call proposes an action, and is answered at once", action=number)
            action, fields = self.desk.get(f"/support/approvals/{number}").form(f"/approvals/{number}/approve")
            self.desk.post(action, {name: value for name, value in fields.items() if name != "change"})

            def outcome() -> dict[str, Any] | None:
                told = machine.ask("tools/call", name="action_status", arguments={"action_id": number})
                found: dict[str, Any] = told["structuredContent"]
                return found if found["over"] else None

            done = until("The machine's action is over", outcome)
            need(done["state"] == "succeeded", f"It ended as {done['state']}: {done.get('failure')}")
            again = machine.ask("tools/call", name="add_note", arguments=about)["structuredContent"]
            need(again == done, "The same call again is not the same action.")
            say("after an approval it reads the outcome, once for two calls", action=number)
        self.desk.post(*self.desk.get("/support/settings/tokens").form(f"/tokens/{raw.split('_')[1]}/revoke"))
        try:
            machine.ask("tools/list")
        except urllib.error.HTTPError as refused:
            need(refused.code == 401, f"A revoked token got {refused.code}.")
        else:
            raise Failed("A revoked token was let in.")
        say("revoked, it is let in no more")

    def _one_question_back(self, live: Socket) -> None:
        with self._customer() as (customer, chat):
            draft = self._draft(live, self._ask(customer, chat, VAGUE))
            need(draft.kind is DraftKind.CLARIFICATION, f"The vague question got a {draft.kind}: {draft.body}")
            need(draft.body.count("?") == 1, f"That is not one question: {draft.body}")
            asked = next(line for line in draft.body.splitlines() if "?" in line)
            say("vague question gets one clarifying question", draft=draft.id, asks=repr(asked))

    def _handed_over(self, live: Socket) -> None:
        with self._customer() as (customer, chat):
            draft = self._draft(live, self._ask(customer, chat, UNCOVERED))
            need(draft.kind is DraftKind.ESCALATION, f"The uncovered question got a {draft.kind}: {draft.body}")
            need(draft.grounding is Strength.NONE, f"The grounding is {draft.grounding}.")
            say("uncovered question is handed to a person", draft=draft.id, grounding=draft.grounding)

    def _survives(self, live: Socket) -> None:
        """A killed worker and an empty Redis cost time, and nothing else."""
        with self._customer() as (customer, chat):
            killed = self._kill_a_worker()
            conversation_id = self._ask(customer, chat, COVERED)
            with self.app.app_context():
                current().redis.flushdb()
            say("Redis is emptied with the question on its way", conversation=conversation_id)
            draft = self._draft(live, conversation_id)
            say("the draft comes all the same", draft=draft.id, state=draft.state.value)

            def successor() -> bool:
                return any(kind is WorkerKind.INTERACTIVE and pid != killed for kind, pid in self._workers())

            until("Another worker in its place", successor)
            say("another worker has taken its place", instead_of=killed)

    def _forgotten(self, live: Socket) -> None:
        """A customer has said something that nobody else says; after forgetting no table holds it, or them."""
        mark = f"mark-{uuid.uuid4().hex}"
        with self._customer() as (customer, chat):
            file = self._upload(chat, f"{mark}.txt", mark.encode())
            draft = self._draft(live, self._ask(customer, chat, f"{COVERED} It is called {mark}.", file))
            with self.app.app_context():
                email = db.session.get_one(User, customer).email
                key = db.session.scalars(select(File.storage_key).filter_by(uuid=uuid.UUID(file))).one()
            words = (mark, email, f'"user-{customer}"')
            found = self._traces(words)
            need(found >= {"customers", "messages", "drafts", "files"}, f"Before, their words stand only in {found}.")
            command = ["cairnloop", "customers", "forget", f"user-{customer}", "--yes", "--json"]
            done = self.app.test_cli_runner().invoke(args=command)
            need(done.exit_code == 0, f"The command failed: {done.output}")
            chat.expect("The end of the open chat", lambda frame: frame.get("code") == "disconnected")
            left = self._traces(words)
            need(not left, f"Their words are left in {', '.join(sorted(left))}.")
            erased = json.loads(done.stdout)["erased"]
            say("customer is forgotten: no table holds a word of theirs", draft=draft.id, messages=erased["messages"])
            until("The end of their file's bytes", lambda: not self._stored(key))
            say("and the storage does not hold their file", files=erased["files"])

    def _stored(self, key: str) -> bool:
        with self.app.app_context():
            storage = storage_of(current())
            return storage is not None and key in {found for found, _ in storage.written()}

    def _traces(self, words: tuple[str, ...]) -> set[str]:
        """The desk's tables in which one of these words stands."""
        with self.app.app_context():
            schema = current().settings.schema
            names = inspect(db.engine).get_table_names(schema=schema)
            row = "SELECT count(*) FROM {}.{} AS t WHERE to_jsonb(t)::text LIKE ANY (:words)"
            looks = {name: text(row.format(quote(schema), quote(name))) for name in names}
            given = {"words": [f"%{word}%" for word in words]}
            return {name for name, look in looks.items() if db.session.scalar(look, given)}

    def _kill_a_worker(self) -> int:
        pid = next(pid for kind, pid in self._workers() if kind is WorkerKind.INTERACTIVE)
        os.kill(pid, signal.SIGKILL)
        say("the worker that writes drafts is killed", pid=pid)
        return pid

    def _workers(self) -> list[tuple[WorkerKind, int]]:
        """Kind and process id of every worker that has reported, newest first."""
        with self.app.app_context():
            rows = db.session.execute(
                select(WorkerProcess.kind, WorkerProcess.name).order_by(WorkerProcess.id.desc())
            ).all()
        return [(kind, int(name.split(":")[-2])) for kind, name in rows]

    def _well(self) -> None:
        """What the one on call looks at."""
        ready = json.loads(self.desk.get("/support/ready").html)
        need(ready["status"] == "ready", f"Not ready: {ready}")
        scrape = self.desk.get("/support/metrics").html
        need("cairnloop_up 1.0" in scrape, "The scrape does not say that it is up.")
        settings = self.desk.get("/support/settings")
        need("Health" in settings.html, "The settings have no word on health.")
        say("the desk is ready again, and says so", checks=len(ready["checks"]))
        if self.traces is not None:
            trace, names = until("The trace of a question", self._trace)
            say("a question's trace runs from the chat through the worker", trace=trace, spans="+".join(names))

    def _trace(self) -> tuple[str, list[str]] | None:
        """The id of a trace that a message began and a draft's job went on with, and the names of its spans."""
        found: dict[str, set[str]] = {}
        for line in self.traces.read_text().splitlines() if self.traces else ():
            span = json.loads(line)
            found.setdefault(span["context"]["trace_id"], set()).add(span["name"])
        wanted = {"cairnloop.frame", "cairnloop.job", "cairnloop.draft", "cairnloop.search"}
        whole = ((trace, sorted(names)) for trace, names in found.items() if names >= wanted)
        return next(whole, None)

    @contextmanager
    def _customer(self) -> Iterator[tuple[int, Socket]]:
        """A new person of a shop in good standing, signed in, with the chat open."""
        with self.app.app_context():
            shop = db.session.scalars(select(Account).filter_by(slug="lockside")).one()
            user = User(email=f"smoke-{uuid.uuid4().hex[:8]}@demo.example", name="Sam Smoke", role=Role.CUSTOMER)
            user.account = shop
            user.set_password("demo")
            db.session.add(user)
            db.session.commit()
            user_id, email = user.id, user.email
        browser = Browser(self.url)
        browser.sign_in(email)
        token = browser.get("/chat").attribute("data-token")
        with browser.socket("/support/widget/socket") as chat:
            chat.token = token
            chat.send(type="join", token=token, conversation=None, after=None)
            joined = chat.expect("The chat's answer to joining", lambda frame: frame["type"] == "joined")
            need(joined["conversation"] is None, "A new customer was given a conversation.")
            say("customer signs in and opens the chat", user=user_id)
            yield user_id, chat

    def _ask(self, customer: int, chat: Socket, question: str, *files: str) -> int:
        client_id = str(uuid.uuid4())
        chat.send(type="message", client_id=client_id, body=question, files=list(files))
        accepted = chat.expect("The receipt of the question", lambda frame: frame.get("client_id") == client_id)
        need(accepted["type"] == "accepted", f"The question was refused: {accepted}")
        with self.app.app_context():
            message = db.session.scalars(select(Message).filter_by(client_id=uuid.UUID(client_id))).one()
            need(message.author_id == f"user-{customer}", f"The message is by {message.author_id}.")
            say(
                f"customer asks: {question[:40]}",
                conversation=message.conversation_id,
                message=message.id,
                cursor=accepted["cursor"],
            )
            return message.conversation_id

    def _draft(self, live: Socket, conversation_id: int) -> Draft:
        """The worker's draft, once the console has been told about it."""

        def ready() -> Draft | None:
            with self.app.app_context():
                draft = db.session.scalars(
                    select(Draft).filter_by(conversation_id=conversation_id).order_by(Draft.id.desc())
                ).first()
                if draft is None or draft.state is DraftState.GENERATING:
                    return None
                db.session.expunge(draft)
                return draft

        live.expect("The console's news of the draft", lambda frame: str(conversation_id) in json.dumps(frame))
        draft = until("A draft", ready)
        need(draft.state is DraftState.READY, f"The draft is {draft.state}: {draft.failure or draft.policy_reason}")
        return draft


def wait(url: str, app: Flask) -> None:
    """Wait until the web server answers and the workers have reported for work."""

    def answers() -> bool:
        try:
            with urllib.request.urlopen(f"{url}/login", timeout=5) as answer:  # noqa: S310
                return bool(answer.status == 200)
        except OSError:
            return False

    def workers() -> bool:
        with app.app_context():
            states = worker_states(db.session())
            db.session.rollback()
            return all(state.alive for state in states)

    until("The web server's first answer", answers)
    until("A worker for every queue", workers)


@click.command()
@click.argument("url")
@click.option("--wait", "only_wait", is_flag=True, help="Only wait until web server and worker are ready.")
@click.option("--traces", type=click.Path(exists=True, path_type=Path), help="File with the servers' spans.")
def main(url: str, only_wait: bool, traces: Path | None) -> None:
    """Drive the whole journey against a running demo."""
    app = create_app()
    try:
        wait(url, app)
        if only_wait:
            return
        started = time.monotonic()
        Journey(url, app, traces).run()
        click.echo(f"The loop is closed, in {time.monotonic() - started:.1f} seconds.")
    except Failed as failed:
        click.echo(f"FAILED  {failed}", err=True)
        raise SystemExit(1) from failed
    except SocketError as refused:
        click.echo(f"FAILED  A WebSocket was refused: {refused}.", err=True)
        raise SystemExit(1) from refused
    except urllib.error.HTTPError as refused:
        click.echo(f"FAILED  {refused.url} answered {refused.code}.", err=True)
        raise SystemExit(1) from refused


if __name__ == "__main__":
    main()
