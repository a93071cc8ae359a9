"""support desk tables, version 4

Revision ID: cairnloop_0004
Revises: cairnloop_0003
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0004"
down_revision = "cairnloop_0003"
branch_labels = None
depends_on = None

cairnloop_version = 4


def upgrade() -> None:
    migrations.upgrade(op, from_=3, to=4)


def downgrade() -> None:
    migrations.downgrade(op, from_=4, to=3)
