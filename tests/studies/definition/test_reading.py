import json
import subprocess
import sys
from pathlib import Path

import pytest

from branchfold.errors import BranchfoldError, StudyError
from branchfold.studies.definition.dimensions import Choices, Fixed, Range, parse_dimension, plain
from branchfold.studies.definition.reading import (
    builtin_studies,
    describe_difference,
    load_definition,
    parse_definition,
    parse_override,
)

ALL_SHAPES = (
    *("instant", "step", "linear", "multiplicative", "exponential", "cosine", "polynomial"),
    *("sigmoid", "knee", "knots", "plateau"),
)
SHORT = """
[study]
name = "short"
[model]
factory = "vgg16"
width = 0.25
[data]
name = "cifar10"
"""


def write(tmp_path, text, name="mine.toml"):
    path = tmp_path / name
    path.write_text(text, encoding="utf-8")
    return str(path)


def refused(*overrides, study="digits"):
    with pytest.raises(StudyError) as caught:
        load_definition(study, overrides)
    message = str(caught.value)
    assert "\n" not in message
    return message


class TestDimension:
    @pytest.mark.parametrize(
        ("value", "expected"),
        [
            (0.5, Fixed(0.5)),
            ("linear", Fixed("linear")),
            (True, Fixed(True)),
            ([1, 2.5], Choices((1, 2.5))),
            ([True, 1], Choices((True, 1))),
            ({"low": 1, "high": 1}, Range(1, 1)),
            ({"low": 0.001, "high": 1, "log": True}, Range(0.001, 1, log=True)),
            ({"low": 0.1, "high": 0.8, "step": 0.1}, Range(0.1, 0.8, step=0.1)),
        ],
    )
    def test_reads_and_writes_back(self, value, expected):
        dimension = parse_dimension(value)
        assert dimension == expected
        assert plain(dimension) == value
        assert parse_dimension(json.loads(json.dumps(plain(dimension)))) == dimension

    def test_knows_ranges_of_integers(self):
        assert [parse_dimension(value).is_integer for value in ({"low": 1, "high": 4}, {"low": 1, "high": 4.0})] == [
            True,
            False,
        ]
        assert not Range(1, 4, step=0.5).is_integer

    @pytest.mark.parametrize(
        ("value", "reason"),
        [
            ([], "at least one choice"),
            ([1, 1], "each choice once"),
            ([[1]], "plain values only"),
            ({"low": 2, "high": 1}, "low <= high"),
            ({"low": 0, "high": 1, "log": True}, "low > 0"),
            ({"low": 1}, "both low and high"),
            ({"low": "1", "high": 2}, "finite numbers"),
            ({"low": True, "high": 2}, "finite numbers"),
            ({"low": 0.0, "high": float("inf")}, "finite numbers"),
            ({"low": 0, "high": 1, "log": 1}, "log = true or false"),
            ({"low": 1, "high": 4, "log": True, "step": 1}, "not both"),
            ({"low": 0, "high": 1, "step": 0}, "step > 0"),
            ({"low": 0.0, "high": 1.0, "step": 0.3}, "divides"),
            (float("nan"), "plain value"),
        ],
    )
    def test_refuses(self, value, reason):
        with pytest.raises(ValueError, match=reason):
            parse_dimension(value)


