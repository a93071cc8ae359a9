"""Who may see a page, and what of it. Every console view is wrapped by :func:`requires`; a test walks all of them.

``AUTHORIZE`` is host code: what a page needs to know is asked before its first query, and rows of a list are asked for
after the session they were read in is closed, so that no transaction of ours waits for an answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import wraps
from typing import ParamSpec, TypeVar
from urllib.parse import urlencode

from flask import g, redirect, request, url_for
from sqlalchemy.orm import Session
from werkzeug.wrappers import Response

from flask_cairnloop.actors import Actor
from flask_cairnloop.console.rendering import console_path, database_problem, is_fragment, own_page, problem
from flask_cairnloop.context import current
from flask_cairnloop.database.failures import AWAY
from flask_cairnloop.errors import Conflict, CustomerForgotten, Forbidden, HookFailed, InvalidInput, NotFound
from flask_cairnloop.hooks import Operator, Permission, Subject

P = ParamSpec("P")
T = TypeVar("T")
Answer = Response | str | tuple[str, int]
View = Callable[P, Answer]
# What the rail of every whole page, and its account menu, lead to.
SECTIONS = (
    Permission.CONVERSATIONS_READ,
    Permission.CONVERSATIONS_REPLY,
    Permission.ACTIONS_APPROVE,
    Permission.ACTIONS_PROPOSE,
    Permission.OUTBOUND_READ,
    Permission.OUTBOUND_BULK,
    Permission.KNOWLEDGE_READ,
    Permission.ANALYTICS_READ,
    Permission.AUDIT_READ,
    Permission.OPERATIONS_READ,
)


def requires(
    permission: Permission,
    *offers: Permission,
    instead: tuple[Permission, ...] = (),
    besides: tuple[Permission, ...] = (),
) -> Callable[[View[P]], View[P]]:
    """Let a view run only for an operator who has a permission.

    Args:
        offers: further permissions that decide what the page offers; templates ask :func:`may`.
        instead: each of these does as well as the permission.
        besides: all of these are needed as well.

    No ``OPERATOR_LOADER``: 503 naming the key. Nobody signed in: the host's ``LOGIN_URL``, or 401. Not permitted: 403.
    Errors that services raise on purpose, and a database that is away or full, become calm pages here, so that no view
    needs to repeat it.
    """

    def decorate(view: View[P]) -> View[P]:
        @wraps(view)
        def guarded(*args: P.args, **kwargs: P.kwargs) -> Answer:
            refusal = admit(permission, *offers, instead=instead, besides=besides)
            if refusal is not None:
                return refusal
            try:
                return view(*args, **kwargs)
            except CustomerForgotten as error:
                return problem(409, detail=str(error))
            except NotFound:
                return problem(404)
            except Forbidden:
                return problem(403)
            except InvalidInput as error:
                return problem(422, detail=error.message)
            except Conflict as error:
                return problem(409, detail=str(error))
            except AWAY as error:
                return database_problem(error)

        guarded.cairnloop_permission = permission  # type: ignore[attr-defined]
        guarded.cairnloop_instead = instead  # type: ignore[attr-defined]
        guarded.cairnloop_besides = besides  # type: ignore[attr-defined]
        return guarded

    return decorate


def admit(
    permission: Permission,
    *offers: Permission,
    instead: tuple[Permission, ...] = (),
    besides: tuple[Permission, ...] = (),
) -> Answer | None:
    """Put the operator of this request, and what they may do, into ``g``, or say why not."""
    hooks = current().hooks
    if not hooks.configured("OPERATOR_LOADER"):
        return problem(503, detail="CAIRNLOOP_OPERATOR_LOADER is not set.")
    try:
        operator = hooks.load_operator()
    except HookFailed:
        return problem(503, detail="CAIRNLOOP_OPERATOR_LOADER failed. The app’s log says how.")
    if operator is None:
        return _sign_in()
    g.cairnloop_operator, g.cairnloop_decided = operator, {}
    if not is_fragment():
        for section in SECTIONS:
            _allowed(section, None)
    if not any(map(may, (permission, *instead))) or not all(map(may, besides)):
        return problem(403)
    for offered in offers:
        may(offered)
    return None


def recognised() -> bool:
    """Whether an operator is signed in, for what others may see as well. After it, :func:`may_open` may be asked."""
    hooks = current().hooks
    try:
        found = hooks.load_operator() if hooks.configured("OPERATOR_LOADER") else None
    except HookFailed:
        found = None
    g.cairnloop_operator, g.cairnloop_decided = found, {}
    return found is not None


def operator() -> Operator:
    """The operator of this request, inside a view wrapped by :func:`requires`."""
    found: Operator = g.cairnloop_operator
    return found


def actor() -> Actor:
    """The operator of this request as an actor."""
    return Actor.operator(operator())


def may(permission: Permission) -> bool:
    """Whether the operator of this request has a permission for what the request is about."""
    return _allowed(permission, _subject())


def may_open(section: Permission, subject: Subject | None = None) -> bool:
    """Whether the operator of this request has a permission in general, for what the rail leads to.

    Args:
        subject: for this one thing instead, which the request is not about by its address.
    """
    return _allowed(section, subject)


def _allowed(permission: Permission, subject: Subject | None) -> bool:
    """The answer for this request; a page that asks again gets the same one, and the host is left alone."""
    decided: dict[tuple[Permission, Subject | None], bool] = g.cairnloop_decided
    if (permission, subject) not in decided:
        decided[permission, subject] = current().hooks.authorize(operator(), permission, subject)
    return decided[permission, subject]


@contextmanager
def reading() -> Iterator[Session]:
    """The session to read what a page shows in.

    Where the host decides about rows it is one of our own, closed at the end: rows stay readable, no transaction of
    ours is open any more, and the host's session is not touched. Else it is the request's, which costs nothing more.
    """
    cairnloop = current()
    if not cairnloop.hooks.configured("AUTHORIZE"):
        yield cairnloop.session()
        return
    with Session(cairnloop.engine) as session:
        yield session


def visible(rows: Iterable[T], permission: Permission, kind: str, id_of: Callable[[T], int]) -> Iterator[T]:
    """The rows that the operator may see, each asked for as a subject of its own. Call it outside :func:`reading`."""
    if not current().hooks.configured("AUTHORIZE"):
        yield from rows
        return
    for row in rows:
        if _allowed(permission, Subject(kind, id_of(row))):
            yield row


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
    target = login_url + ("&" if "?" in login_url else "?") + urlencode({"next": _page()})
    if not is_fragment():
        return redirect(target)
    answer = Response(status=204)
    answer.headers["HX-Redirect"] = target
    return answer


def _page() -> str:
    """The page that this request was made on, to come back to: the address of most forms answers no GET."""
    if is_fragment():
        return _path_of(request.headers.get("HX-Current-URL") or "/")
    if request.url_rule is not None and "GET" in (request.url_rule.methods or ()):
        return _path_of(request.script_root + request.full_path.rstrip("?"))
    arguments = request.view_args or {}
    if "conversation_id" in arguments:
        return url_for("cairnloop.conversation", conversation_id=arguments["conversation_id"])
    if "article_id" in arguments:
        return url_for("cairnloop.article", article_id=arguments["article_id"])
    if "action_id" in arguments:
        return url_for("cairnloop.action", action_id=arguments["action_id"])
    if "macro_id" in arguments:
        return url_for("cairnloop.macro", macro_id=arguments["macro_id"])
    if request.endpoint in ("cairnloop.new_macro", "cairnloop.read_mentions"):
        return url_for("cairnloop.macros" if request.endpoint == "cairnloop.new_macro" else "cairnloop.mentions")
    if "gap_id" in arguments:
        return url_for("cairnloop.gap", gap_id=arguments["gap_id"])
    if "suggestion_id" in arguments:
        return url_for("cairnloop.review", suggestion_id=arguments["suggestion_id"])
    if "job_id" in arguments:
        return url_for("cairnloop.settings")
    if "template_id" in arguments:
        return url_for("cairnloop.outbound_template", template_id=arguments["template_id"])
    if "envelope_id" in arguments:
        return url_for("cairnloop.envelope", envelope_id=arguments["envelope_id"])
    if "delivery_id" in arguments:
        return url_for("cairnloop.outbound")
    if "suppression_id" in arguments:
        return url_for("cairnloop.suppressed")
    if "token_id" in arguments:
        return url_for("cairnloop.tokens")
    return own_page(request.form.get("next", ""), console_path())


def _path_of(url: str) -> str:
    """Path and query of an address of ours; never another host's."""
    path = url.removeprefix(f"{request.scheme}://{request.host}")
    return path if path.startswith("/") and not path.startswith("//") else console_path()
