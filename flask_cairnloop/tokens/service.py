"""What can be done with tokens. Every function takes a session and never commits."""

from __future__ import annotations

import hashlib
import hmac
import re
import secrets
from collections.abc import Collection
from datetime import datetime, timedelta
from typing import Any, Final

from limits import parse_many
from sqlalchemy import ColumnElement, Select, or_, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from flask_cairnloop.actors import Acting, Actor, ActorKind, as_actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.clock import now
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import Conversation, CustomerRecord
from flask_cairnloop.errors import Conflict, Forbidden, IllegalTransition, InvalidInput, NotFound
from flask_cairnloop.hooks import Customer, Permission
from flask_cairnloop.jobs import enqueue
from flask_cairnloop.tokens.models import NAME_LENGTH, AccessToken
from flask_cairnloop.tokens.types import Token, id_of

PREFIX: Final = "cairnloop"
# What a token may of the desk's own; what tools ask for comes beside it.
SCOPES: Final = (
    Permission.KNOWLEDGE_READ,
    Permission.ACTIONS_PROPOSE,
    Permission.CONVERSATIONS_READ,
    Permission.CONVERSATIONS_NOTE,
    Permission.CONVERSATIONS_REPLY,
    Permission.CONVERSATIONS_RESOLVE,
)
DEFAULT_RATE: Final = "60/minute"
LONGEST: Final = timedelta(days=3650)
USED_EVERY: Final = timedelta(minutes=1)  # "last used" is that exact, and costs a write no more often
SHOWN: Final = 200
PRIVACY: Final = Actor.system("privacy")
STOP: Final = "governance.stop_token"
_RAW: Final = re.compile(rf"{PREFIX}_(\d{{1,18}})_([A-Za-z0-9_-]{{43}})", re.ASCII)
_SCOPE: Final = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]{0,99}")


def create(
    session: Session,
    name: str,
    *,
    actor: Acting,
    scopes: Collection[str],
    tools: Collection[str] | None = None,
    conversation_id: int | None = None,
    customer_ref: str | None = None,
    expires_at: datetime | None = None,
    rate: str | None = DEFAULT_RATE,
) -> tuple[AccessToken, str]:
    """Make a token. Its secret is returned here and never again.

    Args:
        name: what uses it, for the team to tell it by; 1 to 100 characters.
        scopes: what it may. An operator gives away no more than they have themselves; the caller says so with
            :func:`check_grant`.
        tools: the only tools it may use; all that its scopes allow when left out.
        conversation_id, customer_ref: bind it to one conversation, or to those of one customer.
        rate: how often it may ask; ``None``: no limit.

    Raises:
        InvalidInput: a value does not fit; says which.
        NotFound: there is no such conversation or customer.
        Conflict: another token that works has this name.
    """
    who = as_actor(actor)
    if who.kind is ActorKind.CUSTOMER:
        raise Forbidden("A customer makes no tokens.")
    name = " ".join(name.replace("\x00", "").split())
    if not 1 <= len(name) <= NAME_LENGTH:
        raise InvalidInput("name", f"Give it a name of 1 to {NAME_LENGTH} characters.")
    if expires_at is not None and (expires_at.tzinfo is None or not now() < expires_at <= now() + LONGEST):
        raise InvalidInput("expires", "It must end within ten years, and not before it begins.")
    secret = secrets.token_urlsafe(32)
    token = AccessToken(
        name=name,
        digest=_digest(secret),
        scopes=_scopes(scopes),
        tools=None if tools is None else _tools(tools),
        conversation_id=_conversation(session, conversation_id),
        customer_id=_customer(session, customer_ref),
        rate=_rate(rate),
        created_by=who.id,
        created_by_name=who.name,
        created_at=now(),
        expires_at=expires_at,
    )
    if token.conversation_id is not None and token.customer_id is not None:
        raise InvalidInput("conversation", "Bind it to a conversation or to a customer, not to both.")
    try:
        with session.begin_nested():
            session.add(token)
    except IntegrityError:
        raise Conflict(f"Another token is called “{name}”.") from None
    record(session, who, "token.create", "token", token.id, **_facts(token))
    if expires_at is not None:  # what it asked for and nobody decided on ends with it
        enqueue(session, STOP, {"token_id": token.id}, run_at=expires_at, unique_key=f"{STOP}:{token.id}:expiry")
    return token, f"{PREFIX}_{token.id}_{secret}"


