"""What a tool is, and what is wrong with one: everything that can be found at start is found at start."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Final

from pydantic import BaseModel
from sqlalchemy.orm import Session

from flask_cairnloop.errors import CairnloopError, ConfigurationError
from flask_cairnloop.governance.types import Risk, Tier, ToolKind

if TYPE_CHECKING:
    from flask_cairnloop.hooks import ConversationInfo, Customer, Operator
    from flask_cairnloop.tokens.types import Token

LONGEST_RUN: Final = 60.0  # seconds, as `config.LONGEST_HOOK`
MOST_ATTEMPTS: Final = 10
NAME = re.compile(r"[a-z][a-z0-9_]{1,49}")
# What of a conversation a field can be filled with.
SOURCES: Final = (
    "conversation.id",
    "conversation.subject",
    "customer.ref",
    "customer.name",
    "customer.email",
    "customer.organization",
)
RESERVED: Final = "action_status"  # what tokens ask for the outcome of an action by
LOOSENED: Final = (Tier.AUTO, Tier.ONE, Tier.OTHER)


class ToolFailure(CairnloopError):
    """A tool says that it could not do it, in words for the people at the desk: at most 500 characters are kept."""


class RetryableFailure(ToolFailure):
    """Nothing was done, and trying again may help: a service that is busy, a lock that is held."""


class PermanentFailure(ToolFailure):
    """Nothing was done, and trying again cannot help: the charge is refunded already."""


@dataclass(frozen=True, slots=True)
class Change:
    """A value before and after an action, for whoever decides on it."""

    label: str
    now: str
    after: str


@dataclass(frozen=True, slots=True)
class Consequence:
    """What an action would do.

    Args:
        text: one or two sentences: what happens, to whom, and whether it can be undone.
        changes: what would be different.
    """

    text: str
    changes: tuple[Change, ...] = ()


@dataclass(frozen=True, slots=True)
class Outcome:
    """What an action has done.

    Args:
        summary: a sentence for the people at the desk.
        data: JSON values for whoever proposed it.
    """

    summary: str
    data: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ToolContext:
    """What a tool gets beside its inputs.

    Args:
        operator: the person who is asked about, or for whom it runs: who proposed it or, in ``authorize``, who wants to
            approve it. ``None`` when no person proposed it.
        conversation: which it belongs to, if to one.
        customer: whose that conversation is.
        key: the same over every attempt of this action, and of no other; empty before there is an action.
        attempt: 1 for the first run; 0 before there is one.
        token: the machine's key that is asked about, or for which it runs, where one proposed it.
        session: of a transactional tool that runs, ours: what is added to it is committed together with the outcome,
            or not at all. It can be neither committed nor rolled back. ``None`` everywhere else.
    """

    operator: Operator | None = None
    conversation: ConversationInfo | None = None
    customer: Customer | None = None
    key: str = ""
    attempt: int = 0
    session: Session | None = None
    token: Token | None = None


class Tool:
    """Something that can be done, by proposal only. Hosts make subclasses and name them in ``CAIRNLOOP_TOOLS``.

    One instance serves a whole process, so keep nothing on it that belongs to a call.

    Attributes:
        name: stable, 2 to 50 small letters, digits and underscores.
        title: what people call it, e.g. ``"Refund a charge"``.
        description: a sentence for whoever chooses it, be it a person or a model.
        risk: decides who has to agree.
        kind: where its effect lies. External unless it says otherwise, as nothing then is taken for granted.
        scopes: what whoever proposes or approves it must have among their permissions, or a token among its scopes.
        idempotent: of an external tool: called twice with one key, its effect happens once. Only then is it called
            again after a cut.
        timeout: seconds a run may take, at most 60.
        attempts: how often it is tried, at most 10.
        sensitive: fields whose values are never shown, logged or kept longer than the action is open.
        filled: fields that nobody types, and what of the conversation they get, e.g. ``{"ref": "customer.ref"}``; see
            :data:`SOURCES`.
        Input: a Pydantic model of what it needs.
    """

    name: ClassVar[str] = ""
    title: ClassVar[str] = ""
    description: ClassVar[str] = ""
    risk: ClassVar[Risk]
    kind: ClassVar[ToolKind] = ToolKind.EXTERNAL
    scopes: ClassVar[Collection[str]] = frozenset()
    idempotent: ClassVar[bool] = False
    timeout: ClassVar[float] = 10.0
    attempts: ClassVar[int] = 3
    sensitive: ClassVar[Collection[str]] = frozenset()
    filled: ClassVar[Mapping[str, str]] = {}
    Input: ClassVar[type[BaseModel]]

    def authorize(self, inputs: Any, context: ToolContext) -> bool | str:  # noqa: ARG002
        """Whether ``context.operator`` may do this: ``True``, or ``False``, or why not. Denies unless overridden.

        It is asked of whoever proposes and of each who approves, at that moment, and of all of them again before it
        runs. No transaction of ours is open.
        """
        return "This tool says of nobody that they may use it."

    def preview(self, inputs: Any, context: ToolContext) -> str | Consequence:  # noqa: ARG002
        """What it would do. It is kept with the proposal, and that is what people decide on."""
        return ""

    def confirmation(self, inputs: Any, context: ToolContext) -> str:  # noqa: ARG002
        """What each approver types to confirm, where two have to; the title unless overridden."""
        return self.title

    def run(self, inputs: Any, context: ToolContext) -> str | Outcome | None:
        """Do it.

        Raises:
            RetryableFailure, PermanentFailure: it did nothing. Whatever else a transactional tool raises is undone and
                tried again; after anything else from an external one that is not idempotent nobody knows.
        """
        raise NotImplementedError


class Registry:
    """The tools of one app, by name."""

    def __init__(self, tools: Iterable[Tool] = ()) -> None:
        self._tools = {tool.name: tool for tool in tools}

    def find(self, name: str) -> Tool | None:
        """The tool of this name. Names are compared as text only; none is ever imported."""
        return self._tools.get(name)

    def all(self) -> list[Tool]:
        """Every tool, by title."""
        return sorted(self._tools.values(), key=lambda tool: tool.title)

    def __bool__(self) -> bool:
        return bool(self._tools)


def registry_of(
    host: Iterable[Any], built_in: Iterable[type[Tool]], loosen: Mapping[str, str | None]
) -> tuple[Registry, dict[str, Tier]]:
    """Check and make every tool.

    Args:
        host: what ``TOOLS`` holds, imported.
        built_in: ours.
        loosen: what ``LOOSEN_TOOLS`` holds.

    Raises:
        ConfigurationError: one of them cannot work; names the tool and the fault.
    """
    made: dict[str, Tool] = {}
    ours = [tool.name for tool in built_in]
    for candidate in (*built_in, *host):
        tool = _made(candidate)
        if tool.name in made:
            whose = "a built-in tool" if tool.name in ours else type(made[tool.name]).__name__
            raise _wrong(candidate, f'is called "{tool.name}", and so is {whose}; names must differ')
        made[tool.name] = tool
    return Registry(made.values()), _loosened(made, loosen)


def _loosened(tools: Mapping[str, Tool], loosen: Mapping[str, str | None]) -> dict[str, Tier]:
    found: dict[str, Tier] = {}
    for name, word in loosen.items():
        if name not in tools:
            raise ConfigurationError(f'CAIRNLOOP_LOOSEN_TOOLS names "{name}", which is no tool.')
        if word not in LOOSENED:
            raise ConfigurationError(
                f'CAIRNLOOP_LOOSEN_TOOLS says "{word}" of "{name}"; it must be one of {", ".join(LOOSENED)}.'
            )
        if tools[name].risk is Risk.DESTRUCTIVE and word == Tier.AUTO:
            raise ConfigurationError(
                f'CAIRNLOOP_LOOSEN_TOOLS says "auto" of "{name}", which is destructive; a person has to approve it.'
            )
        found[name] = Tier(word)
    return found


def _made(candidate: Any) -> Tool:
    if not (isinstance(candidate, type) and issubclass(candidate, Tool)):
        raise ConfigurationError(f"CAIRNLOOP_TOOLS holds {candidate!r}, which is no subclass of Tool.")
    for fault in (*_text_faults(candidate), *_rule_faults(candidate), *_input_faults(candidate)):
        raise _wrong(candidate, fault)
    try:
        return candidate()
    except Exception as error:
        raise _wrong(candidate, f"cannot be made without arguments: {type(error).__name__}") from error


def _text_faults(tool: Any) -> Iterable[str]:
    if tool.name == RESERVED:
        yield f'has the name "{RESERVED}", by which tokens ask for the outcome of an action'
    if not isinstance(tool.name, str) or not NAME.fullmatch(tool.name):
        yield f"has the name {tool.name!r}; use 2 to 50 small letters, digits and underscores, beginning with a letter"
    for attribute, longest in (("title", 100), ("description", 500)):
        words = getattr(tool, attribute)
        if not isinstance(words, str) or not 1 <= len(words.strip()) <= longest:
            yield f"needs a `{attribute}` of 1 to {longest} characters"


def _rule_faults(tool: Any) -> Iterable[str]:
    if not isinstance(getattr(tool, "risk", None), Risk):
        yield "needs a `risk`, one of Risk." + ", Risk.".join(risk.name for risk in Risk)
    if not isinstance(tool.kind, ToolKind):
        yield "has a `kind` that is neither ToolKind.TRANSACTIONAL nor ToolKind.EXTERNAL"
    for attribute in ("scopes", "sensitive"):
        if not _texts(getattr(tool, attribute)):
            yield f"has `{attribute}` that are no set of texts"
    if not isinstance(tool.idempotent, bool):
        yield "has an `idempotent` that is neither True nor False"
    if (
        isinstance(tool.timeout, bool)
        or not isinstance(tool.timeout, int | float)
        or not 0 < tool.timeout <= LONGEST_RUN
    ):
        yield f"has a `timeout` of {tool.timeout!r}; it must lie above 0 and at most at {LONGEST_RUN:.0f} seconds"
    if isinstance(tool.attempts, bool) or not isinstance(tool.attempts, int) or not 1 <= tool.attempts <= MOST_ATTEMPTS:
        yield f"has {tool.attempts!r} `attempts`; it must be a number from 1 to {MOST_ATTEMPTS}"
    if tool.run is Tool.run:
        yield "has no `run`"
    if tool.preview is Tool.preview and getattr(tool, "risk", None) is not Risk.READ_ONLY:
        yield "has no `preview`; whoever decides on it must read what it would do"


def _input_faults(tool: Any) -> Iterable[str]:
    model = getattr(tool, "Input", None)
    if not (isinstance(model, type) and issubclass(model, BaseModel)):
        yield "needs an `Input` that is a Pydantic model"
        return
    try:
        model.model_json_schema()
    except Exception as error:
        yield f"has an `Input` without a JSON schema: {type(error).__name__}"
    known = set(model.model_fields)
    for name in tool.sensitive:
        if name not in known:
            yield f'says that "{name}" is sensitive, which is no field of its Input'
    if not isinstance(tool.filled, Mapping):
        yield "has a `filled` that is no mapping of fields to what fills them"
        return
    for name, source in tool.filled.items():
        if name not in known:
            yield f'has "{name}" filled, which is no field of its Input'
        if source not in SOURCES:
            yield f'has "{name}" filled from {source!r}; there are {", ".join(SOURCES)}'
        if name in tool.sensitive:
            yield f'has "{name}" both filled and sensitive'


def _texts(values: Any) -> bool:
    return isinstance(values, set | frozenset | tuple | list) and all(isinstance(value, str) for value in values)


def _wrong(candidate: Any, fault: str) -> ConfigurationError:
    return ConfigurationError(f"CAIRNLOOP_TOOLS: {candidate.__module__}.{candidate.__qualname__} {fault}.")
