"""What the console reads about conversations: keyset-paged lists, cheap counts, one conversation's timeline.

Every function takes a fixed number of queries, however much there is, and walks an index of ``models.py``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from enum import StrEnum
from typing import Any, Final, cast

from sqlalchemy import (
    ARRAY,
    ColumnElement,
    DateTime,
    Row,
    ScalarSelect,
    Select,
    Text,
    and_,
    bindparam,
    case,
    exists,
    false,
    func,
    literal_column,
    or_,
    select,
    text,
    true,
    tuple_,
)
from sqlalchemy.orm import Session, aliased, defer

from flask_cairnloop.audit.models import AuditEntry
from flask_cairnloop.conversations import finding
from flask_cairnloop.conversations.filters import Filter, Sort
from flask_cairnloop.conversations.filters import View as View
from flask_cairnloop.conversations.models import (
    FOUND_KINDS,
    NEVER,
    Conversation,
    ConversationRead,
    ConversationStatus,
    ConversationTag,
    CustomerRecord,
    Message,
    MessageKind,
    Rating,
    Tag,
)
from flask_cairnloop.database.base import word
from flask_cairnloop.database.words import BETWEEN, beginnings
from flask_cairnloop.drafting.models import OPEN_STATES, Draft, DraftState
from flask_cairnloop.drafting.types import DraftKind
from flask_cairnloop.errors import NotFound
from flask_cairnloop.governance.models import ActionProposal
from flask_cairnloop.governance.types import ProposalState
from flask_cairnloop.paging import Cursor

PAGE_SIZE = 50
TIMELINE_SIZE = 100
DRAFT_HISTORY = 50
# Counts stop here: the row says "999+", and a million rows cost no more than a thousand.
COUNT_LIMIT = 999
# So many conversations are looked at for a page of a list with filters, and for its count; for words, which are sought
# in every message, fewer.
WINDOW = 1_000
TEXT_WINDOW = 200
COUNTED_ROWS = 1_000


@dataclass(frozen=True, slots=True)
class InboxRow:
    """One conversation as a list shows it.

    Args:
        draft: state and kind of the open draft, if there is one.
        read: sequence up to which this operator has read it.
        tags: names of its tags.
        approval: whether an action in it waits for a decision.
    """

    conversation: Conversation
    customer: CustomerRecord
    draft: tuple[DraftState, DraftKind | None] | None
    read: int
    tags: tuple[str, ...] = ()
    approval: bool = False

    @property
    def unread(self) -> bool:
        """Whether an open conversation has words of the customer that this operator has not seen."""
        is_open = self.conversation.status is ConversationStatus.OPEN
        return is_open and self.conversation.last_customer_sequence > self.read


@dataclass(frozen=True, slots=True)
class InboxPage:
    """A page of a list.

    Args:
        after: where the next page starts; ``None`` on the last one.
        stopped: it ends because so many were looked at, not because so many were found.
    """

    rows: tuple[InboxRow, ...]
    after: Cursor | None
    stopped: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """One conversation, as far as it is shown.

    Args:
        messages: oldest first.
        earlier: sequence before which there is more, if there is.
        following: the first message after these; ``None`` where these are the newest.
        drafts: every draft of the conversation, oldest first; the open one, if any, is the last.
        read: sequence up to which this operator had read it before.
        comments: what the customer said beside a rating, by the sequence of the resolution they rated; ``None`` where
            they said nothing.
    """

    conversation: Conversation
    customer: CustomerRecord
    messages: tuple[Message, ...]
    earlier: int | None
    following: Message | None
    drafts: tuple[Draft, ...]
    read: int
    comments: Mapping[int, str | None] = field(default_factory=dict)

    @property
    def open_draft(self) -> Draft | None:
        return next((draft for draft in reversed(self.drafts) if draft.state in OPEN_STATES), None)

    @property
    def shown(self) -> int:
        """The newest sequence on the page: what an answer written now has seen."""
        return self.messages[-1].sequence if self.messages else self.conversation.last_sequence


def inbox_page(
    session: Session, wanted: Filter | View, operator_id: str, *, after: Cursor | None = None, limit: int = PAGE_SIZE
) -> InboxPage:
    """One page of a list, in its order. One query for a view; with filters up to seven.

    However many conversations there are, a bounded part is looked at. Where a filter alone leaves few, those are read
    and sorted. Else the list is walked in its order, and a page that has looked at :data:`WINDOW` conversations ends:
    the next one goes on from there.
    """
    asked = Filter(wanted) if isinstance(wanted, View) else wanted
    order = _Order.of(asked)
    few = _few(session, asked, operator_id) if asked.is_narrowed or _goes_elsewhere(asked) else None
    picked, window = _picked(asked, operator_id, order, after, few)
    if picked is None:
        return InboxPage((), None)
    # Only what is on the page is joined: a planner that misjudges how much lies behind a cursor would else join all.
    ids = picked.limit(limit + 1).subquery("picked")
    statement = _rows(operator_id).join(ids, ids.c.id == Conversation.id).order_by(*order.by(Conversation))
    rows = [_row(found) for found in session.execute(statement)]
    if len(rows) > limit:
        return InboxPage(tuple(rows[:limit]), order.cursor(rows[limit - 1].conversation))
    end = None if window is None else session.scalars(window).one_or_none()
    return InboxPage(tuple(rows), end and order.cursor(end), stopped=end is not None)


@dataclass(frozen=True, slots=True)
class _Order:
    """How a list is sorted, and how a page of it goes on."""

    view: View
    sort: Sort | None

    @classmethod
    def of(cls, asked: Filter) -> _Order:
        return cls(asked.view, asked.order)

    @property
    def ascending(self) -> bool:
        return self.sort is not Sort.NEWEST

    def columns(self, of: Any) -> tuple[Any, ...]:
        match self.sort:
            case None:
                return (of.id,)
            case Sort.PRIORITY:
                return (of.priority, of.id)
            case Sort.DUE:
                return (_due_first(of), of.id)
            case Sort.WAITING if self.view in (View.WAITING, View.NEW):
                return (of.waiting_since, of.id)
            case Sort.WAITING if self.view is View.SNOOZED:
                return (of.snoozed_until, of.id)
            case _:
                return (of.last_message_at, of.id)

    def by(self, of: Any) -> list[Any]:
        return [column.asc() if self.ascending else column.desc() for column in self.columns(of)]

    def behind(self, of: Any, after: Cursor) -> ColumnElement[bool]:
        match self.sort:
            case None:
                return cast("ColumnElement[bool]", of.id > after.id)
            case Sort.PRIORITY:
                return tuple_(of.priority, of.id) > tuple_(after.rank, after.id)
            case _:
                place, here = tuple_(*self.columns(of)), tuple_(after.at, after.id)
                return place > here if self.ascending else place < here

    def cursor(self, last: Conversation) -> Cursor:
        if self.sort is Sort.DUE:
            return Cursor(last.due_at or NEVER, last.id)
        at = self.columns(last)[0]
        if isinstance(at, datetime):
            return Cursor(at, last.id)
        return Cursor(last.last_message_at, last.id, last.priority if self.sort is Sort.PRIORITY else 0)


def _picked(
    asked: Filter, operator_id: str, order: _Order, after: Cursor | None, few: Sequence[int] | None
) -> tuple[Select[Any] | None, Select[Any] | None]:
    """The ids of a list in its order, from a cursor on; and where looking for them stops, if it does."""
    narrowed = [*_narrowed(Conversation, asked, operator_id)]
    if few is not None:
        if not few:
            return None, None
        conditions = [Conversation.id.in_(few), *_stands(Conversation, asked), *narrowed]
        if after is not None:
            conditions.append(order.behind(Conversation, after))
        return select(Conversation.id).where(*conditions).order_by(*order.by(Conversation)), None
    if _goes_elsewhere(asked):
        return _elsewhere(asked, operator_id, after)
    conditions = [*_stands(Conversation, asked)]
    if order.sort in (Sort.PRIORITY, Sort.DUE) and asked.view.is_open:
        # Their indexes hold what is open, and serve only where it is said.
        conditions.append(Conversation.status == _literal("open", ConversationStatus.OPEN))
    if after is not None:
        conditions.append(order.behind(Conversation, after))
    walked = select(Conversation).where(*conditions).order_by(*order.by(Conversation))
    if not narrowed:
        return walked.with_only_columns(Conversation.id), None
    most = TEXT_WINDOW if asked.text else WINDOW
    seen = aliased(Conversation, walked.limit(most).subquery("walked"))
    picked = select(seen.id).where(*_narrowed(seen, asked, operator_id)).order_by(*order.by(seen))
    return picked, walked.offset(most - 1).limit(1)


def _goes_elsewhere(asked: Filter) -> bool:
    """Whether a list stands in another room's table, and is walked there."""
    return asked.view in (View.DRAFT_READY, View.APPROVAL)


