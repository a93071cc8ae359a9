"""What each method answers. A method gets who asks, and returns the result as JSON has it."""

from __future__ import annotations

import base64
import re
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from typing import Any, Final

import mcp_types as types
from mcp_types import INVALID_PARAMS, METHOD_NOT_FOUND, MISSING_REQUIRED_CLIENT_CAPABILITY
from mcp_types.methods import serialize_server_result, validate_client_request
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

from flask_cairnloop.actors import Actor, ActorKind
from flask_cairnloop.context import current
from flask_cairnloop.errors import Conflict, Forbidden, IllegalTransition, InvalidFields, InvalidInput, NotFound
from flask_cairnloop.governance import service as governance
from flask_cairnloop.governance.builtin import needed
from flask_cairnloop.governance.models import ActionProposal
from flask_cairnloop.governance.tools import Tool
from flask_cairnloop.governance.types import OVER_STATES, Risk
from flask_cairnloop.hooks import Permission
from flask_cairnloop.knowledge import published
from flask_cairnloop.knowledge.models import Audience
from flask_cairnloop.mcp import projection
from flask_cairnloop.mcp.projection import CONVERSATION, KEY, REASON, STATUS_TOOL, TASK, TASKS
from flask_cairnloop.mcp.wire import Call, Fault
from flask_cairnloop.tokens.service import customer_of
from flask_cairnloop.tokens.types import Token

