"""support desk tables, version 7

Revision ID: cairnloop_0007
Revises: cairnloop_0006
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0007"
down_revision = "cairnloop_0006"
branch_labels = None
depends_on = None

cairnloop_version = 7


def upgrade() -> None:
    migrations.upgrade(op, from_=6, to=7)


def downgrade() -> None:
    migrations.downgrade(op, from_=7, to=6)
