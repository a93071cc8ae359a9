"""Who gets no follow-ups, whatever anybody sends. It outlives their being forgotten, as a keyed digest alone."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from itsdangerous import BadSignature, URLSafeSerializer
from sqlalchemy import func, or_, select, tuple_
from sqlalchemy.dialects.postgresql import insert
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, Actor, ActorKind, as_actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import REF_LENGTH, CustomerRecord
from flask_cairnloop.errors import InvalidInput, NotFound
from flask_cairnloop.hooks import Customer
from flask_cairnloop.outbound.models import OutboundSuppression
from flask_cairnloop.paging import Cursor
from flask_cairnloop.signing import keys

PAGE = 50
_SALT = "flask_cairnloop.opt_out"


def digests(ref: str) -> tuple[str, ...]:
    """What stands for a customer's reference, newest key first: an older ``SECRET_KEY`` is still understood."""
    return tuple(hmac.new(key, f"{_SALT}:{ref}".encode(), hashlib.sha256).hexdigest() for key in reversed(_keys()))


def suppressed(session: Session, people: Iterable[CustomerRecord]) -> set[int]:
    """Those of these customers who get no follow-ups, by the ids of their rows. One query."""
    by_digest = {digest: one.id for one in people if one.forgotten_at is None for digest in digests(one.ref)}
    ids = set(by_digest.values())
    if not ids:
        return set()
    found = session.execute(
        select(OutboundSuppression.customer_id, OutboundSuppression.digest).where(
            or_(OutboundSuppression.customer_id.in_(ids), OutboundSuppression.digest.in_(by_digest))
        )
    )
    return {row.customer_id if row.customer_id in ids else by_digest[row.digest] for row in found}


def add(session: Session, ref: str, *, actor: Acting) -> bool:
    """Let nobody send follow-ups to a customer any more. They need not be known to the desk yet.

    Returns:
        Whether they got any until now.
    """
    person = session.scalars(
        select(CustomerRecord).where(CustomerRecord.ref == ref, CustomerRecord.forgotten_at.is_(None))
    ).one_or_none()
    return _add(session, digests(ref), person, as_actor(actor))


def _add(session: Session, known_as: Sequence[str], person: CustomerRecord | None, actor: Actor) -> bool:
    before = select(OutboundSuppression.id).where(OutboundSuppression.digest.in_(known_as))
    if session.scalars(before).first() is not None:
        return False
    made = session.scalar(
        insert(OutboundSuppression)
        .values(
            digest=known_as[0],
            customer_id=person.id if person else None,
            added_by_kind=actor.kind,
            added_by_name=actor.name if actor.kind is ActorKind.OPERATOR else None,
            created_at=now(),
        )
        .on_conflict_do_nothing()
        .returning(OutboundSuppression.id)
    )
    if made is None:
        return False
    record(session, actor, "suppression.add", "suppression", made, customer_id=person.id if person else None)
    return True


def find(session: Session, named: str) -> str:
    """The reference of somebody who is named by it, or by their e-mail address.

    Raises:
        InvalidInput: it looks like an address, and nobody is known by it.
    """
    people = select(CustomerRecord.ref).where(CustomerRecord.forgotten_at.is_(None))
    if session.scalar(people.where(CustomerRecord.ref == named)) is not None:
        return named
    by_mail = session.scalars(people.where(func.lower(CustomerRecord.email) == named.lower()).limit(1)).first()
    if by_mail is None and ("@" in named or len(named) > REF_LENGTH):
        raise InvalidInput("whom", "Nobody is known by this address.")
    return by_mail or named


def remove(session: Session, suppression_id: int, *, actor: Acting, reason: str) -> None:
    """Let somebody get follow-ups again.

    Raises:
        NotFound: there is no such entry.
        InvalidInput: no reason is given.
    """
    reason = reason.replace("\x00", "").strip()
    if not 0 < len(reason) <= 500:
        raise InvalidInput("reason", "Say in up to 500 characters why they may get follow-ups again.")
    found = session.get(OutboundSuppression, suppression_id, with_for_update=True)
    if found is None:
        raise NotFound("There is no such entry.")
    about = found.customer_id
    record(session, as_actor(actor), "suppression.remove", "suppression", found.id, words=reason, customer_id=about)
    session.delete(found)


@dataclass(frozen=True, slots=True)
class Suppressed:
    """An entry of the list, and who it is; ``None`` where the desk does not know them, or not any more."""

    entry: OutboundSuppression
    customer: CustomerRecord | None


def listed(session: Session, *, after: Cursor | None = None) -> tuple[list[Suppressed], Cursor | None]:
    """A page of the list, newest first, and where the next one starts. One query."""
    chosen = select(OutboundSuppression, CustomerRecord).outerjoin(
        CustomerRecord, CustomerRecord.id == OutboundSuppression.customer_id
    )
    if after is not None:
        chosen = chosen.where(
            tuple_(OutboundSuppression.created_at, OutboundSuppression.id) < tuple_(after.at, after.id)
        )
    order = (OutboundSuppression.created_at.desc(), OutboundSuppression.id.desc())
    rows = [Suppressed(*row) for row in session.execute(chosen.order_by(*order).limit(PAGE + 1))]
    last = rows[PAGE - 1].entry if len(rows) > PAGE else None
    return rows[:PAGE], Cursor(last.created_at, last.id) if last else None


# --- the link a customer can follow -----------------------------------------------------------------------------------


def opt_out_path(person: CustomerRecord) -> str:
    """Where a customer can ask for no more follow-ups, on the app; works without a request too.

    It does not say who they are. Empty where the app has no ``SECRET_KEY`` to sign it with.
    """
    app = current().app
    if not app.secret_key:
        return ""
    token = _signer().dumps([person.id, digests(person.ref)[0]])
    return app.url_map.bind("localhost").build("cairnloop.opt_out", {"token": token})


def read_token(token: str) -> tuple[int, str]:
    """The customer's row and digest that a link stands for.

    Raises:
        NotFound: it is none of ours.
    """
    try:
        found = _signer().loads(token) if current().app.secret_key else None
    except BadSignature:
        found = None
    match found:
        case [int(number), str(digest)]:
            return number, digest
    raise NotFound("There is no such page.")


def opt_out(session: Session, token: str) -> bool:
    """A customer asks for no more follow-ups. Returns whether they got any until now.

    Raises:
        NotFound: the link is none of ours.
    """
    number, digest = read_token(token)
    person = session.get(CustomerRecord, number)
    if person is None or person.forgotten_at is not None or digest not in digests(person.ref):
        return _add(session, (digest,), None, Actor.system("opt_out"))
    customer = Customer(person.ref, person.name)
    return _add(session, digests(person.ref), person, Actor.customer(customer, person.pseudonym))


def _signer() -> URLSafeSerializer:
    return URLSafeSerializer(_keys(), salt=_SALT)


def _keys() -> Sequence[bytes]:
    return keys() or [b"cairnloop"]
