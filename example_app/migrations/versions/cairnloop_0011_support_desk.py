"""support desk tables, version 11

Revision ID: cairnloop_0011
Revises: cairnloop_0010
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0011"
down_revision = "cairnloop_0010"
branch_labels = None
depends_on = None

cairnloop_version = 11


def upgrade() -> None:
    migrations.upgrade(op, from_=10, to=11)


def downgrade() -> None:
    migrations.downgrade(op, from_=11, to=10)
