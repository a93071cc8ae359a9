"""The endpoint over HTTP: who asks, how often, in which form; and what tells clients how to get in."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Mapping
from typing import Any, Final

from flask import Request, Response, jsonify, request
from mcp_types import INTERNAL_ERROR, INVALID_PARAMS

from flask_cairnloop.context import current
from flask_cairnloop.database.failures import AWAY
from flask_cairnloop.mcp import METADATA, wire
from flask_cairnloop.mcp.methods import METHODS, answer
from flask_cairnloop.mcp.wire import STATUS, Call, Fault
from flask_cairnloop.telemetry import MCP, span
from flask_cairnloop.tokens import service as tokens
from flask_cairnloop.tokens.types import Token

log = logging.getLogger(__name__)
MOST_BYTES: Final = 1_000_000
JSON: Final = "application/json"
TOO_OFTEN: Final = -32010  # of the codes that are an implementation's own
_HEADERS: Final = (wire.VERSION_HEADER, wire.METHOD_HEADER, wire.NAME_HEADER)


def endpoint() -> Response:
    """``POST /mcp``. The order of what is checked tells nobody anything before they have shown a token."""
    refused = _elsewhere()
    if refused is not None:
        return refused
    return _for_browsers(_preflight() if request.method == "OPTIONS" else _asked())


def _asked() -> Response:
    try:
        token = _token()
    except AWAY:
        return _away()
    if token is None:
        return _unauthorized()
    if request.method != "POST":
        return _plain(405, "Requests are made with POST.", Allow="POST")
    if not _accepts(request):
        return _plain(406, f"Answers are {JSON}.")
    if request.mimetype != JSON:
        return _plain(415, f"The body must be {JSON}.")
    wait = current().rate_limits.take_at(token.rate, "tokens", token.actor_id)
    if wait:
        return _too_often(wait)
    if (request.content_length or 0) > MOST_BYTES:
        return _plain(413, f"A body has at most {MOST_BYTES:,} bytes.")
    request.max_content_length = MOST_BYTES
    return _answered(request.get_data(cache=False), token)


def metadata() -> Response:
    """What the endpoint is, for clients that were refused (RFC 9728)."""
    answer = jsonify(
        resource=_resource(),
        resource_name=f"{current().settings.product_name} desk",
        bearer_methods_supported=["header"],
        scopes_supported=sorted(tokens.SCOPES),  # what tools ask for beside them is for who has a token
    )
    answer.headers["Access-Control-Allow-Origin"] = "*"  # anybody may know
    return answer


# --- who asks -------------------------------------------------------------------------------------


def _elsewhere() -> Response | None:
    """Refuse what a page of somebody else's makes a browser send, and names that are not ours."""
    settings = current().settings
    if settings.mcp_hosts and request.host not in settings.mcp_hosts:
        return _plain(421, "This is not the host you look for.")
    origin = request.headers.get("Origin")
    if origin is None or origin in settings.trusted_origins or origin == f"{request.scheme}://{request.host}":
        return None
    return _plain(403, "This origin may not ask here.")


def _preflight() -> Response:
    """What a browser asks before it lets a page of a trusted origin ask."""
    allowed = {
        "Allow-Methods": "POST",
        "Allow-Headers": ", ".join(("Authorization", "Content-Type", "Accept", *_HEADERS)),
        "Max-Age": "600",
    }
    answer = Response(status=204)
    answer.headers.update({f"Access-Control-{name}": value for name, value in allowed.items()})
    return _with_headers(answer)


def _for_browsers(response: Response) -> Response:
    """Let a page of a trusted origin read the answer. No cookie counts here, so none is asked for."""
    origin = request.headers.get("Origin")
    response.vary.add("Origin")
    if origin in current().settings.trusted_origins:
        response.headers["Access-Control-Allow-Origin"] = origin
        response.headers["Access-Control-Expose-Headers"] = "WWW-Authenticate, Retry-After"
    return response