def _elsewhere(asked: Filter, operator_id: str, after: Cursor | None) -> tuple[Select[Any], Select[Any] | None]:
    """The same for those lists, in the order of the index that they have there: oldest conversation first."""
    of = _subjects(asked.view)
    ids = of.column
    walked = select(ids.label("id")).where(of.condition).order_by(ids).distinct()
    if after is not None:
        walked = walked.where(ids > after.id)
    narrowed = [*_narrowed(Conversation, asked, operator_id)]
    if not narrowed:
        return walked, None
    seen = walked.limit(WINDOW).subquery("walked")
    picked = select(Conversation.id).join(seen, seen.c.id == Conversation.id).where(*narrowed).order_by(Conversation.id)
    end = walked.offset(WINDOW - 1).limit(1).subquery("last")
    return picked, select(Conversation).join(end, end.c.id == Conversation.id)


@dataclass(frozen=True, slots=True)
class _Subjects:
    """Which conversations another room's table is about."""

    column: Any
    condition: ColumnElement[bool]


def _subjects(view: View) -> _Subjects:
    if view is View.DRAFT_READY:
        return _Subjects(Draft.conversation_id, _ready_draft())
    pending = bindparam("is_pending", ProposalState.PENDING, ActionProposal.state.type, literal_execute=True)
    waits = and_(ActionProposal.state == pending, ActionProposal.conversation_id.is_not(None))
    return _Subjects(ActionProposal.conversation_id, waits)


