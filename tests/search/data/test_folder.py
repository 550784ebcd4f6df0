import numpy as np
import pytest
import torch
from PIL import Image

from branchfold.errors import DataError
from branchfold.search.data.batches import Split
from branchfold.search.data.folder import images as folder_images
from branchfold.search.data.folder.images import StreamedSplit
from branchfold.search.data.folder.pictures import Form, read_picture
from branchfold.search.data.reopening import reopened, whereabouts
from branchfold.studies.definition.data_keys import DataTable


def pixels(split):
    return {(int(image[0, 0, 0]), int(label)) for image, label in zip(split.images, split.labels, strict=True)}


def told_by(act, *args, **keys):
    with pytest.raises(DataError) as caught:
        act(*args, **keys)
    assert "\n" not in str(caught.value)
    return str(caught.value)


class TestOneLevel:
    def test_is_split_in_three_disjoint_stratified_parts(self, write_images, read, opened, tmp_path):
        root = str(write_images(tmp_path / "photos", count=40))
        data = read("folder", root=root, size=8, test=0.25, validation=0.2)
        test = opened("folder", root=root, size=8, test=0.25).read_test(lambda line: None)
        parts = [data.train, data.validation, test]
        assert [part.labels.bincount().tolist() for part in parts] == [[24, 24], [6, 6], [10, 10]]
        seen = [pixels(part) for part in parts]
        assert sum(map(len, seen)) == len(set.union(*seen)) == 80
        assert data.classes == ("cat", "dog")
        assert data.input_shape == (3, 8, 8)
        assert all((value >= 50) == bool(label) for value, label in set.union(*seen))

    def test_test_split_depends_neither_on_the_seed_nor_on_files_that_are_added(
        self, write_images, opened, read, tmp_path
    ):
        root = write_images(tmp_path / "photos", count=40)
        keys = {"root": str(root), "size": 8}
        first, other = (pixels(opened("folder", seed, **keys).read_test(print)) for seed in (0, 1))
        assert first == other
        assert pixels(read("folder", 0, **keys).validation) != pixels(read("folder", 1, **keys).validation)
        Image.new("RGB", (8, 8), (49, 49, 49)).save(root / "cat" / "new.png")
        later = pixels(opened("folder", **keys).read_test(print))
        assert first <= later | {min(first)}
        assert len(first - later) <= 1

    def test_searching_opens_no_test_image(self, write_images, opened, read, tmp_path, monkeypatch):
        root = str(write_images(tmp_path / "photos"))
        test = opened("folder", root=root, size=8).read_test(print)
        looked_at = []

        def noted(path, form):
            looked_at.append(path)
            return read_picture(path, form)

        monkeypatch.setattr(folder_images, "read_picture", noted)
        read("folder", root=root, size=8)
        values = {int(np.asarray(Image.open(path))[0, 0, 0]) for path in looked_at}
        assert len(looked_at) == 40 - len(test)
        assert not values & {value for value, _ in pixels(test)}

    def test_limit_takes_a_stratified_part(self, write_images, read, tmp_path):
        data = read("folder", root=str(write_images(tmp_path, count=40)), size=8, limit=10)
        assert data.train.labels.bincount().tolist() == [5, 5]


class TestSplitFolders:
    def test_are_taken_as_they_are(self, write_images, read, opened, tmp_path):
        for part, count in (("train", 10), ("val", 4), ("test", 5)):
            write_images(tmp_path / part, count=count)
        data = read("folder", root=str(tmp_path), size=8)
        test = opened("folder", root=str(tmp_path), size=8).read_test(print)
        assert [len(part) for part in (data.train, data.validation, test)] == [20, 8, 10]

    def test_without_validation_it_is_held_out_of_train_and_without_test_there_is_none(
        self, write_images, read, opened, tmp_path
    ):
        write_images(tmp_path / "train", count=20)
        data = read("folder", root=str(tmp_path), size=8, validation=0.25)
        assert [len(data.train), len(data.validation)] == [30, 10]
        assert opened("folder", root=str(tmp_path), size=8).read_test(print) is None
        assert len(opened("folder", root=str(tmp_path), size=8, validation=0.25).judged(print)) == 10

    def test_a_file_finds_its_test_split_again_and_refuses_other_classes(self, write_images, opened, tmp_path):
        write_images(tmp_path / "photos")
        told = {"name": "folder", "keys": {"size": [8, 8], "test": 0.2}, "seed": 3, "classes": ["cat", "dog"]}
        again = reopened(told, str(tmp_path / "photos")).read_test(print)
        assert pixels(again) == pixels(
            opened("folder", 3, root=str(tmp_path / "photos"), size=8, test=0.2).judged(print)
        )
        message = told_by(reopened, {**told, "classes": ["cat", "cow"]}, str(tmp_path / "photos"))
        assert "are not those that the network was trained on" in message

    def test_a_file_refuses_another_layout_than_its_study_had(self, write_images, tmp_path):
        for part in ("train", "test"):
            write_images(tmp_path / "photos" / part)
        write_images(tmp_path / "flat")
        told = {"name": "folder", "keys": {"size": [8, 8]}}
        for here, other in (("photos", "photos/train"), ("flat", "photos")):
            described = {**told, **whereabouts(DataTable(name="folder", root=str(tmp_path / here)))}
            assert len(reopened(described, str(tmp_path / here)).judged(print)) > 0
            message = told_by(reopened, described, str(tmp_path / other))
            assert message.startswith(f"{tmp_path / other} has ")
            assert message.endswith("name that with --data-root FOLDER")

    def test_a_file_finds_its_folder_again_and_says_when_it_is_gone(self, write_images, tmp_path, monkeypatch):
        write_images(tmp_path / "photos")
        told = {"name": "folder", "keys": {"size": [8, 8]}}
        assert told_by(reopened, told, None).endswith("name it with --data-root FOLDER")
        with monkeypatch.context() as context:
            context.chdir(tmp_path)
            told |= whereabouts(DataTable(name="folder", root="photos"))
        assert told["root"] == str(tmp_path / "photos")
        assert len(reopened(told, None).judged(print)) == 6
        monkeypatch.setenv("HOME", str(tmp_path))
        at_home = {**told, **whereabouts(DataTable(name="folder", root=str(tmp_path / "photos")))}
        assert at_home["root"] == "~/photos"
        assert len(reopened(at_home, None).judged(print)) == 6
        (tmp_path / "photos").rename(tmp_path / "away")
        assert f"{tmp_path / 'photos'} that the network was trained on is gone" in told_by(reopened, told, None)
        assert len(reopened(told, str(tmp_path / "away")).judged(print)) == 6


