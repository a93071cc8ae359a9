"""Sign-in with sessions. A customer and an operator may be signed in at once in one browser: one key each."""

from __future__ import annotations

from flask import abort, g, request, session
from sqlalchemy import select
from werkzeug.security import check_password_hash

from example_app.models import Role, User, db


def current(role: Role) -> User | None:
    """Who is signed in on this request in this role."""
    known: dict[Role, User | None] = g.setdefault("signed_in", {})
    if role not in known:
        user = db.session.get(User, session.get(_key(role))) if _key(role) in session else None
        known[role] = user if user is not None and user.role is role else None
    return known[role]


def sign_in(email: str, password: str) -> User | None:
    """Remember the person whose address and password these are; ``None`` when they are nobody's."""
    user: User | None = db.session.scalar(select(User).where(User.email == email.strip().lower()))
    if user is None:
        # As slow as a real check, so that the time taken does not tell which addresses exist.
        check_password_hash(_NOBODY, password)
        return None
    if not user.has_password(password):
        return None
    session[_key(user.role)] = user.id
    g.pop("signed_in", None)
    return user


def sign_out(role: Role | None = None) -> None:
    """Forget one role, or both."""
    for each in [role] if role else list(Role):
        session.pop(_key(each), None)
    g.pop("signed_in", None)


def refuse_other_sites() -> None:
    """Refuse a form that another website sends with our visitor's cookie.

    Browsers name the sender in ``Sec-Fetch-Site`` and ``Origin``. A request with neither does not come from a browser,
    so nobody's cookie is being borrowed.
    """
    if request.method in ("GET", "HEAD", "OPTIONS"):
        return
    site = request.headers.get("Sec-Fetch-Site")
    origin = request.headers.get("Origin")
    if site not in (None, "same-origin", "none"):
        abort(403)
    if origin is not None and origin.partition("://")[2] != request.host:
        abort(403)


def local_path(target: str | None) -> str | None:
    """``target`` when it is a path of this site, so that a link cannot send people elsewhere after sign-in."""
    if not target or not target.startswith("/") or target.startswith("//") or "\\" in target:
        return None
    return target if not any(ord(letter) < 32 for letter in target) else None


def _key(role: Role) -> str:
    return f"{role.value}_id"


# The hash of a password that nobody has.
_NOBODY = (
    "scrypt:32768:8:1$kUeYNMnlJ9Wc2LDk$"
    "0000000000000000000000000000000000000000000000000000000000000000"
    "0000000000000000000000000000000000000000000000000000000000000000"
)
