import pytest
import torch
from torch import nn

from branchfold.errors import DataError
from branchfold.models.examples import arguments
from branchfold.search.data.opening import Wanted, open_data
from branchfold.search.data.own.checks import class_numbers
from branchfold.search.data.own.parts import HeldPart, IndexedPart, LoaderPart
from branchfold.search.data.reopening import reopened
from branchfold.studies.definition.data_keys import DataTable

CODE = """
import torch
from pytorch_lightning import LightningDataModule
from torch.utils.data import DataLoader, Dataset, IterableDataset, TensorDataset, WeightedRandomSampler


class Items(Dataset):
    def __init__(self, count, kind="tensor", wrong=None):
        self.count, self.kind, self.wrong = count, kind, wrong

    def __len__(self):
        return self.count

    def __getitem__(self, i):
        image = torch.full((3, 4, 5), float(i))
        if i == 3:
            if self.wrong == "raises":
                raise OSError("disk gone")
            image = {"nan": image / 0 * 0, "shape": image[:1]}.get(self.wrong, image)
        inputs = {"tensor": image, "tuple": (image, i), "dict": {"scale": i, "image": image}}[self.kind]
        if self.wrong == "three":
            return inputs, 1, 2
        return inputs, 9 if self.wrong == "label" and i == 3 else i % 2


class Endless(IterableDataset):
    def __iter__(self):
        yield torch.zeros(3), 0


class Module(LightningDataModule):
    def __init__(self, count=40, tested=True):
        super().__init__()
        self.count, self.tested, self.stages = count, tested, []

    def setup(self, stage):
        self.stages.append(stage)

    def train_dataloader(self):
        assert self.stages == ["fit"]
        return DataLoader(Items(self.count), 4, shuffle=True)

    def val_dataloader(self):
        return DataLoader(Items(8), 4)

    def test_dataloader(self):
        assert self.stages[-1] == "test"
        return DataLoader(Items(6), 4)


def make(count=40, **kinds):
    return {"train": Items(count, **kinds), "val": Items(8, kinds.get("kind", "tensor")), "test": Items(6)}


def pair(root, count=40):
    assert root.endswith("somewhere")
    return Items(count), Items(8)


def weighted():
    sampler = WeightedRandomSampler([0.0] * 30 + [1.0] * 10, 12, generator=torch.Generator().manual_seed(0))
    return DataLoader(Items(40), 5, sampler=sampler), DataLoader(Items(8), 4)


def pictures():
    draw = torch.Generator().manual_seed(0)
    parts = (torch.randint(0, 256, (n, 3, 8, 8), dtype=torch.uint8, generator=draw) for n in (30, 10))
    return tuple(TensorDataset(x, torch.arange(len(x)) % 2) for x in parts)


def nothing():
    return None


def only_train():
    return {"train": Items(4)}


def misspelt():
    return {"trian": Items(4)}


def endless():
    return Endless(), Items(4)


def empty():
    return Items(0), Items(4)


def raises():
    raise RuntimeError("no licence")
"""


class Named(nn.Module):
    def forward(self, image, scale):
        return image * scale


@pytest.fixture
def own(tmp_path):
    (tmp_path / "mine.py").write_text(CODE)
    return lambda name: f"{tmp_path}/mine.py:{name}"


@pytest.fixture
def data_of(own):
    """What a search sees of `make` and its arguments."""

    def make(name, classes=2, seed=0, network=None, **keys):
        table = DataTable.model_validate({"name": own(name), "workers": 0, **keys})
        arrange = (lambda x: arguments(x, network)) if network else (lambda x: x)
        wanted = Wanted(lambda line: None, check=class_numbers(classes), arrange=arrange)
        return open_data(table, seed=seed).read(wanted)

    return make


