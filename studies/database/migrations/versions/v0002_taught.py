"""What a study's baseline says of the training images is kept beside it."""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Adds its columns."""
    op.add_column("baselines", sa.Column("taught", sa.String(512)))
    op.add_column("baselines", sa.Column("taught_checksum", sa.String(64)))
    op.add_column("baselines", sa.Column("taught_compute", sa.Double))
