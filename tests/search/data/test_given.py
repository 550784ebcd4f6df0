import pytest
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, TensorDataset, random_split

from branchfold.errors import DataError
from branchfold.search.data.own.given import give_data, given_data
from branchfold.studies.definition.data_keys import DataTable


def examples(count=40, last=1.0):
    images = torch.arange(float(count)).view(count, 1)
    images[-1] += last
    return TensorDataset(images, torch.arange(count) % 2)


class Noisy(Dataset):
    """Augments at random, as training sets do."""

    def __len__(self):
        return 30

    def __getitem__(self, i):
        return torch.randn(3) + i, i % 2


class Drawn(LightningDataModule):
    """Splits at random and without a seed."""

    def setup(self, stage):
        self.parts = random_split(examples(), [30, 10])

    def train_dataloader(self):
        return DataLoader(self.parts[0], 5, shuffle=True)

    def val_dataloader(self):
        return DataLoader(self.parts[1], 5)


@pytest.mark.parametrize("make", [lambda: (examples(), examples(8)), Drawn, lambda: (Noisy(), Noisy())])
def test_equal_data_have_one_name(make):
    name = give_data(make())
    torch.rand(5)
    assert give_data(make()) == name
    assert name.startswith("given:")


def test_other_lengths_examples_and_kinds_have_other_names():
    known = (examples(), examples(8))
    others = [(examples(41), examples(8)), (examples(), examples(8, last=2.0)), {"train": known[0], "val": known[1]}]
    assert len({give_data(data) for data in (known, *others)}) == 4


def test_the_test_split_is_not_looked_at():
    class Sealed(TensorDataset):
        def __getitem__(self, i):
            raise AssertionError("opened")

    data = (examples(), examples(8), Sealed(torch.zeros(4, 1)))
    assert given_data(DataTable(name=give_data(data))).train is data[0]


def test_data_are_found_by_their_name():
    data = (examples(), examples(8))
    found = given_data(DataTable(name=give_data(data)))
    assert found.train is data[0]
    assert found.validation is data[1]
    with pytest.raises(DataError, match="data 'given:0' were given as an object by another process"):
        given_data(DataTable(name="given:0"))
    with pytest.raises(DataError, match="data that are given take no arguments, but got fold"):
        given_data(DataTable(name=give_data(data), fold=3))


def test_data_that_cannot_be_read_are_one_line():
    class Broken(TensorDataset):
        def __getitem__(self, i):
            raise OSError("disk gone")

    with pytest.raises(DataError, match=r"^data 'tuple' cannot be read: OSError: disk gone$"):
        give_data((Broken(torch.zeros(4, 1)), examples(8)))
