"""support desk tables, version 8

Revision ID: cairnloop_0008
Revises: cairnloop_0007
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0008"
down_revision = "cairnloop_0007"
branch_labels = None
depends_on = None

cairnloop_version = 8


def upgrade() -> None:
    migrations.upgrade(op, from_=7, to=8)


def downgrade() -> None:
    migrations.downgrade(op, from_=8, to=7)
