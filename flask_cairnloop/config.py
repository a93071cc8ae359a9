"""Every ``CAIRNLOOP_*`` key in one table, from which validation, defaults and the documentation come."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from datetime import UTC
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

from limits import parse_many
from redis.connection import parse_url

from flask_cairnloop.drafting import manner
from flask_cairnloop.errors import ConfigurationError
from flask_cairnloop.files import content
from flask_cairnloop.governance import tiers
from flask_cairnloop.outbound.quiet import QuietHours

PREFIX = "CAIRNLOOP_"
LONGEST_HOOK = 60  # seconds any one call of host code is waited for; the time of the jobs is reckoned from it
AUTO_ASSIGN = ("off", "first_reply", "arrival")
LOW_RATING_DOES = ("nothing", "alert", "reopen")
DAY = 86_400
TEN_YEARS = 10 * 365 * DAY


@dataclass(frozen=True, slots=True)
class Key:
    """One configuration key.

    Args:
        name: without the ``CAIRNLOOP_`` prefix.
        kind: ``str``, ``bool``, ``int``, ``float``, ``list`` (of str), ``mapping`` (of str to str or None; what is left
            out keeps its default), ``options`` (a mapping of str to anything), ``hook`` (callable or
            ``"package.module:attribute"``), ``tools`` (a list of classes or such paths), ``storage`` (an address, a
            folder or a hook) or ``object`` (any object or such a path).
        default: the value when the host sets none.
        meaning: one or two sentences for the documentation.
        secret: its value never appears in a message.
        check: returns what is wrong with a value of the right type, or ``None``.
    """

    name: str
    kind: str
    default: Any
    meaning: str
    secret: bool = False
    check: Callable[[Any], str | None] | None = None


# No `$`: a name with it could end a dollar-quoted block of our migrations.
_SCHEMA = re.compile(r"[A-Za-z_][A-Za-z0-9_ -]{0,62}")


def _schema(value: str) -> str | None:
    if value.lower() == "public" or value.lower().startswith("pg_") or value.lower() == "information_schema":
        return "our tables need a schema of their own, so that no migration of yours can touch them"
    if not _SCHEMA.fullmatch(value):
        return "use 1 to 63 letters, digits, spaces or _ -, beginning with a letter"
    return None


def _prefix(value: str) -> str | None:
    return None if re.fullmatch(r"(/[A-Za-z0-9._~-]+)+", value) else 'it must look like "/support"'


def _optional_prefix(value: str) -> str | None:
    return _prefix(value) if value else None


def _redis_url(value: str) -> str | None:
    try:
        parse_url(value)  # type: ignore[no-untyped-call]
    except ValueError:  # its words may hold the value, which is secret
        return 'it must be a URL like "redis://host:6379/0", "rediss://…" or "unix:///path"'
    return None


def _namespace(value: str) -> str | None:
    return None if re.fullmatch(r"[A-Za-z0-9_-]{1,40}", value) else "use 1 to 40 letters, digits, - or _"


def _language(value: str) -> str | None:
    return None if re.fullmatch(r"[a-z_][a-z0-9_]{0,62}", value) else "name a text search configuration, e.g. english"


def _quiet_hours(value: str) -> str | None:
    try:
        QuietHours.parse(value, UTC)
    except ValueError:
        return "write two different times of day, e.g. 21:00-08:00"
    return None


def _zone(value: str) -> str | None:
    try:
        ZoneInfo(value)
    except (ValueError, OSError, LookupError):
        return "name a time zone, e.g. Europe/Berlin"
    return None


def _origins(value: list[str]) -> str | None:
    for origin in value:
        if not re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+", origin):
            return f'"{origin}" is not an origin; write scheme, host and port only, e.g. "https://app.example"'
    return None


def _hosts(value: list[str]) -> str | None:
    for host in value:
        if not re.fullmatch(r"[A-Za-z0-9.\-\[\]:]+", host):
            return (
                f'"{host}" is no host; write it as it stands in an address, e.g. "desk.example" or "desk.example:8443"'
            )
    return None


def _ancestors(value: list[str]) -> str | None:
    return _origins([origin for origin in value if origin != "'self'"])


def _between(low: float, high: float) -> Callable[[float], str | None]:
    """A check that also refuses what is no finite number."""
    return lambda value: None if low <= value <= high else f"it must lie between {low} and {high}"


def _retention(least: int) -> Callable[[int], str | None]:
    """A check of how long something is kept: nothing goes on the day it came."""
    return lambda value: None if value == 0 or least <= value <= 10 * TEN_YEARS else f"it must be 0, or {least} or more"


def _rates(value: dict[str, str | None]) -> str | None:
    for name, rate in value.items():
        if name not in RATE_LIMITS:
            return f'it knows no "{name}", only {", ".join(RATE_LIMITS)}'
        if rate is not None and not _is_rate(rate):
            return f'"{rate}" of "{name}" is no rate; write e.g. "30/minute", or None for no limit'
    return None


def _four_eyes(value: str) -> str | None:
    return None if value in tiers.FOUR_EYES else f"it must be one of {', '.join(tiers.FOUR_EYES)}"


def _auto_assign(value: str) -> str | None:
    return None if value in AUTO_ASSIGN else f"it must be one of {', '.join(AUTO_ASSIGN)}"


def _low_rating_does(value: str) -> str | None:
    return None if value in LOW_RATING_DOES else f"it must be one of {', '.join(LOW_RATING_DOES)}"


def _public_url(value: str) -> str | None:
    if not value or re.fullmatch(r"https?://[A-Za-z0-9.\-\[\]:]+(/[A-Za-z0-9._~-]+)*/?", value):
        return None
    return 'write how your app is reached from outside, e.g. "https://app.example" or "https://example.org/app"'


def _is_rate(text: str) -> bool:
    try:
        rates = parse_many(text)
    except ValueError:
        return False
    return len(rates) == 1 and 1 <= rates[0].amount <= 100_000


def _storage(value: Any) -> str | None:
    """A folder must be named in full: web server and worker may have been started in different ones."""
    if is_storage_address(value) and "://" not in value and not Path(value).is_absolute():
        return 'write an address like "s3://bucket/desk", a folder in full like "/var/lib/desk", or name a hook'
    return None


def is_storage_address(value: Any) -> bool:
    """Whether a value of ``FILE_STORAGE`` is an address or a folder, and no hook."""
    return isinstance(value, str) and not _PATH.fullmatch(value)


def _file_types(value: list[str]) -> str | None:
    unknown = [each for each in value if each not in content.KNOWN]
    return f'"{unknown[0]}" cannot be told by its content; known are {", ".join(content.KNOWN)}' if unknown else None


RATE_LIMITS: dict[str, str | None] = {
    "messages": "30/minute",
    "conversations": "20/day",
    "frames": "20/second",
    "uploads": "60/minute",
    "attachments": "60/hour",
    "searches": "30/minute",
    "votes": "20/hour",
    "ratings": "20/hour",
}

KEYS: tuple[Key, ...] = (
    Key("URL_PREFIX", "str", "/support", "Where the console and the widget are mounted.", check=_prefix),
    Key("SCHEMA", "str", "cairnloop", "PostgreSQL schema of our tables; never `public`.", check=_schema),
    Key(
        "REDIS_URL",
        "str",
        "redis://localhost:6379/0",
        "Redis or Valkey for RQ and live updates. Losing it loses no data.",
        secret=True,
        check=_redis_url,
    ),
    Key(
        "REDIS_NAMESPACE",
        "str",
        "cairnloop",
        "Prefix of our names in Redis. Set it where two installs share one Redis server: live updates do not stop at "
        "the number of a database.",
        check=_namespace,
    ),
    Key("PRODUCT_NAME", "str", "Support", "What customers and operators read as the desk's name."),
    Key(
        "OPERATOR_LOADER",
        "hook",
        None,
        "`() -> Operator | None`: who is signed in on this request. Unset: the console answers 503 and names this key. "
        "`None`: 401, or a redirect to `CAIRNLOOP_LOGIN_URL`.",
    ),
    Key(
        "AUTHORIZE",
        "hook",
        None,
        "`(operator, permission, subject) -> bool`: finer permissions, also for each row of a list. Unset: the "
        "operator's own set decides.",
    ),
    Key(
        "OPERATOR_RESOLVER",
        "hook",
        None,
        "`(id) -> Operator | None`: an operator outside a request. Permissions are asked again when an action runs, so "
        "without it there are no actions; and when a follow-up leaves.",
    ),
    Key(
        "OPERATORS",
        "hook",
        None,
        "`(query) -> list[Operator]`: the people of the desk whose name holds these words, all for none. From it come "
        "the people and teams a conversation can be given to, and whom a note can mention. Unset: one can only take a "
        "conversation oneself, and mention nobody.",
    ),
    Key(
        "AUTO_ASSIGN",
        "str",
        "off",
        "Who has a conversation without anybody saying so: `off` nobody; `first_reply` whoever answers one that nobody "
        "has; `arrival` also, when it comes in, whose turn it is of the people that `OPERATORS` names.",
        check=_auto_assign,
    ),
    Key(
        "ASSIGN_LIMIT",
        "int",
        20,
        "Open conversations, without those that are snoozed, from which on nobody is given another one on arrival. "
        "0: no limit.",
        check=_between(0, 100_000),
    ),
    Key("LOGIN_URL", "str", "", "Where an operator who is not signed in is sent, with `?next=`. Empty: 401."),
    Key(
        "HELP_URL_PREFIX",
        "str",
        "",
        "Where the public help centre is mounted, e.g. `/help`. Empty: there is none.",
        check=_optional_prefix,
    ),
    Key(
        "HELP_TAGS",
        "list",
        [],
        "Only articles with one of these tags are in the help centre. Empty: all that are public; none while "
        "`ARTICLE_SCOPE` is set, as there is nobody to ask it about.",
    ),
    Key(
        "HELP_CONTACT_URL",
        "str",
        "",
        "Page of yours where one reaches a person, as with the chat; the help centre links to it. Empty: no link.",
    ),
    Key(
        "WIDGET_SUGGESTIONS",
        "bool",
        True,
        "Whether the chat names articles of the help centre while a customer types. Without a help centre it does not.",
    ),
    Key(
        "CUSTOMER_VERIFIER",
        "hook",
        None,
        "`(token) -> Customer | None`: who is chatting. Unset: the widget refuses everybody.",
    ),
    Key(
        "CONTEXT_PROVIDER",
        "hook",
        None,
        "`(customer, conversation) -> Mapping`: what the operator sees about the customer; nested mappings become "
        "titled sections.",
    ),
    Key(
        "ARTICLE_SCOPE",
        "hook",
        None,
        "`(customer) -> tags | None`: which articles may answer this customer, as tags of which an article has one. "
        "`None`, and unset: all public ones. No tags, or a hook that fails: none, and a person answers.",
    ),
    Key(
        "AUTOMATION_POLICY",
        "hook",
        None,
        "`(draft) -> decision`: `require_approval` (also when unset), `draft_only`, `allow` or `deny`.",
    ),
    Key(
        "TOOLS",
        "tools",
        [],
        'Subclasses of `Tool`, or `"package.module:attribute"` of such: what can be proposed beside the built-in ones.',
    ),
    Key(
        "ACTION_POLICY",
        "hook",
        None,
        "`(action) -> decision`: `approval` asks for a person, `refuse` for nothing to happen; `auto`, and `None`, ask "
        "for nothing. It can only make things stricter. A policy that fails asks for a person.",
    ),
    Key(
        "FOUR_EYES",
        "str",
        "high_write",
        "From which risk on who proposed an action cannot approve it: `high_write`, or `low_write` for every write.",
        check=_four_eyes,
    ),
    Key(
        "LOOSEN_TOOLS",
        "mapping",
        {},
        "Names of tools that need less than their risk asks for: `auto` (nobody; not for a destructive one), `one` "
        "person, who may be the one who proposed it, or one `other` person.",
    ),
    Key(
        "APPROVAL_TTL",
        "int",
        2 * 86_400,
        "Seconds after which an action that nobody decided on expires, and an approval that did not come to run.",
        check=_between(60, TEN_YEARS),
    ),
    Key(
        "ON_CONVERSATION_RESOLVED",
        "hook",
        None,
        "`(event) -> None`: a conversation was resolved, by whom and how, with the link by which it can be rated. "
        "Called by a job, at least once; `event.key` is stable over retries.",
    ),
    Key(
        "ASK_FOR_RATING",
        "bool",
        True,
        "Whether a customer is asked what they think of the help once it is resolved, where whoever resolves it does "
        "not choose.",
    ),
    Key(
        "RATING_OPEN_FOR",
        "int",
        14 * 86_400,
        "Seconds after it was asked for in which a rating can be given, in the chat and by its link.",
        check=_between(60, TEN_YEARS),
    ),
    Key(
        "RATING_CHANGE_FOR",
        "int",
        86_400,
        "Seconds after a rating in which the customer can change it and its comment. 0: it stays as it was given.",
        check=_between(0, TEN_YEARS),
    ),
    Key("LOW_RATING", "int", 2, "Ratings up to this one are low. 0: none is.", check=_between(0, 5)),
    Key(
        "LOW_RATING_DOES",
        "str",
        "alert",
        "What follows from a low rating, once for each: `alert` tells whoever has the conversation, or else who "
        "resolved it, by the bell; `reopen` also puts it back into the queue, as does `alert` where there is nobody to "
        "be told; `nothing`.",
        check=_low_rating_does,
    ),
    Key(
        "PUBLIC_URL",
        "str",
        "",
        "How your app is reached from outside, e.g. `https://app.example`: links in events begin with it. Empty: they "
        "begin with `URL_PREFIX`, and you put your own address before it.",
        check=_public_url,
    ),
    Key(
        "ON_REPLY_UNSEEN",
        "hook",
        None,
        "`(event) -> None`: the customer has not seen a reply, so that you can mail or push it to them. "
        "Called by a job, at least once; `event.key` is stable over retries.",
    ),
    Key(
        "REPLY_UNSEEN_AFTER",
        "int",
        15 * 60,
        "Seconds that a customer has to see a reply before `ON_REPLY_UNSEEN` is told of it.",
        check=_between(1, TEN_YEARS),
    ),
    Key(
        "SLA_POLICY",
        "hook",
        None,
        "`(conversation) -> ServiceLevel | None`: by when the customer shall have an answer; `None` for no targets. "
        "Unset, or where it fails: the policy of the console's settings.",
    ),
    Key(
        "ON_SLA_BREACH",
        "hook",
        None,
        "`(event) -> None`: a deadline passed. Called by a job, at least once; `event.key` is stable over retries.",
    ),
    Key(
        "ON_OUTBOUND",
        "hook",
        None,
        "`(delivery) -> Delivery | None`: delivers a follow-up, e.g. by mail; `None` says it was sent. `delivery.key` "
        "is stable over attempts. A cut between your sending and our record leaves it `uncertain`, for a person to "
        "settle, unless the hook is marked with `idempotent`. Unset: follow-ups stand in the chat only.",
    ),
    Key(
        "BULK_LIMIT",
        "int",
        25,
        "Most customers that one follow-up is sent to at once. More are refused, on record, and can be split.",
        check=_between(1, 1_000),
    ),
    Key(
        "QUIET_HOURS",
        "str",
        "",
        "In which no follow-up leaves, e.g. `21:00-08:00`; it waits for their end. Empty: none.",
        check=_quiet_hours,
    ),
    Key("QUIET_HOURS_ZONE", "str", "UTC", "Time zone of the quiet hours, e.g. `Europe/Berlin`.", check=_zone),
    Key(
        "AUDITOR",
        "hook",
        None,
        "`(session, entry) -> None`: adds the host's own row for each audit entry, in the same transaction.",
    ),
    Key(
        "DRAFT_GENERATOR",
        "hook",
        None,
        "`(grounding) -> Proposal | Declined`: writes the draft. Unset: the deterministic grounded engine.",
    ),
    Key(
        "ARTICLE_WRITER",
        "hook",
        None,
        "`(brief) -> Written | Declined`: writes suggested articles. Unset: the deterministic engine.",
    ),
    Key(
        "EMBEDDER",
        "object",
        None,
        "Object with `model`, `dimensions` and `embed(texts, kind)`. Unset: the offline model of the `local` extra, "
        "and without that keyword search only.",
    ),
    Key(
        "PREVIOUS_EMBEDDER",
        "object",
        None,
        "The embedder you change from. Questions go on with it until every passage has a vector of the new one. Unset: "
        "they are matched by words meanwhile.",
    ),
    Key("TRUSTED_ORIGINS", "list", [], "Further origins that may send unsafe requests.", check=_origins),
    Key(
        "WIDGET_ORIGINS",
        "list",
        [],
        "Origins of pages elsewhere that may embed the widget. Your own origin always may.",
        check=_origins,
    ),
    Key(
        "FRAME_ANCESTORS",
        "list",
        [],
        "Origins that may show the console in a frame; `'self'` is your own. Default: none.",
        check=_ancestors,
    ),
    Key(
        "MCP_HOSTS",
        "list",
        [],
        "Hosts, with the port where it is named, by which machines may call the MCP endpoint. Empty: all that your web "
        "server lets through.",
        check=_hosts,
    ),
    Key("SEARCH_LANGUAGE", "str", "english", "PostgreSQL text search configuration of articles.", check=_language),
    Key(
        "REOPEN_WINDOW",
        "int",
        14 * 86_400,
        "Seconds after its last message in which a resolved conversation is resumed; later words open a new one.",
        check=_between(0, TEN_YEARS),
    ),
    Key(
        "UNDO_SEND",
        "float",
        10.0,
        "Seconds in which an operator can take a reply back before it is sent. 0: replies are sent at once.",
        check=_between(0, 120),
    ),
    Key("MESSAGE_LIMIT", "int", 10_000, "Longest message in characters.", check=_between(1, 100_000)),
    Key(
        "RATE_LIMITS",
        "mapping",
        RATE_LIMITS,
        "What one may do in a time: `messages` and `conversations` of one customer over all processes, `frames` of one "
        "socket, `uploads` of one operator, `attachments` of one customer, `ratings` of one conversation. What you "
        "leave out keeps its default, `None` lifts a limit.",
        check=_rates,
    ),
    Key(
        "SOCKET_LIMIT",
        "int",
        0,
        "Most WebSockets of one process; the next is answered 503, and that chat goes on by POST. 0: derived from the "
        "threads of a gunicorn worker, else no limit.",
        check=_between(0, 100_000),
    ),
    Key(
        "FILE_STORAGE",
        "storage",
        None,
        "Where images and files are kept: a folder (`/var/lib/desk/files`), an address that fsspec knows "
        "(`s3://bucket/desk`), or `() -> filesystem`, a hook that makes one of fsspec's. Unset: no files are taken.",
        secret=True,
        check=_storage,
    ),
    Key(
        "FILE_STORAGE_OPTIONS",
        "options",
        {},
        "What the filesystem of that address is made with, e.g. `key`, `secret` and `endpoint_url` of S3.",
        secret=True,
    ),
    Key(
        "FILE_TYPES",
        "list",
        list(content.DEFAULT),
        "Kinds of files that are taken, told by their content. `application/zip` is known as well.",
        check=_file_types,
    ),
    Key(
        "FILE_SIZE_LIMIT",
        "int",
        10 * 1024 * 1024,
        "Largest file in bytes.",
        check=_between(1, 1024 * 1024 * 1024),
    ),
    Key(
        "ATTACHMENT_LIMIT",
        "int",
        5,
        "Most files of one message, a customer's or the team's. 0: messages take none.",
        check=_between(0, 20),
    ),
    Key(
        "ATTACHMENT_DAILY_BYTES",
        "int",
        100 * 1024 * 1024,
        "Most bytes of files that one customer sends within 24 hours, whether a message took them or not.",
        check=_between(1, 1024 * 1024 * 1024 * 1024),
    ),
    Key("GROUNDING_STRONG", "float", 0.6, "Score from which grounding counts as strong.", check=_between(0, 1)),
    Key("GROUNDING_PARTIAL", "float", 0.15, "Score from which grounding counts as partial.", check=_between(0, 1)),
    Key(
        "GAP_MIN_EVENTS",
        "int",
        2,
        "How often something without an answer is asked before it is shown as an article to write.",
        check=_between(1, 1_000),
    ),
    Key(
        "GAP_MIN_CUSTOMERS",
        "int",
        2,
        "By how many different people, before it is shown.",
        check=_between(1, 1_000),
    ),
    Key(
        "REVIEW_SECOND_PERSON",
        "bool",
        False,
        "Whether a suggested article is approved by somebody who neither asked for it nor wrote in it.",
    ),
    Key(
        "DRAFT_DELAY",
        "float",
        1.0,
        "Seconds of quiet after a customer's message before the draft is made, so that three lines make one draft.",
        check=_between(0, 3600),
    ),
    Key(
        "DRAFT_GREETING",
        "str",
        manner.GREETING,
        "First line of every draft. `{name}` is the customer's first name, and is left out for one without; "
        "`{name|there}` says what stands there then. Empty: no greeting.",
        check=manner.wrong_with_greeting,
    ),
    Key(
        "DRAFT_CLOSING",
        "str",
        manner.CLOSING,
        "Last paragraph of a draft that answers. Empty: none.",
        check=manner.wrong_with_closing,
    ),
    Key(
        "RETENTION_JOBS",
        "int",
        7 * 86_400,
        "Seconds that jobs are kept after they ended well or were discarded. Dead ones stay until somebody decides.",
        check=_between(0, TEN_YEARS),
    ),
    Key(
        "RETENTION_SENT",
        "int",
        30 * 86_400,
        "Seconds that it is kept that a reply waited to be sent, once it was or was taken back. 0: for ever.",
        check=_retention(DAY),
    ),
    Key(
        "RETENTION_VOTES",
        "int",
        2 * 365 * 86_400,
        "Seconds that votes on articles are kept, with what visitors missed. 0: for ever.",
        check=_retention(DAY),
    ),
    Key(
        "RETENTION_MODEL_CALLS",
        "int",
        400 * 86_400,
        "Seconds that it is kept what calls to models cost. 0: for ever.",
        check=_retention(2 * DAY),  # of which the budget of a day is reckoned
    ),
    Key(
        "RETENTION_CONVERSATIONS",
        "int",
        0,
        "Seconds after which a conversation that was resolved, or marked as spam, loses its words as if its customer "
        "were forgotten; its shape and the customer stay. At least `REOPEN_WINDOW`. 0: never.",
        check=_retention(DAY),
    ),
    Key(
        "FORGET_CLEAR_AFTER",
        "int",
        3600,
        "Seconds after somebody was forgotten in which a job takes what that leaves out of the database’s files: dead "
        "rows, statistics and words in indexes. 0: never; autovacuum sees to the rows, and you to the indexes.",
        check=_between(0, TEN_YEARS),
    ),
    Key(
        "RETENTION_AUDIT",
        "int",
        0,
        "Seconds that entries of the audit log are kept. The oldest go up to a checkpoint, and what is left still "
        "verifies. 0: for ever.",
        check=_between(0, 10 * TEN_YEARS),
    ),
    Key(
        "RETENTION_OUTBOUND",
        "int",
        0,
        "Seconds that envelopes of follow-ups are kept, unless something of one is on its way. What was sent stays in "
        "the chats. 0: for ever.",
        check=_between(0, 10 * TEN_YEARS),
    ),
    Key(
        "RETENTION_GAPS",
        "int",
        365 * 86_400,
        "Seconds that a question without an answer is kept after it was asked last. 0: for ever.",
        check=_between(0, TEN_YEARS),
    ),
    Key(
        "HOOK_TIMEOUT",
        "float",
        5.0,
        f"Seconds a host hook may take before it counts as failed, at most {LONGEST_HOOK}; `DRAFT_GENERATOR`, "
        f"`ARTICLE_WRITER`, and both embedders for passages, always have {LONGEST_HOOK}. A job has time for all its "
        "hooks: one that uses its whole time fails alone.",
        check=_between(0.05, LONGEST_HOOK),
    ),
)


@dataclass(frozen=True, slots=True)
class Settings:
    """The validated values of all keys, by their lower-case names."""

    url_prefix: str
    schema: str
    redis_url: str
    redis_namespace: str
    product_name: str
    operator_loader: Any
    authorize: Any
    operator_resolver: Any
    operators: Any
    auto_assign: str
    assign_limit: int
    login_url: str
    help_url_prefix: str
    help_tags: list[str]
    help_contact_url: str
    widget_suggestions: bool
    customer_verifier: Any
    context_provider: Any
    article_scope: Any
    automation_policy: Any
    tools: list[Any]
    action_policy: Any
    four_eyes: str
    loosen_tools: dict[str, str | None]
    approval_ttl: int
    on_conversation_resolved: Any
    ask_for_rating: bool
    rating_open_for: int
    rating_change_for: int
    low_rating: int
    low_rating_does: str
    public_url: str
    on_reply_unseen: Any
    reply_unseen_after: int
    sla_policy: Any
    on_sla_breach: Any
    on_outbound: Any
    bulk_limit: int
    quiet_hours: str
    quiet_hours_zone: str
    auditor: Any
    draft_generator: Any
    article_writer: Any
    embedder: Any
    previous_embedder: Any
    trusted_origins: list[str]
    widget_origins: list[str]
    frame_ancestors: list[str]
    mcp_hosts: list[str]
    search_language: str
    reopen_window: int
    undo_send: float
    message_limit: int
    rate_limits: dict[str, str | None]
    socket_limit: int
    file_storage: Any
    file_storage_options: dict[str, Any]
    file_types: list[str]
    file_size_limit: int
    attachment_limit: int
    attachment_daily_bytes: int
    grounding_strong: float
    grounding_partial: float
    gap_min_events: int
    gap_min_customers: int
    review_second_person: bool
    draft_delay: float
    draft_greeting: str
    draft_closing: str
    retention_jobs: int
    retention_sent: int
    retention_votes: int
    retention_model_calls: int
    retention_conversations: int
    forget_clear_after: int
    retention_audit: int
    retention_outbound: int
    retention_gaps: int
    hook_timeout: float

    @classmethod
    def load(cls, config: Mapping[str, Any]) -> Settings:
        """Read and validate every ``CAIRNLOOP_*`` key of an app's configuration.

        Raises:
            ConfigurationError: an unknown key, a wrong type or a value that cannot work; names the key.
        """
        known = {PREFIX + key.name: key for key in KEYS}
        for name in config:
            if name.startswith(PREFIX) and name not in known:
                close = difflib.get_close_matches(name, known, 1)
                hint = f" Did you mean {close[0]}?" if close else ""
                raise ConfigurationError(f"{name} is not a key of flask_cairnloop.{hint}")
        values = {key.name.lower(): _value(key, config) for key in KEYS}
        settings = cls(**values)
        if settings.grounding_partial > settings.grounding_strong:
            raise ConfigurationError("CAIRNLOOP_GROUNDING_PARTIAL must not be above CAIRNLOOP_GROUNDING_STRONG.")
        if 0 < settings.retention_conversations < settings.reopen_window:
            raise ConfigurationError("CAIRNLOOP_RETENTION_CONVERSATIONS must not be below CAIRNLOOP_REOPEN_WINDOW.")
        return settings


def _value(key: Key, config: Mapping[str, Any]) -> Any:
    name = PREFIX + key.name
    value = config.get(name, key.default)
    if value is None and key.default is None:
        return None
    wanted, fits = _TYPES[key.kind]
    if not fits(value):
        shown = "" if key.secret else f" ({value!r})"
        raise ConfigurationError(f"{name} is {type(value).__name__}{shown}; it must be {wanted}.")
    if key.kind == "mapping":
        value = {**key.default, **value}
    wrong = key.check(value) if key.check else None
    if wrong:
        shown = ":" if key.secret else f" is {value!r};"
        raise ConfigurationError(f"{name}{shown} {wrong}.")
    return float(value) if key.kind == "float" else value


_PATH = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_][\w.]*")
_TYPES: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "str": ("str", lambda value: isinstance(value, str)),
    "bool": ("bool", lambda value: isinstance(value, bool)),
    "int": ("int", lambda value: isinstance(value, int) and not isinstance(value, bool)),
    "float": ("float", lambda value: isinstance(value, (int, float)) and not isinstance(value, bool)),
    "list": (
        "a list of str",
        lambda value: isinstance(value, (list, tuple)) and all(isinstance(item, str) for item in value),
    ),
    "mapping": (
        "a mapping of str to str or None",
        lambda value: (
            isinstance(value, Mapping)
            and all(isinstance(name, str) and isinstance(item, str | None) for name, item in value.items())
        ),
    ),
    "options": (
        "a mapping of str to anything",
        lambda value: isinstance(value, Mapping) and all(isinstance(name, str) for name in value),
    ),
    "storage": (
        'an address, a folder, a callable or "package.module:attribute"',
        lambda value: callable(value) or (isinstance(value, str) and bool(value.strip())),
    ),
    "hook": (
        'a callable or "package.module:attribute"',
        lambda value: callable(value) or (isinstance(value, str) and _PATH.fullmatch(value) is not None),
    ),
    "tools": (
        'a list of subclasses of Tool or "package.module:attribute"',
        lambda value: (
            isinstance(value, (list, tuple))
            and all(not isinstance(item, str) or _PATH.fullmatch(item) is not None for item in value)
        ),
    ),
    "object": (
        'an object or "package.module:attribute"',
        lambda value: not isinstance(value, str) or _PATH.fullmatch(value) is not None,
    ),
}

if {field.name for field in fields(Settings)} != {key.name.lower() for key in KEYS}:
    raise RuntimeError("Settings and KEYS differ")  # a mistake in this file, found at import
