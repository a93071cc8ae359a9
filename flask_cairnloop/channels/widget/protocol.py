"""What a customer's client and we say to each other, whatever carries it.

A client sends ``join``, ``message``, ``seen``, ``typing``, ``rate``, ``links`` and ``ping``. It hears ``joined``,
``accepted``, ``message``, ``status``, ``seen``, ``typing``, ``links``, ``pong`` and ``error``. Every frame is a JSON
object with a ``type``.

The cursor is a message's number within its conversation, given under the row lock of the conversation: whoever says the
last one they saw gets everything after it from PostgreSQL, in order, without a gap. Live events only say when to look.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, TypeAdapter, ValidationError
from sqlalchemy.orm import Session

from flask_cairnloop.actors import ActorKind
from flask_cairnloop.channels.widget.files import offered, signed
from flask_cairnloop.clock import now
from flask_cairnloop.conversations import service
from flask_cairnloop.conversations.attachments import Attached, attached, newest_files
from flask_cairnloop.conversations.models import Conversation, ConversationStatus, Message, MessageKind, RatedVia
from flask_cairnloop.conversations.news import News, Said, news, shown_status
from flask_cairnloop.database.failures import AWAY, kind
from flask_cairnloop.errors import Conflict, HookFailed, InvalidInput, NotFound, RatingClosed
from flask_cairnloop.hooks import Customer
from flask_cairnloop.knowledge.models import Audience
from flask_cairnloop.knowledge.public import public_tags, slugs
from flask_cairnloop.rate_limits import Pace, rate
from flask_cairnloop.realtime.events import DISCONNECT, Event, Refetch, conversation_topic, customer_topic
from flask_cairnloop.realtime.publish import publish_now
from flask_cairnloop.retrieval.grounding import calibration
from flask_cairnloop.retrieval.search import search
from flask_cairnloop.retrieval.visibility import Name, Scope, names
from flask_cairnloop.telemetry import FRAME, span
from flask_cairnloop.upkeep.misses import miss

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

log = logging.getLogger(__name__)

PAGE = 100
SLOW_DOWN = "That was a lot at once. Please slow down."
FAILED = "Something went wrong on our side. Please try again."
TYPING_SECONDS = 2.0
SUGGESTED = 3
NEAR_THE_BEST = 2 / 3  # of its score: what is further away is about something else
MOST_FILES = 20  # of one message, whatever the app allows
LINKED = 200  # files whose addresses are told anew
LOOKED_AT = 12  # the help centre may have fewer articles than this customer
MAX_ID = 2**63 - 1

Frame = dict[str, Any]
# PostgreSQL stores no NUL, and no keyboard types one.
Text = Annotated[str, AfterValidator(lambda text: text.replace("\0", ""))]
Cursor = Annotated[int, Field(ge=0, le=MAX_ID)]


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True)


class Join(_Strict):
    """Says who is here. Without a conversation the latest one is resumed."""

    type: Literal["join"]
    token: str = Field(max_length=8192)
    conversation: Annotated[int, Field(ge=1, le=MAX_ID)] | None = None
    after: Cursor | None = None


class Say(_Strict):
    """The customer's words, and files that were uploaded for it. A second one with the same ``client_id`` changes
    nothing."""

    type: Literal["message"]
    client_id: uuid.UUID
    body: Text
    files: Annotated[list[uuid.UUID], Field(max_length=MOST_FILES)] = []


class Seen(_Strict):
    """The customer has read up to here."""

    type: Literal["seen"]
    cursor: Cursor


class Typing(_Strict):
    """The customer is typing."""

    type: Literal["typing"]


class Suggest(_Strict):
    """What the customer is writing: is there an article about it? Nothing is kept of it."""

    type: Literal["suggest"]
    text: Annotated[Text, Field(max_length=500)]


class Rate(_Strict):
    """What the customer thinks of the help, once it is resolved."""

    type: Literal["rate"]
    rating: Annotated[int, Field(ge=1, le=5)]
    comment: Annotated[Text, Field(max_length=2000)] | None = None


class Links(_Strict):
    """The addresses of files hold for a while only. What are they now?"""

    type: Literal["links"]


class Ping(_Strict):
    """Is anybody there? A browser cannot send a WebSocket ping of its own."""

    type: Literal["ping"]


ClientFrame = Annotated[Join | Say | Seen | Typing | Suggest | Rate | Links | Ping, Field(discriminator="type")]
_CLIENT_FRAME: TypeAdapter[ClientFrame] = TypeAdapter(ClientFrame)


class Malformed(Exception):
    """What arrived is no frame of ours."""

    def __init__(self, code: Literal["malformed", "unknown"], message: str) -> None:
        super().__init__(message)
        self.code = code
        self.message = message


def parse(raw: str | bytes) -> ClientFrame:
    """A client's frame.

    Raises:
        Malformed: it is not JSON, of no known type, or its fields do not fit.
    """
    try:
        return _CLIENT_FRAME.validate_json(raw)
    except ValidationError as failure:
        first = failure.errors(include_url=False, include_context=False, include_input=False)[0]
    except UnicodeEncodeError:  # text with a lone surrogate, which no WebSocket carries
        raise Malformed("malformed", "This is not valid text.") from None
    if first["type"] in ("union_tag_invalid", "union_tag_not_found"):
        raise Malformed("unknown", "There is no frame of this type.")
    field = ".".join(str(part) for part in first["loc"][1:])
    raise Malformed("malformed", f"{field}: {first['msg']}" if field else "This is not a JSON object with a type.")


def error(code: str, message: str, client_id: uuid.UUID | None = None) -> Frame:
    """An ``error`` frame. With a ``client_id`` it refuses that message."""
    frame: Frame = {"type": "error", "code": code, "message": message}
    return frame if client_id is None else {**frame, "client_id": str(client_id)}


def too_many(wait: int, message: str, client_id: uuid.UUID | None = None) -> Frame:
    """An ``error`` frame that says how long to wait. Nothing was stored."""
    return {**error("too_many", message, client_id), "retry_after": wait}


def _in_words(wait: int) -> str:
    for size, name in ((3600, "hour"), (60, "minute")):
        if wait > size:
            return f"{-(-wait // size)} {name}s"
    return f"{wait} second{'s' if wait > 1 else ''}"


class _TooMany(Exception):
    """One more than a limit allows: what was begun is taken back."""

    def __init__(self, wait: int) -> None:
        super().__init__()
        self.wait = wait


def message_frame(message: Message | Said) -> Frame:
    """A message as the customer may see it: no ids but the cursor and the client's own. It names no sources yet."""
    by_customer = message.author_kind is ActorKind.CUSTOMER
    frame: Frame = {
        "type": "message",
        "cursor": message.sequence,
        "kind": message.kind.value,
        "body": message.body,
        "author": None if by_customer or message.author_kind is ActorKind.SYSTEM else message.author_name,
        "at": message.created_at.isoformat(),
    }
    if message.event is not None:
        frame["event"] = message.event.value
    if by_customer and message.client_id is not None:
        frame["client_id"] = str(message.client_id)
    if message.automatic or (message.event is not None and message.author_kind is ActorKind.SYSTEM):
        frame["automatic"] = True
    return frame


