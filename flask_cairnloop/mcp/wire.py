"""JSON-RPC as it comes over HTTP: what a body is, in which revision, and whether its headers agree. Pure.

The order of the checks is the one of the official SDK, so that clients are told the same fault.
https://modelcontextprotocol.io/specification/2026-07-28/basic/transports
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from mcp_types import (
    CLIENT_CAPABILITIES_META_KEY,
    HEADER_MISMATCH,
    INVALID_PARAMS,
    INVALID_REQUEST,
    METHOD_NOT_FOUND,
    MISSING_REQUIRED_CLIENT_CAPABILITY,
    PARSE_ERROR,
    PROTOCOL_VERSION_META_KEY,
    UNSUPPORTED_PROTOCOL_VERSION,
    JSONRPCNotification,
    JSONRPCRequest,
)
from mcp_types.version import HANDSHAKE_PROTOCOL_VERSIONS, LATEST_HANDSHAKE_VERSION, MODERN_PROTOCOL_VERSIONS
from pydantic import ValidationError

VERSION_HEADER: Final = "MCP-Protocol-Version"
METHOD_HEADER: Final = "Mcp-Method"
NAME_HEADER: Final = "Mcp-Name"
# The revision of a client that names none, as later ones have it; and the only one with batches.
UNSAID: Final = "2025-03-26"
MOST_IN_A_BATCH: Final = 20
# Which parameter intermediaries read in a header.
NAMED_BY: Final = {
    "tools/call": "name",
    "prompts/get": "name",
    "resources/read": "uri",
    "tasks/get": "taskId",
    "tasks/cancel": "taskId",
    "tasks/update": "taskId",
}
# The status of an answer that is an error; of all others, 200.
STATUS: Final = {
    PARSE_ERROR: 400,
    INVALID_REQUEST: 400,
    INVALID_PARAMS: 400,
    HEADER_MISMATCH: 400,
    MISSING_REQUIRED_CLIENT_CAPABILITY: 400,
    UNSUPPORTED_PROTOCOL_VERSION: 400,
    METHOD_NOT_FOUND: 404,
}
_WRAPPED: Final = re.compile(r"=\?base64\?(.*)\?=")
_BODY: Final = "The body must be a single JSON-RPC request or notification."


class Fault(Exception):
    """What a caller did wrong, as JSON-RPC says it.

    Args:
        code, message, data: of the error.
        id: of the request, as far as it could be read.
    """

    def __init__(self, code: int, message: str, data: Any = None, id: str | int | None = None) -> None:
        super().__init__(message)
        self.code, self.message, self.data, self.id = code, message, data, id

    def body(self) -> dict[str, Any]:
        error = {"code": self.code, "message": self.message} | ({"data": self.data} if self.data is not None else {})
        return {"jsonrpc": "2.0", "id": self.id, "error": error}


@dataclass(frozen=True, slots=True)
class Call:
    """One request.

    Args:
        version: the revision that it is made in.
        modern: whether that revision is stateless, with statuses that tell of errors.
        capabilities: what its client says it can do, where it says so with each request.
    """

    id: str | int
    method: str
    params: Mapping[str, Any]
    version: str
    modern: bool
    capabilities: Mapping[str, Any]

    def declares(self, extension: str) -> bool:
        """Whether the client knows an extension."""
        extensions = self.capabilities.get("extensions")
        return isinstance(extensions, Mapping) and extension in extensions


@dataclass(frozen=True, slots=True)
class Body:
    """What came in one request.

    Args:
        parts: requests, or what is wrong with one, in their order. Notifications are dropped: there is nothing for one
            to act on, as nothing is kept between requests.
        batch: whether the answer is a list.
    """

    parts: tuple[Call | Fault, ...]
    batch: bool = False


def read(raw: bytes, headers: Mapping[str, str]) -> Body:
    """What a body asks for.

    Args:
        headers: those of the three routing headers that came, by their names as they are called here.

    Raises:
        Fault: nothing of it can be answered.
    """
    try:
        decoded = json.loads(raw, parse_constant=_no_number)
    except (ValueError, RecursionError):  # also a number too long to be read, and text that is no UTF-8
        raise Fault(PARSE_ERROR, "This is not JSON.") from None
    if isinstance(decoded, list):
        return _batch(decoded, headers)
    part = _part(decoded, headers)
    return Body(() if part is None else (part,))


def _batch(decoded: list[Any], headers: Mapping[str, str]) -> Body:
    if headers.get(VERSION_HEADER, UNSAID) != UNSAID or not 1 <= len(decoded) <= MOST_IN_A_BATCH:
        raise Fault(INVALID_REQUEST, _BODY)
    parts: list[Call | Fault] = []
    for one in decoded:
        part: Call | Fault | None
        try:
            part = _part(one, headers)
        except Fault as fault:
            part = fault
        if isinstance(part, Call) and (part.modern or part.method == "initialize"):
            part = Fault(INVALID_REQUEST, _BODY, id=part.id)
        if part is not None:
            parts.append(part)
    return Body(tuple(parts), batch=True)


def _part(decoded: Any, headers: Mapping[str, str]) -> Call | None:
    if isinstance(decoded, dict) and "id" not in decoded:
        _notification(decoded, headers)
        return None
    try:
        request = JSONRPCRequest.model_validate(decoded)
    except ValidationError:
        raise Fault(INVALID_REQUEST, _BODY) from None
    try:
        return _call(request, headers)
    except Fault as fault:
        fault.id = request.id
        raise


def _notification(decoded: dict[str, Any], headers: Mapping[str, str]) -> None:
    try:
        JSONRPCNotification.model_validate(decoded)
    except ValidationError:
        raise Fault(INVALID_REQUEST, _BODY) from None
    said = headers.get(VERSION_HEADER, UNSAID)
    if said not in (*HANDSHAKE_PROTOCOL_VERSIONS, *MODERN_PROTOCOL_VERSIONS):
        raise _unsupported(said)


def _call(request: JSONRPCRequest, headers: Mapping[str, str]) -> Call:
    params = request.params or {}
    said = headers.get(VERSION_HEADER, UNSAID)
    meta = params.get("_meta")
    modern = isinstance(meta, Mapping) and PROTOCOL_VERSION_META_KEY in meta
    if not modern and said in HANDSHAKE_PROTOCOL_VERSIONS:
        return Call(request.id, request.method, params, _handshake(request.method, params, said), False, {})
    return _stateless(request, params, meta, headers)


def _handshake(method: str, params: Mapping[str, Any], said: str) -> str:
    """The revision of a client that shakes hands. A handshake itself says what it would like in its parameters."""
    if method == "initialize":
        wanted = params.get("protocolVersion")
        return wanted if wanted in HANDSHAKE_PROTOCOL_VERSIONS else LATEST_HANDSHAKE_VERSION
    return said


def _stateless(request: JSONRPCRequest, params: Mapping[str, Any], meta: Any, headers: Mapping[str, str]) -> Call:
    if not isinstance(meta, Mapping):
        raise Fault(INVALID_PARAMS, "params._meta must be an object with the protocol version and what the client can.")
    for key in (PROTOCOL_VERSION_META_KEY, CLIENT_CAPABILITIES_META_KEY):
        if key not in meta:
            raise Fault(INVALID_PARAMS, f"params._meta lacks {key}.")
    version, capabilities = meta[PROTOCOL_VERSION_META_KEY], meta[CLIENT_CAPABILITIES_META_KEY]
    if headers.get(VERSION_HEADER) is None or headers[VERSION_HEADER] != version:
        raise Fault(HEADER_MISMATCH, f"The header {VERSION_HEADER} does not match the body.")
    if headers.get(METHOD_HEADER) != request.method:
        raise Fault(HEADER_MISMATCH, f"The header {METHOD_HEADER} does not match the body.")
    name = params.get(NAMED_BY.get(request.method, ""))
    if name is not None and _decoded(headers.get(NAME_HEADER)) != name:
        raise Fault(HEADER_MISMATCH, f"The header {NAME_HEADER} does not match the body.")
    if version not in MODERN_PROTOCOL_VERSIONS:
        raise _unsupported(version)
    if not isinstance(capabilities, Mapping):
        raise Fault(INVALID_PARAMS, f"{CLIENT_CAPABILITIES_META_KEY} must be an object.")
    return Call(request.id, request.method, params, version, True, capabilities)


def _decoded(value: str | None) -> str | None:
    """A header's value, in plain or in the wrapping for what a header cannot hold; ``None`` where it is neither."""
    wrapped = _WRAPPED.fullmatch(value or "")
    if wrapped is None:
        return value
    try:
        decoded = base64.b64decode(wrapped[1], validate=True)
        return decoded.decode() if base64.b64encode(decoded).decode() == wrapped[1] else None  # written one way only
    except ValueError:
        return None


def _no_number(name: str) -> None:
    raise ValueError(f"{name} is no JSON.")


def _unsupported(requested: str) -> Fault:
    known = [*MODERN_PROTOCOL_VERSIONS, *HANDSHAKE_PROTOCOL_VERSIONS]
    return Fault(
        UNSUPPORTED_PROTOCOL_VERSION,
        "This protocol version is not known.",
        {"supported": known, "requested": requested},
    )
