"""What screening shares, timed in turn with candidates that share nothing, and which optimiser finds the best widths.

    python benchmarks/screening.py --checkpoint vgg16-quarter.safetensors --data-root ../shared/data \
        --set model.width=0.25 --output benchmarks/screening.json

Seconds are the processor's, of one thread, so that other jobs on the machine hardly count. A candidate is initialised,
folded and judged as `search/run/screening/` does it. Optimisers have the same seconds each, their own thinking
included, on the same candidates' loss, over shares or over their logarithms.
"""

import argparse
import statistics
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import optuna
import torch
from optuna.samplers import BaseSampler, CmaEsSampler, GPSampler, RandomSampler, TPESampler
from torch import nn

from branchfold.benchmarks.results import publish, surroundings
from branchfold.models.checkpoints import load_network
from branchfold.search.data.splits import ImageData
from branchfold.search.run.screening.screening import judge
from branchfold.search.run.screening.untrained import Untrained
from branchfold.search.space import SearchSpace
from branchfold.search.space.known import uniform_shares
from branchfold.search.training.arithmetic import Arithmetic
from branchfold.search.trial.problem import Problem
from branchfold.studies.definition.reading import load_definition

SAMPLERS: dict[str, Callable[[int], BaseSampler]] = {
    "tpe": lambda seed: TPESampler(seed=seed, multivariate=True, n_startup_trials=20),
    "cma-es": lambda seed: CmaEsSampler(seed=seed),
    "gp": lambda seed: GPSampler(seed=seed),
    "random": lambda seed: RandomSampler(seed=seed),
}
_LOGARITHMS = "space.keep.range={low = 0.1, high = 1.0, log = true}"


def seconds_of(action: Callable[[], Any]) -> float:
    """The processor's seconds of one call."""
    start = time.process_time()
    action()
    return time.process_time() - start


def speed(problem: Problem, baseline: nn.Module, share: float, runs: int) -> dict[str, Any]:
    """Seconds of a candidate that shares with others, and of one that does not, in turn."""
    widths = {g.name: max(1, round(share * g.width)) for g in problem.costs.groups if g.prunable}
    shared = Untrained(baseline, problem)
    first = seconds_of(lambda: judge(widths, baseline, problem, shared))
    judge(widths, baseline, problem)
    pairs = [
        (
            seconds_of(lambda: judge(widths, baseline, problem, shared)),
            seconds_of(lambda: judge(widths, baseline, problem)),
        )
        for _ in range(runs)
    ]
    with_others, alone = zip(*pairs, strict=True)
    return {
        "share_of_channels": share,
        "arithmetic": str(shared.arithmetic),
        "first_s": first,
        "shared_s": statistics.median(with_others),
        "alone_s": statistics.median(alone),
        "ratio": statistics.median(alone) / statistics.median(with_others),
    }


def best_found(
    name: str, seed: int, space: SearchSpace, loss: Callable[[dict[str, int]], float], budget: float
) -> dict[str, Any]:
    """What an optimiser finds within so many seconds: the least loss, and after how many candidates."""
    study = optuna.create_study(sampler=SAMPLERS[name](seed))
    study.enqueue_trial(uniform_shares(space))
    start = time.process_time()
    while time.process_time() - start < budget:
        study.optimize(lambda trial: loss(space.propose_widths(trial)), n_trials=1)
    values = [trial.value for trial in study.trials]
    return {"loss": study.best_value, "uniform": values[0], "candidates": len(values)}


def samplers(
    problem: Problem, baseline: nn.Module, options: argparse.Namespace, overrides: list[str]
) -> dict[str, Any]:
    """Each optimiser's least losses over the seeds, on shares and on their logarithms."""
    shared, found = Untrained(baseline, problem), {}
    for scale, more in (("shares", []), ("logarithms", [_LOGARITHMS])):
        definition = load_definition(options.study, [*overrides, *more])
        space = SearchSpace(definition, problem.costs, errors=dict)
        for name in options.samplers:
            runs = []
            for seed in range(options.seeds):
                runs.append(
                    best_found(
                        name, seed, space, lambda widths: judge(widths, baseline, problem, shared), options.budget
                    )
                )
                print(scale, name, seed, runs[-1], flush=True)
            losses = [run["loss"] for run in runs]
            spread = statistics.stdev(losses) if len(losses) > 1 else 0.0
            found[f"{name}, {scale}"] = {"mean": statistics.mean(losses), "spread": spread, "runs": runs}
    return found


def main() -> None:
    """Measures what was asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--study", default="vgg16-cifar10", help="a built-in definition, or a file")
    parser.add_argument("--checkpoint", required=True, help="the trained network")
    parser.add_argument("--data-root", default=None)
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="of the definition")
    parser.add_argument("--precision", default="float32", choices=("float32", "bfloat16"))
    parser.add_argument("--share", type=float, default=0.34, help="of every layer's channels, for the seconds")
    parser.add_argument("--runs", type=int, default=5, help="for the seconds; 0: not measured")
    parser.add_argument("--samplers", nargs="*", default=list(SAMPLERS), choices=list(SAMPLERS))
    parser.add_argument("--seeds", type=int, default=5, help="of each optimiser; 0: not compared")
    parser.add_argument("--budget", type=float, default=60.0, help="seconds of each optimiser")
    parser.add_argument("--validation", type=int, default=None, help="judge on so many validation examples only")
    parser.add_argument("--output", type=Path, default=None)
    options = parser.parse_args()
    torch.set_num_threads(1)
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
    overrides = list(options.set)
    if options.data_root is not None:
        overrides.append(f'data.root="{options.data_root}"')
    memory_format = "channels_last" if options.precision == "bfloat16" else "contiguous"
    problem = replace(
        Problem.of(load_definition(options.study, overrides)), arithmetic=Arithmetic(options.precision, memory_format)
    )
    baseline = load_network(options.checkpoint).eval()
    result: dict[str, Any] = {"study": options.study, "set": options.set, **surroundings("torch", "optuna", "cmaes")}
    if options.runs:
        result["speed"] = speed(problem, baseline, options.share, options.runs)
    if options.seeds:
        if options.validation is not None:
            data = problem.data
            assert isinstance(data, ImageData)
            problem = replace(problem, data=replace(data, validation=data.validation.first(options.validation)))
        result["seconds_each"] = options.budget
        result["samplers"] = samplers(problem, baseline, options, overrides)
    publish(result, options.output)


if __name__ == "__main__":
    main()
