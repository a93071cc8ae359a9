"""What an operator sets for themselves: the theme, kept in a cookie."""

from __future__ import annotations

from flask import Blueprint, redirect, request
from werkzeug.wrappers import Response

from flask_cairnloop.console.access import requires
from flask_cairnloop.console.rendering import THEME_COOKIE, THEMES, console_path, own_page
from flask_cairnloop.errors import InvalidInput
from flask_cairnloop.hooks import Permission

YEAR = 365 * 86_400


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/preferences/theme", "set_theme", set_theme, methods=["POST"])


@requires(Permission.CONVERSATIONS_READ)
def set_theme() -> Response:
    """Remember the chosen theme and go back to the page it was chosen on."""
    chosen = request.form.get("theme", "")
    if chosen not in THEMES:
        raise InvalidInput("theme", "There are three themes: system, light and dark.")
    prefix = console_path()
    answer = redirect(own_page(request.form.get("next", ""), prefix), code=303)
    answer.set_cookie(
        THEME_COOKIE, chosen, max_age=YEAR, path=prefix, secure=request.is_secure, httponly=True, samesite="Lax"
    )
    return answer
