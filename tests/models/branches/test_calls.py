"""What the nodes of a branched graph tell of themselves."""

import copy
import pickle

import pytest

from branchfold.models import add_branches
from branchfold.models.branches.calls import Kind, blends, branch_call, is_fitted
from branchfold.models.branches.containers import key_of


@pytest.fixture(params=["same", "deepcopy", "pickle"])
def branched(request, make_example):
    _, network, inputs = make_example("mobile")
    branched = add_branches(network, inputs, keep=0.5, init="kaiming")
    return {"same": lambda b: b, "deepcopy": copy.deepcopy, "pickle": lambda b: pickle.loads(pickle.dumps(b))}[
        request.param
    ](branched)


def test_nodes_tell_what_they_do_for_a_branch(branched):
    calls = {node: call for node in branched.graph.nodes if (call := branch_call(node)) is not None}
    paths = {kind: {call.path for call in calls.values() if call.kind is kind} for kind in Kind}
    assert paths[Kind.COMPRESS] == {"expand", "down", "up", "project"} == branched.plan.writers.keys()
    assert paths[Kind.NARROW] == {"expand_bn", "depthwise", "depthwise_bn", "project_bn"}
    assert paths[Kind.BLEND] == branched.plan.blends.keys()
    assert "act" in paths[Kind.SHARED]
    for node, call in calls.items():
        assert blends(node) is (call.kind is Kind.BLEND)
        assert is_fitted(node) is (call.kind in (Kind.COMPRESS, Kind.NARROW, Kind.BLEND))
        if is_fitted(node):
            assert getattr(branched, call.kind.value).at(call.path) is branched.get_submodule(node.target)


def test_the_originals_own_nodes_tell_nothing(branched):
    own = [node for node in branched.graph.nodes if branch_call(node) is None]
    called = {node.target for node in own if node.op == "call_module"}
    assert called == {f"network.{path}" for path, _ in branched.network.named_children()} | {"mixing"}
    assert not any(blends(node) or is_fitted(node) for node in own)


@pytest.mark.parametrize(
    ("path", "key"), [("a.b.0", "a/b/0"), ("keys", "keys/"), ("at", "at/"), ("a.pop", "a/pop"), ("put", "put/")]
)
def test_paths_become_keys(path, key):
    assert key_of(path) == key
