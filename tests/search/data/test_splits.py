import gzip
import socket
import struct
from dataclasses import replace
from pathlib import Path
from urllib.error import URLError

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from torchvision.transforms.functional import normalize, to_tensor

from branchfold.errors import BranchfoldError, DataError
from branchfold.search.data.augmentation import augment, shift_and_mirror
from branchfold.search.data.known.sources import SOURCES
from branchfold.search.data.splits import Batches, Split, load_data, load_test, stratified_order

REAL_DATA = Path(__file__).parents[3] / ".." / "shared" / "data"


def rows(images):
    return {image.numpy().tobytes() for image in images}


def _package_fashion(monkeypatch, folder):
    packaged = replace(SOURCES["fashion-mnist"], packaged=folder)
    monkeypatch.setitem(SOURCES, "fashion-mnist", packaged)


@pytest.fixture
def no_network(monkeypatch):
    def refuse(*args, **kwargs):
        raise URLError("no route to host")

    monkeypatch.setattr("urllib.request.urlopen", refuse)
    _package_fashion(monkeypatch, None)


def write_idx(path, array):
    header = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    content = header + array.astype(np.uint8).tobytes()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(content) if path.suffix == ".gz" else content)


def write_mnist(folder, count=600, ending=""):
    generator = np.random.default_rng(0)
    for part, n in (("train", count), ("t10k", 50)):
        write_idx(folder / f"{part}-images-idx3-ubyte{ending}", generator.integers(0, 256, (n, 28, 28)))
        write_idx(folder / f"{part}-labels-idx1-ubyte{ending}", np.arange(n) % 10)


def make_split(count=10, channels=3, size=(8, 16), flips=False):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (count, channels, *size), dtype=torch.uint8, generator=generator)
    return Split(images, torch.arange(count), "train", flips)


def make_batches(split, batch_size=4, **changes):
    channels = split.images.shape[1]
    options = {"mean": (0.4,) * channels, "std": (0.2,) * channels, "shuffle": True, "augment": False, "seed": 0}
    return Batches(split, batch_size, **(options | changes))


def test_digits_are_scikit_learns_in_three_disjoint_stratified_parts():
    data, test = load_data("digits"), load_test("digits")
    published, labels = load_digits(return_X_y=True)
    parts = [data.train, data.validation, test]
    assert [len(part) for part in parts] == [1294, 144, 359]
    ours = torch.cat([part.images for part in parts]).double().flatten(1) * 16 / 255
    both = torch.cat([ours.round(), torch.cat([part.labels for part in parts])[:, None]], 1).numpy()
    expected = np.column_stack([published, labels])
    assert sorted(map(tuple, both)) == sorted(map(tuple, expected))
    for part in parts:
        share = part.labels.bincount() / len(part)
        torch.testing.assert_close(
            share.numpy(), np.bincount(labels) / 1797, atol=1.2 / len(part), rtol=0, check_dtype=False
        )
    assert data.input_shape == (1, 8, 8)
    assert data.train.images.dtype == torch.uint8
    assert data.train.images.max() == 255
    assert not data.train.flips


def test_the_seed_changes_the_validation_split_but_never_the_test_split():
    first, again, other = (load_data("digits", seed=seed) for seed in (1, 1, 2))
    assert torch.equal(first.validation.images, again.validation.images)
    assert torch.equal(first.train.labels, again.train.labels)
    assert rows(first.validation.images) != rows(other.validation.images)
    seen = rows(torch.cat([first.train.images, first.validation.images]))
    assert seen == rows(torch.cat([other.train.images, other.validation.images]))
    assert not seen & rows(load_test("digits").images)


def test_the_pixel_statistics_are_those_of_the_train_split():
    data = load_data("digits", limit=300)
    pixels = data.train.images.double() / 255
    assert data.mean == pytest.approx([pixels.mean().item()], abs=1e-12)
    assert data.std == pytest.approx([pixels.std(correction=0).item()], abs=1e-12)


