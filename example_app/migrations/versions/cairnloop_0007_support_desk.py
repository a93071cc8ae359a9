"""support desk tables, version 6

Revision ID: cairnloop_0007
Revises: cairnloop_0005
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0007"
down_revision = "cairnloop_0005"
branch_labels = None
depends_on = None

cairnloop_version = 6


def upgrade() -> None:
    migrations.upgrade(op, from_=5, to=6)


def downgrade() -> None:
    migrations.downgrade(op, from_=6, to=5)