def check_grant(scopes: Collection[str], held: Collection[str]) -> None:
    """Nobody hands on what they do not have.

    Raises:
        Forbidden: names what is missing.
    """
    missing = sorted(set(scopes) - set(held))
    if missing:
        raise Forbidden(f"You cannot give away what you do not have: {', '.join(missing)}.")


def revoke(session: Session, token_id: int, *, actor: Acting) -> AccessToken:
    """End a token at once. What it has proposed and what has not run is taken back by a job.

    Raises:
        NotFound: there is none.
        IllegalTransition: it was revoked before.
    """
    who = as_actor(actor)
    token = session.scalars(
        select(AccessToken)
        .where(AccessToken.id == token_id)
        .with_for_update()
        .execution_options(populate_existing=True)
    ).one_or_none()
    if token is None:
        raise NotFound("There is no such token.")
    if token.revoked_at is not None:
        raise IllegalTransition("token", "revoked", "be revoked")
    _end(session, token, who)
    record(session, who, "token.revoke", "token", token.id)
    return token


def _end(session: Session, token: AccessToken, who: Actor) -> None:
    token.revoked_at, token.revoked_by = now(), who.id
    session.flush()
    enqueue(session, STOP, {"token_id": token.id}, unique_key=f"{STOP}:{token.id}")


def authenticate(session: Session, raw: str) -> Token | None:
    """The token that a secret belongs to, if it works at this moment, and that it was used. One query, as a rule."""
    match = _RAW.fullmatch(raw)
    found = session.execute(_with_customer().where(AccessToken.id == int(match[1]))).one_or_none() if match else None
    known = found[0].digest if found else bytes(32)
    same = hmac.compare_digest(known, _digest(match[2] if match else ""))  # also where there is none: it takes as long
    if found is None or not same or _ended(found[0]) is not None:
        return None
    if found[0].last_used_at is None or found[0].last_used_at < now() - USED_EVERY:
        _note_use(session, found[0].id)
    return _plain(*found)


def token_of(session: Session, actor: Actor) -> Token | str | None:
    """The token that an actor is, as it is now; why it does not work any more, in words; ``None`` where it is none."""
    if actor.kind is not ActorKind.TOKEN:
        return None
    number = id_of(actor.id)
    found = session.execute(
        _with_customer().where(AccessToken.id == number).execution_options(populate_existing=True)
    ).one_or_none()
    if number is None or found is None:
        return f"The token “{actor.name}”, which proposed it, is gone."
    ended = _ended(found[0])
    return _plain(*found) if ended is None else f"The token “{actor.name}”, which proposed it, {ended}."


def customer_of(session: Session, token: Token) -> Customer | None:
    """The customer that a token acts for; ``None`` where it is bound to none, or they were forgotten. One query."""
    if not token.bound:
        return None
    wanted = select(CustomerRecord).where(CustomerRecord.forgotten_at.is_(None))
    if token.conversation_id is not None:
        wanted = wanted.join(Conversation, Conversation.customer_id == CustomerRecord.id)
        wanted = wanted.where(Conversation.id == token.conversation_id)
    else:
        wanted = wanted.where(CustomerRecord.ref == token.customer_ref)
    found = session.scalars(wanted).one_or_none()
    return None if found is None else Customer(found.ref, found.name, found.email, found.organization)


def _note_use(session: Session, token_id: int) -> None:
    session.execute(
        update(AccessToken)
        .where(
            AccessToken.id == token_id,
            or_(AccessToken.last_used_at.is_(None), AccessToken.last_used_at < now() - USED_EVERY),
        )
        .values(last_used_at=now())
        .execution_options(synchronize_session=False)
    )


def tokens(session: Session) -> list[tuple[AccessToken, str | None]]:
    """Every token that works or did, with the reference of the customer it is bound to; those that work first,
    the newest first. One query."""
    wanted = _with_customer().order_by(AccessToken.revoked_at.is_not(None), AccessToken.id.desc()).limit(SHOWN)
    return [(row[0], row[1]) for row in session.execute(wanted)]


