"""Follow-ups: what was sent, the preview before anything is, templates, and who gets none."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, Final
from urllib.parse import parse_qsl, urlencode

from flask import Blueprint, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict
from werkzeug.wrappers import Response

from flask_cairnloop.console import outbound_words as words
from flask_cairnloop.console import presenters
from flask_cairnloop.console.access import actor, may_open, operator, reading, requires
from flask_cairnloop.console.rendering import is_fragment, page, times, toast
from flask_cairnloop.context import current
from flask_cairnloop.conversations import queries as conversations
from flask_cairnloop.conversations.filters import Filter
from flask_cairnloop.errors import CairnloopError, Conflict, Forbidden, InvalidInput, NotFound, StaleTemplate
from flask_cairnloop.hooks import Permission, Subject
from flask_cairnloop.macros import language
from flask_cairnloop.outbound import queries, service, suppression, templates
from flask_cairnloop.outbound.models import OutboundDelivery, OutboundEnvelope, OutboundTemplate
from flask_cairnloop.outbound.service import Recipient
from flask_cairnloop.outbound.types import DeliveryState, EnvelopeState, Source
from flask_cairnloop.paging import Cursor

ID = "<int(max=9223372036854775807):{}>"
READ, SEND, BULK, WRITE = (
    Permission.OUTBOUND_READ,
    Permission.OUTBOUND_SEND,
    Permission.OUTBOUND_BULK,
    Permission.OUTBOUND_TEMPLATES,
)
ALL: Final = (READ, SEND, BULK, WRITE)
SENDERS: Final = (SEND, BULK)  # whoever may send to several may send to one
TICKED: Final = 100  # as many as the inbox lets tick
BIGINT_MAX: Final = 2**63 - 1


def register(blueprint: Blueprint) -> None:
    def add(path: str, endpoint: str, view: Any, *methods: str) -> None:
        blueprint.add_url_rule(f"/outbound{path}", endpoint, view, methods=list(methods) or ["GET"])

    one, delivery = f"/{ID.format('envelope_id')}", f"/deliveries/{ID.format('delivery_id')}"
    template = f"/templates/{ID.format('template_id')}"
    add("", "outbound", outbound)
    add("/new", "new_follow_up", new, "GET", "POST")
    add(one, "envelope", envelope)
    for does in ("send", "discard", "split", "cancel", "retry"):
        add(f"{one}/{does}", f"{does}_envelope", globals()[f"{does}_envelope"], "POST")
    for does in ("cancel", "retry", "settle"):
        add(f"{delivery}/{does}", f"{does}_delivery", globals()[f"{does}_delivery"], "POST")
    add("/templates", "outbound_templates", library, "GET", "POST")
    add(template, "outbound_template", edit, "GET", "POST")
    add(f"{template}/archive", "archive_template", archive, "POST")
    add("/suppressed", "suppressed", suppressed, "GET", "POST")
    add(f"/suppressed/{ID.format('suppression_id')}/remove", "unsuppress", unsuppress, "POST")


# --- what was sent ----------------------------------------------------------------------------------------------------


@requires(READ, *ALL, instead=SENDERS)
def outbound() -> Response:
    """Every envelope, newest first."""
    after = Cursor.parse(request.args.get("after"))
    with reading() as session:
        rows, more = queries.envelopes(session, after=after)
    shown = [words.envelope_view(row) for row in rows]
    template = "_envelopes.html" if is_fragment() else "outbound.html"
    return page(template, rows=shown, more=more, paged=after is not None, in_chat=_in_chat())


@requires(READ, *ALL, instead=SENDERS)
def envelope(envelope_id: int) -> Response:
    """One envelope: the preview with the text of everybody, or how far it is."""
    return _envelope(envelope_id, "_envelope.html" if is_fragment() else "envelope.html")


def _envelope(envelope_id: int, template: str) -> Response:
    with reading() as session:
        found = service.find(session, envelope_id)
        rows = queries.deliveries(session, envelope_id)
        parts = queries.parts(session, envelope_id) if found.split_at else []
    seen = [row for row in rows if _reads(row.delivery)]
    counts: dict[DeliveryState, int] = {}
    for row in rows:
        counts[row.delivery.state] = counts.get(row.delivery.state, 0) + 1
    shown = [words.delivery_view(row.delivery, row.customer, times(), hooked=found.hooked) for row in seen]
    several = found.eligible > 1 or found.chosen > 1
    left = {DeliveryState.SKIPPED} if found.state is not EnvelopeState.SUBMITTED else set()
    return page(
        template,
        envelope=found,
        about=words.envelope_view(queries.EnvelopeRow(found, counts)),
        going=[one for one, row in zip(shown, seen, strict=True) if row.delivery.state not in left],
        left=[one for one, row in zip(shown, seen, strict=True) if row.delivery.state in left],
        hidden=len(rows) - len(seen),
        counts_by={state.value: number for state, number in counts.items()},
        parts=[words.envelope_view(part) for part in parts],
        splits_into=-(-counts.get(DeliveryState.PREVIEWED, 0) // current().settings.bulk_limit),
        decides=may_open(BULK) or (may_open(SEND) and not several),
        settles=may_open(SEND) or may_open(BULK),
        out=words,
        live=found.state is EnvelopeState.SUBMITTED,
        reason=request.form.get("reason", ""),
    )


def _reads(delivery: OutboundDelivery) -> bool:
    """Whether the operator may see this one: whose conversation they may."""
    place = delivery.conversation_id
    return place is None or may_open(Permission.CONVERSATIONS_READ, Subject("conversation", place))


# --- the preview ------------------------------------------------------------------------------------------------------


@requires(SEND, *ALL, instead=(BULK,))
def new() -> Response:
    """Choose a template and a time for some customers; sent, it makes the preview."""
    if request.method != "POST":
        return _new()
    try:
        made = _previewed()
    except (InvalidInput, Conflict, NotFound) as refused:
        current().session().rollback()
        return _new(_problem(refused, "template"))
    return redirect(url_for("cairnloop.envelope", envelope_id=made), code=303)


def _previewed() -> int:
    session = current().session()
    source, recipients = _recipients(session)
    template_id = _number(request.values.get("template"))
    if template_id is None:
        raise InvalidInput("template", "Choose what is sent.")
    session.rollback()  # host code is asked next
    _check_number(len(recipients))
    places = [one.conversation_id for one in recipients if one.conversation_id is not None]
    allowed = {place for place in places[: service.MOST] if _writes(place)}
    made = service.preview(
        session,
        recipients,
        template_id,
        actor=actor(),
        source=source,
        send_at=_moment(request.form.get("at", "")),
        allowed=allowed,
    )
    session.commit()
    return made.id


def _writes(conversation_id: int) -> bool:
    """Whether the operator may write to the customer of this conversation."""
    about = Subject("conversation", conversation_id)
    return may_open(SEND, about) or may_open(BULK, about)


def _check_number(number: int) -> None:
    if number > 1 and not may_open(BULK):
        raise Forbidden


def _recipients(session: Session) -> tuple[Source, list[Recipient]]:
    """Whom the page is for, and how they were chosen."""
    given = request.values
    if (one := _number(given.get("conversation"))) is not None:
        return Source.CONVERSATION, queries.of_conversations(session, [one])
    if ids := [found for text in given.getlist("id")[: TICKED + 1] if (found := _number(text)) is not None]:
        return Source.SELECTION, queries.of_conversations(session, ids)
    if "list" in given:
        return Source.LIST, queries.of_list(session, _listed(), operator().id)
    return Source.CUSTOMERS, queries.of_lines(session, given.get("customers", ""))


def _listed() -> Filter:
    return Filter.parse(MultiDict(parse_qsl(request.values.get("list", "")[:2000], max_num_fields=40)))


def _new(errors: Mapping[str, str] | None = None) -> Response:
    given = request.values
    with reading() as session:
        usable = templates.usable(session)
        chosen = None
        if any(name in given for name in ("conversation", "id", "list")):
            chosen = _recipients(session)[1]
        one = _number(given.get("conversation"))
        customer = conversations.conversation_with_customer(session, one)[1] if one is not None and chosen else None
    if one is not None and not _writes(one):
        raise Forbidden
    hours = service.quiet_hours()
    return page(
        "new_follow_up.html",
        422 if errors else 200,
        usable=usable,
        chosen=None if chosen is None else len(chosen),
        too_many=chosen is not None and len(chosen) > service.MOST,
        most=service.MOST,
        cap=current().settings.bulk_limit,
        customer=presenters.customer_person(customer) if customer else None,
        conversation_id=one,
        ids=[found for text in given.getlist("id")[: TICKED + 1] if (found := _number(text)) is not None],
        listed=urlencode(_listed().args(), doseq=True) if "list" in given else None,
        list_title=presenters.list_title(_listed()) if "list" in given else "",
        quiet=f"{hours}, {current().settings.quiet_hours_zone}" if hours else "",
        in_chat=_in_chat(),
        picked=_number(given.get("template")),
        errors=errors or {},
        form=request.form,
        people=words.people,
    )


def _in_chat() -> str:
    return "" if current().hooks.configured("ON_OUTBOUND") else words.IN_THE_CHAT


def _moment(text: str) -> datetime | None:
    """A time in the reader's zone; ``None`` for now."""
    if not text:
        return None
    try:
        here = datetime.fromisoformat(text)
        return (here if here.tzinfo else here.replace(tzinfo=times().zone)).astimezone(UTC)
    except (ValueError, OverflowError) as error:
        raise InvalidInput("send_at", "Write when it is to leave, or leave this empty.") from error


