"""What a test watches of a study that runs: the states of its trials, and what its process prints."""

from collections import Counter


def states(study):
    """How many trials are in each state."""
    return Counter(trial.state.name for trial in study.get_trials(deepcopy=False))


def until(process, wanted):
    """Reads the process's lines until one holds all words of `wanted`."""
    seen = []
    for line in process.stdout:
        seen.append(line)
        if all(word in line for word in wanted):
            return
    raise AssertionError(f"no line with {wanted}: {''.join(seen)}")
