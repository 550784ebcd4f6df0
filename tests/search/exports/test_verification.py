"""How files are compared with what was folded."""

import math
from importlib.metadata import version

import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError, VerificationError
from branchfold.models import NetworkDescription
from branchfold.search.exports import formats, verification
from branchfold.search.exports.files.package import Package
from branchfold.search.exports.verification import Draft, difference_of, verify


class TestDifference:
    def test_is_a_share_of_the_largest_output(self):
        wanted = [torch.tensor([[1.0, -4.0]]), torch.tensor([[100.0]])]
        assert difference_of([torch.tensor([[1.0, -4.0]]), torch.tensor([[100.0]])], wanted) == 0
        assert difference_of([torch.tensor([[1.5, -4.0]]), torch.tensor([[99.0]])], wanted) == 0.125
        assert difference_of([torch.tensor([[1.0, -4.0]]), torch.tensor([[50.0]])], wanted) == 0.5

    def test_of_outputs_that_are_all_0(self):
        assert difference_of([torch.zeros(1, 2)], [torch.zeros(1, 2)]) == 0
        assert difference_of([torch.full((1, 2), 0.5)], [torch.zeros(1, 2)]) == 0.5

    @pytest.mark.parametrize("first", [0.0, math.nan])
    def test_of_what_is_no_number(self, first):
        found = [torch.tensor([[first]]), torch.tensor([[math.nan if first == 0 else 0.0]])]
        assert math.isnan(difference_of(found, [torch.zeros(1, 1), torch.zeros(1, 1)]))

    def test_of_outputs_that_are_missing_or_of_another_shape(self):
        assert difference_of([], [torch.zeros(1, 2)]) == math.inf
        assert difference_of([torch.zeros(1, 1)], [torch.zeros(1, 2)]) == math.inf


class TestVerify:
    @pytest.fixture
    def check(self, monkeypatch, tmp_path):
        """Verifies a format whose files run as is told, beside a linear layer; what was found."""
        network = nn.Linear(3, 2)
        monkeypatch.setattr(verification, "_in_fresh_process", verification.check_files)

        def verified(run, *, at=7):
            def read(path, content, factory):
                return lambda x: (run(network, x) if len(x) == at else network(x).detach(),)

            form = formats.Format("own", lambda package, path: None, read, lambda path: None)
            monkeypatch.setitem(formats.FORMATS, "own", form)
            inputs = torch.randn(7, 3, generator=torch.Generator().manual_seed(0))
            package = Package(network, NetworkDescription("own", {}, [3]), inputs, inputs)
            (found,) = verify([Draft("own", tmp_path / "a.own", tmp_path / ".draft")], package, None, seconds=0.01)
            return found

        return verified

    def test_what_is_the_same(self, check):
        found = check(lambda network, x: network(x).detach())
        assert (found.difference, found.latency) == (0, None)
        assert found.runtime == f"torch {version('torch')}"

    @pytest.mark.parametrize("batch", [1, 7])
    def test_what_is_wrong_for_one_size_of_the_batch(self, check, batch):
        with pytest.raises(VerificationError, match=r"a\.own differs from the folded network by .*nothing is written"):
            check(lambda network, x: 1.001 * network(x).detach(), at=batch)
        with pytest.raises(VerificationError, match="by inf of its"):
            check(lambda network, x: network(x).detach()[:, :1], at=batch)

    def test_within_a_ten_thousandth(self, check):
        assert 0 < check(lambda network, x: (1 + 5e-5) * network(x).detach()).difference < 1e-4

    def test_what_does_not_run(self, check):
        def fails(network, x):
            raise RuntimeError("Got invalid dimensions for input\nindex 0")

        with pytest.raises(NetworkError, match=r"^torch cannot run .*a\.own: RuntimeError: Got invalid dimensions"):
            check(fails)
