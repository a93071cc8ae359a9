"""support desk tables, version 18

Revision ID: cairnloop_0018
Revises: cairnloop_0017
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0018"
down_revision = "cairnloop_0017"
branch_labels = None
depends_on = None

cairnloop_version = 18


def upgrade() -> None:
    migrations.upgrade(op, from_=17, to=18)


def downgrade() -> None:
    migrations.downgrade(op, from_=18, to=17)
