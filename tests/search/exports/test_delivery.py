"""Exports in all formats: what the files compute, what they say of themselves, and that what is wrong is not left."""

import contextlib
import json
import shutil
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open

from branchfold.models import load_network, narrow
from branchfold.models.checkpoints import read_description, save_network
from branchfold.models.networks.vgg import vgg_digits
from branchfold.search.data.splits import load_test
from branchfold.search.exports import evaluation, formats, verification
from branchfold.search.exports.evaluation import digest_of_file, tell_of
from branchfold.search.exports.files import onnx_file
from branchfold.studies.database.storage import load_study, open_storage

URL = "sqlite:///studies/branchfold.db"
ORT = "onnxruntime is not installed: pip install onnx onnxscript onnxruntime"
FORMS = [name for name in formats.FORMATS if name != "onnx" or find_spec("onnxruntime")]


@pytest.fixture(scope="module")
def exported(finished, branchfold, tmp_path_factory):
    """A folder with a study and its trial 1 in every format, checked in a process of its own; what was printed."""
    folder = tmp_path_factory.mktemp("exported") / "copy"
    shutil.copytree(finished[0], folder)
    forms = [word for name in FORMS for word in ("--format", name)]
    with contextlib.chdir(folder), pytest.MonkeyPatch.context() as patch:
        patch.setattr(evaluation, "LATENCY_SECONDS", 0.01)
        patch.setattr("branchfold.search.exports.delivery.LATENCY_SECONDS", 0.01)
        answer = branchfold("export", "tiny", "--trial", "1", *forms, "--output", "out")
    assert answer.status == 0, answer
    return folder, answer.out


@pytest.fixture
def place(exported, tmp_path, monkeypatch):
    """A working directory with a copy of it."""
    shutil.copytree(exported[0], tmp_path / "copy")
    monkeypatch.chdir(tmp_path / "copy")
    return tmp_path / "copy"


def images():
    """The test split as a user has it, normalised by hand, and its labels."""
    split = load_test("digits")
    data = read_description("out/tiny-trial-1.safetensors").data
    normalised = (split.images.float() / 255 - torch.tensor(data["mean"])) / torch.tensor(data["std"])
    return split.images, normalised, split.labels


def accuracy(outputs, labels):
    return float((np.asarray(outputs).argmax(1) == labels.numpy()).mean())


