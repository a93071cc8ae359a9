"""Tools and actions as the protocol has them. Pure."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

import mcp_types as types

from flask_cairnloop.governance import tiers
from flask_cairnloop.governance.models import ActionProposal
from flask_cairnloop.governance.tools import RESERVED, Tool
from flask_cairnloop.governance.types import OVER_STATES, ProposalState, Risk, Tier, ToolKind
from flask_cairnloop.tokens.types import Token

STATUS_TOOL: Final = RESERVED
TASKS: Final = "io.modelcontextprotocol/tasks"
TASK: Final = "action-"
POLL: Final = 5_000  # milliseconds
S = ProposalState
CONVERSATION: Final = "conversation_id"
REASON: Final = "reason"
KEY: Final = "idempotency_key"
_OURS: Final[dict[str, dict[str, Any]]] = {
    CONVERSATION: {
        "type": "integer",
        "minimum": 1,
        "maximum": 2**63 - 1,
        "description": "The conversation of the support desk that this belongs to.",
    },
    REASON: {"type": "string", "maxLength": 500, "description": "Why, in a sentence for whoever decides on it."},
    KEY: {
        "type": "string",
        "minLength": 1,
        "maxLength": 200,
        "description": "Your own name for this request. The same call again is the same action, whatever became of it; "
        "to ask for the same thing anew, give another key.",
    },
}
_APPROVAL: Final = {
    Tier.AUTO: "Runs without anybody's approval.",
    Tier.ONE: "Runs after an operator has approved it.",
    Tier.OTHER: "Runs after an operator has approved it.",
    Tier.TWO: "Runs after two operators have approved it.",
}
_WORDS: Final = {
    S.PENDING: "waits for an operator's approval",
    S.DEFERRED: "was put off by an operator and comes back by itself",
    S.APPROVED: "is approved and about to run",
    S.RUNNING: "is running",
    S.UNCERTAIN: "was cut off; an operator looks whether it happened",
    S.SUCCEEDED: "is done",
    S.FAILED: "failed",
    S.REFUSED: "was refused",
    S.REJECTED: "was rejected by an operator",
    S.EXPIRED: "expired: nobody decided in time",
    S.INVALIDATED: "was not allowed any more when it was to run",
    S.WITHDRAWN: "was taken back",
}
OUTPUT: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "action_id": {"type": "integer"},
        "tool": {"type": "string"},
        "state": {"type": "string", "enum": [state.value for state in ProposalState]},
        "over": {"type": "boolean", "description": "Whether nothing changes about it any more."},
        "consequence": {"type": "string"},
        "outcome": {"type": ["string", "null"]},
        "result": {"type": "object"},
        "failure": {"type": ["string", "null"]},
    },
    "required": ["action_id", "tool", "state", "over"],
}


def tool_of(tool: Tool, tier: Tier, token: Token) -> types.Tool:
    """A governed tool as a client sees it: what it needs, and who has to agree before it runs."""
    return types.Tool(
        name=tool.name,
        title=tool.title,
        description=f"{tool.description} {_APPROVAL[tier]} Answers at once with the action's number and state.",
        input_schema=schema_of(tool, token),
        output_schema=OUTPUT,
        annotations=types.ToolAnnotations(
            title=tool.title,
            read_only_hint=tool.risk is Risk.READ_ONLY,
            destructive_hint=tool.risk is Risk.DESTRUCTIVE,
            idempotent_hint=True,
            open_world_hint=tool.kind is ToolKind.EXTERNAL,
        ),
        _meta={"cairnloop/risk": tool.risk.value, "cairnloop/approval": tier.value},
    )


def schema_of(tool: Tool, token: Token) -> dict[str, Any]:
    """What a call needs: the tool's own fields without those that the conversation fills, and ours."""
    schema = tool.Input.model_json_schema()
    own = schema.get("properties", {})
    fields = {name: dict(field) for name, field in own.items() if name not in tool.filled}
    for name in tool.sensitive:
        if name in fields:
            fields[name]["writeOnly"] = True
    required = [name for name in schema.get("required", []) if name in fields]
    ours = offered(tool, token)
    if CONVERSATION in ours and (tool.filled or token.bound):
        required.append(CONVERSATION)
    kept = {name: value for name, value in schema.items() if name not in ("properties", "required", "title")}
    return {
        **kept,
        "type": "object",
        "properties": {**fields, **{name: _OURS[name] for name in ours}},
        "required": required,
        "additionalProperties": False,
    }


