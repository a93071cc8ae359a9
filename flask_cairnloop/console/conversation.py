"""One conversation: its timeline, the decision on its draft, replies and notes, and who the customer is."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence
from typing import Any

from flask import Blueprint, jsonify, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import actor, may, may_open, operator, reading, requires, visible
from flask_cairnloop.console.files import take_attachments
from flask_cairnloop.console.inbox import ASKING, counts, listed, listing
from flask_cairnloop.console.macros import asked_for
from flask_cairnloop.console.mentions import who_may_see
from flask_cairnloop.console.quick_fix import card_of
from flask_cairnloop.console.rendering import is_fragment, page, tell, times, toast, wanted
from flask_cairnloop.context import current
from flask_cairnloop.conversations import queries, sending, service, triage, unsent
from flask_cairnloop.conversations.filters import Filter, View
from flask_cairnloop.conversations.mentions import Named, named
from flask_cairnloop.conversations.mentions import mark_read as mentions_read
from flask_cairnloop.conversations.mentions import tell as tell_of_it
from flask_cairnloop.conversations.models import Conversation, PendingState
from flask_cairnloop.drafting import service as drafting
from flask_cairnloop.drafting.citing import MOST, NOT_CITABLE, Cite, citable
from flask_cairnloop.errors import (
    AnsweredMeanwhile,
    Conflict,
    CustomerForgotten,
    IllegalTransition,
    InvalidInput,
    Stale,
    StaleConversation,
)
from flask_cairnloop.files.content import accepted
from flask_cairnloop.files.storage import storage_of
from flask_cairnloop.hooks import ConversationInfo, Customer, Permission
from flask_cairnloop.macros import language
from flask_cairnloop.outbound import queries as outbound
from flask_cairnloop.retrieval import memory
from flask_cairnloop.service_levels.queries import standing as service_standing
from flask_cairnloop.upkeep import suggestions

# What a page with a conversation offers beside reading it.
DECISIONS = (
    Permission.CONVERSATIONS_REPLY,
    Permission.CONVERSATIONS_NOTE,
    Permission.CONVERSATIONS_RESOLVE,
    Permission.ACTIONS_PROPOSE,
    Permission.ACTIONS_APPROVE,
    Permission.OUTBOUND_SEND,
    Permission.OUTBOUND_BULK,
    Permission.KNOWLEDGE_READ,
    Permission.KNOWLEDGE_EDIT,
)
RESOLVE = Permission.CONVERSATIONS_RESOLVE
BIGINT_MAX = 2**63 - 1
ID = "<int(max=9223372036854775807):{}>"


def register(blueprint: Blueprint) -> None:
    def add(path: str, endpoint: str, view: Any, method: str = "POST") -> None:
        # The largest id PostgreSQL has: a longer number is no page, and never reaches the database.
        path = f"/conversations/{ID.format('conversation_id')}{path}"
        blueprint.add_url_rule(path, endpoint, view, methods=[method])

    add("", "conversation", conversation, "GET")
    add("/context", "context", context, "GET")
    add("/read", "mark_read", mark_read)
    add("/reply", "reply", reply)
    add("/note", "note", note)
    add(f"/pending/{ID.format('pending_id')}/undo", "undo_reply", undo_reply)
    add(f"/pending/{ID.format('pending_id')}/send", "send_now", send_now)
    add("/unsent", "unsent", unsent_texts, "GET")
    add("/unsent/keep", "keep_unsent", keep_unsent)
    add("/resolve", "resolve", resolve)
    add("/reopen", "reopen", reopen)
    add("/draft", "regenerate", regenerate)
    add("/suggest", "suggest_from_conversation", suggest)
    add(f"/drafts/{ID.format('draft_id')}/approve", "approve", approve)
    add(f"/drafts/{ID.format('draft_id')}/discard", "discard", discard)


# --- reading ----------------------------------------------------------------------------------------------------------


@requires(Permission.CONVERSATIONS_READ, *DECISIONS)
def conversation(conversation_id: int) -> Response:
    """The inbox opened at a conversation, or the part of it that was asked for."""
    part = wanted()
    thread = thread_shown(conversation_id, before=_number(request.args.get("before")), writes=part != "timeline")
    asked = Filter.parse(request.args, default=_usual_view(thread["conversation"]))
    match part:
        case "work":
            return page("_work.html", **thread, **listing(asked), fresh=True)
        case "timeline":
            return page("_timeline.html", **thread, **listing(asked), alone=True)
        case _:
            return page("inbox.html", **(listed(asked) | {"selected": conversation_id}), **counts(asked), **thread)


@requires(Permission.CONVERSATIONS_READ, Permission.KNOWLEDGE_EDIT)
def context(conversation_id: int) -> Response:
    """What the host says about the customer, and their other conversations.

    Read in a session of our own that is closed before the host is asked: a slow hook holds no transaction of ours open,
    and what the host has in its own session on this request stays there.
    """
    with Session(current().engine) as session:
        found, record = queries.conversation_with_customer(session, conversation_id)
        past = queries.past_conversations(session, record.id, besides=found.id)
        similar = memory.cases(session, drafting.similar_cases(session, found.id))
        promised = service_standing(session, found.id)
    cases = visible(similar, Permission.CONVERSATIONS_READ, "conversation", lambda case: case[0].conversation_id)
    others = list(visible(past, Permission.CONVERSATIONS_READ, "conversation", lambda other: other.id))
    customer = Customer(record.ref, record.name, record.email, record.organization)
    known = current().hooks.load_context(customer, _info(found))
    return page(
        "_context.html" if is_fragment() else "context.html",
        conversation=found,
        customer=presenters.customer_person(record),
        record=record,
        known=known,
        past=others,
        cases=list(cases),
        levels=presenters.levels(promised, times()),
        unanswered=promised.failure,
        left_out=len(others) < len(past),
    )


@requires(Permission.CONVERSATIONS_READ)
def mark_read(conversation_id: int) -> Response:
    """Note how far the operator has read."""
    session = current().session()
    found = service.get(session, conversation_id)
    sequence = min(_number(request.form.get("sequence")) or 0, found.last_sequence)
    service.mark_read(session, conversation_id, operator().id, sequence)
    mentions_read(session, operator().id, conversation_id=conversation_id, up_to=sequence)
    session.commit()
    return Response(status=204)


# --- deciding and writing ---------------------------------------------------------------------------------------------


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def reply(conversation_id: int) -> Response:
    """Send a typed reply. Refused, with the text kept, where the customer wrote after what was shown."""
    cites, files = _cites(), take_attachments()
    tags = _may_cite(conversation_id, cites) if cites else None
    session = current().session()
    seen, shown, body, client_id = _seen(), _shown(), request.form.get("body", ""), _client_id()
    # The kept text has a field of its own: what stands in the composer meanwhile is not sent and stays.
    kept, does = "kept" in request.form, asked_for(session)
    then, _, asking = request.form.get("then", "").partition(":")
    resolves = any(action.resolves for action in does) or (then == "resolve" and may(RESOLVE))
    asks = ASKING.get(asking, next((action.asks for action in reversed(does) if action.asks is not None), None))
    if unset := language.left_in(body):
        raise language.Unset(unset)
    try:
        taken = sending.send_reply(
            session,
            conversation_id,
            actor=actor(),
            body=body,
            client_id=client_id,
            seen=seen,
            shown=shown,
            cites=cites,
            tags=tags,
            files=files,
            resolves=resolves,
            asks=asks,
            from_field=not kept,
        )
        for action in does:
            if action.apply is not None:
                action.apply(session, conversation_id, operator())
        session.commit()
    except (StaleConversation, AnsweredMeanwhile):
        return _held(session, conversation_id, seen, body if kept else None, shown=shown, from_composer=not kept)
    return _on_its_way(conversation_id, taken, sent="kept" if kept else "reply", resolves=resolves)


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def undo_reply(conversation_id: int, pending_id: int) -> Response:
    """Take a reply back; its words are in the reply field again."""
    session = current().session()
    try:
        sending.undo(session, conversation_id, pending_id, actor=actor())
        session.commit()
    except IllegalTransition as conflict:
        session.rollback()
        words = "It was taken back already" if conflict.state == "undone" else "Too late: it has been sent"
        return _done(conversation_id, words)
    return _done(conversation_id, "Taken back. Your text is in the reply field", told={"cairnloop:unsent": {}})


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def send_now(conversation_id: int, pending_id: int) -> Response:
    """Send a reply that waits, or that something came between, at once."""
    session = current().session()
    seen = _seen()
    try:
        sending.send_now(session, conversation_id, pending_id, actor=actor(), seen=seen)
        session.commit()
    except StaleConversation:
        return _held(session, conversation_id, seen, None)
    except IllegalTransition as conflict:
        session.rollback()
        words = "It was taken back" if conflict.state == "undone" else "It has been sent already"
        return _done(conversation_id, words)
    return _done(conversation_id, "Sent")


@requires(Permission.CONVERSATIONS_READ, *DECISIONS)
def unsent_texts(conversation_id: int) -> Response:
    """What the operator has written here and not sent, for another page of theirs."""
    return jsonify(unsent.texts(current().session(), conversation_id, operator().id))


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS, instead=(Permission.CONVERSATIONS_NOTE,))
def keep_unsent(conversation_id: int) -> Response:
    """Keep what stands in a field, while it is being written."""
    session = current().session()
    if service.lock(session, conversation_id).erased_at is not None:  # and nobody forgets them until this is kept
        raise CustomerForgotten
    kind, body, tab = (request.form.get(name, "") for name in ("kind", "body", "tab"))
    unsent.keep(session, conversation_id, operator().id, kind, body, tab=tab[:40])
    session.commit()
    return Response(status=204)


@requires(Permission.CONVERSATIONS_NOTE, *DECISIONS)
def note(conversation_id: int) -> Response:
    """Add an internal note, and tell the colleagues whom it names."""
    body, files = request.form.get("body", ""), take_attachments()
    found = named(body, current().hooks.colleagues) if "@" in body else Named((), ())
    told = who_may_see(conversation_id, [one for one in found.people if one.id != operator().id])
    session, client_id = current().session(), _client_id()
    written = service.add_note(session, conversation_id, actor=actor(), body=body, client_id=client_id, files=files)
    tell_of_it(session, written, told, actor=actor())
    unsent.clear(session, conversation_id, operator().id, "note")
    session.commit()
    return _done(conversation_id, presenters.noted(found, told, operator()), sent="note")


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def approve(conversation_id: int, draft_id: int) -> Response:
    """Send a draft, as it stands or as edited. At most once, and never over words of the customer not shown before."""
    session = current().session()
    draft = queries.draft_of(session, conversation_id, draft_id)
    seen, shown, body = _seen(), _shown(), request.form.get("body")
    try:
        taken = sending.approve(session, draft_id, actor=actor(), seen=seen, shown=shown, body=body)
        session.commit()
    except Conflict as conflict:
        session.rollback()
        newest = service.get(session, conversation_id).last_customer_sequence
        if isinstance(conflict, Stale) or newest > seen:
            # What is kept goes on as a typed reply, which knows no citation numbers.
            kept = None if body is None else drafting.without_marks(draft, body)
            return _held(session, conversation_id, seen, kept, shown=shown)
        if isinstance(conflict, IllegalTransition):
            return _late(conversation_id, conflict)
        raise
    return _on_its_way(conversation_id, taken)


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def discard(conversation_id: int, draft_id: int) -> Response:
    """Throw a draft away, with a reason and, where there is more to say, a note."""
    session = current().session()
    queries.draft_of(session, conversation_id, draft_id)
    try:
        reason, note = request.form.get("reason", ""), request.form.get("note")
        drafting.discard(session, draft_id, actor=actor(), reason=reason, note=note)
        session.commit()
    except IllegalTransition as conflict:
        session.rollback()
        return _late(conversation_id, conflict)
    return _done(conversation_id, "Draft discarded")


@requires(Permission.CONVERSATIONS_REPLY, *DECISIONS)
def regenerate(conversation_id: int) -> Response:
    """Ask for a new draft."""
    session = current().session()
    drafting.regenerate(session, conversation_id, actor=actor())
    session.commit()
    return _done(conversation_id, "Looking for sources again")


@requires(Permission.KNOWLEDGE_EDIT, *DECISIONS, besides=(Permission.CONVERSATIONS_READ,))
def suggest(conversation_id: int) -> Response:
    """Have an article suggested that would have answered the customer. What was said becomes part of it."""
    session = current().session()
    try:
        suggestions.request(session, conversation_id=conversation_id, actor=actor())
        session.commit()
    except InvalidInput as refused:
        session.rollback()
        return _done(conversation_id, refused.message)
    return _done(conversation_id, "Looking for what is known")


@requires(Permission.CONVERSATIONS_RESOLVE, *DECISIONS)
def resolve(conversation_id: int) -> Response:
    """Mark as done. Refused where the customer wrote after what was shown."""
    session = current().session()
    seen = _seen()
    try:
        done = sending.resolve(
            session, conversation_id, actor=actor(), seen=seen, asks=ASKING.get(request.form.get("asking", ""))
        )
        session.commit()
    except StaleConversation:
        return _held(session, conversation_id, seen, None, what="It was not resolved")
    except IllegalTransition:
        session.rollback()
        return _done(conversation_id, "It was resolved already")
    return _done(conversation_id, "Resolved" if done else "It is resolved once the reply is sent", left=done)


@requires(Permission.CONVERSATIONS_RESOLVE, *DECISIONS)
def reopen(conversation_id: int) -> Response:
    """Open again."""
    session = current().session()
    try:
        service.reopen(session, conversation_id, actor=actor())
        session.commit()
    except IllegalTransition:
        session.rollback()
        return _done(conversation_id, "It is open already")
    return _done(conversation_id, "Reopened")


# --- shared -----------------------------------------------------------------------------------------------------------


def thread_shown(conversation_id: int, *, before: int | None = None, writes: bool = False) -> dict[str, Any]:
    """What the thread of a conversation needs. Six queries, one for what the operator has written where it is shown
    with its fields, and three for its actions where it has any."""
    # Both show a conversation again after a decision.
    from flask_cairnloop.console import approvals
    from flask_cairnloop.console.outbound import in_thread

    with reading() as session:
        thread = queries.timeline(session, conversation_id, operator().id, before=before)
        tags = triage.tags_of(session, [conversation_id]).get(conversation_id, [])
        waiting = sending.open_replies(session, conversation_id) if before is None else []
        follow_ups = outbound.in_thread(session, conversation_id) if before is None else []
        suggested = suggestions.of_conversation(session, conversation_id) if before is None else None
        written = unsent.texts(session, conversation_id, operator().id) if writes else {}
    latest = before is None
    card = presenters.draft_card(thread.open_draft, times()) if latest else None
    # What answers the customer is on its way: a draft that waits beside it comes back only if that is taken back.
    answered = any(reply.state is PendingState.PENDING for reply in waiting)
    return {
        "thread": thread,
        "tags": tags,
        "presets": presenters.snooze_presets(times()),
        "conversation": thread.conversation,
        "customer": presenters.customer_person(thread.customer),
        "record": thread.customer,
        "entries": presenters.entries(thread, operator(), times()),
        "card": None if answered else card,
        "pending": presenters.pending_replies(waiting, thread.conversation, operator(), times().now),
        "shown_pending": max((reply.id for reply in waiting), default=0),
        "unsent": written,
        "does": asked_for(current().session()) if writes else (),
        "actions": approvals.cards_of(conversation_id) if latest else [],
        "fix": card_of(suggested, times()) if may(Permission.KNOWLEDGE_READ) else None,
        **in_thread(conversation_id, follow_ups),
        "latest": latest,
        "client_ids": (uuid.uuid4(), uuid.uuid4()),
        "attachable": attachable(),
    }


def attachable() -> str:
    """What a field for files offers to choose; empty where messages take none."""
    cairnloop = current()
    takes = cairnloop.settings.attachment_limit > 0 and storage_of(cairnloop) is not None
    return accepted(cairnloop.settings.file_types) if takes else ""


def _done(
    conversation_id: int,
    words: str,
    *,
    sent: str | None = None,
    left: bool = False,
    told: dict[str, dict[str, Any]] | None = None,
) -> Response:
    """The timeline as it is now, with a toast; for a browser without scripts, the page again.

    Args:
        sent: the field whose words were sent.
        left: it is out of the way now, so that the next one may be opened.
        told: further events for the page's script, which also hear which conversation it was.
    """
    if not is_fragment():
        return redirect(url_for("cairnloop.conversation", conversation_id=conversation_id), code=303)
    events = (told or {}) | ({"cairnloop:sent": {"mode": sent}} if sent else {})
    events |= {"cairnloop:left": {}} if left else {}
    about = {name: {"conversation": conversation_id, **data} for name, data in events.items()}
    return toast(timeline_now(conversation_id), words, about)


def done_but_late(conversation_id: int, words: str) -> Response:
    """Somebody was faster: nothing was done, and the conversation is shown as it is now."""
    if not is_fragment():
        return page("error.html", 409, title="Somebody was faster", advice="Nothing was changed.", detail=words)
    answer = timeline_now(conversation_id)
    answer.status_code = 409
    return toast(answer, words, tone="calm")


def _on_its_way(
    conversation_id: int, taken: sending.Taken, *, sent: str | None = None, resolves: bool = False
) -> Response:
    """What became of words that were sent: where they wait, with a way to take them back. After the last word of a
    conversation the next one is shown: by the script in its list, else the list is."""
    if resolves and not is_fragment():
        return redirect(url_for("cairnloop.inbox", view=request.form.get("view") or None), code=303)
    told: dict[str, dict[str, Any]] = {"cairnloop:next": {}} if resolves else {}
    if taken.pending is not None and taken.pending.state is PendingState.STOPPED:  # the same words came again
        return _done(conversation_id, "It was not sent: something came between", sent=sent)
    if taken.pending is not None and taken.pending.state is PendingState.UNDONE:
        return _done(conversation_id, "This was taken back. Send it once more", told={"cairnloop:unsent": {}})
    if taken.pending is None or taken.pending.state is not PendingState.PENDING:
        return _done(conversation_id, "Sent and resolved" if resolves else "Sent", sent=sent, told=told)
    seconds = round(current().settings.undo_send)
    undo = url_for("cairnloop.undo_reply", conversation_id=conversation_id, pending_id=taken.pending.id)
    words = f"{'Sends and resolves' if resolves else 'Sends'} in {seconds} {'second' if seconds == 1 else 'seconds'}"
    told["cairnloop:toast"] = {"text": words, "tone": "info", "undo": undo, "seconds": seconds}
    return _done(conversation_id, words, sent=sent, told=told)


def timeline_now(conversation_id: int) -> Response:
    """The timeline as it is now, as a fragment."""
    return page("_timeline.html", **thread_shown(conversation_id), **listing(_list()), alone=True)


def _late(conversation_id: int, conflict: IllegalTransition) -> Response:
    """Somebody else decided, or the same click came twice: show what is true now."""
    words = {
        "approved": "This draft has been sent already",
        "edited": "This draft has been sent already",
        "discarded": "This draft has been discarded already",
        "superseded": "This draft was set aside; the conversation moved on",
    }.get(conflict.state, "This draft cannot be decided any more")
    return _done(conversation_id, words)


def _held(
    session: Session,
    conversation_id: int,
    seen: int,
    body: str | None,
    *,
    shown: int | None = None,
    from_composer: bool = False,
    what: str = "Nothing was sent",
) -> Response:
    """Nothing was done: the newer words, and what was typed, kept beside them."""
    session.rollback()
    thread = thread_shown(conversation_id)
    said = queries.customer_messages_after(session, conversation_id, seen)
    newer = [presenters.in_words(message) for message in said]
    who = f"{thread['customer'].first} has written again"
    answers = sending.answers_after(session, conversation_id, operator().id, seen, shown) if not said else []
    if answers:
        who = f"{presenters.person(answers[-1][0], team=True).first} has answered"
        newer = [words for _, words in answers]
    context = thread | {
        "who": who,
        "newer": [presenters.linkified(words) for words in newer],
        "what": what,
        "kept": None if from_composer else body,
        "from_composer": from_composer,
        **listing(_list()),
    }
    if not is_fragment():
        return page("held.html", 409, **context)
    answer = page("_held.html", 409, **context, alone=True)
    answer.headers["HX-Retarget"] = "#held"
    answer.headers["HX-Reswap"] = "innerHTML"
    return tell(answer, {"cairnloop:held": {"conversation": conversation_id}})


def _info(found: Conversation) -> ConversationInfo:
    return ConversationInfo(
        id=found.id,
        subject=found.subject,
        status=found.status.value,
        channel=found.channel,
        opened_at=found.created_at,
        resolved_at=found.resolved_at,
        assignee_id=found.assignee_id,
    )


def _usual_view(found: Conversation) -> View:
    if found.waiting_since is not None:
        return View.WAITING
    return View.RESOLVED if found.resolved_at is not None else View.OPEN


def _list() -> Filter:
    """The list that the conversation was opened from."""
    given = request.form if "view" in request.form else request.args
    return Filter.parse(given, default=View.WAITING)


def _number(text: str | None) -> int | None:
    """A whole number from a form or an address; ``None`` for anything else."""
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    return min(int(text), BIGINT_MAX)


def _seen() -> int:
    """The newest message that was on the page; nothing, where the form does not say."""
    return _number(request.form.get("seen")) or 0


def _shown() -> int | None:
    """The newest waiting reply that was on the page; ``None`` where the form does not say."""
    return _number(request.form.get("shown"))


def _cites() -> list[Cite]:
    """The sources that stand beside the text of a reply."""
    found = []
    for text in request.form.getlist("cite")[: MOST + 1]:
        revision, _, passage = text.partition(":")
        revision_id = _number(revision)
        if revision_id is None:
            raise InvalidInput("cites", "The form is incomplete. Reload the page and try again.")
        found.append(Cite(revision_id, _number(passage)))
    return found


def _may_cite(conversation_id: int, cites: Sequence[Cite]) -> Collection[str] | None:
    """Which articles may answer the customer, as the host says; asked with no transaction of ours open.

    Raises:
        InvalidInput: the operator may not see one of the articles.
    """
    with Session(current().engine) as session:
        _, record = queries.conversation_with_customer(session, conversation_id)
        found = list(citable(session, cites).values())
    seen = visible(found, Permission.KNOWLEDGE_READ, "article", lambda citation: citation.article_id)
    if not may_open(Permission.KNOWLEDGE_READ) or len(list(seen)) < len(found):
        raise InvalidInput("cites", NOT_CITABLE)
    return current().hooks.article_scope(Customer(record.ref, record.name, record.email, record.organization))


def _client_id() -> uuid.UUID | None:
    try:
        return uuid.UUID(request.form.get("client_id", ""))
    except ValueError as error:
        raise InvalidInput("client_id", "The form is incomplete. Reload the page and try again.") from error