class TestRefusals:
    def test_folders_that_hold_no_study(self, write_images, read, tmp_path):
        (tmp_path / "empty").mkdir()
        (tmp_path / "bare" / "cat").mkdir(parents=True)
        write_images(tmp_path / "one", classes=("cat",))
        (write_images(tmp_path / "hollow") / "eel").mkdir()
        write_images(tmp_path / "few", count=1)
        (tmp_path / "file").touch()
        expected = {
            "missing": "is no folder",
            "file": "is no folder but a file",
            "empty": "there is no folder for each class",
            "bare": "no images in",
            "one": "one class alone in",
            "hollow": "no images in class 'eel'",
            "few": f"class 'cat' of {tmp_path / 'few'} has 1 image: too few for three splits",
        }
        for name, text in expected.items():
            assert text in told_by(read, "folder", root=str(tmp_path / name), size=8)

    def test_a_class_that_one_split_lacks(self, write_images, read, tmp_path):
        write_images(tmp_path / "train", classes=("cat", "dog", "eel"))
        write_images(tmp_path / "validation", classes=("cat", "dog"))
        message = told_by(read, "folder", root=str(tmp_path), size=8)
        assert "class 'eel' missing in the validation split" in message
        assert "each split needs all 3 classes" in message

    def test_a_test_folder_of_other_classes_is_refused_before_its_images_are_read(self, write_images, read, tmp_path):
        write_images(tmp_path / "train")
        (write_images(tmp_path / "test", classes=("cat",)) / "cow").mkdir()
        (tmp_path / "test" / "cat" / "000.png").write_text("no image")
        assert "class 'dog' missing in the test split" in told_by(read, "folder", root=str(tmp_path), size=8)
        (tmp_path / "test" / "dog").mkdir()
        assert "class 'cow' of the test split" in told_by(read, "folder", root=str(tmp_path), size=8)
        (tmp_path / "test" / "cow").rmdir()
        assert read("folder", root=str(tmp_path), size=8).classes == ("cat", "dog")

    def test_size_that_nothing_tells(self, write_images, read, tmp_path):
        assert "data.size is missing" in told_by(read, "folder", root=str(write_images(tmp_path)))

    def test_hidden_folders_are_no_classes(self, write_images, read, tmp_path):
        (write_images(tmp_path) / ".ipynb_checkpoints").mkdir()
        assert read("folder", root=str(tmp_path), size=8).classes == ("cat", "dog")

    def test_unreadable_images_are_named_and_counted_up_to_one_in_a_hundred(self, write_images, read, tmp_path):
        for part, count in (("train", 150), ("validation", 10)):
            write_images(tmp_path / part, count=count, size=(2, 2))
        broken = tmp_path / "train" / "cat" / "007.png"
        broken.write_bytes(broken.read_bytes()[:40])
        (tmp_path / "train" / "dog" / "011.png").write_bytes(b"no image")
        told = []
        data = read("folder", told=told, root=str(tmp_path), size=2)
        (line,) = (line for line in told if "cannot be read" in line)
        assert line.startswith("train: 2 of 300 images cannot be read: ")
        assert "007.png" in line
        assert "011.png" in line
        assert len(data.train) == 298
        assert not {(7, 0), (61, 1)} & pixels(data.train)
        for i in range(2):
            (tmp_path / "train" / "cat" / f"03{i}.png").write_bytes(b"")
        message = told_by(read, "folder", root=str(tmp_path), size=2)
        assert "4 of 300 images cannot be read" in message
        assert "and 1 more: more than one in 100" in message


