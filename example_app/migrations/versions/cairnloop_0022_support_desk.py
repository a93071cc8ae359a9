"""support desk tables, version 22

Revision ID: cairnloop_0022
Revises: 0003
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0022"
down_revision = "0003"
branch_labels = None
depends_on = None

cairnloop_version = 22


def upgrade() -> None:
    migrations.upgrade(op, from_=21, to=22)


def downgrade() -> None:
    migrations.downgrade(op, from_=22, to=21)