class TestDefaults:
    def test_a_short_file_is_enough(self, tmp_path):
        definition = load_definition(write(tmp_path, SHORT))
        space = definition.space
        assert definition.model.factory == "vgg16"
        assert definition.model.arguments == {"width": 0.25}
        assert definition.study.objectives == ("accuracy",)
        assert definition.study.budget.macs is None
        assert (definition.baseline.epochs, definition.baseline.checkpoint) == (30, None)
        assert space.schedule.shape == Choices(ALL_SHAPES)
        assert space.schedule.fade == Range(0.2, 0.8)
        assert space.schedule.parameters == {}
        assert (space.keep.per, space.keep.range) == ("layer", Range(0.1, 1.0))
        assert space.initialisation.method == Fixed("least-squares")
        assert space.training.lr == Range(0.005, 0.1, log=True)
        assert (space.training.weight_decay, space.training.train_original) == (Fixed(5e-4), Fixed(True))
        assert (definition.search.sampler, definition.search.pruner) == ("tpe", "median")
        assert (definition.trial.calibration_examples, definition.trial.recalibration_batches) == (1024, 8)

    def test_parameters_of_a_shape_stand_in_its_own_table(self, tmp_path):
        text = (
            SHORT + '[space.schedule]\nshape = "knee"\n[space.schedule.knee]\nthreshold = { low = 0.1, high = 0.5 }\n'
        )
        schedule = load_definition(write(tmp_path, text)).space.schedule
        assert schedule.shape == Fixed("knee")
        assert schedule.parameters == {"knee": {"threshold": Range(0.1, 0.5)}}

    def test_a_checkpoint_replaces_the_training(self):
        baseline = load_definition("digits", ["baseline.checkpoint=vgg.safetensors"]).baseline
        assert (baseline.epochs, baseline.checkpoint) == (None, str(Path("vgg.safetensors").resolve()))

    def test_several_objectives_have_no_pruner_unless_one_is_written(self):
        both = 'study.objectives=["accuracy", "macs"]'
        assert load_definition("digits", [both]).search.pruner == "none"
        message = refused(both, "search.pruner=median")
        assert 'search.pruner must be "none" with several objectives, but got "median"' in message
        assert message.startswith("--set search.pruner=median: ")

    @pytest.mark.parametrize(
        ("overrides", "line"),
        [
            (["search.rungs=0"], "search.rungs must be greater than or equal to 1, but got 0"),
            (["search.reduction_factor=1"], "search.reduction_factor must be greater than or equal to 2, but got 1"),
            (
                ["search.rungs=3", "search.sampler=grid"],
                'search.rungs must be 1 with search.sampler = "grid", but got 3',
            ),
            (
                ["search.rungs=3", "search.pruner=hyperband"],
                'search.pruner must be "median", "wilcoxon" or "none" with search.rungs = 3, which halve the trials '
                'already, but got "hyperband"',
            ),
            (
                ["search.rungs=2", 'study.objectives=["accuracy", "macs"]'],
                "search.rungs must be 1 with several objectives, but got 2",
            ),
            (
                ["search.rungs=3", "trial.epochs=8"],
                "trial.epochs must be at least 9 with search.rungs = 3, so that the lowest rung trains an epoch, but "
                "got 8; take fewer rungs, or trial.compute",
            ),
        ],
    )
    def test_rungs_that_cannot_be(self, overrides, line):
        assert refused(*overrides).endswith(f": {line}")

    def test_rungs_of_compute_may_be_as_short_as_they_are(self):
        changes = ["search.rungs=4", "trial.epochs=", "trial.compute=0.5"]
        assert load_definition("digits", changes).search.rungs == 4

    def test_is_frozen(self):
        definition = load_definition("digits")
        with pytest.raises(ValueError, match="frozen"):
            definition.study.trials = 3


class TestBuiltins:
    def test_names(self):
        assert builtin_studies() == ["autoencoder", "digits", "fashion-mnist", "shapes", "vgg16-cifar10"]

    @pytest.mark.parametrize("name", ["autoencoder", "digits", "fashion-mnist", "shapes", "vgg16-cifar10"])
    def test_load_under_their_own_name_and_survive_json(self, name):
        definition = load_definition(name)
        assert definition.study.name == name
        assert 0 < definition.study.budget.macs <= 0.5
        assert definition.study.trials >= 8
        assert parse_definition(json.loads(json.dumps(definition.to_dict()))) == definition


class TestOverrides:
    @pytest.mark.parametrize(
        ("override", "path", "value"),
        [
            ("model.width=0.25", ["model", "width"], 0.25),
            ("study.trials = 3", ["study", "trials"], 3),
            ("space.schedule.shape=linear", ["space", "schedule", "shape"], "linear"),
            ('space.schedule.shape="linear"', ["space", "schedule", "shape"], "linear"),
            ('study.objectives=["accuracy","macs"]', ["study", "objectives"], ["accuracy", "macs"]),
            ("space.keep.range={low=0.1,high=0.5}", ["space", "keep", "range"], {"low": 0.1, "high": 0.5}),
            ('model."a.b=c"=x=y', ["model", "a.b=c"], "x=y"),
            ("data.root=", ["data", "root"], None),
            ('data.root=""', ["data", "root"], ""),
        ],
    )
    def test_parse(self, override, path, value):
        assert parse_override(override) == (path, value)

    def test_without_a_value_remove_the_key(self, tmp_path):
        path = write(tmp_path, SHORT + "[space]\nkeep = 0.5\n")
        definition = load_definition(path, ["model.width=", "space.keep="])
        assert definition.model.arguments == {}
        assert definition.space.keep.range == Range(0.1, 1.0)

    def test_give_a_built_in_study_another_network(self):
        model = load_definition("vgg16-cifar10", ["model.width=", "model.factory=torchvision:resnet18"]).model
        assert model.factory == "torchvision:resnet18"
        assert model.arguments == {"in_channels": 3, "num_classes": 10}

    @pytest.mark.parametrize(
        ("override", "line"),
        [
            ("model.widht=", "there is no such key to remove; did you mean width? (set there: factory, width)"),
            ("space.keep.range=", "there is no such key to remove"),
            ("study.name=", "study.name is missing"),
        ],
    )
    def test_remove_nothing_that_is_not_there(self, tmp_path, override, line):
        assert refused(override, study=write(tmp_path, SHORT)) == f"--set {override}: {line}"

    @pytest.mark.parametrize("override", ["study", "trials=3", "=3", "study.=3", "study trials=3"])
    def test_malformed(self, override):
        assert refused(override).startswith(f"--set {override}: must be section.key=value")

    def test_replace_the_file(self, tmp_path):
        definition = load_definition(write(tmp_path, SHORT), ["model.width=0.5", "space.keep.range=0.3"])
        assert definition.model.arguments == {"width": 0.5}
        assert definition.space.keep.range == Fixed(0.3)


