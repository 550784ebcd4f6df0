import pytest
from torch import nn

from branchfold.models.layers.kinds import behaves_as
from branchfold.models.layers.patching import own_names, replaced


def other(module, *args, **kwargs):
    return "replaced"


class OwnCall(nn.Module):
    def __call__(self, x):
        return "own", super().__call__(x)


class Child(nn.Linear):
    pass


def test_only_the_classes_of_the_network_are_touched():
    network = nn.Sequential(Child(2, 2), nn.ReLU())
    with replaced(network, "__call__", other):
        assert network(1) == network[0](1) == network[1](1) == "replaced"
        assert "__call__" not in nn.Linear.__dict__
        assert nn.Module.__call__ is not other
    assert not any("__call__" in kind.__dict__ for kind in (nn.Sequential, Child, nn.ReLU))


def test_a_class_does_not_define_itself_what_it_has_only_meanwhile():
    with replaced(Child(2, 2), "__dir__", other), replaced(Child(2, 2), "__call__", other):
        assert "__call__" not in own_names(Child)
        assert behaves_as(Child(2, 2)) is nn.Linear
    assert "__call__" in own_names(OwnCall)


def test_a_class_that_calls_in_its_own_way_reaches_what_is_replaced():
    before = nn.Module.__call__
    with replaced(nn.Sequential(OwnCall(), nn.ReLU()), "__call__", other):
        assert OwnCall()(1) == ("own", "replaced")
        assert nn.ReLU()(1) == "replaced"
    assert nn.Module.__call__ is before
    assert "__call__" in nn.Module.__dict__


def test_a_module_without_a_class_of_its_own():
    before = nn.Module.__call__
    with replaced(nn.Module(), "__call__", other):
        assert nn.Identity()(1) == "replaced"
    assert nn.Module.__call__ is before


def test_attributes_are_read_as_before_when_something_fails():
    layer = Child(2, 2)
    with pytest.raises(ValueError, match="fails"):
        _fail_while_replaced(layer)
    assert layer.in_features == 2
    assert "__getattribute__" not in nn.Module.__dict__
    assert "__getattribute__" not in Child.__dict__


def _fail_while_replaced(layer):
    with replaced(layer, "__getattribute__", lambda module, name: "replaced"):
        assert layer.in_features == "replaced"
        raise ValueError("fails")
