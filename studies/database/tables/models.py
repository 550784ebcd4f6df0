"""The tables as SQLAlchemy declares them; each row belongs to a study or a trial of Optuna's and goes with it.

Optuna's own tables are told here as far as ours refer to them; nothing creates them from here.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Column, Double, ForeignKey, Integer, MetaData, String, Table, Text
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column

# Optuna's names of studies are as long.
_NAME = 512


class Base(DeclarativeBase):
    """All of our tables."""

    metadata = MetaData()


studies = Table("studies", Base.metadata, Column("study_id", Integer, primary_key=True), Column("study_name", String))
trials = Table(
    "trials",
    Base.metadata,
    Column("trial_id", Integer, primary_key=True),
    Column("number", Integer),
    Column("study_id", Integer),
)
OPTUNAS = (studies, trials)


def _of_study() -> Mapped[int]:
    return mapped_column(ForeignKey("studies.study_id", ondelete="CASCADE"), primary_key=True)


def _of_trial() -> Mapped[int]:
    return mapped_column(ForeignKey("trials.trial_id", ondelete="CASCADE"), primary_key=True)


class Definition(Base):
    """A study's definition: what SQL asks for in columns, and the whole as JSON.

    `fingerprint` is what of it decides results, `identity` the study's own, and the metric what it measures. Budgets
    are shares of the baseline's cost.
    """

    __tablename__ = "definitions"
    study_id: Mapped[int] = _of_study()
    identity: Mapped[str | None] = mapped_column(String(32))
    network: Mapped[str | None] = mapped_column(Text)
    data: Mapped[str | None] = mapped_column(Text)
    task: Mapped[str | None] = mapped_column(Text)
    objectives: Mapped[str | None] = mapped_column(Text)
    trials: Mapped[int | None]
    seed: Mapped[int | None] = mapped_column(BigInteger)
    budget_macs: Mapped[float | None] = mapped_column(Double)
    budget_parameters: Mapped[float | None] = mapped_column(Double)
    budget_latency: Mapped[float | None] = mapped_column(Double)
    metric: Mapped[str | None] = mapped_column(Text)
    metric_unit: Mapped[str | None] = mapped_column(Text)
    metric_kind: Mapped[str | None] = mapped_column(Text)
    higher_is_better: Mapped[bool | None]
    definition: Mapped[str | None] = mapped_column(Text)
    fingerprint: Mapped[str | None] = mapped_column(Text)


class Baseline(Base):
    """The network that a study prunes: its metric on the validation split, cost, file and the file's second copy.

    `low` and `high` are the metric's 95 % interval, `taught` the file of its outputs for the training images, which
    took `taught_compute` epochs of its training's compute, and `more` is JSON of what has no column.
    """

    __tablename__ = "baselines"
    study_id: Mapped[int] = _of_study()
    metric: Mapped[float | None] = mapped_column(Double)
    low: Mapped[float | None] = mapped_column(Double)
    high: Mapped[float | None] = mapped_column(Double)
    examples: Mapped[int | None]
    macs: Mapped[int | None] = mapped_column(BigInteger)
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    source: Mapped[str | None] = mapped_column(Text)
    file: Mapped[str | None] = mapped_column(String(_NAME))
    checksum: Mapped[str | None] = mapped_column(String(64))
    copy: Mapped[str | None] = mapped_column(String(_NAME))
    more: Mapped[str | None] = mapped_column(Text)
    taught: Mapped[str | None] = mapped_column(String(_NAME))
    taught_checksum: Mapped[str | None] = mapped_column(String(64))
    taught_compute: Mapped[float | None] = mapped_column(Double)


class Group(Base):
    """A channel group of a study's network at full width, in the order of its forward."""

    __tablename__ = "groups"
    study_id: Mapped[int] = _of_study()
    position: Mapped[int] = mapped_column(primary_key=True)
    name: Mapped[str] = mapped_column(String(_NAME))
    width: Mapped[int]
    resolution: Mapped[str] = mapped_column(Text)
    saves: Mapped[float | None] = mapped_column(Double)
    errors: Mapped[str] = mapped_column(Text)


