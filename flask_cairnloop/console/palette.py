"""The palette: finds what an operator may open, does what they may do, and looks for answers in the articles.

Its dialog stands on every page and asks for two parts, each with an answer of its own: what is found by its name comes
at once, what is found by its meaning may take an embedder's time. ``/search`` is the same as a page.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final, TypeVar

from flask import Blueprint, request, url_for
from sqlalchemy import select
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import SECTIONS, actor, may_open, operator, reading, requires, visible
from flask_cairnloop.console.presenters import Person, customer_person, passage_fragment
from flask_cairnloop.console.rendering import page, times, wanted
from flask_cairnloop.context import current
from flask_cairnloop.conversations import finding
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, CustomerRecord
from flask_cairnloop.conversations.queries import conversation_with_customer
from flask_cairnloop.database.words import words_of
from flask_cairnloop.drafting.citing import Cite, as_written, citable
from flask_cairnloop.errors import NotFound
from flask_cairnloop.hooks import Customer, Permission, Subject
from flask_cairnloop.knowledge.models import Article, Revision
from flask_cairnloop.knowledge.queries import articles_by_title
from flask_cairnloop.retrieval import memory
from flask_cairnloop.retrieval.grounding import calibration
from flask_cairnloop.retrieval.models import ResolvedCase
from flask_cairnloop.retrieval.search import search
from flask_cairnloop.retrieval.types import Outcome, Passage, SearchResults
from flask_cairnloop.upkeep.misses import miss as miss_of
from flask_cairnloop.upkeep.models import GapReason, GapSource
from flask_cairnloop.upkeep.service import record_gap

T = TypeVar("T")
SHOWN: Final = 5  # of a kind
ANSWERS: Final = 4  # passages
ASKED_FOR: Final = 4  # times as many where the host decides about each
LONGEST: Final = 500  # characters of what is typed that are read
SHORTEST_QUESTION: Final = 3  # letters from which answers are looked for
EXCERPT: Final = 160


@dataclass(frozen=True, slots=True)
class Option:
    """One line of the palette.

    Args:
        icon: its name, where there is no avatar.
        sub, aside: under and beside the title.
        href: what Enter opens.
        work: whether it opens beside the list of the inbox, where that is on the page.
        press: selector of what Enter presses on the page; without it there the line is left out.
        form: name of the palette's own form that Enter sends.
        facts: what the preview says about it, as label and words.
        words: what the preview quotes.
    """

    title: str
    icon: str = ""
    avatar: Person | None = None
    sub: str = ""
    aside: str = ""
    href: str = ""
    work: bool = False
    press: str = ""
    form: str = ""
    key: str = ""
    facts: tuple[tuple[str, str], ...] = ()
    words: str = ""


@dataclass(frozen=True, slots=True)
class Group:
    title: str
    options: tuple[Option, ...]


@dataclass(frozen=True, slots=True)
class Answer:
    """One piece of evidence.

    Args:
        trust: in words, with an icon and a tone.
        recency: when it was published, or resolved.
        why: why search found it.
        insert: the passage as one would write it, where it may be quoted to the customer of the open conversation.
        cite: what the reply then names as its source.
    """

    title: str
    sub: str
    passage: str
    href: str
    trust: tuple[str, str, str]
    note: str
    recency: datetime | None
    why: str = ""
    insert: str = ""
    cite: str = ""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What was found for a question.

    Args:
        cases: past conversations; they assist the operator and are quoted to nobody.
        miss: why no published article answers it; ``None`` where one may, or where it could not be looked for.
        left_out: whether there is something that the operator may not open.
        trouble: what is to be said about the search itself.
    """

    answers: tuple[Answer, ...]
    cases: tuple[Answer, ...]
    miss: GapReason | None
    left_out: bool
    trouble: str


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/search", "search", look)
    blueprint.add_url_rule("/search/settled", "settled", settled, methods=["POST"])


@requires(SECTIONS[0], instead=SECTIONS[1:])
def look() -> Response:
    """What was found, as a page or as the part that was asked for."""
    typed, open_id = _typed(request.args), _open_id(request.args)
    match wanted():
        case "palette-found":
            return page("_found.html", groups=found(typed, open_id), typed=typed, open_id=open_id)
        case "palette-answers":
            return page("_evidence.html", evidence=evidence(typed, open_id), typed=typed)
        case _:
            return page(
                "search.html", groups=found(typed, None), evidence=evidence(typed, None), typed=typed, open_id=None
            )


@requires(Permission.KNOWLEDGE_READ)
def settled() -> Response:
    """A question is done with and nothing was chosen. Where no published article answers it, it is kept as a gap.

    Decided here, not by the page: it is looked for again.
    """
    typed, open_id = _typed(request.form), _open_id(request.form)
    reason = missed(typed, open_id)
    if reason is not None:
        session = current().session()
        record_gap(session, typed, source=GapSource.PALETTE, reason=reason, actor=actor(), conversation_id=open_id)
        session.commit()
    return Response(status=204)