def _few(session: Session, asked: Filter, operator_id: str) -> list[int] | None:
    """The ids that one of the filters leaves, where it leaves few; ``None`` where none does."""
    if asked.text:
        found = finding.anywhere(session, asked.text, WINDOW)
        if found is not None:
            return found
    probes: list[Select[Any]] = []
    if _goes_elsewhere(asked) and (asked.is_narrowed or asked.sort):
        of = _subjects(asked.view)
        probes.append(select(of.column).where(of.condition))
    probes += [select(ConversationTag.conversation_id).where(ConversationTag.tag_id == tag) for tag in asked.tags[:2]]
    if asked.view.is_open and not _goes_elsewhere(asked):
        is_open = Conversation.status == _literal("open", ConversationStatus.OPEN)
        by_index = (
            _assigned(Conversation, asked, operator_id),
            _of_team(Conversation, asked),
            _due(Conversation, asked),
        )
        for condition in by_index:
            if condition is not None:
                probes.append(select(Conversation.id).where(is_open, condition))
    for probe in probes:
        ids = list(session.scalars(probe.limit(WINDOW + 1)))
        if len(ids) <= WINDOW:
            return list(dict.fromkeys(ids))
    return None


def inbox_row(session: Session, conversation_id: int, operator_id: str) -> InboxRow:
    """One conversation as a list shows it.

    Raises:
        NotFound: there is no such conversation.
    """
    found = session.execute(_rows(operator_id).where(Conversation.id == conversation_id)).first()
    if found is None:
        raise NotFound
    return _row(found)


