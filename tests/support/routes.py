"""Every route of the desk, found in the app's URL map, so that a new one is looked at though nobody thinks of it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from uuid import UUID

from flask import Flask
from werkzeug.routing import Rule

# What anybody may ask for: files, images of articles that anybody may read, probes, and the chat's socket, whose
# visitors say who they are in their first frame.
OPEN = frozenset({"static", "widget_script", "widget_frame", "widget_socket", "health", "ready", "metrics", "file"})
# What needs a customer's token, or an address that was signed for them. Every other route is the console's, whoever
# adds it.
CUSTOMERS = frozenset({"widget_messages", "widget_upload", "widget_file", "opt_out", "rating"})
SAFE = frozenset({"GET", "HEAD", "OPTIONS"})


def rules(app: Flask) -> list[Rule]:
    """All of them."""
    return [rule for rule in app.url_map.iter_rules() if rule.endpoint.startswith("cairnloop.")]


def console_rules(app: Flask) -> list[Rule]:
    """Those that only an operator may use."""
    return [rule for rule in rules(app) if rule.endpoint.removeprefix("cairnloop.") not in OPEN | CUSTOMERS]


def open_rules(app: Flask) -> list[Rule]:
    """Those that anybody may use."""
    return [rule for rule in rules(app) if rule.endpoint.removeprefix("cairnloop.") in OPEN]


def pages(app: Flask, of: list[Rule] | None = None) -> Iterator[tuple[Rule, str]]:
    """Every route that is no WebSocket with every method it has, but ``OPTIONS``, which Flask answers."""
    for rule in console_rules(app) if of is None else of:
        if not rule.websocket:
            for method in sorted((rule.methods or set()) - {"OPTIONS"}):
                yield rule, method


def address(rule: Rule, **values: object) -> str:
    """A route's address; 1 for every id that is not given, or what stands for that where it is a UUID."""

    def end(part: re.Match[str]) -> str:
        return str(values.get(part[2], UUID(int=1) if part[1] == "uuid:" else 1))

    return re.sub(r"<([^<>]*:)?(\w+)>", end, rule.rule)
