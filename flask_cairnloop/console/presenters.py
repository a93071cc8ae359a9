"""From rows to the words and tones a page shows.

One presenter a noun, each total: any state, any missing value, any length gives calm text. Nothing here queries, and
nothing here makes markup except :func:`linkified`, which escapes first.
"""

from __future__ import annotations

import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta, tzinfo
from heapq import merge
from itertools import groupby
from typing import Any, Generic, Literal, TypeVar
from urllib.parse import quote as urlquote
from uuid import UUID

from markupsafe import Markup, escape

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.conversations.attachments import Attached, attached
from flask_cairnloop.conversations.bulk import Does, Step
from flask_cairnloop.conversations.filters import Filter, Sort
from flask_cairnloop.conversations.mentions import Mentioned, Named
from flask_cairnloop.conversations.models import (
    Conversation,
    ConversationStatus,
    CustomerRecord,
    EventName,
    Message,
    MessageKind,
    PendingReply,
    Priority,
    StoppedBy,
)
from flask_cairnloop.conversations.queries import COUNT_LIMIT, TIMELINE_SIZE, InboxRow, Timeline, View
from flask_cairnloop.conversations.ratings import is_low
from flask_cairnloop.drafting import marks
from flask_cairnloop.drafting.differences import Change, changes
from flask_cairnloop.drafting.engine import ENGINE
from flask_cairnloop.drafting.models import OPEN_STATES, Draft, DraftState
from flask_cairnloop.drafting.quality import Quality
from flask_cairnloop.drafting.service import NOTE_LENGTH as NOTE_LENGTH
from flask_cairnloop.drafting.service import without_marks
from flask_cairnloop.drafting.types import DraftFailure, DraftKind, PolicyDecision
from flask_cairnloop.files.content import SPOKEN
from flask_cairnloop.files.links import IMAGES
from flask_cairnloop.files.models import File
from flask_cairnloop.files.service import spoken_size
from flask_cairnloop.hooks import Operator
from flask_cairnloop.knowledge.models import Article, ArticleState, Audience, Revision, RevisionState
from flask_cairnloop.knowledge.rendering import heading_slug
from flask_cairnloop.retrieval.indexing import IndexState, Standing
from flask_cairnloop.retrieval.types import Strength
from flask_cairnloop.service_levels.models import ServiceClock
from flask_cairnloop.service_levels.queries import Standing as ServiceStanding
from flask_cairnloop.service_levels.targets import ACTIVE, ClockState, DueState, Target
from flask_cairnloop.wording import Row

T = TypeVar("T")
DASH = "–"
# A customer who waits longer than this is shown in ember.
LONG_WAIT = timedelta(hours=4)
QUOTE_LENGTH = 400