def stands_in(session: Session, conversation_id: int, asked: Filter, operator_id: str) -> bool:
    """Whether a conversation, as it is now, stands in a list. One query."""
    conditions = [*_stands(Conversation, asked), *_narrowed(Conversation, asked, operator_id)]
    if _goes_elsewhere(asked):
        of = _subjects(asked.view)
        conditions.append(exists().where(of.column == Conversation.id, of.condition))
    return session.scalar(select(Conversation.id).where(Conversation.id == conversation_id, *conditions)) is not None


# The views that are counted where nobody in particular asks.
COUNTED: Final = (View.WAITING, View.DRAFT_READY, View.WAITING_ON_THEM, View.OPEN)


def view_counts(session: Session) -> Mapping[View, int]:
    """How many conversations stand in each view that is work; at most ``COUNT_LIMIT + 1``. One query."""
    found = session.execute(select(*(_capped(Filter(view), "", view.value) for view in COUNTED))).one()
    return dict(zip(COUNTED, found, strict=True))


def list_counts(session: Session, lists: Sequence[Filter], operator_id: str) -> list[int | None]:
    """How many stand in each of these lists, at most ``COUNT_LIMIT + 1``. One query.

    ``None`` where a search would have to be made for it. Of a list whose filters had more to look at than
    :data:`COUNTED_ROWS`, there are more than is said: its count is past the limit.
    """
    return list_counts_and(session, lists, operator_id)[0]


def list_counts_and(
    session: Session, lists: Sequence[Filter], operator_id: str, *facts: ScalarSelect[Any]
) -> tuple[list[int | None], tuple[Any, ...]]:
    """The same, and what the caller wants to know beside them. One query for all of it."""
    counted = [(place, one) for place, one in enumerate(lists) if not one.text]
    numbers: list[int | None] = [None] * len(lists)
    if not counted and not facts:
        return numbers, ()
    counts = [_capped(one.bare, operator_id, f"list_{place}") for place, one in counted]
    found = tuple(session.execute(select(*counts, *facts)).one())
    for (place, _), number in zip(counted, found[: len(counted)], strict=True):
        numbers[place] = number
    return numbers, found[len(counted) :]


def waiting(session: Session) -> int:
    """How many conversations wait for us; at most ``COUNT_LIMIT + 1``. One count."""
    return session.scalar(select(_capped(Filter(View.WAITING), "", "waiting"))) or 0


def _capped(asked: Filter, operator_id: str, name: str) -> Any:
    """The count of a list that stops at its limit."""
    if not asked.is_narrowed and asked.view is not View.NEW:
        rows = select(Conversation.id).where(*_conditions(Conversation, asked.view)).limit(COUNT_LIMIT + 1)
        if _goes_elsewhere(asked):
            of = _subjects(asked.view)
            rows = select(of.column).where(of.condition).distinct().limit(COUNT_LIMIT + 1)
        return select(func.count()).select_from(rows.subquery()).scalar_subquery().label(name)
    # What the most telling filter with an index leaves, as far as that is looked at; the others are held against it.
    conditions, rest = [*_stands(Conversation, asked)], asked
    if _goes_elsewhere(asked):
        of = _subjects(asked.view)
        conditions.append(Conversation.id.in_(select(of.column).where(of.condition).limit(COUNTED_ROWS)))
    elif asked.tags:
        bear = select(ConversationTag.conversation_id).where(ConversationTag.tag_id == asked.tags[0])
        conditions.append(Conversation.id.in_(bear.limit(COUNTED_ROWS)))
        rest = replace(asked, tags=asked.tags[1:])
    elif asked.view.is_open and (asked.assignee or asked.team):
        # Those indexes hold what is open, and serve only where it is said.
        conditions.append(Conversation.status == _literal("open", ConversationStatus.OPEN))
        whose = _assigned(Conversation, asked, operator_id)
        conditions += [one for one in (whose if asked.assignee else _of_team(Conversation, asked),) if one is not None]
        rest = replace(asked, assignee="") if asked.assignee else replace(asked, team="")
    others = [*_narrowed(Conversation, rest, operator_id)]
    if not others:
        rows = select(Conversation.id).where(*conditions).limit(COUNT_LIMIT + 1)
        return select(func.count()).select_from(rows.subquery()).scalar_subquery().label(name)
    looked_at = select(Conversation).where(*conditions).limit(COUNTED_ROWS)
    seen = aliased(Conversation, looked_at.subquery(f"{name}_seen"))
    matches = func.count().filter(and_(true(), *_narrowed(seen, rest, operator_id)))
    cut = func.count() >= COUNTED_ROWS
    number = case((cut, func.greatest(matches, COUNT_LIMIT + 1)), else_=func.least(matches, COUNT_LIMIT + 1))
    return select(number).select_from(seen).scalar_subquery().label(name)


