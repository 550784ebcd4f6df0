"""What several workers, the database and checkpoints are worth and cost.

    python benchmarks/workers.py --output benchmarks/workers.json

About 10 minutes on 2 idle cores. Three measurements. Trials an hour of one worker and of two, one thread each in both,
in turns: the built-in study of the digits by the command line. Seconds that the database takes of a trial beside 10,
1,000 and 10,000 finished ones, by this package's storage with all that it records, and by Optuna's own with its
parameters and reports alone, in turns. The share of a trial's time that its checkpoints take, of a trial of a minute
(`--study vgg16-cifar10 --data-root …` for a larger network).

What is measured is written to the output at once; the same command goes on with what is missing there.
"""

import argparse
import json
import statistics
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from branchfold.benchmarks.results import publish, surroundings
from branchfold.benchmarks.worker_parts.database import database_share
from branchfold.benchmarks.worker_parts.keeping import checkpoint_share
from branchfold.benchmarks.worker_parts.rates import trials_an_hour
from branchfold.files import whole_file
from branchfold.search.process.quiet import quiet_optuna
from branchfold.search.trial.problem import Problem
from branchfold.studies.definition.reading import load_definition

_WORKERS = (1, 2)
# Options that decide no measurement of those that are done.
_FREE = ("rounds", "sizes", "data_root", "output")


class Record:
    """What was measured so far, in a file where one is wanted.

    Args:
        output: The file; one that is there is gone on with.
        settings: Under which is measured.

    Raises:
        SystemExit: If the file was measured under others.
    """

    def __init__(self, output: Path | None, settings: dict[str, Any]) -> None:
        self.output, self._began = output, time.monotonic()
        there = output is not None and output.exists()
        self.found: dict[str, Any] = json.loads(output.read_text()) if output is not None and there else {}
        if there and self.found.get("settings") != settings:
            raise SystemExit(f"{output} was measured with {self.found.get('settings')}, not {settings}; name another")
        self.found |= {**surroundings("torch", "optuna", "sqlalchemy"), "settings": settings}
        self.rates: dict[str, list[float]] = self.found.setdefault("trials_an_hour", {str(n): [] for n in _WORKERS})
        self.sizes: dict[str, dict[str, float]] = self.found.setdefault("database", {})

    def keep(self, told: str) -> None:
        """Writes what was found, and tells of it what is new."""
        one, two = (self.rates[str(n)] for n in _WORKERS)
        if one and two:
            self.found["two_workers_over_one"] = statistics.median(two) / statistics.median(one)
        if self.output is not None:
            with whole_file(self.output) as draft:
                draft.write_text(json.dumps(self.found, indent=2) + "\n")
        print(f"{time.monotonic() - self._began:4.0f} s  {told}", file=sys.stderr, flush=True)


def measured(record: Record, options: argparse.Namespace) -> Iterator[str]:
    """Measures what the record lacks, and gives a line on each thing that it has now."""
    for done in range(options.rounds):
        for workers in _WORKERS:
            if len(found := record.rates[str(workers)]) <= done:
                found.append(trials_an_hour(workers, options.trials, options.epochs))
                yield f"round {done + 1} of {options.rounds}, workers: {workers}, trials an hour: {found[-1]:.0f}"
    problem = Problem.of(load_definition("digits", ["trial.epochs=10", "space.stages.count=1"]))
    for size in options.sizes:
        if str(size) not in record.sizes:
            share = record.sizes[str(size)] = database_share(problem, size, options.runs)
            yield f"{size} finished trials: {1000 * share['branchfold_s']:.0f} ms, {share['ratio']:.2f} times Optuna's"
    if options.seconds and "checkpoints" not in record.found:
        definition = load_definition(options.study, ["trial.epochs=100000", "space.stages.count=1"])
        if options.data_root is not None:
            definition = definition.with_data_root(options.data_root)
        kept = checkpoint_share(Problem.of(definition), options.seconds)
        record.found["checkpoints"] = kept
        yield f"{kept['checkpoints']} checkpoints took {100 * kept['share']:.2f} % of {kept['seconds']:.0f} s"


def main() -> None:
    """Measures and prints; writes JSON where asked to."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3, help="runs of one and of two workers, in turns; 0 for none")
    parser.add_argument("--trials", type=int, default=12, help="of each run")
    parser.add_argument("--epochs", type=int, default=10, help="of each of their trials")
    parser.add_argument("--sizes", type=int, nargs="*", default=[10, 1000, 10_000], help="finished trials")
    parser.add_argument("--runs", type=int, default=30, help="trials timed at each size")
    parser.add_argument("--seconds", type=float, default=60.0, help="of the trial with checkpoints; 0 for none")
    parser.add_argument("--study", default="digits", help="whose network is checkpointed")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--output", type=Path, help="JSON file for the result, which is gone on with")
    options = parser.parse_args()
    torch.set_num_threads(1)
    settings = {key: value for key, value in vars(options).items() if key not in _FREE}
    record = Record(options.output, settings)
    with quiet_optuna():
        for line in measured(record, options):
            record.keep(line)
    publish(record.found, options.output)


if __name__ == "__main__":
    main()
