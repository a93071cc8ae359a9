"""support desk tables

Revision ID: cairnloop_0001
Revises: 0001
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0001"
down_revision = "0001"
branch_labels = None
depends_on = None

cairnloop_version = 1


def upgrade() -> None:
    migrations.upgrade(op, from_=0, to=1)


def downgrade() -> None:
    migrations.downgrade(op, from_=1, to=0)
