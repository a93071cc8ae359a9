"""support desk tables, version 14

Revision ID: cairnloop_0014
Revises: cairnloop_0013
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0014"
down_revision = "cairnloop_0013"
branch_labels = None
depends_on = None

cairnloop_version = 14


def upgrade() -> None:
    migrations.upgrade(op, from_=13, to=14)


def downgrade() -> None:
    migrations.downgrade(op, from_=14, to=13)
