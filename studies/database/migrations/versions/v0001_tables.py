"""The first tables: what studies and trials kept as JSON in Optuna's attributes until then."""

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None

_NAME, _CHECKSUM = sa.String(512), sa.String(64)


def _study(*more: sa.Column) -> list[sa.Column]:
    owner = sa.ForeignKey("studies.study_id", ondelete="CASCADE")
    return [sa.Column("study_id", sa.Integer, owner, primary_key=True), *more]


def _trial(*more: sa.Column) -> list[sa.Column]:
    owner = sa.ForeignKey("trials.trial_id", ondelete="CASCADE")
    return [sa.Column("trial_id", sa.Integer, owner, primary_key=True), *more]


def _columns(kind: type[sa.types.TypeEngine], *names: str) -> list[sa.Column]:
    return [sa.Column(name, kind) for name in names]


def upgrade() -> None:
    """Creates them."""
    _of_studies()
    _of_trials()
    op.create_table("files", sa.Column("file", _NAME, primary_key=True))


def _of_studies() -> None:
    op.create_table(
        "definitions",
        *_study(sa.Column("identity", sa.String(32))),
        *_columns(sa.Text, "network", "data", "task", "objectives"),
        sa.Column("trials", sa.Integer),
        sa.Column("seed", sa.BigInteger),
        *_columns(sa.Double, "budget_macs", "budget_parameters", "budget_latency"),
        *_columns(sa.Text, "metric", "metric_unit", "metric_kind"),
        sa.Column("higher_is_better", sa.Boolean),
        *_columns(sa.Text, "definition", "fingerprint"),
    )
    op.create_table(
        "baselines",
        *_study(*_columns(sa.Double, "metric", "low", "high")),
        sa.Column("examples", sa.Integer),
        *_columns(sa.BigInteger, "macs", "parameters"),
        sa.Column("source", sa.Text),
        sa.Column("file", _NAME),
        sa.Column("checksum", _CHECKSUM),
        sa.Column("copy", _NAME),
        sa.Column("more", sa.Text),
    )
    op.create_table(
        "groups",
        *_study(sa.Column("position", sa.Integer, primary_key=True)),
        sa.Column("name", _NAME, nullable=False),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("resolution", sa.Text, nullable=False),
        sa.Column("saves", sa.Double),
        sa.Column("errors", sa.Text, nullable=False),
    )


def _of_trials() -> None:
    op.create_table(
        "runs",
        *_trial(sa.Column("shape", sa.Text), sa.Column("seed", sa.BigInteger)),
        *_columns(sa.Double, "compute", "folding_error"),
        *_columns(sa.Text, "recipe", "versions"),
    )
    op.create_table(
        "milestones",
        *_trial(sa.Column("number", sa.Integer, primary_key=True)),
        *_columns(sa.Double, "compute", "alpha", "metric", "folded_metric", "loss", "rate", "seconds"),
    )
    op.create_table(
        "stage_alphas",
        *_trial(sa.Column("number", sa.Integer, primary_key=True), sa.Column("stage", sa.Integer, primary_key=True)),
        sa.Column("alpha", sa.Double, nullable=False),
    )
    op.create_table(
        "networks",
        *_trial(sa.Column("file", _NAME), sa.Column("checksum", _CHECKSUM)),
        sa.Column("split", sa.String(32)),
        sa.Column("examples", sa.Integer),
        sa.Column("metric", sa.Double),
        sa.Column("macs", sa.BigInteger),
        sa.Column("macs_share", sa.Double),
        sa.Column("parameters", sa.BigInteger),
        *_columns(sa.Double, "parameters_share", "latency", "latency_share", "latency_spread"),
        sa.Column("latency_unsure", sa.Boolean),
        *_columns(sa.Integer, "latency_threads", "latency_batch"),
        sa.Column("answers", sa.Text),
    )
    op.create_table(
        "widths",
        *_trial(sa.Column("name", _NAME, primary_key=True)),
        sa.Column("width", sa.Integer, nullable=False),
        sa.Column("full_width", sa.Integer),
    )