def resolved_since(session: Session, since: datetime) -> int:
    """How many conversations were resolved since a moment. One query."""
    return session.scalar(resolutions(since)) or 0


def resolutions(since: datetime) -> Select[Any]:
    """The same as a statement, which goes by the audit log's index on resolutions."""
    action = bindparam("is_resolve", "conversation.resolve", AuditEntry.action.type, literal_execute=True)
    return select(func.count(AuditEntry.subject_id.distinct())).where(
        AuditEntry.occurred_at >= since, AuditEntry.action == action
    )


def timeline(
    session: Session,
    conversation_id: int,
    operator_id: str,
    *,
    before: int | None = None,
    limit: int = TIMELINE_SIZE,
) -> Timeline:
    """The newest messages of a conversation, or those before a sequence, with its drafts. Three queries.

    Raises:
        NotFound: there is no such conversation.
    """
    head = session.execute(
        select(Conversation, CustomerRecord, ConversationRead.sequence, _comments())
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .outerjoin(ConversationRead, _read_by(operator_id))
        .where(Conversation.id == conversation_id)
    ).first()
    if head is None:
        raise NotFound
    wanted = select(Message).where(Message.conversation_id == conversation_id)
    if before is not None:  # with the message itself, which is on the next page: it says where this one ends
        wanted = wanted.where(Message.sequence <= before)
    newest_first = list(session.scalars(wanted.order_by(Message.sequence.desc()).limit(limit + 2)))
    following = newest_first.pop(0) if newest_first and newest_first[0].sequence == before else None
    messages = newest_first[:limit][::-1]
    drafts = session.scalars(
        select(Draft)
        .where(Draft.conversation_id == conversation_id)
        .order_by(Draft.id.desc())
        .limit(DRAFT_HISTORY)
        .options(defer(Draft.evidence))
    )
    return Timeline(
        conversation=head[0],
        customer=head[1],
        messages=tuple(messages),
        earlier=messages[0].sequence if len(newest_first) > limit else None,
        following=following,
        drafts=tuple(list(drafts)[::-1]),
        read=head[2] or 0,
        comments={int(resolution): comment for resolution, comment in (head[3] or {}).items()},
    )


def _comments() -> ScalarSelect[Any]:
    """What the customer of a conversation said beside their ratings, by resolution."""
    given = select(func.jsonb_object_agg(Rating.resolution, Rating.comment))
    return given.where(Rating.conversation_id == Conversation.id, Rating.score.is_not(None)).scalar_subquery()


def customer_messages_after(session: Session, conversation_id: int, sequence: int) -> list[Message]:
    """The customer's own messages after a sequence, oldest first, at most ten."""
    return list(
        session.scalars(
            select(Message)
            .where(
                Message.conversation_id == conversation_id,
                Message.sequence > sequence,
                Message.kind == MessageKind.CUSTOMER,
            )
            .order_by(Message.sequence)
            .limit(10)
        )
    )


