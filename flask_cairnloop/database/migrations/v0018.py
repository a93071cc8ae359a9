"""Version 18: kept free for service levels."""

from __future__ import annotations

from flask_cairnloop.database.migrations.operations import Operations


def upgrade(op: Operations, schema: str) -> None:
    """Nothing to do."""


def downgrade(op: Operations, schema: str) -> None:
    """Nothing to do."""
