"""support desk tables, version 16

Revision ID: cairnloop_0016
Revises: cairnloop_0015
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0016"
down_revision = "cairnloop_0015"
branch_labels = None
depends_on = None

cairnloop_version = 16


def upgrade() -> None:
    migrations.upgrade(op, from_=15, to=16)


def downgrade() -> None:
    migrations.downgrade(op, from_=16, to=15)