# --- times ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Times:
    """Words for moments, in one reader's time zone.

    Args:
        now: the moment of the request.
        zone: the reader's zone.
    """

    now: datetime
    zone: tzinfo

    def ago(self, moment: datetime | None) -> str:
        """``now``, ``31m``, ``5h``, ``3d``, ``7w``, ``2y``."""
        if moment is None:
            return DASH
        minutes = max(0, int((self.now - moment).total_seconds() // 60))
        if minutes < 1:
            return "now"
        for size, unit in ((60 * 24 * 365, "y"), (60 * 24 * 7, "w"), (60 * 24, "d"), (60, "h")):
            if minutes >= size:
                return f"{minutes // size}{unit}"
        return f"{minutes}m"

    def clock(self, moment: datetime | None) -> str:
        return moment.astimezone(self.zone).strftime("%H:%M") if moment else DASH

    def day(self, moment: datetime | None) -> str:
        """``Today``, ``Yesterday``, ``Wednesday 19 November``, or with the year where it is another one."""
        if moment is None:
            return DASH
        here, today = moment.astimezone(self.zone), self.now.astimezone(self.zone)
        if here.date() == today.date():
            return "Today"
        if here.date() == today.date() - timedelta(days=1):
            return "Yesterday"
        return f"{here:%A} {here.day} {here:%B}" + ("" if here.year == today.year else f" {here.year}")

    def stamp(self, moment: datetime | None) -> str:
        """``16:42`` today, else ``19 Nov``, else ``19 Nov 2024``."""
        if moment is None:
            return DASH
        here, today = moment.astimezone(self.zone), self.now.astimezone(self.zone)
        if here.date() == today.date():
            return f"{here:%H:%M}"
        return f"{here.day} {here:%b}" + ("" if here.year == today.year else f" {here.year}")

    def date(self, moment: datetime) -> str:
        """``19 November 2024``."""
        here = moment.astimezone(self.zone)
        return f"{here.day} {here:%B %Y}"

    def at(self, moment: datetime | None) -> str:
        """A time to come, or one that matters to the minute: ``16:42`` today, else ``19 Nov, 16:42``."""
        if moment is None:
            return DASH
        here = moment.astimezone(self.zone)
        day = self.stamp(moment)
        return day if day == f"{here:%H:%M}" else f"{day}, {here:%H:%M}"

    def when(self, moment: datetime | None) -> str:
        """The same inside a sentence: ``at 16:42``, ``on 19 Nov, 16:42``."""
        words = self.at(moment)
        return f"{'on' if ',' in words else 'at'} {words}"

    def full(self, moment: datetime | None) -> str:
        """For a tooltip: the whole date and time with its zone."""
        if moment is None:
            return DASH
        here = moment.astimezone(self.zone)
        return f"{here:%A} {here.day} {here:%B %Y, %H:%M %Z}"

    def midnight(self) -> datetime:
        """When today began for this reader."""
        return self.now.astimezone(self.zone).replace(hour=0, minute=0, second=0, microsecond=0)


# --- people -----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Person:
    """A name with the avatar drawn for it."""

    name: str
    initials: str
    tint: int  # 1 to 4
    team: bool

    @property
    def first(self) -> str:
        """The name to use in a sentence: the first word, or all of it where it is one."""
        return self.name.split()[0] if self.name.split() else self.name


def person(name: str | None, *, team: bool = False) -> Person:
    """A person by name; nobody in particular when it is missing."""
    words = (name or "").split()
    shown = " ".join(words) or ("A colleague" if team else "Customer")
    letters = [word[0] for word in words if word[0].isalnum()] or ["?"]
    initials = (letters[0] + (letters[-1] if len(letters) > 1 else "")).upper()
    return Person(shown, initials, zlib.crc32(shown.encode()) % 4 + 1, team)


def customer_person(customer: CustomerRecord) -> Person:
    """A customer by the best name we have."""
    return person(customer.name or customer.email or customer.ref)


# --- counts -----------------------------------------------------------------------------------------------------------


def count(number: int | None) -> str:
    """A count for a person: a dash when it could not be had, never a made-up zero."""
    if number is None:
        return DASH
    return f"{COUNT_LIMIT}+" if number > COUNT_LIMIT else str(number)


_SMALL = ("no", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")


def spelled(number: int) -> str:
    """Up to ten in words, as in running text."""
    return _SMALL[number] if 0 <= number < len(_SMALL) else count(number)


# --- inbox ------------------------------------------------------------------------------------------------------------

VIEW_TITLES: Mapping[View, str] = {
    View.WAITING: "Waiting on us",
    View.NEW: "New",
    View.DRAFT_READY: "Draft ready",
    View.APPROVAL: "Needs approval",
    View.WAITING_ON_THEM: "Waiting on them",
    View.SNOOZED: "Snoozed",
    View.OPEN: "All open",
    View.RESOLVED: "Resolved",
    View.SPAM: "Spam",
    View.ALL: "All conversations",
}
PRIORITIES: Mapping[Priority, str] = {
    Priority.URGENT: "Urgent",
    Priority.HIGH: "High",
    Priority.NORMAL: "Normal",
    Priority.LOW: "Low",
}
SORTS: Mapping[Sort, str] = {
    Sort.WAITING: "Longest first",
    Sort.NEWEST: "Newest first",
    Sort.PRIORITY: "Urgent first",
    Sort.DUE: "Due first",
}
DUE: Mapping[DueState, str] = {
    DueState.RUNNING: "On time",
    DueState.SOON: "Due soon",
    DueState.BREACHED: "Late",
}
TARGETS: Mapping[Target, str] = {
    Target.FIRST_RESPONSE: "First answer",
    Target.NEXT_RESPONSE: "Next answer",
    Target.RESOLUTION: "Resolution",
}
VIEW_EMPTY: Mapping[View, tuple[str, str]] = {
    View.WAITING: ("Nobody is waiting for you", "A customer’s next message appears here."),
    View.NEW: ("Nothing is new", "A conversation stands here until somebody has answered it."),
    View.APPROVAL: ("No action waits for a decision", "A conversation with an action to approve appears here."),
    View.SNOOZED: ("Nothing is snoozed", "What you put off stands here until its time, or until its customer writes."),
    View.SPAM: ("No spam", "What somebody marked as spam is kept here."),
    View.DRAFT_READY: ("No draft to check", "A draft appears here when its sources have been found."),
    View.WAITING_ON_THEM: ("Nobody owes you an answer", "Conversations you have answered stand here."),
    View.OPEN: ("Nothing is open", "A new conversation appears here."),
    View.RESOLVED: ("Nothing has been resolved yet", "Resolved conversations are kept here."),
    View.ALL: ("No conversations yet", "The first message of a customer appears here."),
}


NO_MATCH = ("Nothing fits these filters", "Take one of them away to see more.")
# Where there is something, and nothing of it is for this operator.
LEFT_OUT = ("Nothing here is for you", "What your account may not open is left out.")


@dataclass(frozen=True, slots=True)
class RowView:
    """One inbox row in words."""

    id: int
    customer: Person
    organization: str
    subject: str
    preview: str
    moment: datetime
    waiting: bool
    long_wait: bool
    resolved: bool
    draft: str  # "Draft", "Needs you", "Writing", "Draft failed" or ""
    draft_tone: str
    unread: bool
    assignee: Person | None
    assignee_id: str = ""
    priority: str = ""  # of what is not usual
    urgent: bool = False
    snoozed: datetime | None = None
    spam: bool = False
    approval: bool = False
    tags: tuple[str, ...] = ()
    due: DueView | None = None
    rating: int | None = None
    low: bool = False  # the rating
    sequence: int = 0  # of its newest message


@dataclass(frozen=True, slots=True)
class DueView:
    """A deadline in words.

    Args:
        target: what is due.
        words: how much time is left, or since when there is none, e.g. ``2h 10m left``.
        tone, symbol: how it looks.
        late: whether it passed.
    """

    target: str
    at: datetime
    words: str
    tone: str
    symbol: str
    late: bool


def due(conversation: Conversation, now: datetime) -> DueView | None:
    """The next deadline of a conversation, or the one that passed; ``None`` where nothing is due."""
    at, target = conversation.due_at, conversation.due_target
    if at is None or target is None:
        return None
    late = at <= now
    soon = conversation.due_state is DueState.SOON
    tone = "danger" if late else ("ember" if soon else "muted")
    return DueView(TARGETS[target], at, time_left(at, now), tone, "warn" if late else "clock", late)


@dataclass(frozen=True, slots=True)
class LevelView:
    """One clock of a conversation in words."""

    target: str
    words: str
    tone: str


def levels(standing: ServiceStanding, times: Times) -> list[LevelView]:
    """The clocks of a conversation: of each target the newest, those that matter now first."""
    newest = {clock.target: clock for clock in reversed(standing.clocks)}
    shown = sorted(newest.values(), key=lambda clock: (clock.state not in ACTIVE, [*Target].index(clock.target)))
    return [LevelView(TARGETS[clock.target], *_clock_words(clock, times)) for clock in shown]


def _clock_words(clock: ServiceClock, times: Times) -> tuple[str, str]:
    late = clock.breached_at is not None
    if clock.state is ClockState.RUNNING and clock.due_at is not None:
        tone = "danger" if late else ("ember" if clock.warned_at else "")
        return f"{time_left(clock.due_at, times.now)}, {times.at(clock.due_at)}", tone
    if clock.state is ClockState.RUNNING:
        return "No deadline: the desk is closed for good", "ember"
    if clock.state is ClockState.PAUSED:
        left = "late" if late else f"{spell_minutes(-(-clock.remaining // 60))} left"
        return f"{left}, the clock rests", "danger" if late else ""
    if clock.state is ClockState.CANCELLED:
        return "Late, then no more expected" if late else "No more expected", ""
    return ("Late" if late else "In time") + f", {times.at(clock.ended_at)}", "danger" if late else "moss"


def time_left(at: datetime, now: datetime) -> str:
    """``2h 10m left``, ``45m left``, ``due now``, ``late``, ``14m late``. The console's script says the same."""
    minutes = int(abs(at - now) // timedelta(minutes=1))
    if minutes < 1:
        return "due now" if at > now else "late"
    return f"{spell_minutes(minutes)} {'left' if at > now else 'late'}"


def spell_minutes(minutes: int) -> str:
    """``3d 4h``, ``2h 10m``, ``45m``: the two largest units."""
    days, hours, rest = minutes // 1440, minutes % 1440 // 60, minutes % 60
    if days:
        return f"{days}d {hours}h" if hours else f"{days}d"
    if hours:
        return f"{hours}h {rest}m" if rest else f"{hours}h"
    return f"{rest}m"


def list_title(asked: Filter) -> str:
    """What a list is called that is not saved under a name."""
    if asked.bare == Filter(View.OPEN, assignee="me"):
        return "Mine"
    if asked.bare == Filter(View.OPEN, assignee="nobody"):
        return "Unassigned"
    if asked.due and asked.bare == Filter(View.OPEN, due=asked.due):
        return DUE[asked.due]
    return VIEW_TITLES[asked.view]


@dataclass(frozen=True, slots=True)
class Chip:
    """A filter that is on: its words, and the list without it."""

    words: str
    without: Mapping[str, Any]


def chips(asked: Filter, tags: Mapping[int, str], names: Mapping[str, str]) -> list[Chip]:
    """Every filter of a list, each to be taken away.

    Args:
        tags: words of tags.
        names: of operators, as far as they are known.
    """
    found: list[tuple[str, Filter]] = []
    if asked.text:
        found.append((f"“{asked.text}”", replace(asked, text="")))
    if asked.assignee:
        who = {"me": "Mine", "nobody": "Nobody has it"}.get(asked.assignee)
        found.append((who or names.get(asked.assignee, asked.assignee), replace(asked, assignee="")))
    if asked.team:
        found.append((f"Team {asked.team}", replace(asked, team="")))
    for tag in asked.tags:
        rest = tuple(one for one in asked.tags if one != tag)
        found.append((tags.get(tag, "A tag that is gone"), replace(asked, tags=rest)))
    if asked.priority:
        found.append((f"{PRIORITIES[asked.priority]} priority", replace(asked, priority=None)))
    if asked.due:
        found.append((DUE[asked.due], replace(asked, due=None)))
    if asked.channel:
        found.append((f"By {asked.channel}", replace(asked, channel="")))
    if asked.since:
        found.append((f"From {_plain_day(asked.since)}", replace(asked, since=None)))
    if asked.until:
        found.append((f"Until {_plain_day(asked.until)}", replace(asked, until=None)))
    return [Chip(words, without.args()) for words, without in found]


def _plain_day(day: date) -> str:
    return f"{day.day} {day:%b %Y}"


def snooze_presets(times: Times) -> list[tuple[str, str, datetime]]:
    """Times to put something off until, in the reader's zone: a name for the form, words, and the moment."""
    here = times.now.astimezone(times.zone)

    def at(days: int, hour: int) -> datetime:
        return (here + timedelta(days=days)).replace(hour=hour, minute=0, second=0, microsecond=0)

    to_monday = (7 - here.weekday()) % 7 or 7
    found = [
        ("hours", "In three hours", here + timedelta(hours=3)),
        ("evening", "This evening", at(0, 18)),
        ("tomorrow", "Tomorrow morning", at(1, 9)),
        ("monday", "Monday morning", at(to_monday, 9)),
        ("week", "In a week", at(7, 9)),
    ]
    later = [(name, words, when.astimezone(UTC)) for name, words, when in found if when > here + timedelta(minutes=30)]
    return [one for one in later if not (one[0] == "monday" and to_monday == 1)]


def done_to_several(step: Step, changed: int, left: int, times: Times, moved: int = 0) -> str:
    """What came of one step for several, in a sentence."""
    news = f"In {spelled(moved)} somebody has written meanwhile: look first" if moved else ""
    if not changed:
        return (
            f"Nothing was changed. {news}" if moved else "Nothing was changed: they were so already, or it did not fit"
        )
    many = "One conversation" if changed == 1 else f"{changed} conversations"
    match step.does:
        case Does.ASSIGN:
            what = f"{many} given to {step.assignee.name}" if step.assignee else f"{many} given back"
        case Does.TAG:
            what = f"{many} tagged"
        case Does.PRIORITY:
            what = f"{many} set to {PRIORITIES[step.priority].lower()}"
        case Does.SNOOZE:
            what = f"{many} back {times.when(step.until)}"
        case Does.RESOLVE:
            what = f"{many} resolved"
    return what + (f". {spelled(left).capitalize()} did not fit" if left else "") + (f". {news}" if moved else "")


def undone(restored: int, left: int) -> str:
    """What came of going back."""
    many = "One conversation is" if restored == 1 else f"{restored} conversations are"
    what = f"{many} as before" if restored else "Nothing was taken back"
    return what + (f". {spelled(left).capitalize()} had been changed since" if left else "")


def inbox_row(row: InboxRow, operator: Operator, now: datetime) -> RowView:
    """A row as the list shows it."""
    conversation = row.conversation
    draft, tone = _draft_marker(row)
    return RowView(
        id=conversation.id,
        customer=customer_person(row.customer),
        organization=row.customer.organization or "",
        subject=subject(conversation),
        preview=_preview(row, operator),
        moment=conversation.waiting_since or conversation.last_message_at,
        waiting=conversation.waiting_since is not None,
        long_wait=conversation.waiting_since is not None and now - conversation.waiting_since > LONG_WAIT,
        resolved=conversation.status is ConversationStatus.RESOLVED,
        draft=draft,
        draft_tone=tone,
        unread=row.unread,
        assignee=person(conversation.assignee_name, team=True) if conversation.assignee_id else None,
        assignee_id=conversation.assignee_id or "",
        priority="" if conversation.priority == Priority.NORMAL else PRIORITIES[Priority(conversation.priority)],
        urgent=conversation.priority == Priority.URGENT,
        snoozed=conversation.snoozed_until,
        spam=conversation.status is ConversationStatus.SPAM,
        approval=row.approval,
        tags=row.tags,
        due=due(conversation, now),
        rating=conversation.rating,
        low=conversation.rating is not None and is_low(conversation.rating),
        sequence=conversation.last_sequence,
    )


def subject(conversation: Conversation) -> str:
    return " ".join(conversation.subject.split()) or "No subject"


def status_words(conversation: Conversation) -> str:
    """In what state a conversation is, for its header."""
    if conversation.status is ConversationStatus.RESOLVED:
        return "Resolved"
    if conversation.status is ConversationStatus.SPAM:
        return "Spam"
    if conversation.snoozed_until is not None:
        return "Snoozed"
    if conversation.waiting_since is None:
        return "Waiting on them"
    return "Waiting on us" if conversation.first_reply_at else "New"


# Whether a rating is asked for where nobody says otherwise, and how somebody does, on resolving and on sending.
ASKS = {True: "Asks the customer for a rating", False: "Asks the customer for no rating"}
OTHERWISE = {
    True: ("Resolve, ask for no rating", "Send and resolve, ask for no rating"),
    False: ("Resolve and ask for a rating", "Send, resolve, ask for a rating"),
}


def rating_words(conversation: Conversation, times: Times) -> str:
    """What a customer said of the newest resolution, or that they were asked; empty where neither."""
    if conversation.rating:
        return f"Rated {conversation.rating} of 5"
    asked = conversation.rating_until is not None and conversation.rating_until > times.now
    return "Rating asked for" if asked else ""


def _preview(row: InboxRow, operator: Operator) -> str:
    conversation = row.conversation
    text = " ".join(conversation.preview.split())
    if not text:
        return "No message yet"
    author = conversation.last_author_name or ""
    if conversation.last_message_kind is MessageKind.CUSTOMER:
        prefix = customer_person(row.customer).first
    elif author == operator.name:
        prefix = "You"
    else:
        prefix = person(author, team=True).first
    if conversation.last_message_kind is MessageKind.NOTE:
        prefix += ", note"
    return f"{prefix}: {text}"


def _draft_marker(row: InboxRow) -> tuple[str, str]:
    if row.draft is None:
        return "", ""
    state, kind = row.draft
    if state is DraftState.GENERATING:
        return "Writing", "slate"
    if state is DraftState.FAILED:
        return "Draft failed", "danger"
    if kind is DraftKind.ESCALATION:
        return "Needs you", "ember"
    return "Draft", "ai"


# --- home -------------------------------------------------------------------------------------------------------------


def headline(waiting: int | None, drafts: int | None) -> str:
    """What needs the operator now, in one sentence made of real counts."""
    if waiting is None:
        return "The queue could not be counted"
    if waiting == 0:
        return "Nobody is waiting for an answer"
    who = "One customer is" if waiting == 1 else f"{spelled(waiting).capitalize()} customers are"
    if not drafts:
        return f"{who} waiting for an answer"
    ready = "one draft is" if drafts == 1 else f"{spelled(drafts)} drafts are"
    return f"{who} waiting, {ready} ready to check"


def day_line(times: Times) -> str:
    here = times.now.astimezone(times.zone)
    return f"{here:%A} {here.day} {here:%B}, {here:%H:%M}"


# --- timeline ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing in a timeline.

    Args:
        kind: what it looks like; ``day`` and ``unread`` are separators, ``text`` holds their words.
        key: stable id in the page.
    """

    kind: Literal["day", "unread", "customer", "reply", "note", "event"]
    key: str
    moment: datetime
    text: str | Markup = ""
    author: Person | None = None
    aside: str = ""  # beside the author
    icon: str = ""
    sources: tuple[Source, ...] = ()
    automatic: bool = False  # no person sent it
    delivery: str = ""  # of the newest reply: whether the customer has seen it
    past: PastDraft | None = None  # what a draft that is history said
    files: tuple[AttachedFile, ...] = ()


@dataclass(frozen=True, slots=True)
class AttachedFile:
    """A file of a message.

    Args:
        facts: what kind of file it is, and how large.
        is_image: whether it is shown as a picture.
    """

    uuid: UUID
    name: str
    facts: str
    is_image: bool


@dataclass(frozen=True, slots=True)
class PastDraft:
    """The words behind the line of a decided draft.

    Args:
        title: what there is to see.
        note: what an operator said beside their reason.
        said: the draft's text, where nothing was sent of it.
        changes: the proposed and the sent text as one, where they differ.
    """

    title: str
    note: str = ""
    said: str = ""
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Source:
    """A numbered source of a statement."""

    number: int
    title: str
    heading: str
    quote: str
    article_id: int | None
    revision_id: int | None
    fragment: str = ""  # opens the article at the passage
    why: str = ""  # why search found it, in words


def entries(view: Timeline, operator: Operator, times: Times) -> list[Entry]:
    """A timeline in reading order: messages, one-line events, the history of drafts, days and where the new starts.

    Messages stand by their number, which is their order for the customer too: the clocks of two hosts may differ. What
    became of drafts is told in between, by time; each line on one page only.
    """
    messages = [_message(message, view, operator, times) for message in view.messages]
    since = view.messages[0].created_at if view.messages and view.earlier else None
    until = view.following.created_at if view.following else None
    # A decision stands before what it sent, which may be the first message of the next page.
    sent = {message.draft_id: message for message in (*view.messages, view.following) if message is not None}
    told = (draft_history(draft, operator, sent.get(draft.id)) for draft in view.drafts)
    lines = [
        line
        for line in told
        if line is not None and (since is None or since <= line.moment) and (until is None or line.moment < until)
    ]
    items = merge(messages, sorted(lines, key=_moment), key=_moment)
    new = next(
        (
            f"m{message.sequence}"
            for message in view.messages
            if message.kind is MessageKind.CUSTOMER and 0 < view.read < message.sequence
        ),
        None,
    )
    return list(_with_separators(items, new, times))


def _moment(item: Entry) -> datetime:
    return item.moment


def _with_separators(items: Iterable[Entry], new: str | None, times: Times) -> Iterable[Entry]:
    day: date | None = None
    for item in items:
        here = item.moment.astimezone(times.zone).date()
        if day is None or here > day:  # never back, where a clock was behind
            day = here
            yield Entry("day", f"day-{here:%Y%m%d}", item.moment, times.day(item.moment))
        if item.key == new:
            yield Entry("unread", "unread", item.moment, "New since you last looked")
        yield item


def _delivery(message: Message, view: Timeline, times: Times) -> str:
    """How far the newest reply has come; of earlier ones nobody asks any more."""
    if any(later.kind is MessageKind.REPLY and later.sequence > message.sequence for later in view.messages):
        return ""
    if message.sequence <= view.conversation.customer_seen:
        return "Seen"
    if message.passed_on_at is not None:
        return f"Not seen, passed on by your app at {times.clock(message.passed_on_at)}"
    return "Not seen yet"


def _message(message: Message, view: Timeline, operator: Operator, times: Times) -> Entry:
    key, at, files = f"m{message.sequence}", message.created_at, attached_files(message)
    match message.kind:
        case MessageKind.CUSTOMER:
            return Entry("customer", key, at, linkified(message.body), customer_person(view.customer), files=files)
        case MessageKind.REPLY:
            author = person("Automatic answer" if message.automatic else message.author_name, team=True)
            aside = "From a draft" if message.draft_id and not message.automatic else ""
            cited = sources(message.data.get("citations") if isinstance(message.data, dict) else None)
            body = linkified(message.body)
            delivery = _delivery(message, view, times)
            return Entry(
                "reply",
                key,
                at,
                body,
                author,
                aside,
                sources=cited,
                automatic=message.automatic,
                delivery=delivery,
                files=files,
            )
        case MessageKind.FOLLOW_UP:
            author = person(message.author_name, team=True)
            body, sent = linkified(message.body), "Follow-up"
            return Entry("reply", key, at, body, author, sent, delivery=_delivery(message, view, times))
        case MessageKind.NOTE:
            author = person(message.author_name, team=True)
            return Entry("note", key, at, _note(message), author, files=files)
        case _:
            text, icon = _event(message, view, operator)
            return Entry("event", key, at, text, icon=icon)


def attached_files(message: Message) -> tuple[AttachedFile, ...]:
    """The files of a message, as a timeline shows them."""
    return tuple(
        AttachedFile(file.uuid, file.name, file_facts(file), file.media_type in IMAGES)
        for file in attached(message.data)
    )


def in_words(message: Message) -> str:
    """What a message says where nothing but words can stand."""
    return message.body or ", ".join(file.name for file in attached(message.data))


def _note(message: Message) -> Markup:
    """A note's words, with the colleagues whom it names marked."""
    told = message.data.get("mentions") if isinstance(message.data, dict) else None
    names = [str(one["name"]) for one in told or () if isinstance(one, dict) and one.get("name")]
    if not names:
        return linkified(message.body)
    at = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    parts = re.split(rf"((?<!\w)@(?:{at}))", message.body, flags=re.IGNORECASE)
    marked = (
        Markup('<b class="at">{}</b>').format(part) if number % 2 else linkified(part)
        for number, part in enumerate(parts)
    )
    return Markup("").join(marked)


def noted(found: Named, told: Sequence[Operator], writer: Operator) -> str:
    """What became of a note, and of the names in it."""
    words = "Note added. Only your team sees it"
    if told:
        words = f"Note added. {_listed([one.name for one in told])} {'is' if len(told) == 1 else 'are'} told"
    names = [*found.unknown, *(one.name for one in found.people if one not in told and one.id != writer.id)]
    if names:
        words += f". Nobody was told as @{', @'.join(names[:3])}"
    return words


def _listed(names: Sequence[str]) -> str:
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


@dataclass(frozen=True, slots=True)
class MentionView:
    """A note that names the reader.

    Args:
        before: where the page of the timeline ends that shows it; ``None`` for the newest one.
    """

    id: int
    author: Person
    subject: str
    text: str
    moment: datetime
    unread: bool
    conversation_id: int
    sequence: int
    before: int | None


def mention(row: Mentioned) -> MentionView:
    """A mention as the list shows it."""
    note, conversation = row.note, row.conversation
    far_back = conversation.last_sequence - note.sequence >= TIMELINE_SIZE
    rating = note.data.get("rating") if note.event is EventName.RATED else None
    return MentionView(
        row.mention.id,
        person(note.author_name, team=rating is None),
        subject(conversation),
        shortened(note.body) or _late(note.data) if rating is None else f"Rated the help {rating} of 5",
        row.mention.created_at,
        row.mention.read_at is None,
        conversation.id,
        note.sequence,
        note.sequence + TIMELINE_SIZE // 2 if far_back else None,
    )


def shortened(text: str, limit: int = 240) -> str:
    """The beginning of a text on one line."""
    words = " ".join(text.split())
    return words if len(words) <= limit else words[: limit - 1].rstrip() + "…"


def _event(message: Message, view: Timeline, operator: Operator) -> tuple[str, str]:
    who = actor_name(message.author_kind, message.author_id, message.author_name, operator)
    data = message.data if isinstance(message.data, dict) else {}
    match message.event:
        case EventName.RESOLVED:
            return f"{who} resolved the conversation", "check"
        case EventName.REOPENED:
            return f"{who} reopened the conversation", "undo"
        case EventName.ASSIGNED:
            assignee = data.get("assignee_name") or data.get("name")
            if not isinstance(assignee, str) or not assignee:
                return f"{who} changed who has it", "user"
            if assignee == message.author_name:
                return f"{who} took this", "user"
            return f"{who} gave this to {assignee}", "user"
        case EventName.SNOOZED:
            return f"{who} put this off", "clock"
        case EventName.WOKEN:
            if message.author_kind is ActorKind.SYSTEM:
                return "This came back", "clock"
            return f"{who} brought this back", "clock"
        case EventName.MARKED_SPAM:
            return f"{who} marked this as spam", "warn"
        case EventName.UNMARKED_SPAM:
            return f"{who} took this back from spam", "undo"
        case EventName.BREACHED:
            return _late(data), "warn"
        case EventName.RATED:
            rating = data.get("rating")
            said = f"{rating} of 5" if isinstance(rating, int) and 1 <= rating <= 5 else "the answer"
            # The event is kept for good and holds no words of a person; those are beside the newest one of a rating.
            comment = _comment_beside(message, view)
            return f"{who} rated {said}" + (f": “{comment}”" if comment else ""), "star"
        case _:
            return f"{who} changed something", "clock"


def _late(data: object) -> str:
    """That a deadline passed, as the timeline and the bell say it."""
    said = data.get("target") if isinstance(data, Mapping) else None
    target = next((words for target, words in TARGETS.items() if target.value == said), None)
    return f"{target} is late: its time has passed" if target else "A deadline has passed"


def _comment_beside(message: Message, view: Timeline) -> str | None:
    """What the customer said beside this rating, unless a later line on the page is about the same resolution."""

    def rated(sequence: int) -> int | None:
        return max((resolution for resolution in view.comments if resolution < sequence), default=None)

    resolution = rated(message.sequence)
    later = (
        other.sequence
        for other in view.messages
        if other.event is EventName.RATED and other.sequence > message.sequence
    )
    if resolution is None or any(rated(sequence) == resolution for sequence in later):
        return None
    return view.comments[resolution]


# Why a reply was not sent, after its author's name.
STOPPED: Mapping[StoppedBy, str] = {
    StoppedBy.CUSTOMER: "the customer has written again",
    StoppedBy.DRAFT: "the draft was set aside meanwhile",
    StoppedBy.RESOLVED: "the conversation was resolved meanwhile",
    StoppedBy.SPAM: "the conversation was marked as spam meanwhile",
    StoppedBy.FAILED: "its job failed, or a file of it is gone",
}
LATE = timedelta(seconds=5)  # after its time a reply should be gone, where a worker runs


@dataclass(frozen=True, slots=True)
class PendingView:
    """A reply on its way out.

    Args:
        mine: whether the reader wrote it.
        label: what becomes of it, in a line.
        stopped: it is not sent by itself any more.
        files: the names of what comes with it.
    """

    id: int
    author: Person
    text: Markup
    mine: bool
    label: str
    stopped: bool
    files: str


def pending_replies(
    replies: Iterable[PendingReply], conversation: Conversation, operator: Operator, now: datetime
) -> list[PendingView]:
    """Replies that wait to be sent, or that something came between."""
    return [_pending(reply, conversation, operator, now) for reply in replies]


def _pending(reply: PendingReply, conversation: Conversation, operator: Operator, now: datetime) -> PendingView:
    because = reply.stopped_by
    if because is None and conversation.last_customer_sequence > reply.seen:
        because = StoppedBy.CUSTOMER  # as its job will find
    if because is not None:
        label = f"Not sent: {STOPPED.get(because, 'something came between')}"
    elif now - reply.send_at > LATE:
        label = "Waits for a worker"
    else:
        label = "Sending, then resolving" if reply.resolves else "Sending"
    author, mine = person(reply.author_name, team=True), reply.author_id == operator.id
    files = ", ".join(str(file.get("name", "")) for file in reply.files)
    return PendingView(reply.id, author, linkified(reply.body), mine, label, because is not None, files)


def actor_name(kind: ActorKind | None, actor_id: str | None, name: str | None, operator: Operator) -> str:
    """Who did it: the reader as ``You``, people by name, machines as what they are."""
    if kind is ActorKind.OPERATOR and actor_id == operator.id:
        return "You"
    if kind in (ActorKind.SYSTEM, ActorKind.POLICY):
        return "Cairnloop"
    return " ".join((name or "").split()) or "Somebody"


_URL = re.compile(r"https?://[^\s<>\"']+[^\s<>\"'.,;:!?)\]]")


def linkified(text: str) -> Markup:
    """Escaped text in which plain http(s) addresses are links that tell the other side nothing."""
    parts, end = [], 0
    for match in _URL.finditer(text):
        url = escape(match[0])
        parts.append(escape(text[end : match.start()]))
        parts.append(Markup('<a href="{0}" rel="noopener noreferrer nofollow" target="_blank">{0}</a>').format(url))
        end = match.end()
    parts.append(escape(text[end:]))
    return Markup("").join(parts)


# --- drafts -----------------------------------------------------------------------------------------------------------

# The service's reasons for discarding: as a choice, and in a sentence.
DISCARD_REASONS: Mapping[str, tuple[str, str]] = {
    "wrong": ("It is wrong", "it was wrong"),
    "incomplete": ("Something is missing", "something was missing"),
    "tone": ("The tone is off", "the tone was off"),
    "not_needed": ("Not needed", "it was not needed"),
    "other": ("Another reason", ""),
}

Piece = tuple[Literal["text", "cite"], str]

GROUNDING: Mapping[Strength, tuple[str, str]] = {
    Strength.STRONG: ("Strong grounding.", "Every statement rests on a published article."),
    Strength.PARTIAL: ("Partial grounding.", "The articles come close, but do not settle the question."),
    Strength.NONE: ("No grounding.", "No published article covers this."),
}
# The assessment's own reasons, where they say more than the word does.
GROUNDING_REASONS: Mapping[str, str] = {
    "no_hit": "No published article matches the question.",
    "not_covered": "What was found is too far from the question to answer from.",
    "too_little_said": "The question is too short to tell which article is meant.",
    "search_degraded": "Search was not complete, so nothing is claimed.",
    "unanswered_before": "Similar questions were resolved without an article, so none is claimed to answer this.",
    "out_of_scope": "Your app lets no article answer this customer.",
}
# Why no draft was made, by the reason that was kept.
FAILURES: Mapping[str, str] = {
    DraftFailure.HOOK_RAISED: "Your app’s draft engine failed.",
    DraftFailure.HOOK_TIMEOUT: "Your app’s draft engine did not answer in time.",
    DraftFailure.HOOK_INVALID: "Your app’s draft engine wrote something that does not fit what was found.",
    DraftFailure.WORKER_LOST: "The work was cut off before the draft was done.",
    DraftFailure.JOB_DISCARDED: "Somebody discarded its job before it ran.",
}


@dataclass(frozen=True, slots=True)
class DraftCard:
    """An open draft as the card shows it.

    Args:
        look: which of the card's faces: ``generating``, ``ready``, ``copy``, ``escalation`` or ``failed``.
        paragraphs: the text in pieces, citation numbers apart.
        unmarked: the text without them, for the composer.
        sendable: whether Approve is offered.
    """

    id: int
    look: Literal["generating", "ready", "copy", "escalation", "failed"]
    title: str
    aside: str
    summary: str
    declined: str  # why the host's own engine did not write it
    body: str
    unmarked: str
    paragraphs: tuple[tuple[Piece, ...], ...]
    sources: tuple[Source, ...]
    grounding: str
    grounding_reason: str
    grounding_icon: str
    policy: str
    sendable: bool
    failure: str
    answers: int
    moment: datetime
    rows: int = field(default=4)


def draft_card(draft: Draft | None, times: Times) -> DraftCard | None:
    """The card of an open draft; ``None`` for no draft or one that is history."""
    if draft is None or draft.state not in OPEN_STATES:
        return None
    look, title = _look(draft)
    cited = sources(draft.citations)
    word, reason, icon = grounding(draft)
    body = draft.body or ""
    numbers = {source.number for source in cited}
    return DraftCard(
        id=draft.id,
        look=look,
        title=title,
        aside=_written(draft, look, len(cited), times),
        summary=draft.summary or "",
        declined=draft.declined or "",
        body=body,
        unmarked=marks.without(body, numbers),
        paragraphs=pieces(body, numbers),
        sources=cited,
        grounding=word,
        grounding_reason=reason,
        grounding_icon=icon,
        policy=_policy_line(draft, look),
        sendable=look == "ready",
        failure=_failure(draft.failure),
        answers=draft.answers_sequence,
        moment=draft.ready_at or draft.created_at,
        rows=min(16, 2 + body.count("\n") + len(body) // 70),
    )


def _look(draft: Draft) -> tuple[Literal["generating", "ready", "copy", "escalation", "failed"], str]:
    if draft.state is DraftState.GENERATING:
        return "generating", "Draft reply"
    if draft.state is DraftState.FAILED:
        return "failed", "No draft this time"
    if draft.kind is DraftKind.ESCALATION:
        return "escalation", "Needs a person"
    title = "Clarifying question" if draft.kind is DraftKind.CLARIFICATION else "Draft reply"
    if draft.policy is PolicyDecision.DRAFT_ONLY:
        return "copy", f"{title}, to copy"
    return "ready", title


def _written(draft: Draft, look: str, cited: int, times: Times) -> str:
    if look == "generating":
        return ""
    at = times.stamp(draft.ready_at or draft.created_at)
    if look == "failed":
        return f"Tried {at}"
    # The built-in engine is the usual one: only another one is named.
    by = f" by {_text(draft.engine)}" if draft.engine and draft.engine != ENGINE else ""
    if look == "escalation" or not cited:
        return f"Written {at}{by}"
    return f"Written {at}{by} from {'1 source' if cited == 1 else f'{cited} sources'}"


def _policy_line(draft: Draft, look: str) -> str:
    """What the policy says may happen with a draft, with its reason where there is one."""
    if look == "copy":
        return draft.policy_reason or "Your policy keeps this one for you to rewrite. It cannot be sent as it stands."
    if look == "ready" and draft.policy is PolicyDecision.REQUIRE_APPROVAL:
        return draft.policy_reason or "It goes out only when one of your team approves it."
    return ""


def _failure(reason: str | None) -> str:
    """A stored reason as a sentence; one that we do not know says no more than that it failed."""
    what = FAILURES.get(reason or "", "The draft could not be written.")
    return f"{what} Nothing was sent, and the conversation is as it was."


def grounding(draft: Draft) -> tuple[str, str, str]:
    """How well a draft is supported: word, reason in prose, icon."""
    if draft.grounding is None:
        return "", "", ""
    word, usual = GROUNDING.get(draft.grounding, ("Needs review.", "How well it is supported is not known."))
    numbers = draft.grounding_numbers if isinstance(draft.grounding_numbers, dict) else {}
    reason = GROUNDING_REASONS.get(str(numbers.get("reason")), "")
    if not reason and draft.grounding is Strength.STRONG:
        reason = _support(sources(draft.citations))
    elif not reason and draft.grounding is Strength.PARTIAL:
        reason = draft.summary  # names the closest articles
    icon = {Strength.STRONG: "check", Strength.PARTIAL: "half"}.get(draft.grounding, "warn")
    return word, reason or usual, icon


def _support(cited: Sequence[Source]) -> str:
    articles = len({source.article_id for source in cited})
    if not articles:
        return GROUNDING[Strength.STRONG][1]
    if articles == 1:
        return "Every statement rests on one published article."
    return f"Every statement rests on one of {spelled(articles)} published articles."


def sources(stored: object) -> tuple[Source, ...]:
    """Citations from a snapshot, whatever state it is in."""
    found: list[Source] = []
    for item in stored if isinstance(stored, list | tuple) else ():
        if not isinstance(item, dict) or not isinstance(item.get("number"), int):
            continue
        heading, quote = _text(item.get("heading")), _text(item.get("quote"))
        found.append(
            Source(
                number=item["number"],
                title=_text(item.get("title")) or "Untitled article",
                heading=heading,
                quote=_clipped(quote),
                article_id=_id(item.get("article_id")),
                revision_id=_id(item.get("revision_id")),
                fragment=passage_fragment(heading, quote),
                why=why_found(item),
            )
        )
    return tuple(found)


CLOSE_IN_MEANING = 0.45  # cosine from which nearness is worth a word
SHARES_WORDS = 0.12  # the same for what the question's own words add to the score


def why_found(source: Mapping[str, Any]) -> str:
    """Why search found a source, from the snapshot of what each lane added; empty where that was not kept."""
    parts = source.get("parts")
    if not isinstance(parts, dict):
        return ""
    answered, twins = source.get("answered"), source.get("also_in")
    reasons = []
    if _amount(parts.get("meaning")) >= CLOSE_IN_MEANING:
        reasons.append("close in meaning")
    if _amount(parts.get("words")) >= SHARES_WORDS:
        reasons.append("shares the question’s words")
    if isinstance(answered, int) and answered > 0:
        reasons.append(f"answered {'a similar question' if answered == 1 else f'{answered} similar questions'} before")
    if isinstance(twins, list) and twins:
        reasons.append(f"{'another article says' if len(twins) == 1 else f'{len(twins)} other articles say'} the same")
    words = ", ".join(reasons) or "the nearest there is"
    return f"{words[0].upper()}{words[1:]}."


def _amount(value: object) -> float:
    return float(value) if isinstance(value, int | float) else 0.0


def passage_fragment(heading: str, quote: str) -> str:
    """The part of an address after the page: the section of a passage and, where a browser can, its first words."""
    section = heading_slug(heading.rsplit("›", 1)[-1]) if heading else ""
    # Only words without Markdown marks: these stand in the rendered page as they stand in the source.
    words: list[str] = []
    for word in quote.split()[:8]:
        if re.search(r"[*_`\[\]()#|<>\\~]|^(\d+\.|-)$", word):
            break
        words.append(word)
    text = f":~:text={urlquote(' '.join(words), safe='').replace('-', '%2D')}" if len(words) > 2 else ""
    return f"#{section}{text}" if section or text else ""


def pieces(body: str, numbers: set[int]) -> tuple[tuple[Piece, ...], ...]:
    """Text in paragraphs, each cut at its citation marks; a mark without a source stays text."""
    paragraphs = []
    for paragraph in re.split(r"\n\s*\n", body.strip()):
        cut: list[Piece] = []
        end = 0
        for start, stop, marked in marks.find(paragraph, numbers):
            if paragraph[end:start]:
                cut.append(("text", paragraph[end:start]))
            cut += [("cite", str(number)) for number in marked]
            end = stop
        if paragraph[end:]:
            cut.append(("text", paragraph[end:]))
        if cut:
            paragraphs.append(tuple(cut))
    return tuple(paragraphs)


def draft_history(draft: Draft, operator: Operator, sent: Message | None = None) -> Entry | None:
    """One quiet line for a draft that is decided; ``None`` while it is open, and where nobody ever saw it.

    Args:
        sent: the message that went out by it.
    """
    told = _told(draft, "You" if draft.decided_by == operator.id else (_text(draft.decided_by_name) or "Somebody"))
    if told is None:
        return None
    at = draft.decided_at or draft.ready_at or draft.created_at
    icon = "lock" if draft.state is DraftState.WITHHELD else "draft"
    return Entry("event", f"d{draft.id}", at, told, icon=icon, past=_past(draft, sent))


SET_ASIDE: Mapping[str, str] = {
    "customer": "because the customer wrote again",
    "reply": "because somebody replied",
    "resolve": "because the conversation was resolved",
    "forget": "because the customer was forgotten",
    "regenerate": "for a new one",
}


def _told(draft: Draft, who: str) -> str | None:
    """What became of a draft, in a sentence without its full stop."""
    after = _after(draft)
    match draft.state:
        case DraftState.APPROVED if (draft.decided_by or "").startswith("policy:"):
            return "Sent without an operator, as your policy allows"
        case DraftState.APPROVED:
            return f"{who} sent a draft as it stood{after}"
        case DraftState.EDITED:
            return f"{who} sent a draft with {_how_much(draft.changed)}{after}"
        case DraftState.DISCARDED:
            reason = DISCARD_REASONS.get(draft.decision_reason or "", ("", ""))[1]
            return f"{who} discarded a draft" + (f": {reason}" if reason else "") + after
        case DraftState.SUPERSEDED if draft.failure:
            why = FAILURES.get(draft.failure, "It could not be written.").rstrip(".")
            return f"A draft was tried without success: {why[0].lower()}{why[1:]}"
        case DraftState.SUPERSEDED if draft.ready_at is not None:
            return " ".join(("A draft was set aside", SET_ASIDE.get(draft.superseded_by or "", ""))).rstrip()
        case DraftState.WITHHELD:
            why = _text(draft.policy_reason).rstrip(".")
            return "A draft was withheld by your policy" + (f": {why}" if why else "")
        case _:
            return None


def _how_much(changed: float | None) -> str:
    """How much of a draft was changed: never "0%" of something that was."""
    if changed is None:
        return "changes"
    return "small changes" if changed < 0.01 else f"changes ({changed:.0%} of its words)"


def _after(draft: Draft) -> str:
    """How long a decision took, to end a sentence with."""
    if draft.ready_at is None or draft.decided_at is None:
        return ""
    seconds = (draft.decided_at - draft.ready_at).total_seconds()
    return f", after {duration(seconds)}" if seconds >= 1 else ", at once"


def duration(seconds: float) -> str:
    """A time that something took, in one unit: ``45 s``, ``12 min``, ``5 h``, ``3 days``."""
    for size, unit in ((86_400, " days"), (3_600, " h"), (60, " min")):
        if seconds >= 1.5 * size:
            return f"{seconds / size:.0f}{unit}"
    return f"{max(seconds, 0):.0f} s"


def _past(draft: Draft, sent: Message | None) -> PastDraft | None:
    """What a decided draft said, where the conversation does not show it anyway."""
    if draft.state is DraftState.EDITED:
        words = tuple(changes(without_marks(draft), sent.body)) if sent is not None else ()
        return PastDraft("What was changed", changes=words) if len(words) > 1 else None
    if draft.state not in (DraftState.DISCARDED, DraftState.SUPERSEDED):
        return None
    note, said = (
        (draft.decision_note or "").strip(),
        marks.without(draft.body, {s.number for s in sources(draft.citations)}),
    )
    if not note and not said:
        return None
    return PastDraft("Note" if not said else "Note and draft" if note else "What it said", note=note, said=said)


def _text(value: object) -> str:
    return " ".join(value.split()) if isinstance(value, str) else ""


def _id(value: object) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _clipped(text: str) -> str:
    if len(text) <= QUOTE_LENGTH:
        return text
    return text[:QUOTE_LENGTH].rsplit(" ", 1)[0] + "…"


# --- customer ---------------------------------------------------------------------------------------------------------


QUESTION_SHOWN = 240


def question_line(question: str) -> str:
    """The beginning of an earlier question, on a line; its first line is often a subject."""
    words = " – ".join(" ".join(part.split()) for part in question.strip().split("\n", 1))
    return words if len(words) <= QUESTION_SHOWN else words[:QUESTION_SHOWN].rsplit(" ", 1)[0] + "…"


def case_likeness(similarity: float) -> str:
    """How alike two questions are, in words: the number is no percentage of anything."""
    return "Very similar" if similarity >= VERY_SIMILAR else "Similar"


VERY_SIMILAR = 0.7


def past_line(conversation: Conversation, times: Times) -> str:
    """How an earlier conversation ended."""
    if conversation.status is ConversationStatus.OPEN:
        return f"Open, last message {times.stamp(conversation.last_message_at)}"
    if conversation.status is ConversationStatus.SPAM:
        return "Spam"
    rated = f"rated {conversation.rating}" if conversation.rating else "not rated"
    return f"Resolved {times.stamp(conversation.resolved_at)} · {rated}"


# --- knowledge --------------------------------------------------------------------------------------------------------

ARTICLE_STATES: Mapping[ArticleState, tuple[str, str, str]] = {
    ArticleState.PUBLISHED: ("Published", "check", "moss"),
    ArticleState.DRAFT: ("Draft", "file", ""),
    ArticleState.ARCHIVED: ("Archived", "clock", ""),
}


def article_state(article: Article) -> tuple[str, str, str]:
    """An article's state as word, icon and tone."""
    return ARTICLE_STATES.get(article.state, ("Unknown", "file", ""))


INDEX_STATES: Mapping[IndexState, tuple[str, str, str, str]] = {
    IndexState.INDEXED: ("In the index", "check", "moss", ""),
    IndexState.PENDING: (
        "Being indexed",
        "clock",
        "",
        "It is found by its words; found by its meaning within moments.",
    ),
    IndexState.FAILED: ("Not fully indexed", "warn", "danger", "It is found by what of it is in the index meanwhile."),
    IndexState.STALE: (
        "Index out of date",
        "warn",
        "ember",
        "It is found by its words only, until it is indexed again.",
    ),
    IndexState.EMPTY: ("Not in the index", "file", "", ""),
}


def index_state(standing: Standing | None) -> tuple[str, str, str, str]:
    """How an article stands in the index as word, icon, tone and what that means for who asks."""
    return INDEX_STATES[standing.state if standing else IndexState.EMPTY]


def index_remark(standing: Standing | None) -> tuple[str, str, str] | None:
    """The same for a list, as word, icon and tone, where there is something to remark."""
    if standing is None or standing.state in (IndexState.INDEXED, IndexState.EMPTY):
        return None
    return index_state(standing)[:3]


def index_trouble(standing: Standing) -> str:
    """Why it is not fully indexed; empty where it is, or only waits."""
    if standing.state is not IndexState.FAILED or standing.reason is None:
        return ""
    times = "once" if standing.failures <= 1 else f"{standing.failures} times"
    return f"{standing.reason} Tried {times}{'; it is tried again.' if standing.waits else '.'}"


DISCARDED_AS: Mapping[str, str] = {
    "wrong": "wrong",
    "incomplete": "incomplete",
    "tone": "of the wrong tone",
    "not_needed": "not needed",
    "other": "for another reason",
}


def article_drafts(quality: Quality, days: int) -> str:
    """How the drafts did that cite an article, in a sentence; empty where there were none."""
    if not quality.made:
        return ""
    changed = f" ({quality.changed:.0%} of the words)" if quality.changed is not None and quality.edited else ""
    reasons = ", ".join(f"{number} {DISCARDED_AS[reason]}" for reason, number in quality.discarded.items())
    parts = (
        (quality.approved, "sent as written"),
        (quality.automatic, "sent by your policy"),
        (quality.edited, f"sent with changes{changed}"),
        (quality.thrown_away, f"not used ({reasons})"),
        (quality.superseded, "set aside"),
        (quality.waiting, "to check"),
    )
    told = ", ".join(f"{number} {what}" for number, what in parts if number)
    drafts = "1 draft" if quality.made == 1 else f"{quality.made} drafts"
    return f"Cited by {drafts} in the last {days} days: {told}."


AUDIENCES: Mapping[Audience, str] = {Audience.PUBLIC: "Customers and team", Audience.INTERNAL: "Team only"}


def article_line(article: Article, used: int) -> str:
    """What a list says below a title."""
    parts = [article.category or "No category", article_audience(article), article.language or "", used_in(used)]
    return " · ".join(part for part in parts if part)


def used_in(answers: int) -> str:
    """In how many answers an article was cited; empty for none."""
    return f"Used in {count(answers)} answer{'' if answers == 1 else 's'}" if answers else ""


def article_audience(article: Article) -> str:
    """Said only where it is not the usual."""
    return "Team only" if article.audience is Audience.INTERNAL else ""


# What was done to an article, as its page says once.
DONE: Mapping[str, str] = {
    "published": "Published. It is found from now on.",
    "scheduled": "The time is set.",
    "unscheduled": "The time is taken back. The draft waits.",
    "archived": "Archived. No draft is answered from it any more.",
    "unarchived": "It is back, and found again.",
    "verified": "Noted: its words are still right.",
    "discarded": "The draft is gone. What is published has not changed.",
    "restored": "The older words are a draft now. What is published has not changed.",
    "already": "That was done already.",
}


def schedule_line(article: Article, draft: Revision | None, times: Times) -> tuple[str, str]:
    """When a draft is to be published, or why it was not, as a sentence and its tone; empty for neither."""
    if article.publish_problem:
        return f"It was not published at the time that was set. {article.publish_problem}", "danger"
    if article.publish_at is None:
        return "", ""
    when = f"{times.when(article.publish_at)}, set by {article.publish_by or 'somebody'}"
    if draft is None or draft.digest != article.publish_digest:
        return (
            f"To be published {when}. The draft has changed since, so it will not be: set the time again.",
            "ember",
        )
    return f"To be published {when}.", ""


def verified_line(article: Article, revision: Revision, times: Times) -> str:
    """When somebody last said that the words are still right."""
    if article.verified_at is None:
        return "Not verified yet"
    line = f"Verified {times.stamp(article.verified_at)} by {article.verified_by or 'somebody'}"
    if revision.published_at is not None and revision.published_at > article.verified_at:
        return f"{line}, before this version"
    return line


RUN_SHOWN = 1  # paragraphs that stayed, shown on either side of one that changed


@dataclass(frozen=True, slots=True)
class Stretch(Generic[T]):
    """Paragraphs of a comparison that are shown, or a run of those that stayed, folded away."""

    folded: bool
    rows: tuple[T, ...]


def stretches(rows: Sequence[T], changed: Callable[[T], bool]) -> list[Stretch[T]]:
    """A comparison with long runs of paragraphs that stayed folded away."""
    near = [False] * len(rows)
    for at, row in enumerate(rows):
        if changed(row):
            for index in range(max(0, at - RUN_SHOWN), min(len(rows), at + RUN_SHOWN + 1)):
                near[index] = True
    found: list[Stretch[T]] = []
    for shown, run in groupby(zip(near, rows, strict=True), key=lambda pair: pair[0]):
        kept = tuple(row for _, row in run)
        found.append(Stretch(not shown and len(kept) > 1, kept))
    return found


def change_line(rows: Sequence[Row]) -> str:
    """How much differs, in words."""
    numbers: Counter[str] = Counter(row.kind for row in rows)
    parts = [
        f"{numbers[kind]} {'paragraph' if numbers[kind] == 1 else 'paragraphs'} {word}"
        for kind, word in (("changed", "changed"), ("added", "added"), ("removed", "taken out"))
        if numbers[kind]
    ]
    if not parts:
        return "The text is the same."
    rest = (re.sub(r" paragraphs?", "", part) for part in parts[1:])
    return ", ".join([parts[0], *rest]) + "."


REVISION_STATES: Mapping[RevisionState, tuple[str, str, str]] = {
    RevisionState.DRAFT: ("Draft", "edit", "ember"),
    RevisionState.PUBLISHED: ("Published", "check", "moss"),
    RevisionState.SUPERSEDED: ("Earlier", "clock", ""),
}


def revision_state(revision: Revision) -> tuple[str, str, str]:
    """A revision's state as word, icon and tone."""
    return REVISION_STATES.get(revision.state, ("Unknown", "file", ""))


def humanized(value: Any) -> str:
    """A host's own label: underscores as spaces, first letter large."""
    words = " ".join(str(value).replace("_", " ").split())
    return words[:1].upper() + words[1:] if words else DASH


def file_facts(file: File | Attached) -> str:
    """What kind of file it is, and how large."""
    facts = [SPOKEN.get(file.media_type, "file")]
    if file.width is not None:
        facts.append(f"{file.width} × {file.height}")
    return ", ".join([*facts, spoken_size(file.size)])
