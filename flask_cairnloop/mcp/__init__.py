"""The Model Context Protocol: other people's models ask the desk for things, through the same gate as everybody.

One stateless endpoint, on the types of the official SDK. https://modelcontextprotocol.io/specification/2026-07-28
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from flask import Blueprint

if TYPE_CHECKING:
    from flask_cairnloop.extension import Cairnloop

METADATA = "/.well-known/oauth-protected-resource"


def mount(cairnloop: Cairnloop) -> None:
    """Put the endpoint under the desk's prefix, and what tells clients about it where RFC 9728 looks for it."""
    from flask_cairnloop.mcp import views

    path = f"{cairnloop.settings.url_prefix}/mcp"
    blueprint = Blueprint("cairnloop_mcp", __name__)
    blueprint.add_url_rule(path, "endpoint", views.endpoint, methods=["GET", "POST", "DELETE", "OPTIONS"])
    blueprint.add_url_rule(f"{METADATA}{path}", "metadata", views.metadata)
    blueprint.add_url_rule(METADATA, "metadata", views.metadata)
    cairnloop.app.register_blueprint(blueprint)