@requires(SEND, *ALL, instead=(BULK,))
def send_envelope(envelope_id: int) -> Response:
    """Send what was previewed: exactly that."""
    return _decide(envelope_id, lambda session: service.submit(session, envelope_id, actor=actor()), _sent)


def _sent(found: OutboundEnvelope) -> str:
    if found.state is EnvelopeState.REFUSED:
        return "Refused: fewer may be sent at once by now"
    return "On its way"


@requires(SEND, *ALL, instead=(BULK,))
def discard_envelope(envelope_id: int) -> Response:
    """Throw a preview away."""
    return _decide(
        envelope_id, lambda session: service.discard(session, envelope_id, actor=actor()), lambda _: "Discarded"
    )


@requires(BULK, *ALL)
def split_envelope(envelope_id: int) -> Response:
    """Make previews under the cap out of one that was refused."""
    return _decide(
        envelope_id,
        lambda session: service.split(session, envelope_id, actor=actor()),
        lambda parts: f"Split into {len(parts)}. Nothing is sent yet",
    )


@requires(SEND, *ALL, instead=(BULK,))
def cancel_envelope(envelope_id: int) -> Response:
    """Stop all of an envelope that have not left."""
    return _decide(
        envelope_id,
        lambda session: service.cancel_pending(session, envelope_id, actor=actor(), allowed=_theirs(envelope_id)),
        lambda number: f"{number} cancelled",
    )