def _token() -> Token | None:
    scheme, _, raw = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer":
        return None
    session = current().session()
    token = tokens.authenticate(session, raw.strip())
    session.commit()
    return token


def _unauthorized() -> Response:
    where = f"{request.url_root.rstrip('/')}{METADATA}{current().settings.url_prefix}/mcp"
    wrong = ', error="invalid_token"' if request.headers.get("Authorization") else ""
    refused = _plain(401, "A token of the desk is needed.")
    refused.headers["WWW-Authenticate"] = f'Bearer resource_metadata="{where}"{wrong}'
    return refused


def _resource() -> str:
    return f"{request.url_root.rstrip('/')}{current().settings.url_prefix}/mcp"


def _accepts(asked: Request) -> bool:
    return not asked.headers.get("Accept") or asked.accept_mimetypes[JSON] > 0


# --- what is answered -----------------------------------------------------------------------------


def _answered(raw: bytes, token: Token) -> Response:
    headers = {name: request.headers[name] for name in _HEADERS if name in request.headers}
    try:
        body = wire.read(raw, headers)
    except Fault as fault:
        return _said(fault.body(), STATUS.get(fault.code, 200))
    if not body.parts:
        return _with_headers(Response(status=202))
    answers: list[dict[str, Any]] = []
    status = 200
    for number, part in enumerate(body.parts):
        if number and (wait := current().rate_limits.take_at(token.rate, "tokens", token.actor_id)):
            return _too_often(wait)
        try:
            if isinstance(part, Fault):
                raise part
            answers.append({"jsonrpc": "2.0", "id": part.id, "result": _called(part, token)})
        except Fault as fault:
            answered = isinstance(part, Call) and not part.modern  # by a method; those revisions say so in the body
            status = 200 if answered else STATUS.get(fault.code, 200)
            answers.append(fault.body())
        except AWAY:
            return _away(part.id)
    return _said(answers, 200) if body.batch else _said(answers[0], status)


def _called(call: Call, token: Token) -> dict[str, Any]:
    session = current().session()
    with span(MCP) as note:
        note("mcp.method", call.method if call.method in METHODS else "other")
        note("mcp.version", call.version)
        try:
            result = answer(call, token)
        except Fault as fault:
            session.rollback()
            note("mcp.outcome", fault.code)
            fault.id = call.id
            raise
        except RecursionError:
            session.rollback()
            raise Fault(INVALID_PARAMS, "The parameters are nested too deeply.", id=call.id) from None
        except AWAY:
            session.rollback()
            raise
        except Exception as error:
            session.rollback()
            # Its own words may hold what was given: only where it happened is kept.
            where = traceback.extract_tb(error.__traceback__)[-1]
            log.error(
                "An MCP request could not be answered: %s at %s:%s", type(error).__name__, where.name, where.lineno
            )
            raise Fault(INTERNAL_ERROR, "Something went wrong on our side.", id=call.id) from None
        session.rollback()  # what is to be kept is committed; the next of a batch may ask the host's code
        note("mcp.outcome", 0)
        return result


def _too_often(wait: int) -> Response:
    return _said(Fault(TOO_OFTEN, "That was too often.").body(), 429, {"Retry-After": str(wait)})


def _away(call_id: str | int | None = None) -> Response:
    fault = Fault(INTERNAL_ERROR, "The database is away. Try again in a moment.", id=call_id)
    return _said(fault.body(), 503, {"Retry-After": "5"})


def _said(
    body: dict[str, Any] | list[dict[str, Any]], status: int, headers: Mapping[str, str] | None = None
) -> Response:
    response = jsonify(body)
    response.status_code = status
    response.headers.update(headers or {})
    return _with_headers(response)


def _plain(status: int, words: str, **headers: str) -> Response:
    response = jsonify(error=words)
    response.status_code = status
    response.headers.update(headers)
    return _with_headers(response)


def _with_headers(response: Response) -> Response:
    response.headers.setdefault("Cache-Control", "no-store")
    response.headers.setdefault("X-Content-Type-Options", "nosniff")
    return response
