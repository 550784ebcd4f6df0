"""Which search finds the most at equal compute: recorded trials, a regressor of them, and thousands of searches on it.

    python benchmarks/surrogate.py record --work surrogate-work
    python benchmarks/surrogate.py compare --output benchmarks/surrogate.json

`record` trains random recipes of `surrogate.toml`, each at three rungs: whole trials of a ninth, a third and all of the
compute, rates and α relative to the trial's own length. It takes about half an hour on one idle core and goes on where
it was stopped; what it found here is in `surrogate-trials.jsonl.gz`.
"""

import argparse
import json
from pathlib import Path

from branchfold.benchmarks.surrogate_parts.recording import record
from branchfold.search.process.quiet import quiet_optuna
from branchfold.search.trial.problem import Problem
from branchfold.studies.definition.reading import load_definition

STUDY = Path(__file__).with_suffix(".toml")


def main() -> None:
    """Records trials."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = parser.add_subparsers(dest="command", required=True)
    recording = commands.add_parser("record", help="train random recipes at every rung")
    recording.add_argument("--work", type=Path, required=True, help="folder of what is recorded")
    recording.add_argument("--trials", type=int, default=520)
    recording.add_argument("--again", type=int, default=40, help="recipes whose highest rung has a second seed")
    options = parser.parse_args()
    with quiet_optuna():
        problem = Problem.of(load_definition(str(STUDY)))
        print(json.dumps(record(problem, options.work, options.trials, options.again), indent=2))


if __name__ == "__main__":
    main()