class TestFiles:
    @pytest.mark.usefixtures("place", "quick_latency")
    @pytest.mark.parametrize("form", FORMS)
    def test_every_format_has_the_accuracy_of_the_network(self, branchfold, form):
        suffix = formats.FORMATS[form].suffix
        network = load_network("out/tiny-trial-1.safetensors")
        _, inputs, labels = images()
        with torch.no_grad():
            expected = accuracy(network(inputs), labels)
        found = json.loads(branchfold("evaluate", f"out/tiny-trial-1.{suffix}", "--json").out)
        assert found["value"] == pytest.approx(expected)
        assert found["parameters"] == sum(parameter.numel() for parameter in network.parameters())
        assert found["runtime"].split()[0] == ("onnxruntime" if suffix == "onnx" else "torch")

    def test_onnx_in_onnxruntime_alone(self, place):
        onnxruntime = pytest.importorskip("onnxruntime", reason=ORT)
        session = onnxruntime.InferenceSession("out/tiny-trial-1.onnx")
        (given,), (output,) = session.get_inputs(), session.get_outputs()
        assert (given.name, given.shape, given.type) == ("input", ["batch", 1, 8, 8], "tensor(float)")
        assert (output.name, output.shape) == ("output", ["batch", 10])
        _, inputs, _ = images()
        with torch.no_grad():
            expected = load_network("out/tiny-trial-1.safetensors")(inputs).numpy()
        for batch in (1, 2, 7, 100):
            (found,) = session.run(None, {"input": inputs[:batch].numpy()})
            np.testing.assert_allclose(found, expected[:batch], atol=1e-5 * np.abs(expected).max())

    def test_pt2_takes_any_batch(self, place):
        program = torch.export.load("out/tiny-trial-1.pt2").module()
        _, inputs, _ = images()
        with torch.no_grad():
            expected = load_network("out/tiny-trial-1.safetensors")(inputs)
            for batch in (1, 2, 7, 100):
                torch.testing.assert_close(program(inputs[:batch]), expected[:batch], rtol=1e-5, atol=1e-5)

    def test_the_state_dict_is_a_plain_one(self, place):
        weights = torch.load("out/tiny-trial-1.pt", weights_only=True)
        description = read_description("out/tiny-trial-1.safetensors")
        network = narrow(vgg_digits(width=0.25), description.widths, torch.zeros(1, 1, 8, 8)).eval()
        network.load_state_dict(weights)
        _, inputs, _ = images()
        with torch.no_grad():
            torch.testing.assert_close(network(inputs), load_network("out/tiny-trial-1.safetensors")(inputs))

    def test_each_says_what_it_is(self, place):
        descriptions = [tell_of(path).description for path in Path("out").glob("tiny-trial-1.[!m]*")]
        assert len(descriptions) == len(FORMS)
        assert all(description == descriptions[0] for description in descriptions)
        assert descriptions[0].origin["trial"] == 1
        assert descriptions[0].origin["recipe"]

    def test_printed_and_kept(self, exported, place):
        study = load_study(open_storage(URL, create=False), "tiny")
        lines = exported[1].splitlines()
        for path in Path("out").glob("tiny-trial-1.[!m]*"):
            record = study.user_attrs[f"export:{digest_of_file(path)}"]
            assert (record["trial"], record["file"], record["size"]) == (1, path.name, path.stat().st_size)
            assert 0 <= record["difference"] < 1e-5
            assert any(line.startswith(f"{path.name}: ") and record["runtime"] in line for line in lines)
            assert (record["latency"] is not None) == (path.suffix in (".pt2", ".onnx"))
            if record["latency"] is not None:
                assert record["latency"]["threads"] == 1
                assert record["latency"]["full_milliseconds"] > 0
        assert not list(Path("out").glob(".*"))

    def test_the_card_is_beside_them_and_in_the_header(self, place):
        card = Path("out/tiny-trial-1.md").read_text("utf-8")
        description = read_description("out/tiny-trial-1.safetensors")
        with safe_open("out/tiny-trial-1.safetensors", framework="pt") as file:
            header = json.loads(file.metadata()["branchfold"])["card"]
        for text in (card, header):
            assert "trial 1 of study tiny" in text
            assert "width = 0.25" in text
            assert "none: selected among 3 by these examples" in text
            assert "153,344" in text
            assert "| `features.3` | 8 |" in text
            assert f"| `features.3` | 8 | {description.widths.get('features.3', 8)} |" in text
            assert "- Schedule: " in text
            assert "load_network(" in text
        tested = next(entry for entry in description.metrics if entry["split"] == "test")
        low, high = (100 * share for share in tested["interval"])
        assert f"| test | {100 * tested['value']:.1f} % | 359 | {low:.1f} to {high:.1f} % |" in card
        for path in Path("out").glob("tiny-trial-1.[!m]*"):
            assert f"| `{path.name}` |" in card

    @pytest.mark.usefixtures("quick_latency")
    def test_again_from_the_file_with_images_normalised_inside_and_batch_norms_folded(
        self, place, branchfold, monkeypatch
    ):
        onnx, onnxruntime = (pytest.importorskip(name, reason=ORT) for name in ("onnx", "onnxruntime"))
        changed = ["--fuse", "--with-normalisation", "--format", "onnx"]
        answer = branchfold("export", "out/tiny-trial-1.safetensors", *changed)
        assert (answer.status, answer.out.splitlines()[-1]) == (
            0,
            "exported out/tiny-trial-1.safetensors to tiny-trial-1.onnx",
        )
        session = onnxruntime.InferenceSession("tiny-trial-1.onnx")
        (given,) = session.get_inputs()
        assert given.type == "tensor(uint8)"
        raw, inputs, labels = images()
        with torch.no_grad():
            expected = load_network("out/tiny-trial-1.safetensors")(inputs).numpy()
        (found,) = session.run(None, {"input": raw.numpy()})
        np.testing.assert_allclose(found, expected, atol=1e-5 * np.abs(expected).max())
        assert "BatchNormalization" not in {node.op_type for node in onnx.load("tiny-trial-1.onnx").graph.node}
        timed, sessions, quiet = [], [], evaluation.compare_passes
        monkeypatch.setattr(
            evaluation, "compare_passes", lambda *given, **keys: timed.append(given) or quiet(*given, **keys)
        )
        run = onnxruntime.InferenceSession.run
        monkeypatch.setattr(
            onnxruntime.InferenceSession, "run", lambda self, *given: sessions.append(self) or run(self, *given)
        )
        told = json.loads(branchfold("evaluate", "tiny-trial-1.onnx", "--json").out)
        assert told["value"] == pytest.approx(accuracy(expected, labels))
        # What is timed beside the file is the full network in the file's own runtime, changed as the file is.
        ((own, full, example),) = timed
        sessions.clear()
        for passed in (own, full):
            passed(*example)
        assert [session.get_inputs()[0].type for session in sessions] == ["tensor(uint8)"] * 2
        assert sessions[0] is not sessions[1]
        assert "BatchNorm folded in, normalises uint8" in Path("tiny-trial-1.md").read_text("utf-8")
        assert len(read_description("out/tiny-trial-1.safetensors").metrics) == 2


