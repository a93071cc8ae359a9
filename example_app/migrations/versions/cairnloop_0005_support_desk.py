"""support desk tables, version 5

Revision ID: cairnloop_0005
Revises: cairnloop_0004
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0005"
down_revision = "cairnloop_0004"
branch_labels = None
depends_on = None

cairnloop_version = 5


def upgrade() -> None:
    migrations.upgrade(op, from_=4, to=5)


def downgrade() -> None:
    migrations.downgrade(op, from_=5, to=4)