# --- by name ----------------------------------------------------------------------------------------------------------


def found(typed: str, open_id: int | None) -> list[Group]:
    """What bears the words that were typed; without any, what one would want next.

    Args:
        open_id: of the conversation that is open, if one is.
    """
    number = re.fullmatch(r"#?(\d{1,18})", typed)
    may_converse = may_open(Permission.CONVERSATIONS_READ)
    threads: list[finding.Found] = []
    people: list[tuple[CustomerRecord, list[Conversation]]] = []
    titles: list[Article] = []
    with reading() as session:
        opened = _opened(session, open_id)
        if may_converse and not typed:
            threads = finding.newest(session, _many())
        elif may_converse:
            threads = finding.by_number(session, int(number[1])) if number else []
            threads += finding.conversations(session, typed, _many())
            people = finding.customers(session, typed, _many())
        if typed and may_open(Permission.KNOWLEDGE_READ):
            titles = articles_by_title(session, typed, _many())
    actions = _fitting(typed, _actions(opened), "This conversation")
    others = [row for row in _seen_conversations(threads) if row[0].id != open_id]
    groups = [
        actions,
        Group("Conversations" if typed else "Recent conversations", tuple(map(_thread, others[:SHOWN]))),
        Group("Customers", tuple(islice(_customers(people), SHOWN))),
        Group("Articles", tuple(map(_article, islice(_seen_articles(titles), SHOWN)))),
        _fitting(typed, _pages(), "Go to"),
        _fitting(typed, _preferences(), "Settings of yours") if typed else Group("", ()),
    ]
    return [group for group in groups if group.options]


def _opened(session: Session, open_id: int | None) -> Conversation | None:
    """The conversation that is open, if it is still there and the operator may see it."""
    if open_id is None:
        return None
    try:
        return conversation_with_customer(session, open_id)[0]
    except NotFound:
        return None


def _many() -> int:
    """How many rows of a kind are read, so that enough are left where the host refuses some."""
    return (SHOWN + 1) * (ASKED_FOR if current().hooks.configured("AUTHORIZE") else 1)


def _seen_conversations(rows: Iterable[finding.Found]) -> list[finding.Found]:
    unique = {row[0].id: row for row in rows}.values()
    seen = visible(unique, Permission.CONVERSATIONS_READ, "conversation", lambda row: row[0].id)
    return list(islice(seen, SHOWN + 1))


def _seen_articles(rows: Iterable[Article]) -> Iterable[Article]:
    return visible(rows, Permission.KNOWLEDGE_READ, "article", lambda article: article.id)


def _thread(row: finding.Found) -> Option:
    conversation, record = row
    who, now = customer_person(record), times()
    facts = [
        ("State", presenters.status_words(conversation)),
        ("Last message", now.stamp(conversation.last_message_at)),
    ]
    if conversation.status is ConversationStatus.RESOLVED:
        facts[0] = ("State", f"Resolved {now.stamp(conversation.resolved_at)}")
    if conversation.assignee_name:
        facts.append(("Who has it", conversation.assignee_name))
    return Option(
        presenters.subject(conversation),
        avatar=who,
        sub=", ".join(part for part in (who.name, record.organization) if part),
        aside=now.ago(conversation.last_message_at),
        href=url_for("cairnloop.conversation", conversation_id=conversation.id),
        work=True,
        facts=tuple(facts),
        words=conversation.preview,
    )


def _customers(people: Iterable[tuple[CustomerRecord, list[Conversation]]]) -> Iterable[Option]:
    """Customers, each leading to the newest of their conversations that the operator may see."""
    for record, theirs in people:
        seen = visible(theirs, Permission.CONVERSATIONS_READ, "conversation", lambda conversation: conversation.id)
        newest = next(iter(seen), None)
        if newest is not None:
            who = customer_person(record)
            yield Option(
                who.name,
                avatar=who,
                sub=", ".join(part for part in (record.organization, record.email) if part) or "Customer",
                aside=times().ago(newest.last_spoken_at),
                href=url_for("cairnloop.conversation", conversation_id=newest.id),
                work=True,
                facts=(
                    *((label, value) for label, value in (("E-mail", record.email),) if value),
                    *((label, value) for label, value in (("Company", record.organization),) if value),
                    ("Opens", presenters.subject(newest)),
                ),
            )


def _article(article: Article) -> Option:
    label, _, _ = presenters.article_state(article)
    told = ", ".join(part for part in (label, presenters.article_audience(article)) if part)
    return Option(
        article.title,
        icon="book",
        sub=article.category or "No category",
        aside="" if article.state.value == "published" and told == label else told,
        href=url_for("cairnloop.article", article_id=article.id),
        facts=(("State", told), ("Changed", times().stamp(article.updated_at))),
    )