TOOLS_A_PAGE: Final = 50
ARTICLES_A_PAGE: Final = 100
NO_RESOURCE: Final = -32002  # of the revisions with a handshake
SCHEME: Final = "cairnloop://articles/"
MARKDOWN: Final = "text/markdown"
MAX_ID: Final = 2**63 - 1
_NUMBER: Final = re.compile(r"[1-9]\d{0,18}", re.ASCII)
INSTRUCTIONS: Final = (
    "A customer-support desk. Tools propose actions: most wait for an operator's approval, so a call answers with an "
    f"action's number and state, and {STATUS_TOOL} tells what became of it. Resources are the published articles."
)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request, and the token that makes it."""

    call: Call
    token: Token

    @property
    def actor(self) -> Actor:
        return Actor.token(self.token)

    def has(self, scope: str) -> bool:
        return scope in self.token.scopes


Method = Callable[[Asked], dict[str, Any]]


def answer(call: Call, token: Token) -> dict[str, Any]:
    """The result of a request, in the shape of its revision.

    Raises:
        Fault: there is no such method in it, or its parameters do not fit.
    """
    method = (_STATELESS if call.modern else _HANDSHAKEN).get(call.method)
    if method is None:
        raise Fault(METHOD_NOT_FOUND, "There is no such method.")
    of_tasks = call.method in _TASK_METHODS
    try:
        if not of_tasks:
            validate_client_request(call.method, call.version, dict(call.params))
    except KeyError:
        raise Fault(METHOD_NOT_FOUND, "There is no such method.") from None
    except ValidationError as error:
        raise Fault(INVALID_PARAMS, f"The parameters do not fit: {_places(error)}.") from None
    result = method(Asked(call, token))
    if of_tasks or result.get("resultType") == "task":
        return result
    return serialize_server_result(call.method, call.version, result)


def _places(error: ValidationError) -> str:
    """Where they do not fit; never what was given."""
    found = {".".join(str(part) for part in fault["loc"][:4]) for fault in error.errors(include_input=False)}
    return ", ".join(sorted(found))[:300] or "params"


# --- what the desk is -----------------------------------------------------------------------------


def _discover(asked: Asked) -> dict[str, Any]:  # noqa: ARG001 - a method like the others
    return projection.plain(
        types.DiscoverResult(
            supported_versions=[*MODERN_PROTOCOL_VERSIONS, *reversed(HANDSHAKE_PROTOCOL_VERSIONS)],
            capabilities=_capabilities(extensions={TASKS: {}}),
            instructions=INSTRUCTIONS,
            _meta={types.SERVER_INFO_META_KEY: _server().model_dump(mode="json", by_alias=True, exclude_none=True)},
        )
    )


def _initialize(asked: Asked) -> dict[str, Any]:
    return projection.plain(
        types.InitializeResult(
            protocol_version=asked.call.version,
            capabilities=_capabilities(),
            server_info=_server(),
            instructions=INSTRUCTIONS,
        )
    )


def _ping(asked: Asked) -> dict[str, Any]:  # noqa: ARG001 - a method like the others
    return {}


def _capabilities(extensions: dict[str, dict[str, Any]] | None = None) -> types.ServerCapabilities:
    return types.ServerCapabilities(
        tools=types.ToolsCapability(), resources=types.ResourcesCapability(), extensions=extensions
    )


def _server() -> types.Implementation:
    return types.Implementation(
        name="flask-cairnloop", title=current().settings.product_name, version=version("flask-cairnloop")
    )


# --- tools ----------------------------------------------------------------------------------------


def _visible(asked: Asked) -> dict[str, Tool]:
    """The tools that a token may call, by name. Of the others it is not told that they exist."""
    if not asked.has(Permission.ACTIONS_PROPOSE):
        return {}
    return {
        tool.name: tool
        for tool in sorted(current().hooks.tools.all(), key=lambda tool: tool.name)
        if asked.token.may_use(tool.name)
        and asked.token.scopes.issuperset(tool.scopes)
        and needed(tool) in (None, *asked.token.scopes)
    }


def _list_tools(asked: Asked) -> dict[str, Any]:
    visible = _visible(asked)
    after = _cursor(asked.call.params)
    names = [name for name in visible if after is None or name > after]
    hooks = current().hooks
    four_eyes = Risk(hooks.settings.four_eyes)
    listed = [
        projection.tool_of(
            visible[name], projection.tier_of(visible[name], four_eyes, hooks.loosened.get(name)), asked.token
        )
        for name in names[:TOOLS_A_PAGE]
    ]
    last = len(names) <= TOOLS_A_PAGE
    if last and visible:
        listed.append(projection.status_tool())
    return projection.plain(
        types.ListToolsResult(tools=listed, next_cursor=None if last else _opaque(names[TOOLS_A_PAGE - 1]))
    )


def _call_tool(asked: Asked) -> dict[str, Any]:
    name, arguments = asked.call.params["name"], dict(asked.call.params.get("arguments") or {})
    visible = _visible(asked)
    if name == STATUS_TOOL and visible:
        return projection.plain(_status(asked, arguments))
    if name not in visible:
        raise Fault(INVALID_PARAMS, "There is no such tool.")
    try:
        proposal = _proposed(asked, visible[name], arguments)
    except InvalidFields as error:
        return projection.plain(projection.problem(_faults(error)))
    except InvalidInput as error:
        return projection.plain(projection.problem(f"{error.field}: {error.message}"))
    except (Conflict, Forbidden, NotFound) as error:
        return projection.plain(projection.problem(str(error) or "This cannot be done."))
    if proposal.state not in OVER_STATES and asked.call.declares(TASKS):
        return {**projection.task_of(proposal), "resultType": "task"}
    return projection.plain(projection.result_of(proposal))


def _proposed(asked: Asked, tool: Tool, arguments: dict[str, Any]) -> ActionProposal:
    ours = {name: arguments.pop(name) for name in projection.offered(tool, asked.token) if name in arguments}
    conversation_id = asked.token.conversation_id or _conversation(ours.get(CONVERSATION))
    session, key = current().session(), _text(KEY, ours.get(KEY))
    if key is None and tool.risk is not Risk.READ_ONLY:  # what is looked up may be another thing by now
        key = projection.same_call(tool.name, conversation_id, arguments)
        # What a conversation fills may have changed since: the same call is the same action nevertheless.
        if before := governance.asked_before(session, asked.actor, key):
            return before
    proposal = governance.propose_action(
        session,
        tool.name,
        arguments,
        actor=asked.actor,
        conversation_id=conversation_id,
        reason=_text(REASON, ours.get(REASON)) or "",
        key=key,
    )
    session.commit()
    return proposal


def _conversation(value: Any) -> int | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= MAX_ID:
        raise InvalidInput(CONVERSATION, "This is the number of a conversation.")
    return value


def _text(name: str, value: Any) -> str | None:
    if value is None:
        return None
    if not isinstance(value, str) or not value.encode(errors="ignore").decode() == value:
        raise InvalidInput(name, "This is a text.")
    return value


def _faults(error: InvalidFields) -> str:
    return "\n".join(f"{name}: {words}" for name, words in error.errors.items()) or str(error)


def _status(asked: Asked, arguments: Mapping[str, Any]) -> types.CallToolResult:
    number = arguments.get("action_id")
    if isinstance(number, bool) or not isinstance(number, int) or set(arguments) != {"action_id"}:
        return projection.problem("action_id: Give the number of an action, and nothing else.")
    found = _own(asked, number)
    return projection.result_of(found) if found else projection.problem("You have asked for no such action.")


def _own(asked: Asked, number: int) -> ActionProposal | None:
    """An action that this token asked for. Of those of others it is not told that they exist."""
    if not 1 <= number <= MAX_ID:
        return None
    try:
        found = governance.get(current().session(), number)
    except NotFound:
        return None
    own = found.proposed_by_kind is ActorKind.TOKEN and found.proposed_by == asked.token.actor_id
    return found if own else None


# --- tasks ----------------------------------------------------------------------------------------


def _get_task(asked: Asked) -> dict[str, Any]:
    return {**projection.task_of(_task(asked)), "resultType": "complete"}


def _cancel_task(asked: Asked) -> dict[str, Any]:
    found = _task(asked)
    session = current().session()
    try:
        governance.withdraw_own(session, found.id, actor=asked.actor)
        session.commit()
    except IllegalTransition:
        session.rollback()  # it runs, or is over: a cancellation asks, and is not obeyed then
    return {"resultType": "complete"}


def _update_task(asked: Asked) -> dict[str, Any]:
    _task(asked)  # none ever asks its client for something
    return {"resultType": "complete"}


def _task(asked: Asked) -> ActionProposal:
    if not asked.call.declares(TASKS):
        required: dict[str, Any] = {"requiredCapabilities": {"extensions": {TASKS: {}}}}
        raise Fault(MISSING_REQUIRED_CLIENT_CAPABILITY, "The client has to declare the tasks extension.", required)
    name = asked.call.params.get("taskId")
    number = name.removeprefix(TASK) if isinstance(name, str) and name.startswith(TASK) else ""
    found = _own(asked, int(number)) if _NUMBER.fullmatch(number) else None
    if found is None or not asked.has(Permission.ACTIONS_PROPOSE):
        raise Fault(INVALID_PARAMS, "There is no such task.")
    return found


# --- resources ------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Shelf:
    """Which articles a token may read."""

    audience: Audience | None
    tags: Collection[str] | None


def _shelf(asked: Asked) -> _Shelf | None:
    """What a token may read; ``None``: nothing. One that acts for a customer reads what they may."""
    if not asked.has(Permission.KNOWLEDGE_READ):
        return None
    if not asked.token.bound:
        return _Shelf(None, None)
    cairnloop = current()
    customer = customer_of(cairnloop.session(), asked.token)
    cairnloop.session().rollback()  # host code is asked next
    return None if customer is None else _Shelf(Audience.PUBLIC, cairnloop.hooks.article_scope(customer))


def _list_resources(asked: Asked) -> dict[str, Any]:
    after, shelf = _cursor(asked.call.params), _shelf(asked)
    if after is not None and not (_NUMBER.fullmatch(after) and int(after) <= MAX_ID):
        raise Fault(INVALID_PARAMS, "This cursor is not from here.")
    session = current().session()
    rows = (
        published.page(
            session, audience=shelf.audience, tags=shelf.tags, after=int(after or 0), limit=ARTICLES_A_PAGE + 1
        )
        if shelf
        else []
    )
    listed = [
        types.Resource(
            uri=f"{SCHEME}{row.slug}",
            name=row.slug,
            title=row.title,
            mime_type=MARKDOWN,
            size=row.size,
            annotations=types.Annotations(last_modified=row.published_at.isoformat()),
        )
        for row in rows[:ARTICLES_A_PAGE]
    ]
    more = _opaque(str(rows[ARTICLES_A_PAGE - 1].id)) if len(rows) > ARTICLES_A_PAGE else None
    return projection.plain(types.ListResourcesResult(resources=listed, next_cursor=more))


def _list_templates(asked: Asked) -> dict[str, Any]:
    template = types.ResourceTemplate(
        uri_template=f"{SCHEME}{{slug}}",
        name="article",
        title="Article",
        description="A published article of the desk, as Markdown.",
        mime_type=MARKDOWN,
    )
    shown = [template] if asked.has(Permission.KNOWLEDGE_READ) else []
    return projection.plain(types.ListResourceTemplatesResult(resource_templates=shown))


def _read_resource(asked: Asked) -> dict[str, Any]:
    uri, shelf = asked.call.params["uri"], _shelf(asked)
    slug = uri.removeprefix(SCHEME) if uri.startswith(SCHEME) else ""
    found = (
        published.body(current().session(), slug, audience=shelf.audience, tags=shelf.tags) if shelf and slug else None
    )
    if found is None:
        raise Fault(INVALID_PARAMS if asked.call.modern else NO_RESOURCE, "There is no such article.", {"uri": uri})
    content = types.TextResourceContents(uri=uri, mime_type=MARKDOWN, text=found)
    return projection.plain(types.ReadResourceResult(contents=[content]))


# --- cursors --------------------------------------------------------------------------------------


def _opaque(place: str) -> str:
    return base64.urlsafe_b64encode(place.encode()).decode()


def _cursor(params: Mapping[str, Any]) -> str | None:
    value = params.get("cursor")
    if value is None:
        return None
    try:
        return base64.b64decode(value.encode("ascii"), altchars=b"-_", validate=True).decode()
    except ValueError:
        raise Fault(INVALID_PARAMS, "This cursor is not from here.") from None


_SHARED: Final[dict[str, Method]] = {
    "tools/list": _list_tools,
    "tools/call": _call_tool,
    "resources/list": _list_resources,
    "resources/templates/list": _list_templates,
    "resources/read": _read_resource,
}
_TASK_METHODS: Final[dict[str, Method]] = {
    "tasks/get": _get_task,
    "tasks/cancel": _cancel_task,
    "tasks/update": _update_task,
}
_STATELESS: Final[dict[str, Method]] = {"server/discover": _discover, **_SHARED, **_TASK_METHODS}
_HANDSHAKEN: Final[dict[str, Method]] = {"initialize": _initialize, "ping": _ping, **_SHARED}
METHODS: Final = frozenset({*_STATELESS, *_HANDSHAKEN})
