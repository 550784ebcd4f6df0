"""What memory bears: what is free under every limit, and what a worker needs."""

import mmap
import sys

import pytest
import torch

from branchfold.errors import StudyError
from branchfold.search.crew import memory
from branchfold.search.crew.memory import available_memory, check_memory, need_of_worker

MIB = 2**20
UNLIMITED = 9223372036854771712  # as version 1 of the control groups writes it


@pytest.fixture
def root(tmp_path):
    """A file system with 1000 MiB free, and files as given: `root({"proc/self/cgroup": "0::/a"})`."""

    def write(files):
        for name, text in {"proc/meminfo": "MemTotal: 9 kB\nMemAvailable:  1024000 kB\nHugePages: 0", **files}.items():
            (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / name).write_text(text)
        return tmp_path

    return write


def group(folder, limit, used, cached=0):
    folder = f"sys/fs/cgroup/{folder}"
    return {
        f"{folder}/memory.max": str(limit),
        f"{folder}/memory.current": str(used * MIB),
        f"{folder}/memory.stat": f"anon 5\ninactive_file {cached * MIB}\n",
    }


def old_group(folder, limit, used, cached=0):
    folder = f"sys/fs/cgroup/memory/{folder}"
    return {
        f"{folder}/memory.limit_in_bytes": f"{limit}\n",
        f"{folder}/memory.usage_in_bytes": str(used * MIB),
        f"{folder}/memory.stat": f"inactive_file 7\ntotal_inactive_file {cached * MIB}\n",
    }


@pytest.mark.parametrize(
    ("files", "free"),
    [
        ({}, 1000),
        ({"proc/self/cgroup": "0::/a/b\n", **group("a/b", "max", 10)}, 1000),
        ({"proc/self/cgroup": "0::/a/b\n", **group("a/b", 600 * MIB, 250, 50)}, 400),
        # The limit of a group above binds too; a group may have more than the system.
        ({"proc/self/cgroup": "0::/a/b\n", **group("a/b", 5000 * MIB, 10), **group("a", 300 * MIB, 200)}, 100),
        # In a container: the path is the host's, the limits lie at the top.
        ({"proc/self/cgroup": "0::/docker/1\n", **group("", 700 * MIB, 100)}, 600),
        ({"proc/self/cgroup": "4:memory:/a\n1:cpu:/\n0::/\n", **old_group("a", 512 * MIB, 500, 88)}, 100),
        ({"proc/self/cgroup": "4:memory:/a\n", **old_group("a", UNLIMITED, 500)}, 1000),
        ({"proc/self/cgroup": "4:memory:/a\n", **old_group("a", 100 * MIB, 120)}, 0),
    ],
)
def test_what_is_free(root, files, free):
    assert available_memory(root(files)) == free * MIB


def test_what_is_free_is_not_known_everywhere(tmp_path):
    assert available_memory(tmp_path) is None


def test_too_many_workers_are_told_how_many_fit(monkeypatch, problem):
    monkeypatch.setattr(memory, "available_memory", lambda: 1000 * MIB)
    monkeypatch.setattr(memory, "need_of_worker", lambda problem: 200 * MIB)
    check_memory(problem, 5)
    with pytest.raises(StudyError, match=r"6 workers need 1.2 GiB .* give --workers 5 or fewer"):
        check_memory(problem, 6)
    monkeypatch.setattr(memory, "need_of_worker", lambda problem: 2000 * MIB)
    with pytest.raises(StudyError, match="give --workers 1, or free some memory"):
        check_memory(problem, 2)


def test_where_it_is_not_known_nothing_is_refused(monkeypatch, problem):
    monkeypatch.setattr(memory, "available_memory", lambda: None)
    monkeypatch.setattr(memory, "need_of_worker", lambda problem: MIB)
    check_memory(problem, 10**6)
    assert memory.fitting_workers(problem, 10**6) == 10**6
    # The same number where it is known, and where a worker's need is not.
    monkeypatch.setattr(memory, "available_memory", lambda: 1000 * MIB)
    with pytest.raises(StudyError, match="give --workers 1000 or fewer"):
        check_memory(problem, 10**6)
    assert memory.fitting_workers(problem, 10**6) == 1000
    monkeypatch.setattr(memory, "need_of_worker", lambda problem: None)
    check_memory(problem, 10**6)
    assert memory.fitting_workers(problem, 10**6) == 10**6


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="read from /proc")
def test_a_workers_need_is_what_it_holds_and_what_training_adds(problem):
    before = need_of_worker(problem)
    # Fresh pages: what an allocator gives may have been this process's already.
    with mmap.mmap(-1, 64 * MIB, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held.write(bytes(64 * MIB))
        assert need_of_worker(problem) - before == pytest.approx(1.2 * 64 * MIB, rel=0.3)
    assert need_of_worker(problem) - before == pytest.approx(0, abs=1.2 * 20 * MIB)


def test_measuring_draws_nothing_from_the_random_stream(problem):
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    need_of_worker(problem)
    assert torch.equal(torch.rand(3), expected)
