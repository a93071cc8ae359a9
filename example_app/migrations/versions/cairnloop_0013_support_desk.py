"""support desk tables, version 13

Revision ID: cairnloop_0013
Revises: cairnloop_0012
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0013"
down_revision = "cairnloop_0012"
branch_labels = None
depends_on = None

cairnloop_version = 13


def upgrade() -> None:
    migrations.upgrade(op, from_=12, to=13)


def downgrade() -> None:
    migrations.downgrade(op, from_=13, to=12)