# --- pages and actions ------------------------------------------------------------------------------------------------


def _pages() -> list[Option]:
    """The pages that the operator may open."""
    decides = Permission.ACTIONS_APPROVE if may_open(Permission.ACTIONS_APPROVE) else Permission.ACTIONS_PROPOSE
    approvals = (("Approvals", "shield", "approvals", decides),) if current().hooks.tools else ()
    known = (
        ("Home", "home", "home", Permission.CONVERSATIONS_READ),
        ("Inbox", "inbox", "inbox", Permission.CONVERSATIONS_READ),
        *approvals,
        ("Knowledge", "book", "knowledge", Permission.KNOWLEDGE_READ),
        ("Audit log", "list", "audit", Permission.AUDIT_READ),
        ("Settings", "gear", "settings", Permission.OPERATIONS_READ),
    )
    return [
        Option(title, icon=icon, href=url_for(f"cairnloop.{endpoint}"))
        for title, icon, endpoint, permission in known
        if may_open(permission)
    ]


def _preferences() -> list[Option]:
    themes = [
        Option(f"Theme: {name}", icon="half", press=f".account button[value={name}]")
        for name in ("system", "light", "dark")
    ]
    return [*themes, Option("Keyboard shortcuts", icon="list", press=".account [data-open=keys]", key="?")]


def _actions(opened: Conversation | None) -> list[Option]:
    """What may be done with the open conversation, by the forms that stand on its page."""
    if opened is None or opened.erased_at is not None:
        return []

    def may(permission: Permission) -> bool:
        return may_open(permission, Subject("conversation", opened.id))

    if not may(Permission.CONVERSATIONS_READ):
        return []
    mine, resolved = opened.assignee_id == operator().id, opened.status is ConversationStatus.RESOLVED
    options: list[tuple[Permission, Option]] = [
        (Permission.CONVERSATIONS_REPLY, Option("Write a reply", "reply", press="[data-write=reply]", key="R")),
        (Permission.CONVERSATIONS_NOTE, Option("Add a note", "lock", press="[data-write=note]", key="N")),
        (
            Permission.CONVERSATIONS_RESOLVE,
            Option("Reopen", "undo", press="#status-form")
            if resolved
            else Option("Resolve", "check", press="#status-form", key="E"),
        ),
        (
            Permission.CONVERSATIONS_REPLY,
            Option("Give it back to the team", "user", form="nobody")
            if mine
            else Option("Assign to me", "user", form="me", key="I"),
        ),
        (Permission.CONVERSATIONS_REPLY, Option("Draft a reply from the articles", "draft", press="#ask")),
        (Permission.CONVERSATIONS_REPLY, Option("Edit the draft", "draft", press="[data-edit]", key="⇧E")),
        (Permission.CONVERSATIONS_READ, Option("Customer details", "panel", press=".ctxb")),
    ]
    if current().hooks.tools:
        options.append(
            (Permission.ACTIONS_PROPOSE, Option("Propose an action", "bolt", press="[data-propose]", key="T"))
        )
    return [option for permission, option in options if may(permission)]


def _fitting(typed: str, options: list[Option], title: str) -> Group:
    """Those of which every word that was typed begins a word."""
    wanted_words = words_of(typed)

    def fits(option: Option) -> bool:
        own = words_of(option.title)
        return all(any(word.startswith(begun) for word in own) for begun in wanted_words)

    if typed and not wanted_words:
        return Group(title, ())
    return Group(title, tuple(filter(fits, options)))


# --- by meaning -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Searched:
    """What the search brought, before anybody was asked who may see it."""

    results: SearchResults
    cases: list[tuple[ResolvedCase, float]]
    published: dict[int, datetime]
    miss: GapReason | None


def evidence(typed: str, open_id: int | None) -> Evidence | None:
    """What articles and past cases say to a question. ``None`` where it is none, or the operator may not read them."""
    if len("".join(words_of(typed))) < SHORTEST_QUESTION or not may_open(Permission.KNOWLEDGE_READ):
        return None
    # In a session of our own: embedder, AUTHORIZE and ARTICLE_SCOPE are host code, and may take their time.
    with Session(current().engine) as session:
        customer = _customer_of(session, open_id)
        searched = _search(session, typed, open_id)
    seen = list(
        visible(searched.results.passages, Permission.KNOWLEDGE_READ, "article", lambda passage: passage.article_id)
    )
    cases = (
        list(
            visible(searched.cases, Permission.CONVERSATIONS_READ, "conversation", lambda case: case[0].conversation_id)
        )
        if may_open(Permission.CONVERSATIONS_READ)
        else []
    )
    quotable = _quotable(seen, open_id, customer)
    return Evidence(
        tuple(_answer(passage, searched.published, quotable, open_id) for passage in seen[:ANSWERS]),
        tuple(map(_case, cases)),
        searched.miss,
        len(seen) < len(searched.results.passages),
        _trouble(searched.results),
    )