def draft_of(session: Session, conversation_id: int, draft_id: int) -> Draft:
    """A draft, reached through its conversation, so that one address cannot decide on another's.

    Raises:
        NotFound: there is no such draft in this conversation.
    """
    statement = select(Draft).where(Draft.id == draft_id, Draft.conversation_id == conversation_id)
    draft = session.scalars(statement).one_or_none()
    if draft is None:
        raise NotFound("There is no such draft.")
    return draft


def conversation_with_customer(session: Session, conversation_id: int) -> tuple[Conversation, CustomerRecord]:
    """A conversation and whose it is.

    Raises:
        NotFound: there is no such conversation.
    """
    found = session.execute(
        select(Conversation, CustomerRecord)
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .where(Conversation.id == conversation_id)
    ).first()
    if found is None:
        raise NotFound
    return found[0], found[1]


def past_conversations(session: Session, customer_id: int, *, besides: int, limit: int = 6) -> tuple[Conversation, ...]:
    """The customer's other conversations, those spoken in last first."""
    return tuple(
        session.scalars(
            select(Conversation)
            .where(Conversation.customer_id == customer_id, Conversation.id != besides)
            .order_by(Conversation.last_spoken_at.desc(), Conversation.id.desc())
            .limit(limit)
        )
    )


def _rows(operator_id: str) -> Select[Any, Any, Any, Any, Any, Any, Any]:
    names = (
        select(Tag.name)
        .join(ConversationTag, ConversationTag.tag_id == Tag.id)
        .where(ConversationTag.conversation_id == Conversation.id)
        .order_by(func.lower(Tag.name))
        .correlate(Conversation)
    )
    of = _subjects(View.APPROVAL)
    pending = select(of.column).where(of.column == Conversation.id, of.condition).limit(1).correlate(Conversation)
    return (
        select(
            Conversation,
            CustomerRecord,
            Draft.state,
            Draft.kind,
            ConversationRead.sequence,
            func.array(names.scalar_subquery(), type_=ARRAY(Text)),
            pending.scalar_subquery(),
        )
        .join(CustomerRecord, CustomerRecord.id == Conversation.customer_id)
        .outerjoin(Draft, and_(Draft.conversation_id == Conversation.id, _state_in(OPEN_STATES)))
        .outerjoin(ConversationRead, _read_by(operator_id))
    )


def _row(found: Row[Any, Any, Any, Any, Any, Any, Any]) -> InboxRow:
    conversation, customer, state, kind, read, tags, pending = found
    draft = (state, kind) if state else None
    return InboxRow(conversation, customer, draft, read or 0, tuple(tags), pending is not None)


def _conditions(of: Any, view: View) -> tuple[ColumnElement[bool], ...]:
    # Constants are written into the statement: a partial index is used only where the planner can prove it applies.
    is_open = of.status == _literal("open", ConversationStatus.OPEN)
    awake = of.snoozed_until.is_(None)
    match view:
        case View.WAITING | View.NEW:  # no index tells what is new of what waits: see `_narrowed`
            # Only what is open waits, as a check of the table holds. Said again, it would be taken for a rarer thing,
            # and the whole index be read.
            return (of.waiting_since.is_not(None), awake)
        case View.WAITING_ON_THEM:
            return (is_open, of.waiting_since.is_(None), awake)
        case View.SNOOZED:
            return (of.snoozed_until.is_not(None),)
        case View.OPEN:
            return (is_open,)
        case View.RESOLVED:
            return (of.status == _literal("resolved", ConversationStatus.RESOLVED),)
        case View.SPAM:
            return (of.status == _literal("spam", ConversationStatus.SPAM),)
        case View.DRAFT_READY | View.APPROVAL | View.ALL:
            return ()


def _stands(of: Any, asked: Filter) -> Iterator[ColumnElement[bool]]:
    """What an index holds of a list: its state, and how near its deadlines are."""
    yield from _conditions(of, asked.view)
    due = _due(of, asked)
    if due is not None:
        yield due


