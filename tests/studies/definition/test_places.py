"""What paths in a definition are relative to, and that the same file is the same study from everywhere."""

import contextlib
from pathlib import Path

import pytest

from branchfold.errors import StudyError
from branchfold.search.trial.problem import new_network
from branchfold.studies.database.storage import FINGERPRINT, open_storage, open_study, stored_definition
from branchfold.studies.definition.reading import describe_difference, load_definition, parse_definition

TEXT = """
[study]
name = "own"
[model]
factory = "nets/net.py:make"
[data]
name = "digits"
root = "images"
[baseline]
checkpoint = "net.pt"
[search]
"""
NETWORK = "from torch import nn\ndef make():\n    return nn.Sequential(nn.Flatten(), nn.Linear(64, 10))\n"


@pytest.fixture
def project(tmp_path):
    """A folder with a definition and a network, an empty one beside it, which is the working directory."""
    (tmp_path / "project" / "nets").mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "project" / "nets" / "net.py").write_text(NETWORK)
    (tmp_path / "project" / "own.toml").write_text(TEXT)
    with contextlib.chdir(tmp_path / "elsewhere"):
        yield tmp_path.resolve() / "project"


def test_paths_in_a_file_are_relative_to_its_folder(project):
    for study in ("../project/own.toml", str(project / "own.toml")):
        definition = load_definition(study)
        assert definition.model.factory == f"{project}/nets/net.py:make"
        assert definition.baseline.checkpoint == f"{project}/net.pt"
        assert definition.data.root == f"{project}/images"
        assert type(new_network(definition)).__name__ == "Sequential"


def test_paths_on_the_command_line_are_relative_to_the_working_directory(project):
    here = Path.cwd()
    overrides = ["model.factory=net.py:make", "baseline.checkpoint=x/../net.pt", "data.root=images"]
    definition = load_definition("../project/own.toml", overrides)
    assert definition.model.factory == f"{here}/net.py:make"
    assert definition.baseline.checkpoint == f"{here}/net.pt"
    assert definition.data.root == f"{here}/images" == load_definition("digits").with_data_root("images").data.root


def test_the_default_data_root_lies_under_the_working_directory(project):
    (project / "own.toml").write_text(TEXT.replace('root = "images"\n', ""))
    for study in ("digits", "../project/own.toml"):
        assert load_definition(study).data.root == f"{Path.cwd()}/data"


@pytest.mark.parametrize("factory", ["vgg16", "torchvision:resnet18", "package.module:make"])
def test_what_is_no_file_stays_as_it_is(factory):
    assert load_definition("digits", [f"model.factory={factory}"]).model.factory == factory


def test_home_is_found(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (
        load_definition("digits", ["model.factory=~/net.py:make"]).model.factory == f"{tmp_path.resolve()}/net.py:make"
    )
    assert "nobody-is-called-so" in load_definition("digits", ["data.root=~nobody-is-called-so/x"]).data.root


def test_a_study_resumed_from_another_folder_or_by_another_spelling_is_the_same(project, tmp_path):
    storage = open_storage(f"sqlite:///{tmp_path}/s.db", create=True)
    study = open_study(storage, load_definition("../project/own.toml"))
    assert stored_definition(study).model.factory == f"{project}/nets/net.py:make"
    (tmp_path / "link").symlink_to(project)
    with contextlib.chdir(project):
        for spelling in ("own.toml", "./own.toml", "nets/../own.toml", str(tmp_path / "link" / "own.toml")):
            open_study(storage, load_definition(spelling))
    other = load_definition("../project/own.toml", ["model.factory=net.py:make"])
    with pytest.raises(StudyError, match=r"another definition: model.factory was .*nets/net.py:make.* and is now "):
        open_study(storage, other)


def test_a_study_of_an_earlier_version_has_its_paths_as_they_were_written(project):
    """Then they were relative to the working directory."""
    with contextlib.chdir(project):
        definition = load_definition("own.toml")
        before = definition.fingerprint()
        before["model"]["factory"], before["baseline"]["checkpoint"] = "nets/net.py:make", "net.pt"
        assert describe_difference(before, definition.fingerprint()) is None
    assert "model.factory" in describe_difference(before, definition.fingerprint())


def test_a_definition_survives_its_way_through_a_database(project):
    definition = load_definition("../project/own.toml")
    with contextlib.chdir(project):
        assert parse_definition(definition.to_dict()) == definition
    assert FINGERPRINT not in definition.to_dict()
