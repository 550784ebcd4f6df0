"""`--ray` where there is no Ray, or no cluster."""

import sys

import pytest

from branchfold.errors import StudyError
from branchfold.search.cluster.options import as_cluster


def test_without_an_address_there_is_none():
    with as_cluster(None, 1, 0.0, "sqlite:///s.db") as cluster:
        assert cluster is None


def test_without_ray_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with (
        pytest.raises(StudyError, match=r"--ray needs Ray; install it with pip install 'branchfold\[cluster\]'"),
        as_cluster("auto", 1, 0.0, "sqlite:///s.db"),
    ):
        pass