Cited = Sequence[Mapping[str, Any]]


def sources(citations: Cited, named: Mapping[int, Name]) -> list[dict[str, str]]:
    """The articles and sections that a reply rests on, each once; a section while the cited text is the current one.

    Args:
        citations: as they are kept with the reply.
        named: the articles that may be named.
    """
    found = (
        (name.title, str(citation.get("heading") or "") if citation.get("revision_id") == name.revision_id else "")
        for citation in citations
        if (name := named.get(citation.get("article_id", 0))) is not None
    )
    return [{"title": title, "section": section} for title, section in dict.fromkeys(found)]


def status_frame(conversation: Conversation | service.Received | News) -> Frame:
    """Where the conversation stands, and whether the customer waits for somebody."""
    frame: Frame = {
        "type": "status",
        "status": shown_status(conversation.status).value,
        # Whoever is taken for spam goes on waiting, as far as they can see.
        "waiting": conversation.waiting_since is not None or conversation.status is ConversationStatus.SPAM,
        "rating": conversation.rating,
    }
    if conversation.rating_until is not None and conversation.rating_until > now():
        frame["asks"] = True  # a rating may be given, or changed
    return frame


class WidgetSession:
    """One customer's line to us, without knowing what carries it.

    The carrier gives it frames and live events and sends on what it yields; when ``ended`` is set, it closes the line.
    Each frame is answered in an app context and a short transaction of its own: between frames, and while the other
    side takes its time to read, no database connection is held.

    Args:
        listen: called with each live topic this session wants to hear of.
        files_at: where files of the chat are on this server, for their addresses; below the app's own prefix when left
            out.
    """

    def __init__(self, cairnloop: Cairnloop, listen: Callable[[str], None], files_at: str = "") -> None:
        self._cairnloop = cairnloop
        self._listen = listen
        self._files_at = files_at or f"{cairnloop.settings.url_prefix}/widget/files"
        self._token = ""
        self._conversation_id: int | None = None
        self._cursor = 0
        self._accepted: set[str] = set()  # own messages the client knows of, that a later read still finds
        self._status: Frame | None = None
        self._typed_at = float("-inf")
        self._pace = Pace(rate(cairnloop.settings.rate_limits["frames"]))
        self.customer: Customer | None = None
        self.ended = False
        self.try_later = False  # with `ended`: it was no refusal, the client may come back by itself

    # --- from the client -------------------------------------------------------------------------------------------

    def handle(self, raw: str | bytes) -> Iterator[Frame]:
        """Answer one frame of the client. A frame that makes no sense gets an error and changes nothing."""
        wait = self._pace.take()
        try:
            frame = parse(raw)
        except Malformed as failure:
            yield too_many(wait, SLOW_DOWN) if wait else error(failure.code, failure.message)
            return
        if wait:
            yield too_many(wait, SLOW_DOWN, getattr(frame, "client_id", None))
            return
        with span(FRAME) as note:
            note("frame.type", frame.type)
            yield from self._held(self._answer(frame))

    def _answer(self, frame: ClientFrame) -> Iterator[Frame]:
        if isinstance(frame, Ping):
            yield {"type": "pong"}
        elif isinstance(frame, Join):
            yield from self._join(frame)
        elif self.customer is None:
            yield error("not_joined", "Say who you are first.", getattr(frame, "client_id", None))
        elif isinstance(frame, Say):
            yield from self._say(self.customer, frame)
        elif isinstance(frame, Suggest):
            yield self._suggest(self.customer, frame.text)
        elif self._conversation_id is None:
            yield error("no_conversation", "There is no conversation yet.")
        elif isinstance(frame, Seen):
            self._mark_seen(self.customer, self._conversation_id, frame)
        elif isinstance(frame, Links):
            yield self._links(self.customer, self._conversation_id)
        elif isinstance(frame, Rate):
            yield from self._rate(self.customer, self._conversation_id, frame)
        else:
            self._typing(self.customer, self._conversation_id)

    def _join(self, frame: Join) -> Iterator[Frame]:
        try:
            customer = self._cairnloop.hooks.verify_customer(frame.token)
        except HookFailed:
            self._break_off()
            return
        if customer is None or (self.customer is not None and self.customer.ref != customer.ref):
            yield from self._end("unauthorized", "We could not tell who you are.")
            return
        self.customer, self._token = customer, frame.token
        self._listen(customer_topic(customer.ref))
        yield from self._resume(customer, frame.conversation, frame.after or 0)

    def _resume(self, customer: Customer, conversation_id: int | None, after: int) -> Iterator[Frame]:
        """Bind the session to a conversation, or to the latest one, and replay what came after the cursor."""
        page: list[Frame] = []
        cited: list[Cited] = []
        joined: Frame = {
            "type": "joined",
            "conversation": None,
            "messages": page,
            "title": self._cairnloop.settings.product_name,
            "limit": self._cairnloop.settings.message_limit,
            "person": self._person(customer),
        }
        if offered(self._cairnloop):
            settings = self._cairnloop.settings
            takes = {"most": settings.attachment_limit, "size": settings.file_size_limit, "types": settings.file_types}
            joined["takes"] = takes
        with self._transaction() as session:
            if conversation_id is None:
                conversation = service.resumable(session, customer.ref)
            else:
                conversation = service.customer_conversation(session, customer.ref, conversation_id)
            if conversation is not None:
                # Listening starts before reading: what is committed after the read is heard of.
                self._listen(conversation_topic(conversation.id))
                self._bind(conversation.id, min(after, conversation.last_sequence))
                messages = service.visible_messages(session, conversation, after=self._cursor, limit=PAGE)
                page, cited = self._frames(customer, messages)
                self._status = status_frame(conversation)
                joined |= {key: value for key, value in self._status.items() if key != "type"}
                joined |= {"conversation": conversation.id, "seen": conversation.customer_seen, "messages": page}
        self._name_sources(customer, page, cited)
        yield joined
        if len(page) == PAGE:
            yield from self._missed()

    def _suggest(self, customer: Customer, words: str) -> Frame:
        """Articles of the help centre about what is being written; none where nothing answers it, or too much is asked.

        The host is asked whose articles these are, and the words are embedded, with no transaction open.
        """
        found: list[dict[str, str]] = []
        settings, hooks = self._cairnloop.settings, self._cairnloop.hooks
        suggests = settings.widget_suggestions and bool(settings.help_url_prefix)
        if suggests and not self._cairnloop.rate_limits.take("searches", customer.ref):
            scope = hooks.article_scope(customer)
            with self._transaction() as session:
                results = search(session, words, limit=LOOKED_AT, audience=Audience.PUBLIC, tags=scope)
                if not results.refused and miss(words, results, calibration(session)) is None:
                    ids = [passage.article_id for passage in results.passages]
                    named = slugs(session, ids, public_tags(settings, hooks))
                    least = NEAR_THE_BEST * results.passages[0].score
                    passages = [p for p in results.passages if p.article_id in named and p.score >= least][:SUGGESTED]
                    found = [{"title": passage.title, "slug": named[passage.article_id]} for passage in passages]
        return {"type": "suggestions", "articles": found}

    def _say(self, customer: Customer, frame: Say) -> Iterator[Frame]:
        limit = self._cairnloop.settings.message_limit
        if len(frame.body.strip()) > limit:
            yield error("too_long", f"A message has at most {limit:,} characters.", frame.client_id)
            return
        if wait := self._cairnloop.rate_limits.take("messages", customer.ref):
            words = f"You have written a lot in a short time. You can write again in {_in_words(wait)}."
            yield too_many(wait, words, frame.client_id)
            return
        before = self._conversation_id
        try:
            accepted, status = self._take_in(customer, frame)
        except AWAY:
            raise
        except Exception as failure:
            yield from self._refuse(frame, failure)
            return
        conversation_id, sequence = accepted["conversation"], accepted["cursor"]
        if conversation_id != before:
            self._bind(conversation_id, 0)
            opened = {"conversation_id": conversation_id}
            self._cairnloop.publisher.send({"topic": customer_topic(customer.ref), "type": "opened", "data": opened})
            if sequence > 1:  # it has a past that this client has not shown
                yield from self._resume(customer, conversation_id, 0)
        if sequence == self._cursor + 1:
            self._cursor = sequence
            yield accepted
            yield from self._changed(status)
            return
        if sequence > self._cursor:
            # What came before it goes out first: a client that knows this cursor must know all that is below it.
            self._accepted.add(str(frame.client_id))
            yield from self._missed()
        yield accepted

    def _take_in(self, customer: Customer, frame: Say) -> tuple[Frame, Frame]:
        """Store a message. Returns its ``accepted``, and the ``status`` that it leads to."""
        with self._transaction() as session:
            message = service.take_in(
                session,
                customer=customer,
                body=frame.body,
                channel="widget",
                conversation_id=self._conversation_id,
                resume=True,  # it may have been opened elsewhere since we joined
                client_id=frame.client_id,
                files=frame.files,
            )
            if message.conversation_id != self._conversation_id:
                # Only now is it known that they begin one: that is worth a short question within the transaction.
                limits = self._cairnloop.rate_limits
                if message.sequence == 1 and (wait := limits.take("conversations", customer.ref)):
                    raise _TooMany(wait)
                # Listening starts before the commit: what is committed after it is heard of.
                self._listen(conversation_topic(message.conversation_id))
            accepted: Frame = {
                "type": "accepted",
                "client_id": str(frame.client_id),
                "cursor": message.sequence,
                "conversation": message.conversation_id,
                "at": message.created_at.isoformat(),
            }
            if message.files:
                accepted["files"] = self._signed(customer, message.files)
            return accepted, status_frame(message)

    def _refuse(self, frame: Say, failure: Exception) -> Iterator[Frame]:
        """Why a message was not stored."""
        if isinstance(failure, _TooMany):
            words = f"You have begun many conversations. You can begin another in {_in_words(failure.wait)}."
            yield too_many(failure.wait, words, frame.client_id)
        elif isinstance(failure, InvalidInput):
            code = "files" if failure.field == "files" else "invalid" if frame.body.strip() else "empty"
            yield error(code, failure.message, frame.client_id)
        elif isinstance(failure, NotFound):
            yield from self._gone(frame.client_id)
        else:  # e.g. the veto of the host's `AUDITOR`: it would be the same with the next try
            log.error("A customer's message could not be taken in", exc_info=failure)
            yield error("failed", FAILED, frame.client_id)

    def _links(self, customer: Customer, conversation_id: int) -> Frame:
        with self._cairnloop.reading.connect() as connection:
            files = newest_files(connection, customer.ref, conversation_id, limit=LINKED)
        return {"type": "links", "files": {file["id"]: file["url"] for file in self._signed(customer, files)}}

    def _mark_seen(self, customer: Customer, conversation_id: int, frame: Seen) -> None:
        with self._transaction() as session:
            service.mark_seen(session, customer.ref, conversation_id, min(frame.cursor, self._cursor))

    def _rate(self, customer: Customer, conversation_id: int, frame: Rate) -> Iterator[Frame]:
        if wait := self._cairnloop.rate_limits.take("ratings", f"conversation:{conversation_id}"):
            yield too_many(wait, f"You have changed this often. Try again in {_in_words(wait)}.")
            return
        try:
            with self._transaction() as session:
                conversation = service.rate(
                    session,
                    customer=customer,
                    conversation_id=conversation_id,
                    rating=frame.rating,
                    comment=frame.comment,
                    via=RatedVia.WIDGET,
                )
                status = status_frame(conversation)
        except InvalidInput as failure:
            yield error("invalid", failure.message)
        except RatingClosed as failure:
            yield error("rating_closed", str(failure))
        except Conflict:
            yield error("not_resolved", "You can rate the help once it is resolved.")
        except (NotFound, *AWAY):
            raise
        except Exception:
            log.exception("A customer's rating could not be taken in")
            yield error("failed", FAILED)
        else:
            yield from self._changed(status)

    def _typing(self, customer: Customer, conversation_id: int) -> None:
        moment = time.monotonic()
        if moment - self._typed_at >= TYPING_SECONDS:
            self._typed_at = moment
            publish_now(
                self._cairnloop,
                conversation_topic(conversation_id),
                "typing",
                conversation_id=conversation_id,
                author="customer",
                name=customer.name or "",
            )

    # --- from the house --------------------------------------------------------------------------------------------

    def hear(self, item: Event | Refetch) -> Iterator[Frame]:
        """Answer a live event. After a ``Refetch`` everything is looked at again, identity included."""
        if self.customer is not None and not self.ended:
            yield from self._held(self._hear(self.customer, item))

    def _hear(self, customer: Customer, item: Event | Refetch) -> Iterator[Frame]:
        if isinstance(item, Refetch):
            yield from self.check_identity()
            if not self.ended:
                yield from self._catch_up(customer)
        elif item.type == DISCONNECT:
            yield from self._end("disconnected", "This chat was closed.")
        elif item.type == "opened":
            if self._conversation_id is None:
                yield from self._catch_up(customer)
        elif item.topic == conversation_topic(self._conversation_id or 0):
            yield from self._hear_conversation(item)

    def _hear_conversation(self, event: Event) -> Iterator[Frame]:
        data = event.data
        if event.type == "message":
            if data.get("kind") != MessageKind.NOTE and data.get("sequence", MAX_ID) > self._cursor:
                yield from self._missed()
        elif event.type == "conversation":
            yield from self._missed()
        elif event.type == "seen":
            yield {"type": "seen", "cursor": data.get("cursor")}
        elif event.type == "typing" and data.get("author") == "operator":
            yield {"type": "typing", "name": str(data.get("name", ""))[:200]}

    def check_identity(self) -> Iterator[Frame]:
        """Ask the host again whether this token still stands for this customer; end the session when not."""
        try:
            customer = self._cairnloop.hooks.verify_customer(self._token)
        except HookFailed:
            self._break_off()
            return
        if self.customer is None or customer is None or customer.ref != self.customer.ref:
            yield from self._end("unauthorized", "Your sign-in has ended.")
        else:
            self.customer = customer

    def _catch_up(self, customer: Customer) -> Iterator[Frame]:
        if self._conversation_id is not None:
            yield from self._missed()
            return
        for frame in self._resume(customer, None, 0):
            if frame["type"] != "joined" or frame["conversation"] is not None:
                yield frame

    # --- reading ---------------------------------------------------------------------------------------------------

    def _missed(self) -> Iterator[Frame]:
        """Everything after our cursor, page by page, and the status when it has changed."""
        customer, conversation_id = self.customer, self._conversation_id
        if customer is None or conversation_id is None:
            return
        while True:
            with self._cairnloop.reading.connect() as connection:
                found = news(connection, customer.ref, conversation_id, after=self._cursor, limit=PAGE)
            page, cited = self._frames(customer, found.messages)
            self._name_sources(customer, page, cited)
            status = status_frame(found)
            for frame in page:
                if frame.get("client_id") in self._accepted:
                    self._accepted.discard(frame["client_id"])
                else:
                    yield frame
            if len(page) < PAGE:
                break
        yield from self._changed(status)

    def _frames(self, customer: Customer, messages: Sequence[Message | Said]) -> tuple[list[Frame], list[Cited]]:
        """The frames of messages that follow our cursor, which moves to the last of them, and what each one cites."""
        if messages:
            self._cursor = messages[-1].sequence
        cited: list[Cited] = [message.data.get("citations", ()) for message in messages]
        frames = [message_frame(message) for message in messages]
        for frame, message in zip(frames, messages, strict=True):
            if files := attached(message.data):
                frame["files"] = self._signed(customer, files)
        return frames, cited

    def _signed(self, customer: Customer, files: Iterable[Attached]) -> list[dict[str, Any]]:
        return [signed(self._cairnloop, self._files_at, customer, file) for file in files]

    def _name_sources(self, customer: Customer, frames: Iterable[Frame], cited: Sequence[Cited]) -> None:
        """Name what replies rest on, as far as this customer may know of it at this moment.

        With sources it costs one more query, and asks the host whose articles these are: not within a transaction.
        """
        articles = {citation.get("article_id") for citations in cited for citation in citations}
        known = {article for article in articles if isinstance(article, int)}
        if not known:
            return
        scope = Scope(Audience.PUBLIC, self._cairnloop.hooks.article_scope(customer))
        with self._cairnloop.reading.connect() as connection:
            named = names(connection, known, scope)
        for frame, citations in zip(frames, cited, strict=True):
            if found := sources(citations, named):
                frame["sources"] = found

    def _changed(self, status: Frame) -> Iterator[Frame]:
        if status != self._status:
            self._status = status
            yield status

    def _bind(self, conversation_id: int | None, cursor: int) -> None:
        self._conversation_id, self._cursor, self._status = conversation_id, cursor, None
        self._accepted.clear()

    # --- ends ------------------------------------------------------------------------------------------------------

    def _held(self, frames: Iterator[Frame]) -> Iterator[Frame]:
        """The frames, and what there is to say when they break off: no single answer may cost a client its line."""
        try:
            yield from frames
        except NotFound:
            yield from self._gone()
        except AWAY as failure:
            log.warning("A chat has to come back later: the database cannot be asked (%s)", kind(failure))
            self._break_off()

    def _gone(self, client_id: uuid.UUID | None = None) -> Iterator[Frame]:
        """The conversation is not there, or not any more. The client may join again, or write into a new one."""
        self._bind(None, 0)
        yield error("not_found", "There is no such conversation.", client_id)

    def _break_off(self) -> None:
        """The host or the database cannot be asked: nobody stays in on a guess, and nobody is told that they were
        refused."""
        self.ended = self.try_later = True

    def _end(self, code: str, message: str) -> Iterator[Frame]:
        self.ended = True
        yield error(code, message)

    def _person(self, customer: Customer) -> str:
        """An opaque mark by which a client tells that unsent words it kept are this customer's."""
        secret = self._cairnloop.app.secret_key or ""
        key = secret if isinstance(secret, bytes) else secret.encode()
        return hmac.new(key, customer.ref.encode(), hashlib.sha256).hexdigest()[:16]

    @contextmanager
    def _transaction(self) -> Iterator[Session]:
        with self._cairnloop.app.app_context():  # its end gives the connection back, whatever happened
            session = self._cairnloop.session()
            yield session
            session.commit()