def offered(tool: Tool, token: Token) -> list[str]:
    """Which of our own arguments a call may carry. A field of the tool's own with the same name goes before ours."""
    names = [name for name in _OURS if name not in tool.Input.model_fields or name in tool.filled]
    if token.conversation_id is not None:  # there is no other
        names = [name for name in names if name != CONVERSATION]
    return names


def status_tool() -> types.Tool:
    """The tool that asks what became of an action. It reads, and needs nobody's approval."""
    return types.Tool(
        name=STATUS_TOOL,
        title="Ask about an action",
        description="Tells the state of an action that you asked for, and its outcome once it is over.",
        input_schema={
            "type": "object",
            "properties": {"action_id": {"type": "integer", "minimum": 1, "maximum": 2**63 - 1}},
            "required": ["action_id"],
            "additionalProperties": False,
        },
        output_schema=OUTPUT,
        annotations=types.ToolAnnotations(
            title="Ask about an action", read_only_hint=True, idempotent_hint=True, open_world_hint=False
        ),
    )


def tier_of(tool: Tool, four_eyes: Risk, loosened: Tier | None) -> Tier:
    """Who has to agree, before the host's policy was asked about one call."""
    return tiers.tier_of(tool.risk, four_eyes=four_eyes, loosened=loosened, policy=None)


def same_call(tool: str, conversation_id: int | None, values: Mapping[str, Any]) -> str:
    """What two calls share that ask for the same and give no key of their own."""
    plain = json.dumps([tool, conversation_id, values], sort_keys=True, separators=(",", ":"))
    return f"call:{hashlib.sha256(plain.encode()).hexdigest()}"


def result_of(proposal: ActionProposal) -> types.CallToolResult:
    """An action as the result of a call: what it is now, and everything that came of it."""
    over = proposal.state in OVER_STATES
    words = f"Action {proposal.id} ({proposal.title}) {_WORDS[proposal.state]}."
    if proposal.outcome:
        words += f" {proposal.outcome}"
    if over and proposal.failure:
        words += f" {proposal.failure}"
    if not over:
        words += f" Ask for its outcome with {STATUS_TOOL} and action_id {proposal.id}."
    elif proposal.result:
        words += f"\n{json.dumps(proposal.result, ensure_ascii=False)}"
    return types.CallToolResult(
        content=[types.TextContent(text=words)],
        structured_content={
            "action_id": proposal.id,
            "tool": proposal.tool,
            "state": proposal.state.value,
            "over": over,
            "consequence": proposal.consequence,
            "outcome": proposal.outcome,
            "result": proposal.result,
            "failure": proposal.failure if over else None,
        },
        is_error=over and proposal.state is not S.SUCCEEDED,
    )


def problem(words: str) -> types.CallToolResult:
    """What a model can mend itself: told as a result, not as an error of the protocol."""
    return types.CallToolResult(content=[types.TextContent(text=words)], is_error=True)


def task_of(proposal: ActionProposal) -> dict[str, Any]:
    """An action as a task, in the stable revision of that extension."""
    over = proposal.state in OVER_STATES
    status = "working" if not over else "cancelled" if proposal.state is S.WITHDRAWN else "completed"
    task: dict[str, Any] = {
        "taskId": f"{TASK}{proposal.id}",
        "status": status,
        "statusMessage": f"Action {proposal.id} {_WORDS[proposal.state]}.",
        "createdAt": _instant(proposal.created_at),
        "lastUpdatedAt": _instant(
            proposal.finished_at or proposal.running_since or proposal.decided_at or proposal.created_at
        ),
        "ttlMs": None,
        "pollIntervalMs": POLL,
    }
    if status == "completed":
        task["result"] = plain(result_of(proposal))
    return task


def plain(model: types.Result) -> dict[str, Any]:
    """A result as JSON has it."""
    return model.model_dump(mode="json", by_alias=True, exclude_none=True)


def _instant(moment: datetime) -> str:
    return moment.isoformat().replace("+00:00", "Z")