def test_a_limit_takes_a_stratified_part_of_what_a_larger_limit_takes():
    whole, large, small = load_data("digits"), load_data("digits", limit=1000), load_data("digits", limit=20)
    assert torch.equal(small.train.images, large.train.images[:20])
    assert torch.equal(large.train.images, whole.train.images[:1000])
    assert small.train.labels.bincount(minlength=10).min() >= 1
    assert torch.equal(small.validation.images, whole.validation.images)


def test_a_limit_keeps_at_most_half_as_many_for_validation_but_500(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw", count=5000)
    sizes = {
        limit: len(load_data("mnist", tmp_path, validation=0.5, limit=limit).validation)
        for limit in (None, 10, 1400, 2400)
    }
    assert sizes == {None: 2500, 10: 500, 1400: 700, 2400: 1200}


def test_any_beginning_of_a_stratified_order_holds_each_class_in_its_share():
    labels = torch.tensor([0] * 50 + [1] * 150 + [2] * 300)
    order = stratified_order(labels, seed=3)
    assert sorted(order.tolist()) == list(range(500))
    for count in (5, 20, 33, 250):
        found = labels[order[:count]].bincount(minlength=3).double()
        assert (found - count * torch.tensor([0.1, 0.3, 0.6])).abs().max() <= 1.5
    assert not torch.equal(order, stratified_order(labels, seed=4))


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_mnist_files_are_read_and_padded_to_32_pixels(tmp_path, ending):
    folder = tmp_path / "MNIST" / "raw"
    write_mnist(folder, ending=ending)
    test = load_test("mnist", tmp_path)
    generator = np.random.default_rng(0)
    generator.integers(0, 256, (600, 28, 28))
    expected = np.pad(generator.integers(0, 256, (50, 28, 28)), ((0, 0), (2, 2), (2, 2)))
    assert np.array_equal(test.images[:, 0].numpy(), expected)
    assert test.labels.tolist() == (np.arange(50) % 10).tolist()
    assert load_data("mnist", tmp_path).input_shape == (1, 32, 32)


def test_fashion_mnist_is_found_in_debians_package(tmp_path, monkeypatch):
    write_mnist(tmp_path / "debian", ending=".gz")
    _package_fashion(monkeypatch, tmp_path / "debian")
    data = load_data("fashion-mnist", tmp_path / "absent")
    assert (len(data.train), len(data.validation)) == (540, 60)
    assert data.train.flips
    assert not (tmp_path / "absent").exists()


def test_loading_never_touches_the_test_files(tmp_path):
    write_mnist(tmp_path / "MNIST" / "raw")
    for path in (tmp_path / "MNIST" / "raw").glob("t10k*"):
        path.unlink()
    assert len(load_data("mnist", tmp_path).train) == 540
    with pytest.raises(DataError, match="t10k"):
        load_test("mnist", tmp_path)


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("name", ["mnist", "fashion-mnist", "cifar10", "cifar100"])
def test_a_missing_data_set_without_network_is_one_line_and_leaves_nothing(name, tmp_path, capfd):
    timeout = socket.getdefaulttimeout()
    with pytest.raises(DataError) as caught:
        load_data(name, tmp_path / "new" / "data")
    message = str(caught.value)
    assert "\n" not in message
    assert isinstance(caught.value, BranchfoldError)
    for part in (name, str(tmp_path / "new" / "data"), "no route to host", "--data-root"):
        assert part in message
    assert list(tmp_path.iterdir()) == []
    assert capfd.readouterr() == ("", "")
    assert socket.getdefaulttimeout() == timeout


def test_a_download_that_breaks_off_leaves_nothing_and_one_that_succeeds_only_the_data(tmp_path, monkeypatch, capfd):
    def download(self, *, breaks):
        write_mnist(Path(self.raw_folder), count=100)
        print("noise")
        if breaks:
            raise URLError("connection reset")

    root = tmp_path / "data"
    monkeypatch.setattr("torchvision.datasets.MNIST.download", lambda self: download(self, breaks=True))
    with pytest.raises(DataError, match="connection reset"):
        load_data("mnist", root)
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setattr("torchvision.datasets.MNIST.download", lambda self: download(self, breaks=False))
    assert len(load_data("mnist", root).train) == 90
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    assert [path.name for path in root.iterdir()] == ["MNIST"]
    assert capfd.readouterr() == ("", "")


@pytest.mark.usefixtures("no_network")
@pytest.mark.parametrize("kind", ["truncated", "not idx", "bad gzip", "label", "counts", "missing", "cifar"])
def test_damaged_files_are_told_and_left_alone(kind, tmp_path):
    folder = tmp_path / "MNIST" / "raw"
    write_mnist(folder)
    images = folder / "train-images-idx3-ubyte"
    labels = folder / "train-labels-idx1-ubyte"
    name = "mnist"
    if kind == "truncated":
        images.write_bytes(images.read_bytes()[:-5])
    elif kind == "not idx":
        images.write_bytes(b"<html>")
    elif kind == "bad gzip":
        (folder / "train-images-idx3-ubyte.gz").write_bytes(gzip.compress(images.read_bytes())[:-900])
        images.unlink()
    elif kind == "label":
        write_idx(labels, np.full(600, 10))
    elif kind == "counts":
        write_idx(labels, np.zeros(599))
    elif kind == "missing":
        labels.unlink()
    else:
        name = "cifar10"
        (tmp_path / "cifar-10-batches-py").mkdir()
        (tmp_path / "cifar-10-batches-py" / "data_batch_1").write_bytes(b"no pickle")
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(DataError, match=f"{name} in .* is incomplete or damaged") as caught:
        load_data(name, tmp_path)
    assert "\n" not in str(caught.value)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"limit": 1295}, "limit=1295 .* 1294"),
        ({"limit": 9}, "limit=9 .* 10 classes"),
        ({"validation": 0}, "validation=0$"),
        ({"validation": 1.0}, "validation=1.0"),
        ({"validation": float("nan")}, "validation=nan"),
        ({"validation": 0.001}, "leaves 1 examples in digits's validation split"),
        ({"validation": 0.999}, "leaves 1 examples in digits's train split"),
    ],
)
def test_splits_that_cannot_be_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        load_data("digits", **options)


