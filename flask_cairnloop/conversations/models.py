"""Customers as they were last verified, their conversations, and every message in them."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from enum import IntEnum, StrEnum
from typing import Any

from sqlalchemy import (
    Boolean,
    CheckConstraint,
    ForeignKey,
    Identity,
    Index,
    SmallInteger,
    String,
    UniqueConstraint,
    Uuid,
    text,
)
from sqlalchemy.dialects.postgresql import TSVECTOR
from sqlalchemy.orm import Mapped, mapped_column, relationship

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.clock import now
from flask_cairnloop.database.base import Base, choice
from flask_cairnloop.database.words import terms
from flask_cairnloop.service_levels.targets import DueState, Target

CHANNEL_LENGTH = 20
PREVIEW_LENGTH = 160
REF_LENGTH = 200
SUBJECT_LENGTH = 200
TAG_LENGTH = 40
TEAM_LENGTH = 80
VIEW_NAME_LENGTH = 60
# What stands in a row in place of a forgotten customer and of the words of their conversations.
ERASED = "[erased]"
FORGOTTEN = "Forgotten customer"
# By which words of its subject a conversation is found; a trigger keeps them, see `ConversationTerms`.
SUBJECT_TERMS = terms("subject")
# By what a customer is found. In the parentheses in which PostgreSQL tells it back.
CUSTOMER_TERMS = terms("(((coalesce(name, '') || ' ') || coalesce(email, '')) || ' ') || coalesce(organization, '')")
# By which words a message is found. Only what people said, see `FOUND_KINDS`.
MESSAGE_TERMS = terms("body")
FOUND_KINDS = "kind IN ('customer', 'reply', 'note', 'follow_up')"
# By what a list is sorted whose next deadline comes first; without a deadline, last.
NEVER = datetime(5000, 1, 1, tzinfo=UTC)
DUE_FIRST = "coalesce(due_at, '5000-01-01 00:00:00+00'::timestamptz)"


class ConversationStatus(StrEnum):
    OPEN = "open"
    RESOLVED = "resolved"
    SPAM = "spam"  # out of the queue and without drafts; its customer sees an open conversation


class Priority(IntEnum):
    """How urgent a conversation is. What is more urgent is the smaller number, so that an index holds it first."""

    URGENT = 1
    HIGH = 2
    NORMAL = 3
    LOW = 4

    @classmethod
    def parse(cls, value: str | None) -> Priority | None:
        """A priority by its word; ``None`` for anything that is none."""
        return next((one for one in cls if one.word == value), None)

    @property
    def word(self) -> str:
        return self.name.lower()


class MessageKind(StrEnum):
    CUSTOMER = "customer"  # the customer's own words
    REPLY = "reply"  # sent to the customer
    FOLLOW_UP = "follow_up"  # sent to the customer, who had not just asked for it
    NOTE = "note"  # internal, never leaves the team
    EVENT = "event"  # something that happened: see `event`


# What stands between the customer and us, and both can read.
SPOKEN = (MessageKind.CUSTOMER, MessageKind.REPLY, MessageKind.FOLLOW_UP)


class EventName(StrEnum):
    RESOLVED = "resolved"
    REOPENED = "reopened"
    ASSIGNED = "assigned"
    RATED = "rated"
    SNOOZED = "snoozed"
    WOKEN = "woken"
    MARKED_SPAM = "marked_spam"
    UNMARKED_SPAM = "unmarked_spam"
    BREACHED = "breached"  # a deadline passed


CUSTOMER_VISIBLE_EVENTS = (EventName.RESOLVED, EventName.REOPENED)


class CustomerRecord(Base):
    """What the host last told us about a customer."""

    __tablename__ = "customers"
    __table_args__ = (
        Index("ix_customers_terms", text(CUSTOMER_TERMS), postgresql_using="gin"),
        Index("ix_customers_email", text("lower(email)"), postgresql_where=text("email IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    ref: Mapped[str] = mapped_column(String(REF_LENGTH), unique=True)
    name: Mapped[str | None] = mapped_column(String(200))
    email: Mapped[str | None] = mapped_column(String(320))
    organization: Mapped[str | None] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)
    last_seen_at: Mapped[datetime] = mapped_column(default=now)
    # What the audit log calls them. Drawn by lot, and again when they are forgotten: then nothing leads from an entry
    # to a person.
    pseudonym: Mapped[str] = mapped_column(
        String(64),
        unique=True,
        server_default=text("'pseudonym-' || replace(CAST(gen_random_uuid() AS TEXT), '-', '')"),
    )
    # Since when this row stands for nobody: its reference is one that no host has given.
    forgotten_at: Mapped[datetime | None]


class Conversation(Base):
    __tablename__ = "conversations"
    __table_args__ = (
        CheckConstraint("(status = 'resolved') = (resolved_at IS NOT NULL)", name="resolved_at_while_resolved"),
        CheckConstraint("status = 'open' OR waiting_since IS NULL", name="waiting_only_while_open"),
        CheckConstraint("status = 'open' OR snoozed_until IS NULL", name="snoozed_only_while_open"),
        CheckConstraint("priority BETWEEN 1 AND 4", name="priority_range"),
        CheckConstraint("rating BETWEEN 1 AND 5", name="rating_range"),
        CheckConstraint("last_sequence >= 0 AND customer_seen >= 0", name="sequences"),
        Index("ix_conversations_activity", text("last_message_at DESC"), text("id DESC")),
        Index("ix_conversations_status_activity", "status", text("last_message_at DESC"), text("id DESC")),
        Index(
            "ix_conversations_waiting_on_us",
            "waiting_since",
            "id",
            postgresql_where=text("waiting_since IS NOT NULL AND snoozed_until IS NULL"),
        ),
        Index(
            "ix_conversations_waiting_on_them",
            text("last_message_at DESC"),
            text("id DESC"),
            postgresql_where=text("status = 'open' AND waiting_since IS NULL AND snoozed_until IS NULL"),
        ),
        Index("ix_conversations_snoozed", "snoozed_until", "id", postgresql_where=text("snoozed_until IS NOT NULL")),
        Index("ix_conversations_priority", "priority", "id", postgresql_where=text("status = 'open'")),
        # Also of those that nobody has.
        Index("ix_conversations_assignee", "assignee_id", "id", postgresql_where=text("status = 'open'")),
        Index(
            "ix_conversations_team",
            "team",
            "id",
            postgresql_where=text("status = 'open' AND team IS NOT NULL"),
        ),
        CheckConstraint(
            "(due_at IS NULL) = (due_target IS NULL) AND (due_at IS NULL) = (due_state IS NULL)", name="due_whole"
        ),
        Index("ix_conversations_due", text(DUE_FIRST), "id", postgresql_where=text("status = 'open'")),
        Index(
            "ix_conversations_due_state",
            "due_state",
            text(DUE_FIRST),
            "id",
            postgresql_where=text("due_state IN ('soon', 'breached')"),
        ),
        # What has been over for long, and still has its words.
        Index(
            "ix_conversations_over",
            text("coalesce(resolved_at, last_message_at)"),
            postgresql_where=text("status <> 'open' AND erased_at IS NULL"),
        ),
        Index("ix_conversations_customer", "customer_id", text("last_spoken_at DESC"), text("id DESC")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    customer_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.customers.id"))
    channel: Mapped[str] = mapped_column(String(CHANNEL_LENGTH))
    subject: Mapped[str] = mapped_column(String(SUBJECT_LENGTH))
    status: Mapped[ConversationStatus] = mapped_column(
        choice(ConversationStatus, "status"), default=ConversationStatus.OPEN
    )
    assignee_id: Mapped[str | None] = mapped_column(String(200))
    assignee_name: Mapped[str | None] = mapped_column(String(200))
    team: Mapped[str | None] = mapped_column(String(TEAM_LENGTH))
    priority: Mapped[int] = mapped_column(SmallInteger, default=Priority.NORMAL, server_default=text("3"))
    # Until when it is out of the way; a customer's words bring it back before.
    snoozed_until: Mapped[datetime | None]
    # When it was answered first; null while it is new.
    first_reply_at: Mapped[datetime | None]
    # Message order: the next message takes last_sequence + 1 under this row's lock.
    last_sequence: Mapped[int] = mapped_column(default=0)
    # The newest message of a person, for the inbox row: time, who wrote it, its first words.
    last_message_at: Mapped[datetime] = mapped_column(default=now)
    last_message_kind: Mapped[MessageKind | None] = mapped_column(choice(MessageKind, "last_message_kind"))
    last_author_name: Mapped[str | None] = mapped_column(String(200))
    preview: Mapped[str] = mapped_column(String(PREVIEW_LENGTH), default="")
    # The newest words between the customer and us: notes are none, they are not the customer's to notice.
    last_spoken_at: Mapped[datetime] = mapped_column(default=now)
    # Sequence of the customer's newest words: what a reply must have seen.
    last_customer_sequence: Mapped[int] = mapped_column(default=0)
    # Since when the customer waits for us; null when nobody waits.
    waiting_since: Mapped[datetime | None]
    # The next deadline while the customer waits, or the one that passed. Written by `service_levels`.
    due_at: Mapped[datetime | None]
    due_target: Mapped[Target | None] = mapped_column(choice(Target, "due_target"))
    due_state: Mapped[DueState | None] = mapped_column(choice(DueState, "due_state"))
    customer_seen: Mapped[int] = mapped_column(default=0)
    resolved_at: Mapped[datetime | None]
    rating: Mapped[int | None] = mapped_column(SmallInteger)
    # Written by versions before 20 only; what is said beside a rating is in `Rating`.
    rating_comment: Mapped[str | None] = mapped_column(String(2000), deferred=True)
    # Until when its customer may rate the newest resolution, or change what they said; null where nobody asks.
    rating_until: Mapped[datetime | None]
    # Since when its words are gone, with its customer. It takes no others.
    erased_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)

    customer: Mapped[CustomerRecord] = relationship(lazy="raise")


class ConversationTerms(Base):
    """By which words of its subject a conversation is found. A trigger keeps them: nobody writes here."""

    __tablename__ = "conversation_terms"
    __table_args__ = (Index("ix_conversation_terms_terms", "terms", postgresql_using="gin"),)

    conversation_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"), primary_key=True
    )
    terms: Mapped[Any] = mapped_column(TSVECTOR)


class Message(Base):
    __tablename__ = "messages"
    __table_args__ = (
        UniqueConstraint("conversation_id", "sequence"),
        CheckConstraint("(kind = 'event') = (event IS NOT NULL)", name="event_named"),
        CheckConstraint("kind = 'event' OR body <> '' OR jsonb_exists(data, 'files')", name="body_not_empty"),
        CheckConstraint("sequence >= 1", name="sequence_positive"),
        CheckConstraint("draft_id IS NULL OR kind = 'reply'", name="draft_only_on_reply"),
        Index(
            "uq_messages_idempotency_key",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        # What a customer did other than write: a handful of rows, where one may have acted outside their own.
        Index(
            "ix_messages_acts_of_customers",
            "author_id",
            postgresql_where=text("author_kind = 'customer' AND kind <> 'customer'"),
        ),
        Index("uq_messages_draft_id", "draft_id", unique=True, postgresql_where=text("draft_id IS NOT NULL")),
        # Of all kinds: of an index on some of them, the planner takes no statistics of how common a word is.
        Index("ix_messages_terms", text(MESSAGE_TERMS), postgresql_using="gin"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"))
    sequence: Mapped[int]
    kind: Mapped[MessageKind] = mapped_column(choice(MessageKind, "kind"))
    event: Mapped[EventName | None] = mapped_column(choice(EventName, "event"))
    data: Mapped[dict[str, Any]] = mapped_column(default=dict)
    body: Mapped[str] = mapped_column(default="")
    author_kind: Mapped[ActorKind] = mapped_column(choice(ActorKind, "author_kind"))
    author_id: Mapped[str] = mapped_column(String(200))
    author_name: Mapped[str] = mapped_column(String(200))
    # Sent without an operator, by a policy that allowed it.
    automatic: Mapped[bool] = mapped_column(Boolean, default=False)
    # The client's own id of the message, echoed so that it can replace its optimistic copy.
    client_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    # Author, client id and, for the team, where it was said: a resend finds the first one.
    idempotency_key: Mapped[str | None] = mapped_column(String(300))
    # The draft this reply was approved from; unique, so a draft is sent at most once.
    draft_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.drafts.id", ondelete="SET NULL"))
    # When the host was told that the customer has not seen this reply, so that it reaches them elsewhere.
    passed_on_at: Mapped[datetime | None]
    created_at: Mapped[datetime] = mapped_column(default=now)

    conversation: Mapped[Conversation] = relationship(lazy="raise")


class MessageFile(Base):
    """A file that came with a message, which is the only one that has it. What it is called stands with the message."""

    __tablename__ = "message_files"
    __table_args__ = (UniqueConstraint("file_id"), CheckConstraint("position >= 0", name="position"))

    message_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.messages.id", ondelete="CASCADE"), primary_key=True
    )
    position: Mapped[int] = mapped_column(SmallInteger, primary_key=True, autoincrement=False)
    # Nothing deletes a file that a message has, before it lets go of it.
    file_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.files.id"))


class ConversationRead(Base):
    """How far an operator has read a conversation."""

    __tablename__ = "conversation_reads"

    conversation_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"), primary_key=True
    )
    operator_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    sequence: Mapped[int]


class Tag(Base):
    """A word of the team for what conversations are about. Logs and events hold its number, never the word."""

    __tablename__ = "tags"
    __table_args__ = (
        CheckConstraint("name <> ''", name="name_not_empty"),
        Index("uq_tags_name", text("lower(name)"), unique=True),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    name: Mapped[str] = mapped_column(String(TAG_LENGTH))
    created_at: Mapped[datetime] = mapped_column(default=now)


class ConversationTag(Base):
    """A tag on a conversation. It goes when the customer is forgotten."""

    __tablename__ = "conversation_tags"
    __table_args__ = (Index("ix_conversation_tags_tag_id", "tag_id", text("conversation_id DESC")),)

    conversation_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"), primary_key=True
    )
    tag_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.tags.id", ondelete="CASCADE"), primary_key=True)
    added_at: Mapped[datetime] = mapped_column(default=now)


class SavedView(Base):
    """A list with its filters under a name: of one operator, or of everybody. It holds no words to search for."""

    __tablename__ = "saved_views"
    __table_args__ = (
        CheckConstraint("name <> ''", name="name_not_empty"),
        Index("ix_saved_views_owner_id", "owner_id", "id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    owner_id: Mapped[str | None] = mapped_column(String(200))  # null: everybody's
    name: Mapped[str] = mapped_column(String(VIEW_NAME_LENGTH))
    query: Mapped[str] = mapped_column(String(1000))  # as it stands in an address
    created_by: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)


class BulkStep(Base):
    """What one operator did to several conversations at once, and how each was before: to be taken back for a while."""

    __tablename__ = "bulk_steps"
    __table_args__ = (Index("ix_bulk_steps_created_at", "created_at"),)

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    operator_id: Mapped[str] = mapped_column(String(200))
    does: Mapped[str] = mapped_column(String(20))
    changes: Mapped[list[Any]] = mapped_column(default=list)
    created_at: Mapped[datetime] = mapped_column(default=now)
    undone_at: Mapped[datetime | None]


class AssignmentTurn(Base):
    """When an operator was last given a conversation by rule: whose turn is longest ago is next."""

    __tablename__ = "assignment_turns"

    operator_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    at: Mapped[datetime]


class PendingState(StrEnum):
    PENDING = "pending"  # it is sent at its time, unless it is taken back
    SENT = "sent"
    UNDONE = "undone"  # its author took it back
    STOPPED = "stopped"  # something came between: its author decides


class StoppedBy(StrEnum):
    """What came between a reply and its sending."""

    CUSTOMER = "customer"  # they wrote again
    DRAFT = "draft"  # the draft it is, was set aside or decided otherwise
    RESOLVED = "resolved"  # somebody closed the conversation
    SPAM = "spam"  # somebody called it spam
    FAILED = "failed"  # its job will not run, or a file of it is gone


class PendingReply(Base):
    """A reply that waits a moment before it is sent, so that it can be taken back. The customer never sees it.

    It holds words only while something can become of them: sent they are a message, taken back an unsent text.
    """

    __tablename__ = "pending_replies"
    __table_args__ = (
        CheckConstraint(
            "CASE WHEN state IN ('pending', 'stopped') THEN body <> '' OR files <> '[]' "
            "ELSE body = '' AND files = '[]' END",
            name="words_while_open",
        ),
        CheckConstraint("(state IN ('sent', 'undone')) = (ended_at IS NOT NULL)", name="ended_when_over"),
        CheckConstraint("(state = 'stopped') = (stopped_by IS NOT NULL)", name="stopped_by_something"),
        Index(
            "ix_pending_replies_open",
            "conversation_id",
            "id",
            postgresql_where=text("state IN ('pending', 'stopped')"),
        ),
        Index(
            "uq_pending_replies_idempotency_key",
            "idempotency_key",
            unique=True,
            postgresql_where=text("idempotency_key IS NOT NULL"),
        ),
        Index(
            "uq_pending_replies_draft_id",
            "draft_id",
            unique=True,
            postgresql_where=text("state = 'pending' AND draft_id IS NOT NULL"),
        ),
        Index("ix_pending_replies_ended_at", "ended_at", postgresql_where=text("ended_at IS NOT NULL")),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    conversation_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"))
    state: Mapped[PendingState] = mapped_column(choice(PendingState, "state"))
    stopped_by: Mapped[StoppedBy | None] = mapped_column(choice(StoppedBy, "stopped_by"))
    body: Mapped[str]
    citations: Mapped[list[Any]] = mapped_column(default=list)
    files: Mapped[list[Any]] = mapped_column(default=list)  # id and name of each that comes with it
    # The operator who sends it: another one can neither send it nor take it back.
    author_id: Mapped[str] = mapped_column(String(200))
    author_name: Mapped[str] = mapped_column(String(200))
    client_id: Mapped[uuid.UUID | None] = mapped_column(Uuid)
    # That of the message it becomes: a resend finds the first one before and after.
    idempotency_key: Mapped[str | None] = mapped_column(String(300))
    # Sequence of the newest message its author had before them.
    seen: Mapped[int]
    draft_id: Mapped[int | None] = mapped_column(ForeignKey("__cairnloop__.drafts.id", ondelete="SET NULL"))
    # Whether the conversation is resolved with it, and whether a rating is asked for then; null: as the desk does.
    resolves: Mapped[bool] = mapped_column(Boolean, default=False)
    asks: Mapped[bool | None] = mapped_column(Boolean)
    # A colleague who asked for that; its author without one.
    resolver_id: Mapped[str | None] = mapped_column(String(200))
    resolver_name: Mapped[str | None] = mapped_column(String(200))
    send_at: Mapped[datetime]
    created_at: Mapped[datetime] = mapped_column(default=now)
    ended_at: Mapped[datetime | None]


class UnsentText(Base):
    """What an operator has written into a field and not sent yet."""

    __tablename__ = "unsent_texts"
    __table_args__ = (
        CheckConstraint("kind IN ('reply', 'note')", name="kind"),
        CheckConstraint("body <> ''", name="body_not_empty"),
    )

    conversation_id: Mapped[int] = mapped_column(
        ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"), primary_key=True
    )
    operator_id: Mapped[str] = mapped_column(String(200), primary_key=True)
    kind: Mapped[str] = mapped_column(String(10), primary_key=True)
    body: Mapped[str]
    edited_at: Mapped[datetime] = mapped_column(default=now)


class RatedVia(StrEnum):
    """By which way a rating came."""

    WIDGET = "widget"
    LINK = "link"
    HOST = "host"


class Rating(Base):
    """That a customer was asked what they think of the help, and what they said: one row a resolution."""

    __tablename__ = "ratings"
    __table_args__ = (
        UniqueConstraint("uuid"),
        UniqueConstraint("conversation_id", "resolution"),
        CheckConstraint("score BETWEEN 1 AND 5", name="score_range"),
        CheckConstraint(
            "(score IS NULL) = (rated_at IS NULL) AND (score IS NULL) = (via IS NULL)", name="given_at_once"
        ),
        CheckConstraint(
            "score IS NOT NULL OR (comment IS NULL AND changed_at IS NULL AND acted_at IS NULL)",
            name="nothing_without_a_score",
        ),
        Index(
            "ix_ratings_rated_at",
            text("rated_at DESC"),
            text("id DESC"),
            postgresql_include=["score", "conversation_id", "assignee_id"],
            postgresql_where=text("score IS NOT NULL"),
        ),
        Index(
            "ix_ratings_comments",
            text("rated_at DESC"),
            text("id DESC"),
            postgresql_where=text("comment IS NOT NULL"),
        ),
        Index("ix_ratings_asked_at", "asked_at"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    # What a link names. Drawn again when the customer is forgotten.
    uuid: Mapped[uuid.UUID] = mapped_column(Uuid, default=uuid.uuid4, server_default=text("gen_random_uuid()"))
    conversation_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"))
    # Sequence of the event that says so: of a conversation that is resolved twice each is rated by itself.
    resolution: Mapped[int]
    asked_at: Mapped[datetime] = mapped_column(default=now)
    # Until when it may be given, or changed.
    closes_at: Mapped[datetime]
    # The operator who resolved it, if it was one, and who had it then.
    resolver_id: Mapped[str | None] = mapped_column(String(200))
    assignee_id: Mapped[str | None] = mapped_column(String(200))
    assignee_name: Mapped[str | None] = mapped_column(String(200))
    score: Mapped[int | None] = mapped_column(SmallInteger)
    # Redacted: it is read beside those of other customers.
    comment: Mapped[str | None]
    via: Mapped[RatedVia | None] = mapped_column(choice(RatedVia, "via"))
    rated_at: Mapped[datetime | None]
    changed_at: Mapped[datetime | None]
    # When the desk did what it does about a low one: once, whatever becomes of it later.
    acted_at: Mapped[datetime | None]


class Mention(Base):
    """That a note names an operator, who is told of it."""

    __tablename__ = "mentions"
    __table_args__ = (
        UniqueConstraint("message_id", "operator_id"),
        Index("ix_mentions_operator", "operator_id", text("id DESC")),
        Index("ix_mentions_unread", "operator_id", postgresql_where=text("read_at IS NULL")),
        Index("ix_mentions_conversation", "conversation_id"),
    )

    id: Mapped[int] = mapped_column(Identity(), primary_key=True)
    message_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.messages.id", ondelete="CASCADE"))
    conversation_id: Mapped[int] = mapped_column(ForeignKey("__cairnloop__.conversations.id", ondelete="CASCADE"))
    operator_id: Mapped[str] = mapped_column(String(200))
    created_at: Mapped[datetime] = mapped_column(default=now)
    read_at: Mapped[datetime | None]
