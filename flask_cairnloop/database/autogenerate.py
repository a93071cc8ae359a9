"""Keeps ``flask db migrate`` and ``flask db check`` of the host away from our tables.

Our models are not in the host's metadata, so an autogenerate that looks at all schemas would propose to drop every one
of our tables. Flask-Migrate's ``env.py`` passes ``include_name`` on to Alembic: ours answers no for our schema and asks
the host's own for everything else. A host with an ``env.py`` of its own calls :func:`excluding` there.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from flask import Flask, appcontext_pushed

IncludeName = Callable[[str | None, str, Any], bool]


def excluding(schema: str, include_name: IncludeName | None = None) -> IncludeName:
    """An ``include_name`` for Alembic's ``context.configure`` that leaves out our schema.

    Args:
        schema: ``CAIRNLOOP_SCHEMA``.
        include_name: the host's own filter, asked for everything else.
    """

    def include(name: str | None, kind: str, parents: Any) -> bool:
        if kind == "schema" and name == schema:
            return False
        return include_name is None or include_name(name, kind, parents)

    include.leaves_out = schema  # type: ignore[attr-defined]
    return include


def leave_our_schema_alone(app: Flask, schema: str) -> None:
    """Put the filter into this app's Flask-Migrate, whether it was set up before Cairnloop or comes later."""

    def apply(sender: Flask, **_: object) -> None:
        config = sender.extensions.get("migrate")
        if config is None:
            return
        present = config.configure_args.get("include_name")
        if getattr(present, "leaves_out", None) != schema:
            config.configure_args["include_name"] = excluding(schema, present)

    apply(app)
    appcontext_pushed.connect(apply, app, weak=False)
