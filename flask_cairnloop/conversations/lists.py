"""Lists of the inbox that were saved under a name: one's own, and those of everybody."""

from __future__ import annotations

from urllib.parse import parse_qsl, urlencode

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session
from werkzeug.datastructures import MultiDict

from flask_cairnloop.actors import Actor
from flask_cairnloop.audit.service import record
from flask_cairnloop.conversations.filters import Filter
from flask_cairnloop.conversations.models import VIEW_NAME_LENGTH, SavedView
from flask_cairnloop.errors import Forbidden, InvalidInput, NotFound

MOST_EACH = 20  # of one person, and of everybody: each of them is counted whenever the inbox is shown


def saved(session: Session, operator_id: str) -> list[SavedView]:
    """One's own lists, then everybody's, each oldest first. One query."""
    mine = SavedView.owner_id == operator_id
    wanted = select(SavedView).where(or_(mine, SavedView.owner_id.is_(None)))
    return list(session.scalars(wanted.order_by(SavedView.owner_id.is_(None), SavedView.id).limit(2 * MOST_EACH)))


def filter_of(view: SavedView) -> Filter:
    """What a saved list asks for, read as an address is: what has gone since, such as a view, falls back."""
    return Filter.parse(MultiDict(parse_qsl(view.query)))


def save(session: Session, asked: Filter, name: str, *, actor: Actor, shared: bool) -> SavedView:
    """Keep a list under a name.

    Args:
        shared: for everybody; whoever calls this has asked whether the actor may.

    Raises:
        InvalidInput: the name does not fit, there are too many, or the list is a search: words that were sought may be
            a customer's, and would stay when the customer is forgotten.
    """
    name = " ".join(name.replace("\x00", "").split())
    if not name or len(name) > VIEW_NAME_LENGTH:
        raise InvalidInput("name", f"A list's name has 1 to {VIEW_NAME_LENGTH} characters.")
    if asked.text:
        raise InvalidInput("q", "A search is not kept. Take the words out, and save what is left.")
    owner = None if shared else actor.id
    whose = SavedView.owner_id.is_(None) if shared else SavedView.owner_id == owner
    if (session.scalar(select(func.count()).select_from(SavedView).where(whose)) or 0) >= MOST_EACH:
        raise InvalidInput("name", f"There are {MOST_EACH} such lists already. Delete one of them first.")
    view = SavedView(owner_id=owner, name=name, query=urlencode(asked.args(), doseq=True), created_by=actor.id)
    if len(view.query) > 1000:
        raise InvalidInput("name", "This list asks for too much to be kept. Take a filter out.")
    session.add(view)
    session.flush()
    record(session, actor, "list.save", "list", view.id, shared=shared)
    return view


def delete(session: Session, view_id: int, *, actor: Actor, may_share: bool) -> None:
    """Delete a saved list.

    Raises:
        NotFound: there is none, or it is somebody else's.
        Forbidden: it is everybody's, somebody else made it, and the actor may not share.
    """
    view = session.get(SavedView, view_id, with_for_update=True)
    if view is None or view.owner_id not in (None, actor.id):
        raise NotFound("There is no such list.")
    if view.owner_id is None and view.created_by != actor.id and not may_share:
        raise Forbidden
    record(session, actor, "list.delete", "list", view.id, shared=view.owner_id is None)
    session.delete(view)
