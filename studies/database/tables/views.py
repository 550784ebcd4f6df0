"""Questions that are asked often, as views; and the triggers by which rows go with Optuna's.

Both are made anew whenever the tables change, from what stands here.
"""

from __future__ import annotations

from typing import NamedTuple

from sqlalchemy import Connection

from .models import OF_STUDIES, OF_TRIALS


class _Dialect(NamedTuple):
    """How a database says what SQL leaves to it."""

    text_of_json: str
    seconds_between: str
    later_by_seconds: str


_SQLITE = _Dialect(
    text_of_json="json_extract({0}, '$')",
    seconds_between="(julianday({1}) - julianday({0})) * 86400.0",
    later_by_seconds="strftime('%Y-%m-%d %H:%M:%f', julianday({0}) + coalesce({1}, 0) / 86400.0)",
)
_POSTGRESQL = _Dialect(
    text_of_json="CAST({0} AS json) #>> '{{}}'",
    seconds_between="CAST(extract(epoch FROM {1} - {0}) AS double precision)",
    later_by_seconds="{0} + coalesce({1}, 0) * interval '1 second'",
)
_DIALECTS = {"sqlite": _SQLITE, "postgresql": _POSTGRESQL}

# As `meets_budget` has it: within 1 %, and a latency that is unsure is not within a budget of it.
_WITHIN = """n.trial_id IS NOT NULL
    AND (d.budget_macs IS NULL OR n.macs_share <= d.budget_macs * 1.01)
    AND (d.budget_parameters IS NULL OR n.parameters_share <= d.budget_parameters * 1.01)
    AND (d.budget_latency IS NULL
         OR (n.latency_share <= d.budget_latency * 1.01 AND NOT coalesce(n.latency_unsure, false)))"""

# In the order in which they are made: later ones use earlier ones.
_VIEWS = {
    "trial_results": """
SELECT s.study_name AS study, t.number AS trial, lower(CAST(t.state AS varchar(16))) AS state, r.shape,
    n.metric, n.macs_share, n.parameters_share, n.latency_share, coalesce({within}, false) AS within_budget,
    coalesce(r.compute, m.compute) AS compute, {seconds} AS seconds, m.reports, r.seed, {same} AS same_as,
    n.split, n.examples, n.macs, n.parameters, n.latency, n.file, n.checksum,
    CASE WHEN coalesce(d.higher_is_better, true) THEN n.metric ELSE -n.metric END AS quality
FROM trials t
JOIN studies s ON s.study_id = t.study_id
LEFT JOIN definitions d ON d.study_id = t.study_id
LEFT JOIN runs r ON r.trial_id = t.trial_id
LEFT JOIN networks n ON n.trial_id = t.trial_id
LEFT JOIN (SELECT trial_id, max(compute) AS compute, max(number) AS reports FROM milestones GROUP BY trial_id) m
    ON m.trial_id = t.trial_id
LEFT JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = 'same_as'""",
    "best_trials": """
SELECT study, row_number() OVER (PARTITION BY study ORDER BY quality DESC, macs, trial) AS place, trial, shape, metric,
    macs_share, parameters_share, latency_share, compute, seconds
FROM trial_results WHERE state = 'complete' AND within_budget AND metric IS NOT NULL""",
    "shape_results": """
SELECT study, shape, count(*) AS trials, sum(CASE WHEN state = 'complete' THEN 1 ELSE 0 END) AS complete,
    CASE WHEN max(quality) = max(metric) THEN max(metric) ELSE min(metric) END AS best, avg(metric) AS mean
FROM trial_results WHERE state IN ('complete', 'pruned') AND shape IS NOT NULL
    AND (within_budget OR state = 'pruned')
GROUP BY study, shape""",
    "trial_courses": """
SELECT s.study_name AS study, t.number AS trial, m.number, m.compute, m.alpha, m.metric, m.folded_metric, m.loss,
    m.rate, m.seconds, {at} AS reached
FROM milestones m
JOIN trials t ON t.trial_id = m.trial_id
JOIN studies s ON s.study_id = t.study_id""",
    "trial_widths": """
SELECT study, trial, channel_group, width, full_width, CAST(width AS double precision) / full_width AS share
FROM (SELECT s.study_name AS study, t.number AS trial, w.name AS channel_group, w.width,
          coalesce(w.full_width, g.width, max(w.full_width) OVER (PARTITION BY t.study_id, w.name)) AS full_width
      FROM widths w
      JOIN trials t ON t.trial_id = w.trial_id
      JOIN studies s ON s.study_id = t.study_id
      LEFT JOIN groups g ON g.study_id = t.study_id AND g.name = w.name) of_trials""",
    "endings": """
SELECT s.study_name AS study, t.number AS trial, lower(CAST(t.state AS varchar(16))) AS state, {note} AS reason,
    t.datetime_complete AS ended
FROM trials t
JOIN studies s ON s.study_id = t.study_id
LEFT JOIN trial_user_attributes a ON a.trial_id = t.trial_id AND a.key = 'note'
WHERE lower(CAST(t.state AS varchar(16))) IN ('fail', 'pruned')""",
    "compute_spent": """
SELECT study, count(*) AS trials, sum(compute) + coalesce((SELECT b.taught_compute FROM baselines b
        JOIN studies s ON s.study_id = b.study_id WHERE s.study_name = study), 0) AS compute, sum(seconds) AS seconds
FROM trial_results WHERE state <> 'waiting' AND same_as IS NULL
GROUP BY study""",
}
VIEWS = tuple(_VIEWS)


def make_views(connection: Connection) -> None:
    """Makes the views, and on SQLite, where foreign keys hold only for those who ask for it, the triggers, anew."""
    dialect = _DIALECTS.get(connection.dialect.name)
    for name in reversed(VIEWS):
        connection.exec_driver_sql(f"DROP VIEW IF EXISTS {name}")
    if dialect is not None:
        for name in VIEWS:
            connection.exec_driver_sql(f"CREATE VIEW {name} AS {_text(name, dialect)}")
    if connection.dialect.name == "sqlite":
        _make_triggers(connection)


def _text(name: str, dialect: _Dialect) -> str:
    note = dialect.text_of_json.format("a.value_json")
    return _VIEWS[name].format(
        within=_WITHIN,
        seconds=dialect.seconds_between.format("t.datetime_start", "t.datetime_complete"),
        at=dialect.later_by_seconds.format("t.datetime_start", "m.seconds"),
        note=note,
        same=note,
    )


def _make_triggers(connection: Connection) -> None:
    of_trial = "".join(f" DELETE FROM {model.__tablename__} WHERE trial_id = OLD.trial_id;" for model in OF_TRIALS)
    theirs = "SELECT trial_id FROM trials WHERE study_id = OLD.study_id"
    of_study = "".join(f" DELETE FROM {model.__tablename__} WHERE study_id = OLD.study_id;" for model in OF_STUDIES)
    of_study += "".join(f" DELETE FROM {model.__tablename__} WHERE trial_id IN ({theirs});" for model in OF_TRIALS)
    for owner, actions in (("trials", of_trial), ("studies", of_study)):
        connection.exec_driver_sql(f"DROP TRIGGER IF EXISTS branchfold_{owner}_deleted")
        connection.exec_driver_sql(
            f"CREATE TRIGGER branchfold_{owner}_deleted AFTER DELETE ON {owner} BEGIN{actions} END"
        )
