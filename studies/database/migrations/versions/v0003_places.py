"""Where a database's files lie is kept in it."""

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Adds the table of it."""
    op.create_table(
        "places",
        sa.Column("number", sa.Integer, primary_key=True),
        sa.Column("location", sa.Text, nullable=False),
    )