def export_tokens(session: Session, customer_id: int) -> list[dict[str, Any]]:
    """Tokens that are bound to a customer or their conversations, as the team called them, oldest first."""
    found = session.scalars(select(AccessToken).where(_bound_to(customer_id)).order_by(AccessToken.id))
    return [
        {
            "name": token.name,
            "conversation": token.conversation_id,
            "made_at": token.created_at.isoformat(),
            "revoked_at": token.revoked_at.isoformat() if token.revoked_at else None,
        }
        for token in found
    ]


def _bound_to(customer_id: int) -> ColumnElement[bool]:
    theirs = select(Conversation.id).where(Conversation.customer_id == customer_id)
    return or_(AccessToken.customer_id == customer_id, AccessToken.conversation_id.in_(theirs))


def forget_tokens(session: Session, customer_id: int) -> int:
    """End every token that is bound to a customer or their conversations, and erase what the team called it."""
    found = session.scalars(select(AccessToken).where(_bound_to(customer_id)).with_for_update()).all()
    for token in found:
        if token.revoked_at is None:
            _end(session, token, PRIVACY)
            record(session, PRIVACY, "token.revoke", "token", token.id, because="forget")
        token.name = f"Token {token.id}"
    session.flush()
    return len(found)


def _with_customer() -> Select[Any, Any]:
    return select(AccessToken, CustomerRecord.ref).outerjoin(
        CustomerRecord, CustomerRecord.id == AccessToken.customer_id
    )


def _plain(token: AccessToken, customer_ref: str | None) -> Token:
    return Token(
        token.id,
        token.name,
        frozenset(token.scopes),
        None if token.tools is None else frozenset(token.tools),
        token.conversation_id,
        customer_ref,
        token.rate,
        token.created_by,
    )


def state(token: AccessToken) -> str:
    """``works``, ``expired`` or ``revoked``."""
    if token.revoked_at is not None:
        return "revoked"
    return "works" if _ended(token) is None else "expired"


def _ended(token: AccessToken) -> str | None:
    """Why a token does not work any more, after its name."""
    if token.revoked_at is not None:
        return "was revoked"
    if token.expires_at is not None and token.expires_at <= now():
        return "has expired"
    return None


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode()).digest()


def _scopes(scopes: Collection[str]) -> list[str]:
    chosen = sorted(set(scopes))
    if not chosen or len(chosen) > 50:
        raise InvalidInput("scopes", "Say what it may: 1 to 50 scopes.")
    for scope in chosen:
        if not _SCOPE.fullmatch(scope):
            raise InvalidInput("scopes", "A scope has 1 to 100 letters, digits and . _ : - signs.")
    return chosen


def _tools(tools: Collection[str]) -> list[str]:
    known = current().hooks.tools
    for name in tools:
        if known.find(name) is None:
            raise InvalidInput("tools", f"There is no tool “{name[:50]}”.")
    return sorted(set(tools))


def _rate(rate: str | None) -> str | None:
    if rate is None:
        return None
    try:
        rates = parse_many(rate)
    except ValueError:
        rates = []
    if len(rates) != 1 or not 1 <= rates[0].amount <= 100_000 or len(rate) > 40:
        raise InvalidInput("rate", "Write how often it may ask, e.g. 60/minute.")
    return rate


def _conversation(session: Session, conversation_id: int | None) -> int | None:
    if conversation_id is None:
        return None
    wanted = select(Conversation.id).where(Conversation.id == conversation_id, Conversation.erased_at.is_(None))
    if session.scalar(wanted) is None:
        raise NotFound("There is no such conversation.")
    return conversation_id


def _customer(session: Session, ref: str | None) -> int | None:
    if ref is None:
        return None
    wanted = select(CustomerRecord.id).where(CustomerRecord.ref == ref, CustomerRecord.forgotten_at.is_(None))
    found = None if "\x00" in ref else session.scalar(wanted)
    if found is None:
        raise NotFound("No customer has this reference.")
    return found


def _facts(token: AccessToken) -> dict[str, Any]:
    return {
        "scopes": token.scopes,
        "tools": token.tools,
        "conversation_id": token.conversation_id,
        "customer_id": token.customer_id,
        "expires_at": token.expires_at.isoformat() if token.expires_at else None,
        "rate": token.rate,
    }