class TestErrors:
    @pytest.mark.parametrize(
        ("override", "expected"),
        [
            ("study.trails=3", "unknown key study.trails; did you mean study.trials?"),
            ("modle.factory=x", "unknown key modle; did you mean model?"),
            ("space.schedule.shpae=linear", "unknown key space.schedule.shpae; did you mean space.schedule.shape?"),
            ("study.budget.mac=0.3", "unknown key study.budget.mac; did you mean study.budget.macs?"),
            ("trial.zzz=0.3", "known here: epochs, compute, batch_size, calibration_examples, recalibration_batches"),
            (
                "space.training.lr={low=0.1, hihg=1}",
                "unknown key space.training.lr.hihg; did you mean space.training.lr.high?",
            ),
            ("study.trials=0", "study.trials must be greater than or equal to 1, but got 0"),
            ("study.trials=true", "study.trials must be a valid integer, but got true"),
            ("study.trials=2.5", "study.trials must be a valid integer"),
            ("study.seed=-1", "study.seed must be greater than or equal to 0, but got -1"),
            ("study.name=a b", "study.name must be 1 to 100 letters, digits, '-', '_' or '.', but got \"a b\""),
            ("study.objectives=[]", "study.objectives must hold a metric"),
            ('study.objectives=["accuracy", "accuracy"]', "each once"),
            (
                'study.objectives=["accuracy", "mac"]',
                'study.objectives[1] must be one of "accuracy", "f1", "mae", "psnr", "miou", "metric", "macs", '
                '"parameters", "latency", but got "mac"; '
                "did you mean macs?",
            ),
            ("study.budget=0.5", "study.budget must be a table, but got 0.5"),
            ("study.budget.macs=1.2", "study.budget.macs must be less than or equal to 1, but got 1.2"),
            ("data.validation=1.0", "data.validation must be less than 1, but got 1.0"),
            ("baseline.lr=nan", "baseline.lr must be a finite number"),
            ("baseline={epochs=1}", "must be section.key=value"),
            (
                "space.keep.per=layr",
                'space.keep.per must be one of "network", "resolution", "layer", "sensitivity", but got "layr"; '
                "did you mean layer?",
            ),
            ("space.keep.range=[0.1, 0.2]", "space.keep.range must be a number or a range {low, high}"),
            ("space.keep.range=1.5", "space.keep.range must be > 0 and <= 1, but got 1.5"),
            ("space.keep.range={low=0, high=1}", "space.keep.range must be > 0 and <= 1"),
            ("space.schedule.fade=[0.5, 0]", "space.schedule.fade must be > 0 and <= 1, but got [0.5, 0]"),
            ("space.schedule.shape=3", 'space.schedule.shape must be one or a list of "instant", "step"'),
            ("space.schedule.knee.threshold=[]", "space.schedule.knee.threshold must list at least one choice"),
            (
                "space.initialisation.method=lsq",
                'method must be one or a list of "least-squares", "selection", "kaiming"',
            ),
            ("space.training.train_original=1", "train_original must be one or a list of true, false, but got 1"),
            ("space.training.weight_decay=-1", "space.training.weight_decay must be >= 0, but got -1"),
            ("space.training.lr.low=5", "space.training.lr must have low <= high"),
            (
                "search.pruner=medium",
                'search.pruner must be one of "median", "hyperband", "wilcoxon", "none", but got "medium"; '
                "did you mean median?",
            ),
        ],
    )
    def test_name_the_override_the_key_and_what_is_allowed(self, override, expected):
        message = refused(override)
        assert message.startswith(f"--set {override}: ")
        assert expected in message

    def test_first_of_several_is_told_and_the_rest_counted(self):
        message = refused("study.trials=0", "study.seed=-1", "study.trails=3")
        assert message == "--set study.trails=3: unknown key study.trails; did you mean study.trials? (and 2 more)"

    def test_both_sources_of_a_baseline(self, tmp_path):
        path = write(tmp_path, SHORT + '[baseline]\nepochs = 3\ncheckpoint = "x"\n')
        assert refused(study=path).startswith(f"{path}: baseline must have either epochs or checkpoint, but got")

    def test_missing_table(self, tmp_path):
        path = write(tmp_path, '[study]\nname = "x"\n[model]\nfactory = "vgg16"\n')
        assert refused(study=path) == f"{path}: data is missing"

    def test_syntax_names_file_and_line(self, tmp_path):
        path = write(tmp_path, '[study]\nname = "x"\ntrials == 3\n')
        assert refused(study=path).startswith(f"{path}: not valid TOML: ")
        assert "line 3" in refused(study=path)

    def test_unknown_study(self):
        message = refused(study="digts")
        assert message.startswith(
            "unknown study 'digts'; did you mean digits? (built in: autoencoder, digits, fashion-mnist"
        )

    def test_missing_and_unreadable_files(self, tmp_path):
        assert refused(study=f"{tmp_path}/no.toml") == f"no study definition at {tmp_path}/no.toml"
        (tmp_path / "folder.toml").mkdir()
        assert "cannot read the study definition" in refused(study=f"{tmp_path}/folder.toml")
        (tmp_path / "latin.toml").write_bytes(b"# \xe9\n")
        assert "it is not UTF-8 text" in refused(study=f"{tmp_path}/latin.toml")

    def test_are_shown_as_one_line_by_the_command_line(self):
        assert issubclass(StudyError, BranchfoldError)


