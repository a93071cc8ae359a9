"""support desk tables, version 2

Revision ID: cairnloop_0002
Revises: cairnloop_0001
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0002"
down_revision = "cairnloop_0001"
branch_labels = None
depends_on = None

cairnloop_version = 2


def upgrade() -> None:
    migrations.upgrade(op, from_=1, to=2)


def downgrade() -> None:
    migrations.downgrade(op, from_=2, to=1)
