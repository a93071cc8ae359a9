"""The page where a customer asks for no more follow-ups. Its link, which came with one, is all that lets them in."""

from __future__ import annotations

from flask import Blueprint, make_response, render_template, request
from werkzeug.wrappers import Response

from flask_cairnloop.context import current
from flask_cairnloop.errors import NotFound
from flask_cairnloop.outbound import suppression


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/no-follow-ups/<token>", "opt_out", opt_out, methods=["GET", "POST"])


def opt_out(token: str) -> Response:
    """Ask, and then see to it: what follows links by itself, such as a scanner of mails, stops nothing."""
    try:
        suppression.read_token(token)
        if request.method != "POST":
            return _page(done=False)
        session = current().session()
        suppression.opt_out(session, token)
        session.commit()
    except NotFound:
        return Response("This link is not valid.", 404, mimetype="text/plain")
    return _page(done=True)


def _page(*, done: bool) -> Response:
    words = render_template("cairnloop/widget/opt_out.html", done=done)
    answer: Response = make_response(words)
    answer.headers["Referrer-Policy"] = "no-referrer"
    return answer
