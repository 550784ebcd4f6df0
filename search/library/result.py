"""What a study found, for a program: the best network, all trials, Optuna's study, and files to take away."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import Any

import optuna
from torch import nn

from ...models.checkpoints import load_network
from ...models.networks.factories import resolve_factory
from ...studies.database.places.artifacts import fetch_network
from ...studies.database.places.store import artifact_store
from ...studies.database.places.whereabouts import reachable
from ...studies.database.rows import trial_rows
from ...studies.database.storage import open_storage
from ...studies.database.trials import RECIPE, finished_trials, metric_value, trial_of
from ...studies.definition.reading import Definition
from ..exports.delivery import Delivery, export_trial
from ..exports.formats import check_options
from ..exports.options import Options
from ..exports.places import check_outputs, places_for
from ..run.repeating.finalists import Selection, select


@dataclass(frozen=True)
class BestNetwork:
    """The network that a study selected.

    Attributes:
        trial: number of the trial whose recipe it is; of finalists, the network is that of a run on a new seed.
        metric: of this network on the validation split.
        network: folded, in evaluation mode on the CPU.
        recipe: of the trial, in JSON types.
    """

    trial: int
    metric: float
    network: nn.Module
    recipe: Mapping[str, Any]


class Result:
    """What a study found.

    Args:
        study: Optuna's.
        definition: of the study.
        storage: URL of its database.
    """

    def __init__(self, study: optuna.Study, definition: Definition, storage: str) -> None:
        self.study, self.definition, self.storage = study, definition, storage

    def __repr__(self) -> str:
        return f"Result(study={self.study.study_name!r}, trials={len(finished_trials(self.study))})"

    @cached_property
    def best(self) -> BestNetwork:
        """The finalist of the best mean or, without finalists, the best trial within the budget.

        Raises:
            StudyError: if no trial has completed within the budget.
        """
        chosen = self._selection
        with tempfile.TemporaryDirectory(prefix="branchfold-") as folder:
            file = Path(folder) / "network.safetensors"
            kept = fetch_network(chosen.study, chosen.trial, artifact_store(reachable(self.storage)), file)
            network = load_network(kept, resolve_factory(self.definition.model.factory)).eval()
        value = metric_value(chosen.trial)
        assert value is not None, "what is selected is measured"
        return BestNetwork(chosen.source.number, value, network, chosen.source.user_attrs[RECIPE])

    @property
    def trials(self) -> Any:
        """A row for each trial, as `branchfold show` has them: a DataFrame where pandas is installed, else dicts.

        Metric and costs are those of its network on the validation split; what Optuna proposed follows, by its keys.
        """
        trials = {trial.number: trial for trial in self.study.get_trials(deepcopy=False)}
        rows = [{**row._asdict(), **trials[row.number].params} for row in trial_rows(self.study)]
        try:
            pandas = import_module("pandas")
        except ImportError:
            return rows
        return pandas.DataFrame(rows)

    def export(
        self,
        path: str | Path,
        format: str | Sequence[str] = "safetensors",
        *,
        trial: int | None = None,
        fuse: bool = False,
        with_normalisation: bool = False,
        force: bool = False,
    ) -> Delivery:
        """Writes the selected network, proved before it has its name, with a model card beside it.

        Args:
            path: of the file; of several formats, of the folder for them.
            format: "safetensors", "state-dict", "pt2" or "onnx", or several of them.
            trial: number of another trial to export.
            fuse: fold BatchNorms into the layers before them (pt2, onnx).
            with_normalisation: take images as uint8 and normalise them inside (pt2, onnx).
            force: replace a file that branchfold did not write.

        Returns:
            What it measured on the test split (`.evaluation`), the files, and the card.

        Raises:
            StudyError: if there is no such trial, or a file must not or cannot be written.
            NetworkError: if a format cannot hold the network.
            VerificationError: if a file computes something else; none is written then.
        """
        forms = [format] if isinstance(format, str) else list(format)
        options = Options(fuse, with_normalisation)
        check_options(forms, options)
        of, number, among = self.study, trial, None
        if number is None:
            of, number = self._selection.study, self._selection.trial.number
            among = len(self._selection.finalists) or None
        chosen = trial_of(of, number) if of is self.study else self._selection.trial
        paths = places_for(forms, Path(path), f"{of.study_name}-trial-{number}")
        check_outputs(paths.values(), url=self.storage, force=force)
        return export_trial(of, self.definition, self.storage, chosen, paths, options=options, among=among)

    @cached_property
    def _selection(self) -> Selection:
        return select(self.study, open_storage(self.storage, create=False), self.definition)
