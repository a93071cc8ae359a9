"""support desk tables, version 19

Revision ID: cairnloop_0019
Revises: cairnloop_0018
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0019"
down_revision = "cairnloop_0018"
branch_labels = None
depends_on = None

cairnloop_version = 19


def upgrade() -> None:
    migrations.upgrade(op, from_=18, to=19)


def downgrade() -> None:
    migrations.downgrade(op, from_=19, to=18)