class TestFingerprint:
    def test_ignores_trials_and_finalists_and_the_place_of_the_data(self):
        before = load_definition("digits").fingerprint()
        changes = ["study.trials=500", "data.root=/elsewhere", "search.finalists=1"]
        after = load_definition("digits", changes).fingerprint()
        assert before == after == json.loads(json.dumps(before))
        assert describe_difference(before, after) is None
        assert "trials" not in before["study"]
        assert "root" not in before["data"]
        assert "finalists" not in before["search"]

    def test_difference_names_keys_and_both_values(self):
        before = load_definition("digits").fingerprint()
        after = load_definition("digits", ["space.training.lr.high=0.2", "model.width=2", "study.seed=7"]).fingerprint()
        assert describe_difference(before, after) == (
            "study.seed was 0 and is now 7, model.width was not set and is now 2, "
            "space.training.lr.high was 0.1 and is now 0.2"
        )

    def test_many_differences_are_counted(self):
        before = {"a": {str(i): i for i in range(5)}}
        after = {"a": {str(i): -i - 1 for i in range(5)}}
        assert describe_difference(before, after).endswith("a.2 was 2 and is now -3 (and 2 more)")


def test_reading_a_definition_imports_neither_torch_nor_optuna():
    code = (
        "import sys; from branchfold.studies.definition.reading import load_definition; load_definition('digits');"
        "print(sorted({'torch', 'optuna', 'sqlalchemy', 'numpy'} & set(sys.modules)))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[]"


class TestNames:
    @pytest.mark.parametrize("name", ["digits-screening", "x-refined", ".", "..", "-x", "--yes"])
    def test_that_would_collide_or_not_be_a_name_are_refused(self, name, tmp_path):
        with pytest.raises(StudyError, match=r"^--set study.name=.*: study.name must .*, but got") as caught:
            load_definition("digits", [f"study.name='{name}'"])
        assert str(caught.value).endswith(f'but got "{name}"')
        path = tmp_path / "own.toml"
        path.write_text(f'[study]\nname = "{name}"\n[model]\nfactory = "vgg16"\n[data]\nname = "cifar10"\n[search]\n')
        with pytest.raises(StudyError, match=r"own\.toml: study\.name must"):
            load_definition(str(path))

    @pytest.mark.parametrize("name", ["digits-screening-2", "refined", "a.b", "_", "..."])
    def test_others_are_not(self, name):
        assert load_definition("digits", [f"study.name='{name}'"]).study.name == name

    def test_stored_ones_stay_readable(self):
        tables = load_definition("digits").to_dict()
        for name in ("digits-screening", "digits-refined", "-x", "."):
            assert parse_definition({**tables, "study": {**tables["study"], "name": name}}).study.name == name


def test_samplers_that_take_one_objective_are_told():
    several = ['study.objectives=["accuracy", "macs"]', "search.sampler=cma-es"]
    with pytest.raises(StudyError, match=r'search\.sampler must take several objectives, which "cma-es" does not'):
        load_definition("digits", several)
