"""What other rooms say to this one: something happened in a conversation that its deadlines go by.

It costs them one statement, which asks for a job where there are service levels at all. All reckoning is that job's.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

from sqlalchemy import BigInteger, bindparam, func, literal_column, select, true
from sqlalchemy.orm import Session

from flask_cairnloop.clock import frozen
from flask_cairnloop.context import current
from flask_cairnloop.database.base import word
from flask_cairnloop.database.prepared import Prepared
from flask_cairnloop.jobs.outbox import request_of, request_terms, requested
from flask_cairnloop.service_levels.models import ServicePolicy

if TYPE_CHECKING:
    from flask_cairnloop.conversations.models import Conversation

JOB = "service_levels.reckon"


def follow(session: Session, conversation: Conversation) -> None:
    """Have a conversation's deadlines reckoned anew after the commit. It is locked.

    Where its customer does not wait for us any more, no list shows a deadline of it from now on.
    """
    if conversation.waiting_since is None or conversation.snoozed_until is not None:
        conversation.due_at = conversation.due_target = conversation.due_state = None
    ask_for(session, conversation.id)


def ask_for(session: Session, conversation_id: int) -> None:
    """The same for a conversation whose customer waits for us. One statement; nothing is flushed."""
    terms = request_terms(JOB)
    hooked = current().hooks.configured("SLA_POLICY")
    statement = _statement(hooked=hooked, held=frozen() is not None)
    row = statement.execute(session, {**terms, "about": conversation_id}).one_or_none()
    if row is not None:
        requested(session, JOB, row.id, row.attempt, terms)


@cache
def _statement(*, hooked: bool, held: bool) -> Prepared:
    newest = select(ServicePolicy.in_force).order_by(ServicePolicy.version.desc()).limit(literal_column("1"))
    condition = true() if hooked else newest.scalar_subquery()
    about = select(bindparam("about", type_=BigInteger).label("conversation_id")).where(condition)
    source = about.cte("about")
    number = source.c.conversation_id
    arguments = func.jsonb_build_object(word("conversation_id"), number, word("ask"), literal_column("true"))
    job = request_of(source, arguments=arguments, unique_key=func.concat(word(f"{JOB}:"), number), held=held)
    return Prepared(select(job.c.id, job.c.attempt))