@requires(SEND, *ALL, instead=(BULK,))
def retry_envelope(envelope_id: int) -> Response:
    """Send all of an envelope that failed once more."""
    return _decide(
        envelope_id,
        lambda session: service.retry_failed(session, envelope_id, actor=actor(), allowed=_theirs(envelope_id)),
        lambda number: f"{number} tried again",
    )


def _theirs(envelope_id: int) -> set[int]:
    """The deliveries of an envelope that the operator may decide about."""
    session = current().session()
    rows = [(row.delivery.id, row.delivery.conversation_id) for row in queries.deliveries(session, envelope_id)]
    session.rollback()  # host code is asked next
    return {number for number, place in rows if place is None or _writes(place)}


def _decide(envelope_id: int, do: Callable[[Session], Any], said: Callable[[Any], str]) -> Response:
    """Do something with an envelope as a whole, which needs the permission for as many as it has."""
    session = current().session()
    found = service.find(session, envelope_id)
    several = found.eligible > 1 or found.chosen > 1
    waits = [row.delivery for row in queries.deliveries(session, envelope_id)]
    places = {one.conversation_id for one in waits if one.state is DeliveryState.PREVIEWED}
    session.rollback()  # host code is asked next
    _check_number(2 if several else 1)
    if not all(_writes(place) for place in places if place is not None):
        raise Forbidden
    done = do(session)
    session.commit()
    if not is_fragment():
        return redirect(url_for("cairnloop.envelope", envelope_id=envelope_id), code=303)
    return toast(_envelope(envelope_id, "_envelope.html"), said(done))


