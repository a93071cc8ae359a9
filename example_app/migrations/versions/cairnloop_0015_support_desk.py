"""support desk tables, version 15

Revision ID: cairnloop_0015
Revises: cairnloop_0014
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0015"
down_revision = "cairnloop_0014"
branch_labels = None
depends_on = None

cairnloop_version = 15


def upgrade() -> None:
    migrations.upgrade(op, from_=14, to=15)


def downgrade() -> None:
    migrations.downgrade(op, from_=15, to=14)
