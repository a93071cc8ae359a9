"""Version 19: kept free for follow-ups."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations


def upgrade(op: Operations, schema: str) -> None:
    """Nothing to do."""


def downgrade(op: Operations, schema: str) -> None:
    """Nothing to do."""
