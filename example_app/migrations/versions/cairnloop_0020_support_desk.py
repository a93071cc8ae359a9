"""support desk tables, version 20

Revision ID: cairnloop_0020
Revises: cairnloop_0019
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0020"
down_revision = "cairnloop_0019"
branch_labels = None
depends_on = None

cairnloop_version = 20


def upgrade() -> None:
    migrations.upgrade(op, from_=19, to=20)


def downgrade() -> None:
    migrations.downgrade(op, from_=20, to=19)