class TestTrust:
    def test_a_pt2_file_that_no_study_exported_is_not_unpickled(self, place, refused, branchfold, monkeypatch):
        loaded = []
        monkeypatch.setattr(torch.export, "load", lambda file: loaded.append(file) or pytest.fail("it was unpickled"))
        for arguments in (["out/tiny-trial-1.pt2", "--storage", "sqlite:///other.db"], ["changed.pt2"]):
            shutil.copy("out/tiny-trial-1.pt2", "changed.pt2")
            with Path("changed.pt2").open("ab") as file:
                file.write(b"\0")
            message = refused("evaluate", *arguments)
            assert message.startswith(f"{arguments[0]} unpickles what it contains")
            assert "--trust" in message
        assert loaded == []
        assert not Path("other.db").exists()

    @pytest.mark.usefixtures("quick_latency")
    def test_unless_it_is_trusted(self, place, branchfold):
        assert branchfold("evaluate", "out/tiny-trial-1.pt2", "--storage", "sqlite:///o.db", "--trust").status == 0


@pytest.mark.usefixtures("quick_latency")
class TestFailures:
    @pytest.fixture
    def broken(self, monkeypatch):
        """Makes a format write something else."""

        def replace(name, write):
            monkeypatch.setitem(formats.FORMATS, name, formats.FORMATS[name]._replace(write=write))

        return replace

    def left(self):
        return sorted(str(path) for path in Path().rglob("*") if "studies" not in path.parts)

    @pytest.mark.parametrize("off", [1e-2, float("nan")])
    def test_what_differs_is_not_left_behind(self, copy, branchfold, broken, off):
        def write(package, path):
            network = load_network("tiny.safetensors")
            with torch.no_grad():
                network.classifier.bias += off
            save_network(network, path, package.description)

        broken("safetensors", write)
        before, kept = self.left(), Path("tiny.safetensors").read_bytes()
        several = ["--format", "safetensors", "--format", "state-dict"]
        for arguments in (["--output", "tiny.safetensors"], ["--output", "deep/new/x.safetensors"], several):
            answer = branchfold("export", "tiny", *arguments)
            assert answer.status == 1
            assert answer.err.startswith("error: ")
            assert answer.err.count("\n") == 1
            assert "differs from the folded network by" in answer.err
            assert self.left() == before
            assert Path("tiny.safetensors").read_bytes() == kept

    def test_what_its_runtime_cannot_load_is_not_either(self, copy, refused, broken):
        onnx = pytest.importorskip("onnx", reason=ORT)

        def write(package, path):
            onnx_file.write_onnx(package, path)
            model = onnx.load(path)
            model.graph.node[0].op_type = "NoSuchOperation"
            onnx.save(model, path)

        broken("onnx", write)
        broken("state-dict", lambda package, path: path.write_bytes(b"nothing"))
        before = self.left()
        message = refused("export", "tiny", "--format", "onnx", "--output", "new.onnx")
        assert message.startswith("onnxruntime cannot load new.onnx: ")
        assert "NoSuchOperation" in message
        assert message.endswith("nothing is written")
        message = refused("export", "tiny", "--format", "state-dict", "--output", "new.pt")
        assert message.startswith("new.pt holds no description")
        assert self.left() == before

    def test_nor_what_a_format_cannot_hold(self, copy, refused, monkeypatch):
        def cannot(*args, **kwargs):
            raise RuntimeError("Could not guard on data-dependent expression\nand more")

        monkeypatch.setattr(torch.export, "export", cannot)
        before = self.left()
        message = refused("export", "tiny", "--format", "pt2")
        assert message == ("torch.export cannot take VGG: RuntimeError: Could not guard on data-dependent expression")
        assert self.left() == before

    def test_a_process_that_dies(self, copy, refused, monkeypatch):
        monkeypatch.undo()
        monkeypatch.setattr(verification, "__name__", "branchfold.search.exports.nosuch")
        monkeypatch.setattr(evaluation, "LATENCY_SECONDS", 0.01)
        before = self.left()
        message = refused("export", str(copy / "tiny.safetensors"), "--output", str(copy / "new.safetensors"))
        assert message.startswith("the process that checks the files ended with status 1: ")
        assert "branchfold.search.exports.nosuch" in message
        assert self.left() == before


