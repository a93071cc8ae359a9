"""support desk tables, version 17

Revision ID: cairnloop_0017
Revises: cairnloop_0016
"""

from alembic import op

from flask_cairnloop.database import migrations

revision = "cairnloop_0017"
down_revision = "cairnloop_0016"
branch_labels = None
depends_on = None

cairnloop_version = 17


def upgrade() -> None:
    migrations.upgrade(op, from_=16, to=17)


def downgrade() -> None:
    migrations.downgrade(op, from_=17, to=16)