class TestStreaming:
    @pytest.mark.parametrize("workers", [0, 2])
    def test_gives_what_memory_would_have_given(self, write_images, read, tmp_path, monkeypatch, workers):
        root = str(write_images(tmp_path))
        held = read("folder", root=root, size=8)
        monkeypatch.setattr(folder_images, "available_memory", lambda: 1000)
        told = []
        streamed = read("folder", told=told, root=root, size=8, workers=workers)
        assert isinstance(held.train, Split)
        assert isinstance(streamed.train, StreamedSplit)
        assert f"streamed by {workers} processes" in told[0]
        assert (streamed.mean, streamed.std) == (held.mean, held.std)
        kinds = {"shuffle": True, "seed": 3, "augment": ["shift-flip", "random-resized-crop"]}
        both = [list(data.batches(data.train, 8, **kinds)) for data in (held, streamed)]
        for (images, labels), (others, other_labels) in zip(*both, strict=True):
            assert torch.equal(images, others)
            assert torch.equal(labels, other_labels)
        for part in (lambda x: x.first(5), lambda x: x.last(5)):
            parts = [torch.cat([labels for _, labels in d.batches(part(d.train), 3)]) for d in (held, streamed)]
            assert torch.equal(*parts)

    def test_images_that_turn_out_unreadable_are_left_out_and_told(self, write_images, read, tmp_path, monkeypatch):
        for part, count in (("train", 100), ("validation", 4)):
            write_images(tmp_path / part, count=count, size=(2, 2))
        monkeypatch.setattr(folder_images, "available_memory", lambda: 100)
        told = []
        data = read("folder", told=told, root=str(tmp_path), size=2, workers=0)
        (tmp_path / "train" / "cat" / "007.png").write_bytes(b"no image")
        assert sum(len(labels) for _, labels in data.batches(data.train, 32)) == 199
        assert told[-1].startswith("train: 1 of 200 image cannot be read: ")


class TestPictures:
    def test_sixteen_bits_keep_their_range(self, tmp_path):
        values = np.linspace(0, 65535, 64, dtype=np.uint16).reshape(8, 8)
        Image.fromarray(values).save(tmp_path / "x.png")
        for greyscale in (True, False):
            image = read_picture(tmp_path / "x.png", Form(8, 8, greyscale=greyscale))
            assert image.shape == (1 if greyscale else 3, 8, 8)
            assert np.array_equal(image[0].numpy(), np.rint(values / 257).astype(np.uint8))

    @pytest.mark.parametrize("mode", ["L", "RGBA", "LA", "P", "1", "CMYK", "RGB"])
    def test_each_mode_is_what_pillow_makes_of_it(self, tmp_path, mode):
        draw = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
        suffix = "tif" if mode == "CMYK" else "png"
        Image.fromarray(draw).convert(mode).save(tmp_path / f"x.{suffix}")
        expected = np.asarray(Image.open(tmp_path / f"x.{suffix}").convert("RGB"))
        found = read_picture(tmp_path / f"x.{suffix}", Form(8, 8))
        assert np.array_equal(found.permute(1, 2, 0).numpy(), expected)

    def test_exif_turns(self, tmp_path):
        image = Image.new("L", (8, 4))
        image.putpixel((0, 0), 255)
        exif = image.getexif()
        exif[0x0112] = 6  # turned by 90° clockwise to be seen upright
        image.save(tmp_path / "x.png", exif=exif)
        found = read_picture(tmp_path / "x.png", Form(8, 4, greyscale=True))
        assert found[0, 0, 3] == 255
        assert found.sum() == 255

    def test_floating_point_is_refused(self, tmp_path):
        Image.fromarray(np.zeros((4, 4), dtype=np.float32)).save(tmp_path / "x.tif")
        with pytest.raises(ValueError, match="floating-point"):
            read_picture(tmp_path / "x.tif", Form(4, 4))

    def test_resizing_crops_stretches_or_pads(self, tmp_path):
        # A white stripe of 10 in the middle of 30 × 10.
        pixels = np.zeros((10, 30), dtype=np.uint8)
        pixels[:, 10:20] = 255
        Image.fromarray(pixels).save(tmp_path / "x.png")
        crop, stretch, pad = (
            read_picture(tmp_path / "x.png", Form(30, 30, how, greyscale=True))[0] for how in ("crop", "stretch", "pad")
        )
        assert crop[:, 2:-2].min() == 255
        assert stretch.float().mean(0)[[2, 15, 27]].tolist() == [0, 255, 0]
        assert (pad[:9] == 0).all()
        assert (pad[21:] == 0).all()
        assert pad[12:18, 12:18].min() == 255
