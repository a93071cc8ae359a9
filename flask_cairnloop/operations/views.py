"""Probes and figures, for load balancers, orchestrators and Prometheus."""

from __future__ import annotations

from flask import Blueprint, Response, jsonify

from flask_cairnloop.context import current
from flask_cairnloop.operations import metrics as figures
from flask_cairnloop.operations.checks import Level, readiness

# Without these nothing can be answered; everything else only makes answers slower or poorer.
NEEDED = ("database", "migrations")


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/health", view_func=health)
    blueprint.add_url_rule("/ready", view_func=ready)
    blueprint.add_url_rule("/metrics", view_func=metrics)


def health() -> Response:
    """The process answers. Nothing else is asked, so that a lost database restarts no web server."""
    return jsonify(status="ok")


def ready() -> tuple[Response, int]:
    """Whether traffic can be taken: 503 without the database or with tables of another version, else 200.

    What only makes it slower (no Redis, no worker, old jobs) is named in ``degraded``.
    """
    findings = readiness(current())
    wrong = [finding for finding in findings if finding.level is not Level.OK]
    unavailable = any(finding.check in NEEDED and finding.level is Level.ERROR for finding in wrong)
    answer = {
        "status": "unavailable" if unavailable else "degraded" if wrong else "ready",
        "degraded": sorted({finding.check for finding in wrong if finding.check not in NEEDED}),
        "checks": {finding.check: {"level": finding.level.value, "message": finding.message} for finding in findings},
    }
    return jsonify(answer), 503 if unavailable else 200


def metrics() -> Response:
    """Figures for Prometheus, read from the database now: every web process gives the same answer."""
    if not figures.available():
        return Response("Install flask-cairnloop[metrics] for this page.\n", status=501, mimetype="text/plain")
    body, content_type = figures.render(current())
    return Response(body, content_type=content_type)