def _due(of: Any, asked: Filter) -> ColumnElement[bool] | None:
    if asked.due is None:
        return None
    state = bindparam(f"is_{asked.due.value}", asked.due, Conversation.due_state.type, literal_execute=True)
    return cast("ColumnElement[bool]", of.due_state == state)


def _due_first(of: Any) -> ColumnElement[datetime]:
    """When the next deadline is, word for word as the indexes have it."""
    return func.coalesce(of.due_at, literal_column("'5000-01-01 00:00:00+00'::timestamptz", DateTime(timezone=True)))


def _narrowed(of: Any, asked: Filter, operator_id: str) -> Iterator[ColumnElement[bool]]:
    """What a list asks for beside what an index holds of its state."""
    if asked.view is View.NEW:
        yield of.first_reply_at.is_(None)
    for condition in (_assigned(of, asked, operator_id), _of_team(of, asked)):
        if condition is not None:
            yield condition
    for tag in asked.tags:
        yield exists().where(ConversationTag.conversation_id == of.id, ConversationTag.tag_id == tag)
    if asked.priority is not None:
        yield of.priority == asked.priority
    if asked.channel:
        yield of.channel == asked.channel
    if asked.since is not None:
        yield of.last_message_at >= _midnight(asked.since)
    if asked.until is not None:
        yield of.last_message_at < _midnight(asked.until) + timedelta(days=1)
    if asked.text:
        yield _holds(of, asked.text)


def _assigned(of: Any, asked: Filter, operator_id: str) -> ColumnElement[bool] | None:
    if not asked.assignee:
        return None
    if asked.assignee == "nobody":
        return cast("ColumnElement[bool]", of.assignee_id.is_(None))
    return cast("ColumnElement[bool]", of.assignee_id == (operator_id if asked.assignee == "me" else asked.assignee))


def _of_team(of: Any, asked: Filter) -> ColumnElement[bool] | None:
    return cast("ColumnElement[bool]", of.team == asked.team) if asked.team else None


def _holds(of: Any, typed: str) -> ColumnElement[bool]:
    """Whether a conversation holds every word that was typed in one place: subject, customer or a message."""
    words = beginnings(typed)
    if words is None:
        return false()
    query = func.to_tsquery(word("simple"), words)

    def terms_of(column: Any) -> Any:
        return func.to_tsvector(word("simple"), func.translate(column, word(BETWEEN), word(" " * len(BETWEEN))))

    # Scalar, so that no planner turns it round and finds the word in all messages first.
    said = select(true()).where(
        Message.conversation_id == of.id, text(FOUND_KINDS), terms_of(Message.body).op("@@")(query)
    )
    who = func.concat_ws(word(" "), CustomerRecord.name, CustomerRecord.email, CustomerRecord.organization)
    asks = select(true()).where(CustomerRecord.id == of.customer_id, terms_of(who).op("@@")(query))
    return or_(
        terms_of(of.subject).op("@@")(query),
        func.coalesce(asks.limit(1).scalar_subquery(), false()),
        func.coalesce(said.limit(1).scalar_subquery(), false()),
    )


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _ready_draft() -> ColumnElement[bool]:
    # A hand-over to a person is no text to check: those conversations just wait. Word for word what the index holds.
    escalation = bindparam("is_escalation", DraftKind.ESCALATION, Draft.kind.type, literal_execute=True)
    return and_(Draft.state == _literal("ready", DraftState.READY), Draft.kind != escalation)


def _state_in(states: Iterable[DraftState]) -> ColumnElement[bool]:
    name = "draft_states_" + "_".join(states)
    return Draft.state.in_(bindparam(name, list(states), Draft.state.type, expanding=True, literal_execute=True))


def _literal(name: str, value: StrEnum) -> Any:
    column = Draft.state if isinstance(value, DraftState) else Conversation.status
    return bindparam(f"is_{name}", value, column.type, literal_execute=True)


def _read_by(operator_id: str) -> ColumnElement[bool]:
    return and_(ConversationRead.conversation_id == Conversation.id, ConversationRead.operator_id == operator_id)
