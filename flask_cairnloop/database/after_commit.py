"""Things that leave a transaction only once it is committed: job pushes, live events, signals.

One listener on every SQLAlchemy session, the host's own included. Items remember the (nested) transaction they were
added in: releasing a savepoint hands them to its parent, the outermost commit lets go, and whatever ends a transaction
without either, be it a rollback or closing the session, drops just its own.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from sqlalchemy import event
from sqlalchemy.orm import Session, SessionTransaction, scoped_session

log = logging.getLogger(__name__)

_KEY = "flask_cairnloop.after_commit"
Action = Callable[[list[Any]], None]


def after_commit(session: Session | scoped_session[Session], action: Action, item: Any) -> None:
    """Call ``action`` with all items given for it, in order, once the session's outermost transaction has committed.

    ``action`` must not use the session. What it raises is logged: the commit has happened and stands.
    """
    if isinstance(session, scoped_session):  # `db.session`, as hosts pass it
        session = session()
    transaction = session.get_nested_transaction() or session.get_transaction() or session.begin()
    session.info.setdefault(_KEY, []).append([transaction, action, item])


def hand_over(source: Session, to: Session) -> None:
    """Let what waits for one session's commit wait for that of another, which works on the same connection."""
    pending = source.info.pop(_KEY, [])
    for _, action, item in pending:
        after_commit(to, action, item)


def _lasting(transaction: SessionTransaction) -> SessionTransaction:
    """The savepoint or outermost transaction of one that SQLAlchemy begins for a moment, such as for a flush."""
    while transaction.parent is not None and not transaction.nested:
        transaction = transaction.parent
    return transaction


def _inside(transaction: SessionTransaction | None, ended: SessionTransaction) -> bool:
    while transaction is not None:
        if transaction is ended:
            return True
        transaction = transaction.parent
    return False


@event.listens_for(Session, "after_transaction_end")
def _drop(session: Session, ended: SessionTransaction) -> None:
    """What is still waiting for a transaction at its end was never committed."""
    pending = session.info.get(_KEY)
    if pending:
        session.info[_KEY] = [entry for entry in pending if not _inside(entry[0], ended)]


@event.listens_for(Session, "after_commit")
def _release(session: Session) -> None:
    pending = session.info.get(_KEY)
    if not pending:
        return
    nested = session.get_nested_transaction()
    if nested is not None:  # a savepoint was released: its items now belong to the transaction around it
        assert nested.parent is not None  # noqa: S101 - a savepoint is always inside another transaction
        for entry in pending:
            if entry[0] is nested:
                entry[0] = _lasting(nested.parent)
        return
    session.info.pop(_KEY)
    committed = session.get_transaction()
    grouped: dict[Action, list[Any]] = {}
    for transaction, action, item in pending:
        # One that could not even be ended, because the connection broke meanwhile, left its items to the next.
        if transaction is committed:
            grouped.setdefault(action, []).append(item)
    for action, items in grouped.items():
        try:
            action(items)
        except Exception:
            log.exception("After-commit work failed; the relay or a reload makes up for it")
