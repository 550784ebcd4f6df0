"""What a study with finalists is exported as, and what is told of it."""

import re
import shutil
from pathlib import Path

import pytest

from branchfold.models.checkpoints import read_description
from branchfold.search.console import handover
from branchfold.search.console.handover import write_selected, write_trial
from branchfold.search.exports.evaluation import evaluate_file
from branchfold.search.exports.held_out import Place
from branchfold.search.run.repeating.finalists import Finalist, Selection, select
from branchfold.studies.database.places.artifacts import fetch_network, load_baseline
from branchfold.studies.database.places.store import artifact_folder, artifact_store
from branchfold.studies.database.storage import load_study, open_storage
from branchfold.studies.statistics import wilson

pytestmark = pytest.mark.usefixtures("quick_latency")


def told(path):
    """A file's accuracy on the test split as it is to be told."""
    evaluation = evaluate_file(path, Place("data"), None)[1]
    low, high = wilson(evaluation.value, 359)
    return f"{100 * evaluation.value:.1f} % (95 % interval {100 * low:.1f} to {100 * high:.1f} %)"


def test_the_selected_network_is_told_beside_the_known_recipes_and_the_baselines(finals, tmp_path):
    study, storage, url, definition, _ = finals
    selection = select(study, storage, definition)
    lines = write_selected(study, definition, url, tmp_path / "best.safetensors").splitlines()
    winner, runs = selection.finalists[0], [run for finalist in selection.finalists for run in finalist.runs]
    first, second = (f"{100 * run.user_attrs['metric']:.1f} %" for run in winner.runs)
    mean = f"{50 * sum(run.user_attrs['metric'] for run in winner.runs):.1f} %"
    compute = sum(run.user_attrs["compute"] for run in runs)
    assert lines[0].startswith(
        f"2 new runs of each finalist ({len(runs)} runs, {compute:.1f} epochs of the baseline's "
    )
    assert f"{mean} ({first}, {second})" in lines[0]
    assert lines[1].startswith(f"best finalist: trial {winner.trial.number} (")
    assert f"mean {mean}, selected among {len(selection.finalists)} on 288 validation examples" in lines[1]
    assert lines[2].startswith(f"accuracy: {told(tmp_path / 'best.safetensors')} on digits's test split")
    load_baseline(study, artifact_store(url), tmp_path / "baseline.safetensors")
    assert lines[-5] == f"baseline: {told(tmp_path / 'baseline.safetensors')} on the same 359 test examples"
    # The file is that of the winner's run of the lowest new seed.
    description = read_description(tmp_path / "best.safetensors")
    kept = read_description(artifact_folder(url) / winner.runs[0].user_attrs["network"])
    assert description.origin.items() >= kept.origin.items()
    assert description.widths == kept.widths
    assert description.metrics[0] == {
        "split": "validation",
        "metric": "accuracy",
        "value": winner.runs[0].user_attrs["metric"],
        "examples": 288,
        "seed": 0,
        "selected_among": len(selection.finalists),
    }


@pytest.mark.parametrize("known_wins", [False, True])
def test_the_known_recipe_is_told_by_its_run_of_the_lowest_new_seed(finals, tmp_path, monkeypatch, known_wins):
    study, storage, url, definition, _ = finals
    found = select(study, storage, definition)
    # Whoever won: the one or the other first.
    ordered = sorted(found.finalists, key=lambda finalist: finalist.known is not known_wins)
    chosen = Selection(found.study, ordered[0].runs[0], ordered[0].trial, ordered)
    monkeypatch.setattr(handover, "select", lambda *args: chosen)
    lines = write_selected(study, definition, url, tmp_path / "best.safetensors").splitlines()
    (line,) = [line for line in lines if line.startswith("known recipe")]
    if known_wins:
        assert line == "known recipe (fold-at-once at equal shares): it is what was selected"
    else:
        (known,) = [finalist for finalist in ordered if finalist.known]
        fetch_network(found.study, known.runs[0], artifact_store(url), tmp_path / "known.safetensors")
        accuracy = told(tmp_path / "known.safetensors")
        assert line == f"known recipe (fold-at-once at equal shares): {accuracy} on the same 359 test examples"


def test_without_finalists_the_known_recipe_is_told_by_its_own_trial(before_finalists, tmp_path):
    folder, definition = before_finalists
    shutil.copytree(folder, tmp_path / "copy")
    url = f"sqlite:///{tmp_path}/copy/s.db"
    study = load_study(open_storage(url, create=False), "tiny")
    lines = write_selected(study, definition, url, tmp_path / "best.safetensors").splitlines()
    best = max(study.trials, key=lambda trial: trial.value)
    assert lines[0].startswith(f"best trial {best.number} (")
    assert lines[0].endswith("; its finalists are still to be trained: `branchfold run tiny`")
    (line,) = [line for line in lines if line.startswith("known recipe")]
    fetch_network(study, study.trials[0], artifact_store(url), tmp_path / "known.safetensors")
    assert best.number == 0 or told(tmp_path / "known.safetensors") in line


def test_export_takes_what_was_selected_or_the_trial_that_was_asked_for(finals, tmp_path, monkeypatch):
    study, storage, url, definition, _ = finals
    monkeypatch.chdir(tmp_path)
    found = select(study, storage, definition)
    run, source = found.trial, found.source.number
    lines = write_trial(study, definition, url, None, ["safetensors"], None).splitlines()
    seed, (epochs,) = run.user_attrs["seed"], run.user_attrs["length"].values()
    file = f"tiny-trial-{source}-seed-{seed}-epochs-{epochs}.safetensors"
    assert lines[-1] == (
        f"exported trial {source} of tiny, trained again on seed {seed} (trial {run.number} of tiny-refined), to {file}"
    )
    origin = read_description(file).origin
    assert (origin["study"], origin["trial"]) == ("tiny-refined", run.number)
    assert origin["repeats"] == {"trial": source, "seed": seed}
    card = Path(file).with_suffix(".md").read_text("utf-8")
    assert f"trial {run.number}: trial {source} of `tiny`, trained again on seed {seed}." in card
    lines = write_trial(study, definition, url, 1, ["safetensors"], None).splitlines()
    assert lines[-1] == "exported trial 1 to tiny-trial-1.safetensors"
    description = read_description("tiny-trial-1.safetensors")
    assert description.metrics[0]["selected_among"] == 3
    assert re.match(r"accuracy: \S+ % \(95 % interval ", lines[0])


def test_a_finalist_that_diverged_is_told(finals):
    study, storage, _, definition, _ = finals
    found = select(study, storage, definition)
    lost = Finalist(found.finalists[1].trial, known=False)
    selection = found._replace(finalists=[found.finalists[0], lost])
    lines = handover.selection_lines(selection, definition, 3, 288)
    assert f"trial {lost.trial.number} diverged" in lines[0]
