"""The script that a host page carries, and the page inside its frame."""

from __future__ import annotations

from flask import Blueprint, Response, render_template, request, send_from_directory, url_for

from flask_cairnloop.channels.widget.files import offered
from flask_cairnloop.context import current
from flask_cairnloop.files.content import accepted
from flask_cairnloop.resources import folder

SCRIPT_SECONDS = 300


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/widget.js", view_func=widget_script)
    blueprint.add_url_rule("/widget", view_func=widget_frame)


def widget_script() -> Response:
    """The loader: one tag on the host's page. Cached for minutes, then asked for again by its ETag."""
    directory = folder("static") / "cairnloop" / "widget"
    response = send_from_directory(directory, "widget.js", mimetype="text/javascript", max_age=SCRIPT_SECONDS)
    response.headers["Cross-Origin-Resource-Policy"] = "cross-origin"
    return response


def widget_frame() -> str:
    """The chat itself. It says nothing about anybody: the loader hands it the customer's token."""
    cairnloop = current()
    settings = cairnloop.settings
    origins = [request.host_url.rstrip("/"), *settings.widget_origins]
    suggests = settings.widget_suggestions and bool(settings.help_url_prefix)
    return render_template(
        "cairnloop/widget/frame.html",
        product_name=settings.product_name,
        origins=origins,
        help_url=url_for("cairnloop_help.home") if suggests else "",
        files_url=url_for("cairnloop.widget_upload") if offered(cairnloop) else "",
        accept=accepted(settings.file_types),
        most_files=settings.attachment_limit,
        file_size=settings.file_size_limit,
    )
