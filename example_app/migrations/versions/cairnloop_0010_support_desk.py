"""support desk tables, version 10

Revision ID: cairnloop_0010
Revises: 0002
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0010"
down_revision = "0002"
branch_labels = None
depends_on = None

cairnloop_version = 10


def upgrade() -> None:
    migrations.upgrade(op, from_=9, to=10)


def downgrade() -> None:
    migrations.downgrade(op, from_=10, to=9)
