"""The public help centre: what anybody may read of the articles, without a script and without a cookie to read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint, Response, request

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

# Pages load a style sheet, a font and images of articles, and nothing else.
POLICY = (
    "default-src 'none'; style-src 'self'; font-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; "
    "frame-ancestors 'none'"
)


def mount(cairnloop: Cairnloop) -> None:
    """Put the help centre into the app, where ``CAIRNLOOP_HELP_URL_PREFIX`` says so."""
    from flask_cairnloop.help_centre import views

    prefix = cairnloop.settings.help_url_prefix
    if not prefix:
        return
    blueprint = Blueprint("cairnloop_help", __name__)
    blueprint.before_request(cairnloop.guard_origin)
    blueprint.after_request(_add_headers)
    views.register(blueprint)
    cairnloop.app.register_blueprint(blueprint, url_prefix=prefix)


def _add_headers(response: Response) -> Response:
    headers = response.headers
    headers.setdefault("Content-Security-Policy", POLICY)
    headers.setdefault("X-Content-Type-Options", "nosniff")
    headers.setdefault("Referrer-Policy", "same-origin")
    if request.method in ("GET", "HEAD") and response.status_code == 200:
        # A copy may be kept, and is asked about each time: what is taken back is gone at once.
        headers.setdefault("Cache-Control", "no-cache")
        response.add_etag()
        response.make_conditional(request)
    else:
        headers.setdefault("Cache-Control", "no-store")
    return response
