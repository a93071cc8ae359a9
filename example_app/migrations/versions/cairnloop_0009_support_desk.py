"""support desk tables, version 9

Revision ID: cairnloop_0009
Revises: cairnloop_0008
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0009"
down_revision = "cairnloop_0008"
branch_labels = None
depends_on = None

cairnloop_version = 9


def upgrade() -> None:
    migrations.upgrade(op, from_=8, to=9)


def downgrade() -> None:
    migrations.downgrade(op, from_=9, to=8)
