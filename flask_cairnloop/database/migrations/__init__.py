"""Our versioned migrations, called from the host's own revisions, so that the host keeps one history with one head.

    from flask_cairnloop.database import migrations

    def upgrade():
        migrations.upgrade(op, from_=0, to=22)

    def downgrade():
        migrations.downgrade(op, from_=22, to=0)

``flask cairnloop install`` writes such a revision. The numbers are literals, never "the latest": what a revision does
must not change with the installed version of the library.
"""

from __future__ import annotations

from flask_cairnloop.context import current
from flask_cairnloop.database.migrations import (
    v0001,
    v0002,
    v0003,
    v0004,
    v0005,
    v0006,
    v0007,
    v0008,
    v0009,
    v0010,
    v0011,
    v0012,
    v0013,
    v0014,
    v0015,
    v0016,
    v0017,
    v0018,
    v0019,
    v0020,
    v0021,
    v0022,
)
from flask_cairnloop.database.migrations.operations import Operations
from flask_cairnloop.errors import ConfigurationError

VERSIONS = (
    v0001,
    v0002,
    v0003,
    v0004,
    v0005,
    v0006,
    v0007,
    v0008,
    v0009,
    v0010,
    v0011,
    v0012,
    v0013,
    v0014,
    v0015,
    v0016,
    v0017,
    v0018,
    v0019,
    v0020,
    v0021,
    v0022,
)
LATEST = len(VERSIONS)


def upgrade(op: Operations, *, from_: int, to: int, schema: str | None = None) -> None:
    """Bring our schema from one version to a later one.

    Args:
        op: ``alembic.op``.
        schema: its name; ``CAIRNLOOP_SCHEMA`` of the current app when left out.

    Raises:
        ConfigurationError: the installed library does not know these versions.
    """
    _check(from_, to)
    for version in VERSIONS[from_:to]:
        version.upgrade(op, schema or _configured_schema())


def downgrade(op: Operations, *, from_: int, to: int, schema: str | None = None) -> None:
    """Bring our schema from one version back to an earlier one. The arguments are those of :func:`upgrade`."""
    _check(to, from_)
    for version in reversed(VERSIONS[to:from_]):
        version.downgrade(op, schema or _configured_schema())


def _check(low: int, high: int) -> None:
    if not 0 <= low < high <= LATEST:
        raise ConfigurationError(
            f"This flask_cairnloop knows migrations 0 to {LATEST}, not {low} to {high}. Is an older version installed?"
        )


def _configured_schema() -> str:
    return current().settings.schema
