"""Files of checkpoints: written whole or not at all, known again, and changes in them found."""

import json
import resource
from pathlib import Path

import pytest
import torch
from headers import message_of
from safetensors.torch import load_file, save_file

from branchfold.errors import NetworkError
from branchfold.models.checkpoints import (
    NetworkDescription,
    is_checkpoint,
    load_network,
    read_description,
    save_network,
)


def test_a_failed_write_leaves_nothing_behind(saved, monkeypatch, tmp_path):
    small, _, path = saved()
    before = path.read_bytes()
    description = read_description(path)

    def full(*arguments, **options):
        Path(arguments[1]).write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("branchfold.models.checkpoints.save_model", full)
    with pytest.raises(NetworkError, match=r"cannot write .*: No space left on device"):
        save_network(small, path, description)
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
    monkeypatch.undo()
    with pytest.raises(TypeError):
        save_network(small, path, NetworkDescription("vgg_digits", {"width": object()}, [1, 8, 8]))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before


def test_a_full_disk_is_told_by_safetensors_in_its_own_way(saved):
    small, _, path = saved()
    before, limits = path.read_bytes(), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        with pytest.raises(NetworkError, match=r"cannot write .*File too large"):
            save_network(small, path, read_description(path))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.read_bytes() == before
    assert list(path.parent.iterdir()) == [path]


def test_files_that_are_branchfolds_own(saved, tmp_path):
    _, _, path = saved()
    assert is_checkpoint(path)
    weights = load_file(path)
    save_file(weights, tmp_path / "later", metadata={"branchfold": json.dumps({"format": 99})})
    save_file(weights, tmp_path / "bare")
    (tmp_path / "cut").write_bytes(path.read_bytes()[:-1])
    assert [is_checkpoint(tmp_path / name) for name in ("later", "bare", "cut", "none")] == [True, False, False, False]


def test_a_place_that_cannot_be_written_is_told(saved, tmp_path):
    small, _, path = saved()
    description = read_description(path)
    (tmp_path / "folder.safetensors").mkdir()
    assert "cannot write" in message_of(save_network, small, tmp_path / "folder.safetensors", description)
    (tmp_path / "file").write_text("")
    assert "cannot write" in message_of(save_network, small, tmp_path / "file" / "small.safetensors", description)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["deep", "file", "folder.safetensors"]


def test_a_file_is_replaced_and_has_the_mode_of_a_new_file(saved):
    small, inputs, path = saved()
    with torch.no_grad():
        small.classifier.bias.add_(1)
    save_network(small, path, read_description(path))
    assert torch.equal(load_network(path)(inputs), small(inputs))
    other = path.with_name("other")
    other.write_text("")
    assert path.stat().st_mode == other.stat().st_mode


def test_weights_in_another_memory_layout_are_saved(saved):
    small, inputs, path = saved()
    outputs = small(inputs)
    save_network(small.to(memory_format=torch.channels_last), path, read_description(path))
    torch.testing.assert_close(load_network(path)(inputs), outputs)


def test_a_changed_byte_of_a_weight_is_found(saved):
    _, _, path = saved()
    content = bytearray(path.read_bytes())
    content[-3] ^= 0x10
    path.write_bytes(bytes(content))
    assert "is damaged: it does not hold what was saved" in message_of(load_network, path)


def test_a_changed_description_is_found(saved):
    _, _, path = saved()
    changed = {**read_description(path).__dict__, "origin": {"study": "another"}}
    save_file(load_file(path), path, metadata={"branchfold": json.dumps(changed)})
    assert "is damaged: it does not hold what was saved" in message_of(load_network, path)
