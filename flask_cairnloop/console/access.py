"""Who may see a page. Every console view is wrapped by :func:`requires`; a test walks all of them."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import ParamSpec
from urllib.parse import urlencode

from flask import g, redirect, request
from werkzeug.wrappers import Response

from flask_cairnloop.actors import Actor
from flask_cairnloop.console.rendering import console_path, is_fragment, problem
from flask_cairnloop.context import current
from flask_cairnloop.errors import Conflict, Forbidden, HookFailed, InvalidInput, NotFound
from flask_cairnloop.hooks import Operator, Permission, Subject

P = ParamSpec("P")
Answer = Response | str | tuple[str, int]
View = Callable[P, Answer]


def requires(permission: Permission) -> Callable[[View[P]], View[P]]:
    """Let a view run only for an operator who has a permission.

    No ``OPERATOR_LOADER``: 503 naming the key. Nobody signed in: the host's ``LOGIN_URL``, or 401. Not permitted: 403.
    Errors that services raise on purpose become calm pages here, so that no view needs to repeat it.
    """

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Answer:
            refusal = admit(permission)
            if refusal is not None:
                return refusal
            try:
                return view(*args, **kwargs)
            except NotFound:
                return problem(404)
            except Forbidden:
                return problem(403)
            except InvalidInput as error:
                return problem(422, detail=error.message)
            except Conflict as error:
                return problem(409, detail=str(error))

        guarded.cairnloop_permission = permission  # type: ignore[attr-defined]
        return guarded

    return decorate


def admit(permission: Permission) -> Answer | None:
    """Put the operator of this request into ``g``, or say why not."""
    hooks = current().hooks
    if not hooks.configured("OPERATOR_LOADER"):
        return problem(503, detail="CAIRNLOOP_OPERATOR_LOADER is not set.")
    try:
        operator = hooks.load_operator()
    except HookFailed:
        return problem(503, detail="CAIRNLOOP_OPERATOR_LOADER failed. The app’s log says how.")
    if operator is None:
        return _sign_in()
    g.cairnloop_operator = operator
    return None if hooks.authorize(operator, permission, _subject()) else problem(403)


def operator() -> Operator:
    """The operator of this request, inside a view wrapped by :func:`requires`."""
    found: Operator = g.cairnloop_operator
    return found


def actor() -> Actor:
    """The operator of this request as an actor."""
    return Actor.operator(operator())


def may(permission: Permission) -> bool:
    """Whether the operator of this request has another permission, for what a page offers."""
    return current().hooks.authorize(operator(), permission, _subject())


def _subject() -> Subject | None:
    """The one thing this request is about, by its address."""
    arguments = request.view_args or {}
    for kind in ("conversation", "article"):
        if f"{kind}_id" in arguments:
            return Subject(kind, arguments[f"{kind}_id"])
    return None


def _sign_in() -> Answer:
    login_url = current().settings.login_url
    if not login_url:
        return problem(401)
    here = request.script_root + request.full_path.rstrip("?")
    back = request.headers.get("HX-Current-URL") if is_fragment() else here
    target = login_url + ("&" if "?" in login_url else "?") + urlencode({"next": _path_of(back or "/")})
    if not is_fragment():
        return redirect(target)
    answer = Response(status=204)
    answer.headers["HX-Redirect"] = target
    return answer


def _path_of(url: str) -> str:
    """Path and query of an address of ours; never another host's."""
    path = url.removeprefix(f"{request.scheme}://{request.host}")
    return path if path.startswith("/") and not path.startswith("//") else console_path()