# --- one of them ------------------------------------------------------------------------------------------------------


@requires(SEND, *ALL, instead=(BULK,))
def cancel_delivery(delivery_id: int) -> Response:
    """Stop one that has not left."""
    return _settle(delivery_id, lambda session: service.cancel(session, delivery_id, actor=actor()), "Cancelled")


@requires(SEND, *ALL, instead=(BULK,))
def retry_delivery(delivery_id: int) -> Response:
    """Send one that failed once more."""
    return _settle(delivery_id, lambda session: service.retry(session, delivery_id, actor=actor()), "Tried again")


@requires(SEND, *ALL, instead=(BULK,))
def settle_delivery(delivery_id: int) -> Response:
    """Say how one ended of which nobody knew: it was delivered, or it is to be sent again."""
    reason = request.form.get("reason", "")
    if request.form.get("did") == "delivered":
        settle, said = service.mark_delivered, "Marked as delivered"
    elif request.form.get("did") == "again":
        settle, said = service.send_again, "Sent again"
    else:
        raise InvalidInput("did", "Say whether it was delivered, or is to be sent again.")
    return _settle(delivery_id, lambda session: settle(session, delivery_id, actor=actor(), reason=reason), said)


def _settle(delivery_id: int, do: Callable[[Session], OutboundDelivery], said: str) -> Response:
    session = current().session()
    found = session.get(OutboundDelivery, delivery_id)
    if found is None:
        raise NotFound("There is no such follow-up.")
    place, envelope_id = found.conversation_id, found.envelope_id
    session.rollback()  # host code is asked next
    if place is not None and not _writes(place):
        raise Forbidden
    do(session)
    session.commit()
    if request.form.get("from") == "thread" and place is not None:
        from flask_cairnloop.console.conversation import timeline_now  # which shows follow-ups

        if not is_fragment():
            return redirect(url_for("cairnloop.conversation", conversation_id=place), code=303)
        return toast(timeline_now(place), said)
    if not is_fragment():
        return redirect(url_for("cairnloop.envelope", envelope_id=envelope_id), code=303)
    return toast(_envelope(envelope_id, "_envelope.html"), said)


# --- templates --------------------------------------------------------------------------------------------------------


@requires(WRITE, *ALL)
def library() -> Response:
    """The templates in use; sent, a new one is written."""
    if request.method != "POST":
        return _library()
    try:
        _save(None)
    except (InvalidInput, Conflict) as refused:
        current().session().rollback()
        return _library(_problem(refused, "name"))
    return redirect(url_for("cairnloop.outbound_templates"), code=303)


def _library(errors: Mapping[str, str] | None = None) -> Response:
    with reading() as session:
        found = templates.usable(session)
    return page("outbound_templates.html", 422 if errors else 200, templates=found, **_form(errors))


@requires(WRITE, *ALL)
def edit(template_id: int) -> Response:
    """One template; sent, it is written anew. Refused, with what was typed, where a colleague was faster."""
    if request.method != "POST":
        return _editor(template_id)
    try:
        _save(template_id)
    except (InvalidInput, Conflict) as refused:
        current().session().rollback()
        if not isinstance(refused, StaleTemplate | InvalidInput) and _archived(template_id):
            raise
        status = 409 if isinstance(refused, StaleTemplate) else 422
        return _editor(template_id, _problem(refused, "name"), status)
    return redirect(url_for("cairnloop.outbound_templates"), code=303)


