"""support desk tables, version 3

Revision ID: cairnloop_0003
Revises: cairnloop_0002
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0003"
down_revision = "cairnloop_0002"
branch_labels = None
depends_on = None

cairnloop_version = 3


def upgrade() -> None:
    migrations.upgrade(op, from_=2, to=3)


def downgrade() -> None:
    migrations.downgrade(op, from_=3, to=2)
