"""What a machine lacks is a trial's outcome, told in one line; every other error is raised as it is."""

import pytest
import torch

from branchfold.search.trial.faults import Fault, as_outcomes


@pytest.mark.parametrize(
    ("error", "note"),
    [
        (MemoryError(), "out of memory"),
        (torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB."), "out of the GPU's memory: CUDA out"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory"), "out of memory: [enforce fail]"),
        (OSError(28, "No space left on device", "/x"), "No space left on device (/x)"),
        (FileNotFoundError(2, "No such file or directory", "/data/1.png"), "No such file or directory (/data/1.png)"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_what_a_machine_lacks_is_told_in_one_line(error, note):
    with pytest.raises(Fault) as caught, as_outcomes():
        raise error
    assert str(caught.value).startswith(note)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("error", [RuntimeError("shapes differ"), ValueError("out of memory"), KeyError("x")], ids=str)
def test_other_errors_are_raised_as_they_are(error):
    with pytest.raises(type(error)) as caught, as_outcomes():
        raise error
    assert caught.value is error


def test_where_nothing_fails_nothing_is_raised():
    done = []
    with as_outcomes():
        done.append(1)
    assert done == [1]
