"""What predicts, before any training, which widths train best: ranks of predictors against trained accuracy.

    python benchmarks/predictors.py record --work FOLDER --data-root ../shared/data     goes on where it was stopped
    python benchmarks/predictors.py analyse --work FOLDER --output benchmarks/predictors.json

Three baselines (quarter-width VGG-16 on Fashion-MNIST and CIFAR-10, half-width ResNet-20 on CIFAR-10), each narrowed to
12 % of its MACs by least squares, folded at once and trained for the same number of steps. Of 10,000 images held out
the predictors see 3,000; what was trained is judged on the other 7,000. The test split is not touched.
"""

import argparse
from pathlib import Path
from typing import Any

import torch

from branchfold.benchmarks.predictors_parts.analysis import analysed
from branchfold.benchmarks.predictors_parts.candidates import candidates
from branchfold.benchmarks.predictors_parts.problems import HELD_OUT, MACS, SEEN, SUBJECTS, TRAIN, Subject
from branchfold.benchmarks.predictors_parts.recording import SPRINTS, STEPS, Records
from branchfold.benchmarks.results import publish, surroundings


def record(subjects: list[Subject], *, most: int, seeds: int) -> None:
    """Predictors and trainings of all candidates, the first candidates of all subjects first."""
    known = {subject.name: candidates(subject) for subject in subjects}
    kept = {subject.name: Records(subject) for subject in subjects}
    passes = [["predictors", "seed 0"], *([f"seed {seed}"] for seed in range(1, seeds))]
    for kinds in passes:
        for number in range(most):
            for subject in subjects:
                if number < len(known[subject.name]):
                    equal, candidate = known[subject.name][0].widths, known[subject.name][number]
                    for kind in kinds:
                        kept[subject.name].record(number, candidate, equal, kind)


def analysis(subjects: list[Subject]) -> dict[str, Any]:
    """What the records say, of each subject that has any."""
    found = {subject.name: Records(subject).rows for subject in subjects}
    return {
        **surroundings("torch", "optuna"),
        "macs_share": MACS,
        "steps": {"trained": STEPS, "sprints": list(SPRINTS)},
        "images": {"train": TRAIN, "seen": SEEN, "judging": HELD_OUT - SEEN},
        "subjects": {name: analysed(rows) for name, rows in found.items() if rows},
    }


def main() -> None:
    """Records or analyses."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("what", choices=("record", "analyse"))
    parser.add_argument("--work", type=Path, required=True, help="folder of what is kept")
    parser.add_argument("--data-root", default="data")
    parser.add_argument("--subjects", nargs="+", choices=list(SUBJECTS), default=list(SUBJECTS))
    parser.add_argument("--candidates", type=int, default=20, help="at most")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--output", type=Path)
    options = parser.parse_args()
    torch.set_num_threads(1)
    subjects = [Subject(name, options.work, options.data_root) for name in options.subjects]
    if options.what == "record":
        record(subjects, most=options.candidates, seeds=options.seeds)
    else:
        publish(analysis(subjects), options.output)


if __name__ == "__main__":
    main()