@pytest.mark.usefixtures("quick_latency")
class TestPlaces:
    def test_formats_and_options_that_do_not_go_together(self, copy, refused):
        other = "write_it.onnx"
        message = refused("export", "tiny", "--output", other)
        assert message == (
            "cannot write write_it.onnx: a file of the format safetensors ends in .safetensors; choose another --output"
        )
        assert "'pkl' is not one of 'safetensors'" in refused("export", "tiny", "--format", "pkl")
        assert "--format pt2 and --format onnx" in refused("export", "tiny", "--fuse")
        assert "--trial and --pareto are for studies" in refused("export", "tiny.safetensors", "--trial", "1")
        assert "one objective and no Pareto front" in refused("export", "tiny", "--pareto")
        assert "not both" in refused("export", "tiny", "--pareto", "--trial", "1")
        assert refused("export", "none.safetensors") == "there is no checkpoint none.safetensors"
        assert "cannot write tiny.safetensors: it is what the study is made from" in refused(
            "export", "tiny.safetensors"
        )

    def test_a_card_of_ones_own_is_not_overwritten(self, copy, refused, branchfold):
        Path("new.md").write_text("notes")
        message = refused("export", "tiny", "--output", "new.safetensors")
        assert message.startswith("cannot write new.md: it is there, and no model card that branchfold wrote")
        assert Path("new.md").read_text() == "notes"
        assert not Path("new.safetensors").exists()
        assert branchfold("export", "tiny", "--output", "new.safetensors", "--force").status == 0
        assert branchfold("export", "tiny", "--output", "new.safetensors").status == 0

    def test_what_onnx_needs_is_told_where_it_is_missing(self, copy, refused, monkeypatch):
        monkeypatch.setattr("branchfold.search.exports.formats.find_spec", lambda name: None)
        needs = "the format onnx needs onnx, onnxscript, onnxruntime: pip install onnx onnxscript onnxruntime"
        assert refused("export", "tiny", "--format", "onnx") == needs
        Path("x.onnx").touch()
        assert refused("evaluate", "x.onnx") == needs


def test_every_network_of_the_front(study_run, branchfold, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    study, url, _ = study_run(
        study={"objectives": ["accuracy", "parameters"], "trials": 3, "budget": {}}, search={"pruner": "none"}
    )
    front = {trial.number for trial in study.best_trials}
    answer = branchfold("export", "tiny", "--pareto", "--storage", url, "--format", "state-dict")
    assert answer.status == 0, answer
    assert {path.name for path in Path("tiny-pareto").iterdir()} == {
        f"tiny-trial-{number}.{suffix}" for number in front for suffix in ("pt", "md")
    }
    assert answer.out.splitlines()[0].startswith("Pareto front")
