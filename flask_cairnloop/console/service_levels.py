"""Service levels: the desk's own policy, with all it promises, and who changed it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import time
from functools import cache
from zoneinfo import available_timezones

from flask import Blueprint, redirect, request, url_for
from werkzeug.wrappers import Response

from flask_cairnloop.console.access import actor, requires
from flask_cairnloop.console.rendering import page
from flask_cairnloop.context import current
from flask_cairnloop.conversations.models import Priority
from flask_cairnloop.errors import InvalidFields, InvalidInput, StalePolicy
from flask_cairnloop.hooks import Permission
from flask_cairnloop.service_levels import queries, service, written
from flask_cairnloop.service_levels.targets import Target
from flask_cairnloop.service_levels.types import DAYS, BusinessHours, Interval, Policy, Rule

RULES: Mapping[Rule, str] = {
    Rule.NOTHING: "Nothing more",
    Rule.RAISE: "Raise the priority by one step",
    Rule.NOTIFY: "Tell whoever has it, by the bell",
    Rule.TEAM: "Give it to a team",
}


def register(blueprint: Blueprint) -> None:
    blueprint.add_url_rule("/settings/service-levels", "service_policy", policy, methods=["GET", "POST"])


@requires(Permission.POLICY_MANAGE)
def policy() -> Response:
    """The policy in a form; sent, it becomes the next version."""
    return _saved() if request.method == "POST" else _shown()


def _saved() -> Response:
    session = current().session()
    try:
        wanted = written.parse(request.form)
        in_force = "in_force" in request.form
        service.save(session, wanted, in_force=in_force, seen=_number(request.form.get("version", "")), actor=actor())
        session.commit()
    except InvalidFields as error:
        session.rollback()
        return _shown(422, error.errors)
    except InvalidInput as error:
        session.rollback()
        return _shown(422, {error.field: error.message})
    except StalePolicy as error:
        session.rollback()
        return _shown(409, {"version": str(error)})
    return redirect(url_for("cairnloop.service_policy"), code=303)


def _shown(status: int = 200, errors: Mapping[str, str] | None = None) -> Response:
    versions = queries.versions(current().session())
    newest = versions[0] if versions else None
    known = service.read(newest) if newest else None
    return page(
        "service_levels.html",
        status,
        newest=newest,
        versions=versions,
        unusable=newest is not None and known is None,
        typed=request.form if errors else written.fields(known or _usual()),
        in_force="in_force" in request.form if errors else bool(newest and newest.in_force),
        errors=errors or {},
        targets=[*Target],
        field=written.target_field,
        priorities=[*Priority],
        days=DAYS,
        rules=RULES,
        zones=_zones(),
        hooked=current().hooks.configured("SLA_POLICY"),
    )


def _usual() -> Policy:
    """What the form of a desk without a policy says: weekdays, and no target that nobody has thought of."""
    weekday = (Interval(time(9), time(17)),)
    return Policy(hours=BusinessHours("UTC", (weekday,) * 5 + ((), ())))


@cache
def _zones() -> list[str]:
    return sorted(name for name in available_timezones() if "/" in name or name == "UTC")


def _number(text: str) -> int:
    return int(text) if re.fullmatch(r"\d{1,18}", text, re.ASCII) else 0
