"""A form made from a tool's inputs: one field a value, of the simple types; and what was typed into it, read again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from werkzeug.datastructures import MultiDict

from flask_cairnloop.governance.inputs import HIDDEN
from flask_cairnloop.governance.tools import Tool

PREFIX: Final = "input."
LONG: Final = 300  # characters from which a text gets more than one line


@dataclass(frozen=True, slots=True)
class Field:
    """One field.

    Args:
        kind: ``text``, ``lines``, ``number``, ``date``, ``datetime-local``, ``check``, ``choice`` or ``secret``.
        options: of a choice.
    """

    name: str
    label: str
    kind: str
    required: bool
    value: str
    help: str = ""
    error: str = ""
    options: tuple[str, ...] = ()
    low: str = ""
    high: str = ""
    longest: int | None = None

    @property
    def key(self) -> str:
        return PREFIX + self.name


def fields(tool: Tool, values: Mapping[str, Any], errors: Mapping[str, str] | None = None) -> list[Field]:
    """The fields that a person fills in, with what they held and what was wrong with it."""
    schema = tool.Input.model_json_schema()
    known = schema.get("$defs", {})
    required = set(schema.get("required", ()))
    made = []
    for name, plain in schema.get("properties", {}).items():
        if name in tool.filled:
            continue
        about = _resolved(plain, known)
        value = values.get(name, plain.get("default"))
        secret = name in tool.sensitive
        made.append(
            Field(
                name,
                str(plain.get("title") or name.replace("_", " ").capitalize()),
                "secret" if secret else _kind(about),
                name in required,
                "" if value is None or value == HIDDEN else _shown(value),
                str(plain.get("description") or ""),
                (errors or {}).get(name, ""),
                tuple(str(one) for one in about.get("enum", ())),
                _edge(about, "minimum", "exclusiveMinimum"),
                _edge(about, "maximum", "exclusiveMaximum"),
                about.get("maxLength"),
            )
        )
    return made


def typed(tool: Tool, form: MultiDict[str, str]) -> dict[str, Any]:
    """What was typed: fields that were left empty are left out, so that the tool's own defaults hold."""
    found: dict[str, Any] = {}
    for field in fields(tool, {}):
        if field.kind == "check":
            found[field.name] = field.key in form
        elif (value := form.get(field.key, "").replace("\r\n", "\n").strip()) != "":
            found[field.name] = value
    return found


def _resolved(plain: Mapping[str, Any], known: Mapping[str, Any]) -> dict[str, Any]:
    """A property without references and without ``null`` as one of its kinds; the simplest of several kinds."""
    if "$ref" in plain:
        return _resolved(known.get(str(plain["$ref"]).rsplit("/", 1)[-1], {}), known)
    kinds = [one for one in plain.get("anyOf", plain.get("allOf", ())) if one.get("type") != "null"]
    if kinds:
        simple = {"number": 0, "integer": 0, "boolean": 1}
        return _resolved(min(kinds, key=lambda one: simple.get(str(one.get("type")), 2)), known)
    return dict(plain)


def _kind(about: Mapping[str, Any]) -> str:
    if "enum" in about:
        return "choice"
    if about.get("type") == "boolean":
        return "check"
    if about.get("type") in ("number", "integer"):
        return "number" if about["type"] == "integer" else "decimal"
    if about.get("format") == "date":
        return "date"
    return "lines" if int(about.get("maxLength") or 0) > LONG else "text"


def _edge(about: Mapping[str, Any], *names: str) -> str:
    return next((str(about[name]) for name in names if about.get(name) is not None), "")


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "yes" if value else ""
    return str(value)
