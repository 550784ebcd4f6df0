import pytest

from branchfold.errors import StudyError
from branchfold.studies.definition.live import given_names, has_given_weights, live_definition
from branchfold.studies.definition.reading import parse_definition

GIVEN = {"network": "given:1", "data": "given:2", "task": "given:3"}
TOML = """
[study]
name = "mine"
trials = 7
[model]
factory = "resnet20"
width = 0.5
[data]
name = "digits"
limit = 100
[baseline]
lr = 0.05
[search]
sampler = "random"
"""


@pytest.fixture(params=["tables", "file", "definition"])
def source(request, tmp_path):
    import tomllib

    (tmp_path / "mine.toml").write_text(TOML)
    tables = tomllib.loads(TOML)
    return {"tables": tables, "file": tmp_path / "mine.toml", "definition": parse_definition(tables)}[request.param]


def test_objects_stand_in_the_place_of_names(source):
    found = live_definition(source, GIVEN)
    assert given_names(found) == GIVEN
    assert found.model.arguments == {}
    assert (found.study.trials, found.data.limit, found.search.sampler) == (7, 100, "random")
    assert found.study.objectives == ("metric",)


def test_the_given_weights_are_the_baseline_unless_epochs_are_asked_for(source):
    found = live_definition(source, GIVEN)
    assert has_given_weights(found)
    assert (found.baseline.epochs, found.baseline.lr) == (None, 0.05)
    untouched = live_definition(source, {"data": "given:2"})
    assert not has_given_weights(untouched)
    assert (untouched.baseline.epochs, untouched.model.arguments) == (30, {"width": 0.5})


def test_what_is_given_may_be_missing():
    found = live_definition({"study": {"name": "mine"}, "baseline": {"epochs": 3}}, GIVEN)
    assert (found.baseline.epochs, has_given_weights(found)) == (3, True)
    with pytest.raises(StudyError, match="model is missing"):
        live_definition({"study": {"name": "mine"}}, {"data": "given:2"})


def test_a_checkpoint_goes_before_the_given_weights(tmp_path):
    found = live_definition({"study": {"name": "mine"}, "baseline": {"checkpoint": str(tmp_path / "x.pt")}}, GIVEN)
    assert not has_given_weights(found)


def test_mistakes_are_one_line():
    with pytest.raises(StudyError, match="must be a Definition, a dict of its tables or the path of a TOML file"):
        live_definition(3, GIVEN)
    with pytest.raises(StudyError, match=r"study\.name must not end in -refined"):
        live_definition({"study": {"name": "mine-refined"}}, GIVEN)


def test_the_device_is_free_to_change(source):
    definition = live_definition(source, {"data": "given:2"})
    moved = definition.with_device("cuda:1")
    assert (moved.trial.device, definition.trial.device) == ("cuda:1", "auto")
    assert moved.fingerprint() == definition.fingerprint()
    with pytest.raises(StudyError, match=r'^--device gpu: trial\.device must be "auto", "cpu", "cuda", "cuda:NUMBER"'):
        definition.with_device("gpu")
