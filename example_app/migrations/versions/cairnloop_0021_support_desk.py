"""support desk tables, version 21

Revision ID: cairnloop_0021
Revises: cairnloop_0020
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0021"
down_revision = "cairnloop_0020"
branch_labels = None
depends_on = None

cairnloop_version = 21


def upgrade() -> None:
    migrations.upgrade(op, from_=20, to=21)


def downgrade() -> None:
    migrations.downgrade(op, from_=21, to=20)
