"""What a tool is given: checked, filled from the conversation, and kept without what is sensitive in sight. Pure."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

from pydantic import BaseModel, ValidationError

from flask_cairnloop.errors import InvalidFields
from flask_cairnloop.governance.tools import Tool

if TYPE_CHECKING:
    from flask_cairnloop.hooks import ConversationInfo, Customer

HIDDEN: Final = "[hidden]"
SIZE: Final = 16_000  # characters of all inputs together, as JSON
ALL: Final = "inputs"  # the name of the field, where it is not one field that is wrong
SHORTEST_SECRET: Final = 3  # characters from which a sensitive value is taken out of other words


def checked(
    tool: Tool, values: Mapping[str, Any], conversation: ConversationInfo | None, customer: Customer | None
) -> BaseModel:
    """Inputs as the tool's model takes them.

    Args:
        values: what somebody typed or a model wrote. A field that the conversation fills may be left out; it is never
            taken from here.

    Raises:
        InvalidFields: they do not fit; says why of each field, and never what was given.
    """
    errors = {str(name): "This action has no such field." for name in values if name not in tool.Input.model_fields}
    given = dict(values)
    for name, source in tool.filled.items():
        filling = filled(source, conversation, customer)
        if filling is None:
            errors[name] = "This comes from the conversation, which has none."
        elif name in given and str(given[name]) != str(filling):
            errors[name] = "This comes from the conversation and cannot be chosen."
        given[name] = filling
    if errors:
        raise InvalidFields(errors)
    return _validated(tool, given)


def filled(source: str, conversation: ConversationInfo | None, customer: Customer | None) -> Any:
    """What a conversation fills a field with; ``None`` where there is nothing."""
    whose, _, what = source.partition(".")
    subject: Any = conversation if whose == "conversation" else customer
    return getattr(subject, what, None)


def restored(tool: Tool, shown: Mapping[str, Any], sealed: Mapping[str, Any]) -> BaseModel:
    """The inputs of a proposal, checked by the rules of today.

    Raises:
        InvalidFields: they do not fit any more.
    """
    return _validated(tool, {**shown, **sealed})


def _validated(tool: Tool, values: Mapping[str, Any]) -> BaseModel:
    try:
        model = tool.Input.model_validate(values)
        plain = json.dumps(model.model_dump(mode="json"), allow_nan=False)  # no row can hold Infinity
    except ValidationError as error:
        raise InvalidFields(_told(error)) from None  # its own words hold what was given
    except (TypeError, ValueError) as error:
        raise InvalidFields({ALL: "These values cannot be kept."}) from error
    if len(plain) > SIZE:
        raise InvalidFields({ALL: f"All values together have at most {SIZE:,} characters."})
    if "\\u0000" in plain or not _whole(model.model_dump(mode="json")):
        raise InvalidFields({ALL: "A value holds a character that cannot be kept."})
    return model


def _told(error: ValidationError) -> dict[str, str]:
    told: dict[str, str] = {}
    for fault in error.errors(include_url=False, include_context=False, include_input=False):
        name = str(fault["loc"][0]) if fault["loc"] else ALL
        told.setdefault(name, fault["msg"].removeprefix("Value error, ").rstrip(".") + ".")
    return told


def _whole(value: Any) -> bool:
    """Whether all of it can be written down: half of a surrogate pair cannot."""
    return json.dumps(value, ensure_ascii=False).encode(errors="replace").decode() == json.dumps(
        value, ensure_ascii=False
    )


def snapshot(tool: Tool, model: BaseModel) -> tuple[dict[str, Any], dict[str, Any]]:
    """The values that may be shown, and the sensitive ones, which have a stand-in among the first."""
    values = model.model_dump(mode="json")
    sealed = {name: values[name] for name in values if name in tool.sensitive and values[name] is not None}
    return {name: HIDDEN if name in sealed else value for name, value in values.items()}, sealed


def labels(tool: Tool) -> dict[str, str]:
    """What people call the fields."""
    return {name: field.title or name.replace("_", " ").capitalize() for name, field in tool.Input.model_fields.items()}


def differences(
    shown: Mapping[str, Any], sealed: Mapping[str, Any], new_shown: Mapping[str, Any], new_sealed: Mapping[str, Any]
) -> list[dict[str, Any]]:
    """What an approver changed, by field; of a sensitive one only that it changed."""
    old, new = {**shown, **sealed}, {**new_shown, **new_sealed}
    found = []
    for name in {**shown, **new_shown}:
        if old.get(name) != new.get(name):
            found.append({"field": name, "before": shown.get(name), "after": new_shown.get(name)})
    return found


def digest(
    secret: str, tool: str, conversation_id: int | None, values: Mapping[str, Any], client_key: str | None
) -> str:
    """What two proposals of the same share.

    Keyed, as values may be sensitive and short enough to be guessed.

    Args:
        values: all, the sensitive ones too.
        client_key: the caller's own; two different ones are two actions, however much alike.
    """
    plain = json.dumps([tool, conversation_id, values, client_key], sort_keys=True, separators=(",", ":"))
    return hmac.new(secret.encode(), plain.encode(), hashlib.sha256).hexdigest()


def scrubbed(text: str, sealed: Mapping[str, Any]) -> str:
    """Words without the sensitive values that a tool may have put into them."""
    secrets = [str(value) for value in sealed.values() if len(str(value)) >= SHORTEST_SECRET]
    for value in sorted(secrets, key=len, reverse=True):
        text = text.replace(value, HIDDEN)
    return text