def missed(typed: str, open_id: int | None) -> GapReason | None:
    """Why a question that is done with is a gap; ``None`` where it is none.

    A single word that names something, a customer or a page, was no question to the articles.
    """
    words = words_of(typed)
    if len("".join(words)) < SHORTEST_QUESTION:
        return None
    with Session(current().engine) as session:
        reason = _search(session, typed, open_id).miss
    if reason is None or (len(words) == 1 and found(typed, open_id)):
        return None
    return reason


def _customer_of(session: Session, open_id: int | None) -> Customer | None:
    if open_id is None:
        return None
    try:
        _, record = conversation_with_customer(session, open_id)
    except NotFound:
        return None
    return Customer(record.ref, record.name, record.email, record.organization)


def _search(session: Session, typed: str, open_id: int | None) -> _Searched:
    # More than are shown where the host refuses some.
    limit = ANSWERS * (ASKED_FOR if current().hooks.configured("AUTHORIZE") else 1)
    results = search(session, typed, limit=limit, besides=open_id)
    cases = memory.cases(session, results.cases)
    revisions = [passage.revision_id for passage in results.passages]
    rows = session.execute(select(Revision.id, Revision.published_at).where(Revision.id.in_(revisions)))
    published = {id_: at for id_, at in rows if at is not None}
    named = articles_by_title(session, typed, 1)
    miss = None if named else miss_of(typed, results, calibration(session), cases=bool(cases))
    return _Searched(results, cases, published, miss)


def _quotable(passages: Iterable[Passage], open_id: int | None, customer: Customer | None) -> Callable[[Passage], bool]:
    """Which passages may be quoted to the customer of the open conversation. The host is asked outside our session."""
    if open_id is None or customer is None:
        return lambda _: False
    if not may_open(Permission.CONVERSATIONS_REPLY, Subject("conversation", open_id)):
        return lambda _: False
    tags = current().hooks.article_scope(customer)
    with Session(current().engine) as session:
        cites = [Cite(passage.revision_id, passage.chunk_id) for passage in passages]
        allowed = {cite.passage_id for cite in citable(session, cites, tags=tags)}
    return lambda passage: passage.chunk_id in allowed


def _answer(
    passage: Passage, published: dict[int, datetime], quotable: Callable[[Passage], bool], open_id: int | None
) -> Answer:
    inserts = quotable(passage)
    note = ""
    if not passage.public:
        note = "For you. It is never quoted to a customer."
    elif open_id is not None and not inserts:
        note = "For you. It is not among the articles for this customer."
    fragment = passage_fragment(passage.heading, passage.content)
    return Answer(
        title=passage.title,
        sub=passage.heading,
        passage=as_written(passage.content),
        href=url_for("cairnloop.article", article_id=passage.article_id, revision=passage.revision_id) + fragment,
        trust=("Published article", "check", "moss") if passage.public else ("Team only", "lock", "ember"),
        note=note,
        recency=published.get(passage.revision_id),
        why=presenters.why_found({"parts": dict(passage.parts), "answered": passage.answered}),
        insert=as_written(passage.content) if inserts else "",
        cite=f"{passage.revision_id}:{passage.chunk_id}" if inserts else "",
    )


def _case(found_case: tuple[ResolvedCase, float]) -> Answer:
    case, similarity = found_case
    return Answer(
        title=case.title,
        sub=presenters.case_likeness(similarity),
        passage=case.resolution,
        href=url_for("cairnloop.conversation", conversation_id=case.conversation_id),
        trust=("Past case", "clock", "slate"),
        note="How it was answered before. Only articles are quoted to customers.",
        recency=case.resolved_at,
    )


def _trouble(results: SearchResults) -> str:
    if results.outcome is Outcome.ERROR:
        return "The articles cannot be searched just now. Everything else works."
    return "A part of the search does not work just now: there may be more." if results.degraded else ""


# --- what was asked ---------------------------------------------------------------------------------------------------


def _typed(values: Any) -> str:
    return " ".join(values.get("q", "").replace("\x00", "").split())[:LONGEST]


def _open_id(values: Any) -> int | None:
    """The conversation that is open on the page, if the operator may see it."""
    text = values.get("conversation", "")
    if not re.fullmatch(r"\d{1,18}", text, re.ASCII) or not may_open(Permission.CONVERSATIONS_READ):
        return None
    return int(text) if may_open(Permission.CONVERSATIONS_READ, Subject("conversation", int(text))) else None