@pytest.mark.parametrize("load", [load_data, load_test])
def test_an_unknown_name_comes_with_the_nearest_and_all(load):
    with pytest.raises(DataError, match=r"'cifar-10'; did you mean cifar10\? \(known: digits, mnist"):
        load("cifar-10")


def test_batches_are_normalised_as_torchvision_does():
    split = make_split()
    mean, std = (0.1, 0.5, 0.9), (0.2, 0.3, 0.7)
    ((images, labels),) = Batches(split, 10, mean=mean, std=std, shuffle=False, augment=False, seed=0)
    expected = torch.stack([normalize(to_tensor(x.permute(1, 2, 0).numpy()), mean, std) for x in split.images])
    torch.testing.assert_close(images, expected)
    assert images.dtype == torch.float32
    assert torch.equal(labels, split.labels)


def test_each_pass_has_an_order_of_its_own_that_seed_and_number_determine():
    split = make_split()
    batches, twin = make_batches(split, augment=True), make_batches(split, augment=True)
    first, second = list(batches), list(batches)
    order = [torch.cat([labels for _, labels in part]).tolist() for part in (first, second)]
    assert order[0] != order[1]
    assert sorted(order[0]) == sorted(order[1]) == list(range(10))
    twin.epoch = 1
    assert all(torch.equal(a, b) for (a, _), (b, _) in zip(second, twin, strict=True))
    iter(twin)  # nothing drawn from it: not a pass
    assert twin.epoch == 2
    other = torch.cat([labels for _, labels in make_batches(split, seed=-1)]).tolist()
    assert other != order[0]


def test_images_and_labels_stay_together():
    split = make_split()
    for images, labels in make_batches(split, mean=(0.0,) * 3, std=(1 / 255,) * 3):
        torch.testing.assert_close(images, split.images[labels].float())


@pytest.mark.parametrize(("drop_last", "sizes"), [(False, [4, 4, 2]), (True, [4, 4])])
def test_the_last_batch_is_smaller_or_dropped(drop_last, sizes):
    batches = make_batches(make_split(), drop_last=drop_last)
    assert [len(labels) for _, labels in batches] == sizes
    assert len(batches) == len(sizes)


