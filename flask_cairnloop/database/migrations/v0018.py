"""Version 18: reserved."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations


def upgrade(op: Operations, schema: str) -> None:
    """Nothing yet."""


def downgrade(op: Operations, schema: str) -> None:
    """Nothing yet."""
