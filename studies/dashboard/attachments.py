"""What trials and studies have to download in the dashboard beside their networks: figures, description, report."""

from __future__ import annotations

import io
import json
import time
import uuid
from collections.abc import Mapping, Sequence
from contextlib import suppress

from optuna.artifacts import ArtifactMeta

from ..database.optuna_internals import attached_files, list_files, storage_of, trial_id_of
from ..database.places.store import NetworkStore, artifact_store
from ..database.tables.storage import StudyStorage
from ..report.description import trial_values
from ..report.record import shared_toml
from ..tables.milestones import milestones_of
from ..tables.study import StudyView
from ..tables.trials import TrialLine
from ..tables.widths import width_rows
from .drawings import course_svg, widths_svg
from .notes import COURSE, WIDTHS

_TYPES = {"svg": "image/svg+xml", "json": "application/json", "toml": "text/plain", "html": "text/html"}
# States whose trials change no more.
_ENDED = ("complete", "pruned")


def attach_to_trials(view: StudyView, chosen: Sequence[TrialLine], seconds: float) -> dict[int, dict[str, str]]:
    """Attaches figures and a description to trials that ended and have none yet, as many as the time allows.

    Args:
        view: of the study.
        chosen: the trials that are to have them, the first ones first.
        seconds: after which no other is begun.

    Returns:
        By trial, the artifacts of its files that are attached by now.
    """
    ids, known = {line.number: trial_id_of(view.trials[line.number]) for line in chosen}, attached_files(view.study)
    found = {number: known.get(trial_id, {}) for number, trial_id in ids.items()}
    store = _store_of(view)
    if store is None:
        return found
    new: dict[int | None, list[ArtifactMeta]] = {}
    began = time.monotonic()
    for line in chosen:
        if time.monotonic() - began > seconds:
            break
        if line.state not in _ENDED or _description(view, line) in found[line.number]:
            continue
        new[ids[line.number]] = kept = _kept(store, _of_trial(view, line))
        found[line.number] |= {meta.filename: meta.artifact_id for meta in kept}
    list_files(view.study, new)
    return found


def attach_to_study(view: StudyView, files: Mapping[str, str]) -> None:
    """Attaches texts to a study, by their file names; what it had of the same name goes."""
    store = _store_of(view)
    if store is None:
        return
    before = attached_files(view.study).get(None, {})
    list_files(view.study, {None: _kept(store, files)}, gone=[before[name] for name in files if name in before])
    for name in files:
        if name in before:
            with suppress(OSError):  # a file that nothing names is cleared by gc
                (store.folder / before[name]).unlink(missing_ok=True)


def study_files(view: StudyView, *, report: bool) -> dict[str, str]:
    """The texts to attach to a study: its definition and, where it is wanted, its report."""
    files = {}
    if view.definition is not None:
        files[f"{view.name}.toml"] = shared_toml(view.definition)
    if report:
        from ..report.html import html_page
        from ..report.making import make_document

        files[f"{view.name}-report.html"] = html_page(make_document(view))
    return files


def _store_of(view: StudyView) -> NetworkStore | None:
    """Where a study's artifacts lie; None for one in memory, and for one of Optuna's alone."""
    storage = storage_of(view.study)
    storage = getattr(storage, "_backend", storage)
    return artifact_store(storage.url) if isinstance(storage, StudyStorage) and storage.tables else None


def _description(view: StudyView, line: TrialLine) -> str:
    """The file of a trial's description."""
    return f"{view.name}-trial-{line.number}.json"


def _of_trial(view: StudyView, line: TrialLine) -> dict[str, str]:
    trial = view.trials[line.number]
    baseline = None if view.baseline is None else view.baseline.metric
    drawn = {
        COURSE: course_svg(milestones_of(trial), view.metric, baseline),
        WIDTHS: widths_svg(width_rows(view, trial)),
    }
    description = json.dumps(trial_values(view, line), indent=2)
    return {_description(view, line): description, **{file: text for file, text in drawn.items() if text is not None}}


def _kept(store: NetworkStore, files: Mapping[str, str]) -> list[ArtifactMeta]:
    found = []
    for name, text in files.items():
        artifact = str(uuid.uuid4())
        store.write(artifact, io.BytesIO(text.encode()))
        found.append(ArtifactMeta(artifact, name, _TYPES[name.rpartition(".")[2]], None))
    return found
