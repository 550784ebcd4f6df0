"""The fixture studies of the database's tests, and the PostgreSQL server that they are kept on."""

import optuna
import pytest
from databases import empty_postgresql, server  # noqa: F401  fixtures

from branchfold.studies.database.storage import open_storage, open_study
from branchfold.studies.database.trials import Measurement
from branchfold.studies.definition.reading import load_definition

MEASURED = Measurement(0.9, 300, 0.3, 50, 0.5, 1.25, 0.7, 0.05, False, 1, 1)


@pytest.fixture
def fill():
    """Makes a study with a finished trial and one that failed, in a storage at a URL; (storage, study)."""

    def fill(url):
        optuna.logging.set_verbosity(optuna.logging.ERROR)
        storage = open_storage(url, create=True)
        study = open_study(storage, load_definition("digits", ["study.budget={macs = 0.35}"]))

        def objective(trial):
            trial.suggest_float("training.lr", 0.01, 0.1)
            if trial.number:
                trial.set_user_attr("note", "a hiccup")
                raise ValueError
            backend = study._storage._backend
            recipe = {"shape": "linear", "widths": {"a": 3, "b": 4}}
            backend.set_trial_values(
                trial._trial_id, {"recipe": recipe, "seed": 7, "full_widths": {"a": 6, "b": 8}, "versions": {"x": "1"}}
            )
            for number, value in enumerate((0.5, 0.9)):
                entry = {"number": number, "compute": number / 2, "alpha": 0.25, "folded_metric": value}
                backend.add_milestone(trial._trial_id, {**entry, "alphas": [0.5, 0.0]}, seconds=number + 0.5)
                trial.report(value, number)
            kept = {"network": "file", "checksum": "c" * 64, "split": "validation", "examples": 100}
            backend.set_trial_values(trial._trial_id, {**kept, "compute": 0.5, **MEASURED._asdict()})
            return 0.9

        study.optimize(objective, n_trials=2, catch=(ValueError,))
        return storage, study

    return fill