def _archived(template_id: int) -> bool:
    return templates.get(current().session(), template_id).archived_at is not None


def _editor(template_id: int, errors: Mapping[str, str] | None = None, status: int = 200) -> Response:
    with reading() as session:
        found: OutboundTemplate = templates.get(session, template_id)
    return page("outbound_template.html", status, found=found, **_form(errors))


@requires(WRITE, *ALL)
def archive(template_id: int) -> Response:
    """Take a template out of use."""
    session = current().session()
    templates.archive(session, template_id, operator=operator())
    session.commit()
    return redirect(url_for("cairnloop.outbound_templates"), code=303)


def _save(template_id: int | None) -> None:
    session = current().session()
    templates.save(
        session,
        template_id,
        operator=operator(),
        name=request.form.get("name", ""),
        subject=request.form.get("subject", ""),
        body=request.form.get("body", ""),
        cancel_on_reply="cancel_on_reply" in request.form,
        edits=_number(request.form.get("edits")) or 0,
    )
    session.commit()


def _form(errors: Mapping[str, str] | None) -> dict[str, Any]:
    return {
        "errors": errors or {},
        "form": request.form if errors else None,
        "variables": language.VARIABLES,
    }


# --- who gets none ----------------------------------------------------------------------------------------------------


@requires(SEND, *ALL, instead=(BULK,))
def suppressed() -> Response:
    """Who gets no follow-ups; sent, one more does not."""
    errors: dict[str, str] = {}
    if request.method == "POST":
        session = current().session()
        try:
            _suppress(session, request.form.get("whom", ""))
            session.commit()
            return redirect(url_for("cairnloop.suppressed"), code=303)
        except InvalidInput as refused:
            session.rollback()
            errors = {refused.field: refused.message}
    after = Cursor.parse(request.args.get("after"))
    with reading() as session:
        rows, more = suppression.listed(session, after=after)
    people = [(row.entry, presenters.customer_person(row.customer) if row.customer else None) for row in rows]
    return page(
        "suppressed.html",
        422 if errors else 200,
        rows=people,
        more=more,
        paged=after is not None,
        errors=errors,
        form=request.form,
    )


def _suppress(session: Session, named: str) -> None:
    named = named.replace("\x00", "").strip()
    if not 0 < len(named) <= queries.LINE_LENGTH:
        raise InvalidInput("whom", "Write your app’s reference of a customer, or their e-mail address.")
    found = suppression.find(session, named)
    if not suppression.add(session, found, actor=actor()):
        raise InvalidInput("whom", "They get none already.")


@requires(SEND, *ALL, instead=(BULK,))
def unsuppress(suppression_id: int) -> Response:
    """Let somebody get follow-ups again."""
    session = current().session()
    suppression.remove(session, suppression_id, actor=actor(), reason=request.form.get("reason", ""))
    session.commit()
    return redirect(url_for("cairnloop.suppressed"), code=303)


# --- shared -----------------------------------------------------------------------------------------------------------


def in_thread(conversation_id: int, found: Iterable[OutboundDelivery]) -> dict[str, Any]:
    """What the thread of a conversation shows of follow-ups that have not reached its customer."""
    shown = [words.thread_view(one, times()) for one in found]
    return {"follow_ups": shown, "decides_follow_ups": bool(shown) and _writes(conversation_id)}


def _problem(refused: CairnloopError, field: str) -> dict[str, str]:
    if isinstance(refused, InvalidInput):
        return {refused.field: refused.message}
    return {field: str(refused)}


def _number(text: str | None) -> int | None:
    if text is None or not text.isascii() or not text.isdigit() or len(text) > 19:
        return None
    return int(text) if 0 < int(text) <= BIGINT_MAX else None
