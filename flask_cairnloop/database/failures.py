"""Errors of the database that say nothing against what was asked of it: asked again later, it may be done."""

from __future__ import annotations

from sqlalchemy.exc import DBAPIError, InterfaceError, OperationalError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

# It cannot be asked now, or has no room now; anything else that it raises is about what was asked.
AWAY = (OperationalError, InterfaceError, PoolTimeout)


def kind(error: SQLAlchemyError) -> str:
    """What went wrong, as a class: the words of an error may hold those of a customer."""
    return type(getattr(error, "orig", None) or error).__name__


def broke_off(error: SQLAlchemyError) -> bool:
    """Whether the connection was lost over it. Had a commit been sent, nobody knows then whether it was taken."""
    return isinstance(error, DBAPIError) and error.connection_invalidated
