"""support desk tables, version 12

Revision ID: cairnloop_0012
Revises: cairnloop_0011
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0012"
down_revision = "cairnloop_0011"
branch_labels = None
depends_on = None

cairnloop_version = 12


def upgrade() -> None:
    migrations.upgrade(op, from_=11, to=12)


def downgrade() -> None:
    migrations.downgrade(op, from_=12, to=11)