def test_shift_and_mirror_does_to_each_image_what_slicing_does():
    images = make_split(count=60, size=(6, 9)).images
    generator = torch.Generator().manual_seed(1)
    down, right = torch.randint(-2, 3, (2, 60), generator=generator)
    mirrored = torch.rand(60, generator=generator) < 0.5
    result = shift_and_mirror(images, down, right, mirrored)
    for i, image in enumerate(images.numpy()):
        padded = np.pad(image, ((0, 0), (2, 2), (2, 2)))
        expected = padded[:, 2 - down[i] : 8 - down[i], 2 - right[i] : 11 - right[i]]
        assert np.array_equal(result[i].numpy(), expected[..., ::-1] if mirrored[i] else expected)


def test_augmenting_draws_every_shift_and_mirrors_half():
    image = torch.zeros(1, 1, 5, 5)
    image[..., 2, 2], image[..., 2, 3] = 1, 2
    drawn = augment(image.expand(2000, -1, -1, -1), max_shift=1, flips=True, generator=torch.Generator().manual_seed(0))
    seen = {tuple(found.flatten().tolist()): 0 for found in drawn}
    assert len(seen) == 9 * 2
    mirrored = (drawn[..., :-1] - drawn[..., 1:] == 1).flatten(1).sum(1) > 0
    unflipped = augment(image.expand(500, -1, -1, -1), max_shift=1, flips=False, generator=torch.Generator())
    assert len({tuple(found.flatten().tolist()) for found in unflipped}) == 9
    pairs = ((drawn == 2).flatten(2).int().argmax(2) - (drawn == 1).flatten(2).int().argmax(2)).flatten()
    assert set(pairs.tolist()) == {1, -1}
    assert 0.45 < (pairs == -1).double().mean() < 0.55
    assert mirrored.any()


@pytest.mark.parametrize(("size", "reach"), [(8, 1), (32, 4)])
def test_batches_shift_by_an_eighth_and_mirror_only_where_the_split_allows(size, reach):
    image = torch.zeros(1, 1, size, size, dtype=torch.uint8)
    image[..., size // 2, size // 2] = 255
    image[..., size // 2, size // 2 + 1] = 100

    def offsets(flips):
        split = Split(image.expand(2000, -1, -1, -1), torch.zeros(2000, dtype=torch.int64), "train", flips)
        ((images, _),) = make_batches(split, 2000, augment=True, mean=(0.0,), std=(1 / 255,))
        bright = (images > 200).flatten(1).int().argmax(1)
        dim = ((images > 50) & (images < 200)).flatten(1).int().argmax(1)
        return bright // size - size // 2, set((dim - bright).tolist())

    vertical, directions = offsets(flips=False)
    assert (vertical.min(), vertical.max()) == (-reach, reach)
    assert directions == {1}
    assert offsets(flips=True)[1] == {1, -1}


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"batch_size": 0}, "batch_size=0"),
        ({"batch_size": 11, "drop_last": True}, "10 examples: no whole batch of 11"),
        ({"mean": (0.5,)}, "must have 3 values"),
    ],
)
def test_batches_that_cannot_be_are_refused(options, message):
    with pytest.raises(DataError, match=message):
        make_batches(make_split(), **options)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs CIFAR-10 in ../shared/data")
def test_real_cifar10_has_its_known_statistics():
    data = load_data("cifar10", REAL_DATA)
    # The widely quoted statistics of all 50,000 training images.
    assert data.mean == pytest.approx((0.4914, 0.4822, 0.4465), abs=1e-3)
    assert data.std == pytest.approx((0.2470, 0.2435, 0.2616), abs=1e-3)
    assert data.train.labels.bincount().tolist() == [4500] * 10
    assert data.validation.labels.bincount().tolist() == [500] * 10
    assert data.train.flips
    assert data.input_shape == (3, 32, 32)


@pytest.mark.skipif(not REAL_DATA.is_dir(), reason="needs CIFAR-10 in ../shared/data")
def test_real_cifar10_test_split_is_the_published_one():
    test = load_test("cifar10", REAL_DATA)
    assert test.labels.bincount().tolist() == [1000] * 10
    assert test.labels[:6].tolist() == [3, 8, 8, 0, 6, 6]  # cat, ship, ship, airplane, frog, frog
