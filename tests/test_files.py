import errno
import os

import pytest

from branchfold.files import whole_file


def test_takes_the_place_whole_and_synced_with_the_mode_of_a_new_file(tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_size))
    path = tmp_path / "new" / "file"
    for content in ("one", "three"):
        with whole_file(path) as draft:
            assert draft.parent == path.parent
            draft.unlink()
            draft.write_text(content)
            draft.chmod(0o600)
            assert not path.exists() or path.read_text() == "one"
        assert path.read_text() == content
    assert synced == [3, 5]
    other = tmp_path / "other"
    other.touch()
    assert path.stat().st_mode == other.stat().st_mode
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("at", ["write", "fsync"])
def test_an_error_leaves_what_was_there(tmp_path, monkeypatch, at):
    path = tmp_path / "file"
    path.write_text("before")

    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    def write():
        with whole_file(path) as draft:
            draft.write_text("half")
            if at == "write":
                full()

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write()
    assert path.read_text() == "before"
    assert list(tmp_path.iterdir()) == [path]