def told_by(act, *args, **keys):
    with pytest.raises(DataError) as caught:
        act(*args, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def labels_of(data, part, **kinds):
    return torch.cat([labels for _, labels in data.batches(part, 8, **kinds)])


def values_of(data, part, **kinds):
    return [int(x[0, 0, 0]) for images, _ in data.batches(part, 8, **kinds) for x in images]


class TestForms:
    @pytest.mark.parametrize("name", ["make", "Module"])
    def test_datasets_and_a_data_module(self, data_of, own, name):
        data = data_of(name)
        assert [len(data.train), len(data.validation)] == [40, 8]
        assert sorted(values_of(data, data.train)) == list(range(40))
        images, labels = next(iter(data.batches(data.train, 8)))
        assert torch.equal(labels, images[:, 0, 0, 0].long() % 2)
        test = open_data(DataTable.model_validate({"name": own(name), "workers": 0}), seed=0).read_test(print)
        assert len(test) == 6

    def test_a_tuple_without_test_and_the_root(self, data_of, own):
        keys = {"root": "somewhere", "count": 12, "workers": 0}
        assert len(data_of("pair", **keys).train) == 12
        opened = open_data(DataTable.model_validate({"name": own("pair"), **keys}), seed=0)
        assert opened.read_test(print) is None
        assert len(opened.judged(print)) == 8

    def test_inputs_by_name_become_the_forwards_arguments(self, data_of):
        data = data_of("make", kind="dict", network=Named())
        image, scale = data.example(3)
        assert image.shape == (3, 3, 4, 5)
        assert scale.shape == (3,)
        (image, scale), _ = next(iter(data.batches(data.validation, 8)))
        assert torch.equal(image[:, 0, 0, 0].long(), scale)

    def test_inputs_as_a_tuple(self, data_of):
        data = data_of("make", kind="tuple")
        (image, number), labels = next(iter(data.batches(data.train, 8, shuffle=True)))
        assert torch.equal(number % 2, labels)
        assert torch.equal(image[:, 0, 0, 0].long(), number)

    def test_a_loader_with_a_sampler_of_its_own_is_taken_as_it_is(self, data_of):
        data = data_of("weighted")
        assert isinstance(data.train, LoaderPart)
        batches = list(data.batches(data.train, 32, shuffle=True))
        assert [len(labels) for _, labels in batches] == [5, 5, 2]
        assert min(int(x[0, 0, 0]) for images, _ in batches for x in images) >= 30
        assert len(labels_of(data, data.train.first(6))) == 6

    def test_images_as_bytes_are_normalised_and_augmented(self, data_of):
        data = data_of("pictures")
        ((images, _),) = data.batches(data.train, 30)
        assert images.dtype == torch.float32
        torch.testing.assert_close(images.mean((0, 2, 3)), torch.zeros(3), atol=1e-5, rtol=0)
        torch.testing.assert_close(images.std((0, 2, 3), correction=0), torch.ones(3), atol=1e-4, rtol=0)
        ((augmented, _),) = data.batches(data.train, 30, augment="shift-flip")
        assert not torch.equal(augmented, images)
        assert "augment in your own data set" in told_by(data_of("make").batches, None, 8, augment="cut-out")
        given = data_of("pictures", normalisation={"mean": [0.5] * 3, "std": [0.25] * 3})
        assert (given.mean, given.std) == ((0.5,) * 3, (0.25,) * 3)
        assert "are not: they are taken as they come" in told_by(data_of, "make", normalisation="measured")


class TestOrder:
    def test_follows_from_seed_and_pass_alone(self, data_of):
        data = data_of("make")
        batches, twin = (data.batches(data.train, 8, shuffle=True, seed=5) for _ in range(2))
        passes = [[x[0, 0, 0].tolist() for images, _ in batches for x in images] for _ in range(2)]
        assert passes[0] != passes[1]
        assert passes[0] == [x[0, 0, 0].tolist() for images, _ in twin for x in images]

    def test_any_beginning_is_drawn_by_the_seed(self, data_of):
        first, again, other = (values_of(d, d.train.first(10)) for d in (data_of("make", seed=s) for s in (0, 0, 1)))
        assert first == again != other
        assert len(set(first)) == 10

    def test_processes_read_the_same(self, data_of):
        alone, helped = (values_of(d, d.train) for d in (data_of("make"), data_of("make", workers=2)))
        assert alone == helped

    def test_limit(self, data_of):
        assert len(data_of("make", limit=10).train) == 10

    def test_validation_is_held_where_it_fits(self, data_of, monkeypatch):
        assert isinstance(data_of("make").validation, HeldPart)
        monkeypatch.setattr("branchfold.search.data.own.parts.available_memory", lambda: 100)
        streamed = data_of("make")
        assert isinstance(streamed.validation, IndexedPart)
        assert sorted(values_of(streamed, streamed.validation)) == list(range(8))


class TestRefusals:
    @pytest.mark.parametrize(
        ("name", "expected"),
        [
            ("nothing", "must return a LightningDataModule, or data sets"),
            ("only_train", "returned no validation split"),
            ("misspelt", "returned a dict with 'trian'"),
            ("endless", "the train split has no length"),
            ("empty", "the train split is empty"),
            ("raises", "cannot be made with (): RuntimeError: no licence"),
            ("mke", "has no function or class 'mke'; did you mean make?"),
        ],
    )
    def test_what_is_no_data(self, data_of, name, expected):
        assert expected in told_by(data_of, name)

    @pytest.mark.parametrize(
        ("wrong", "expected"),
        [
            ("nan", "inputs of the train split are not finite: 1 of 6 examples"),
            ("shape", "train split: item "),
            ("label", "class numbers from 0 to 1, as many as the network has outputs, but one is 9"),
            ("three", "must be (inputs, targets), but are 3 values"),
            ("raises", "item 3 cannot be read: OSError: disk gone"),
        ],
    )
    @pytest.mark.parametrize("workers", [0, 1])
    def test_items_are_checked(self, data_of, wrong, expected, workers):
        assert expected in told_by(data_of, "make", count=6, wrong=wrong, workers=workers)

    def test_an_argument_that_there_is_not(self, data_of):
        assert "has no argument 'cuont'; did you mean count?" in told_by(data_of, "pair", cuont=3)

    def test_a_file_makes_no_code_run(self, own):
        told = {"name": own("make"), "keys": {"count": 12, "workers": 0}, "seed": 0}
        assert "is not run unasked" in told_by(reopened, told, ".")
        assert len(reopened(told, ".", own=own("make")).read_test(print)) == 6