class Run(Base):
    """What a trial ran: its recipe, seed and versions; and what that came to, in epochs of the baseline's compute."""

    __tablename__ = "runs"
    trial_id: Mapped[int] = _of_trial()
    shape: Mapped[str | None] = mapped_column(Text)
    seed: Mapped[int | None] = mapped_column(BigInteger)
    compute: Mapped[float | None] = mapped_column(Double)
    folding_error: Mapped[float | None] = mapped_column(Double)
    recipe: Mapped[str | None] = mapped_column(Text)
    versions: Mapped[str | None] = mapped_column(Text)


class Milestone(Base):
    """A trial's report: where it stood after so much compute and so many seconds.

    `metric` is that at the current α, `folded_metric` that at α = 0; `loss` the mean since the report before.
    """

    __tablename__ = "milestones"
    trial_id: Mapped[int] = _of_trial()
    number: Mapped[int] = mapped_column(primary_key=True)
    compute: Mapped[float | None] = mapped_column(Double)
    alpha: Mapped[float | None] = mapped_column(Double)
    metric: Mapped[float | None] = mapped_column(Double)
    folded_metric: Mapped[float | None] = mapped_column(Double)
    loss: Mapped[float | None] = mapped_column(Double)
    rate: Mapped[float | None] = mapped_column(Double)
    seconds: Mapped[float | None] = mapped_column(Double)


class StageAlpha(Base):
    """The mean α of a stage's groups at a milestone; stages count from 0 in their order."""

    __tablename__ = "stage_alphas"
    trial_id: Mapped[int] = _of_trial()
    number: Mapped[int] = mapped_column(primary_key=True)
    stage: Mapped[int] = mapped_column(primary_key=True)
    alpha: Mapped[float] = mapped_column(Double)


class Network(Base):
    """The network that a trial delivered: its file, its metric on a split, its cost, its latency and how it was timed.

    Shares are those of the baseline's; `latency` is in milliseconds for `latency_batch` examples on `latency_threads`
    threads of the CPU; `answers` are the scores of the split's examples, packed.
    """

    __tablename__ = "networks"
    trial_id: Mapped[int] = _of_trial()
    file: Mapped[str | None] = mapped_column(String(_NAME))
    checksum: Mapped[str | None] = mapped_column(String(64))
    split: Mapped[str | None] = mapped_column(String(32))
    examples: Mapped[int | None]
    metric: Mapped[float | None] = mapped_column(Double)
    macs: Mapped[int | None] = mapped_column(BigInteger)
    macs_share: Mapped[float | None] = mapped_column(Double)
    parameters: Mapped[int | None] = mapped_column(BigInteger)
    parameters_share: Mapped[float | None] = mapped_column(Double)
    latency: Mapped[float | None] = mapped_column(Double)
    latency_share: Mapped[float | None] = mapped_column(Double)
    latency_spread: Mapped[float | None] = mapped_column(Double)
    latency_unsure: Mapped[bool | None]
    latency_threads: Mapped[int | None]
    latency_batch: Mapped[int | None]
    answers: Mapped[str | None] = mapped_column(Text)


class Width(Base):
    """The channels that a trial keeps of a group, and those of the full network where they are known."""

    __tablename__ = "widths"
    trial_id: Mapped[int] = _of_trial()
    name: Mapped[str] = mapped_column(String(_NAME), primary_key=True)
    width: Mapped[int]
    full_width: Mapped[int | None]


class Place(Base):
    """Where the database's files lie, in the one row that there is; without it they lie beside a SQLite file."""

    __tablename__ = "places"
    number: Mapped[int] = mapped_column(primary_key=True)
    location: Mapped[str] = mapped_column(Text)


class File(Base):
    """A file that this database had beside it, whether or not anything still names it: no other is ever cleared."""

    __tablename__ = "files"
    file: Mapped[str] = mapped_column(String(_NAME), primary_key=True)


OF_STUDIES: tuple[type[Base], ...] = (Definition, Baseline, Group)
OF_TRIALS: tuple[type[Base], ...] = (Run, Milestone, StageAlpha, Network, Width)
OURS: tuple[type[Base], ...] = (*OF_STUDIES, *OF_TRIALS, File, Place)


def table_of(model: type[Base]) -> Table:
    """A model's table, for statements without the session's bookkeeping."""
    table = model.__table__
    assert isinstance(table, Table)
    return table
