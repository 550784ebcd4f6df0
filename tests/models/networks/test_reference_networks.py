import pytest
import torch
from torch import nn

from branchfold.models.networks import REFERENCE_NETWORKS
from branchfold.models.networks.resnet import BasicBlock, ResNet, resnet20, resnet56
from branchfold.models.networks.vgg import vgg16, vgg_digits


def parameters_of(network, kind=nn.Module):
    modules = (module for module in network.modules() if isinstance(module, kind))
    return sum(p.numel() for module in modules for p in module.parameters(recurse=False))


def test_vgg16_has_the_papers_layers_and_parameters():
    network = vgg16()
    convolutions = [module for module in network.modules() if isinstance(module, nn.Conv2d)]
    assert [c.out_channels for c in convolutions] == [64] * 2 + [128] * 2 + [256] * 3 + [512] * 6
    assert sum(isinstance(module, nn.MaxPool2d) for module in network.modules()) == 5
    # 3 · 9 · 64 + 9 · (64² + 64 · 128 + 128² + 128 · 256 + 2 · 256² + 256 · 512 + 5 · 512²), no biases
    assert parameters_of(network, nn.Conv2d) == 14_710_464
    assert parameters_of(network, nn.BatchNorm2d) == 2 * 4224
    assert parameters_of(network, nn.Linear) == 512 * 10 + 10


# He et al. (2016), table 6: 0.27 M and 0.85 M. With option A 269,722 and 853,018; option B adds two 1×1 convolutions
# with BatchNorm: 16 · 32 + 2 · 32 + 32 · 64 + 2 · 64.
@pytest.mark.parametrize(
    ("factory", "depth", "count"), [(resnet20, 20, 269_722 + 2_752), (resnet56, 56, 853_018 + 2_752)]
)
def test_resnets_have_the_papers_depth_and_parameters(factory, depth, count):
    network = factory()
    spatial = [m for m in network.modules() if isinstance(m, nn.Conv2d) and m.kernel_size == (3, 3)]
    assert len(spatial) + 1 == depth
    assert parameters_of(network) == count


def test_a_basic_block_computes_the_papers_formula():
    torch.manual_seed(0)
    block = BasicBlock(3, 5, stride=2).double().eval()
    for module in block.modules():
        if isinstance(module, nn.BatchNorm2d):
            for tensor in (module.weight, module.bias, module.running_mean):
                nn.init.normal_(tensor)
            nn.init.uniform_(module.running_var, 0.5, 2)
    x = torch.randn(2, 3, 7, 9, dtype=torch.float64)

    def normalised(y, bn):
        shape = (1, -1, 1, 1)
        scale = bn.weight / torch.sqrt(bn.running_var + bn.eps)
        return (y - bn.running_mean.view(shape)) * scale.view(shape) + bn.bias.view(shape)

    inner = normalised(torch.conv2d(x, block.conv1.weight, stride=2, padding=1), block.bn1).clamp(min=0)
    inner = normalised(torch.conv2d(inner, block.conv2.weight, padding=1), block.bn2)
    shortcut = normalised(torch.conv2d(x, block.shortcut[0].weight, stride=2), block.shortcut[1])
    torch.testing.assert_close(block(x), (inner + shortcut).clamp(min=0))


def test_a_block_that_keeps_its_shape_adds_its_input_itself():
    assert isinstance(BasicBlock(4, 4).shortcut, nn.Identity)
    assert not isinstance(BasicBlock(4, 4, stride=2).shortcut, nn.Identity)


CLASSIFIERS = sorted(set(REFERENCE_NETWORKS) - {"unet", "autoencoder"})


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_reference_networks_trace_and_map_their_input_shape_to_logits(name):
    torch.manual_seed(0)
    reference = REFERENCE_NETWORKS[name]
    network = reference.factory(width=0.13, in_channels=2, num_classes=7).eval()
    images = torch.randn(3, 2, *reference.input_shape[1:])
    logits = network(images)
    assert logits.shape == (3, 7)
    assert logits.std() > 0
    torch.testing.assert_close(torch.fx.symbolic_trace(network)(images), logits)


@pytest.mark.parametrize("name", CLASSIFIERS)
def test_reference_networks_default_to_their_input_shape(name):
    reference = REFERENCE_NETWORKS[name]
    assert reference.factory().eval()(torch.zeros(1, *reference.input_shape)).shape == (1, 10)


def test_width_scales_every_layer_and_leaves_at_least_one_channel():
    assert {module.out_channels for module in vgg16(0.25).modules() if isinstance(module, nn.Conv2d)} == {
        16,
        32,
        64,
        128,
    }
    assert resnet20(0.5).fc.in_features == 32
    assert vgg_digits(1e-6).classifier.in_features == 4


@pytest.mark.parametrize("factory", [vgg16, vgg_digits, resnet20])
@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("width", 0),
        ("width", -0.5),
        ("width", float("nan")),
        ("width", float("inf")),
        ("width", "wide"),
        ("width", True),
        ("in_channels", 0),
        ("in_channels", 1.0),
        ("num_classes", -3),
        ("num_classes", True),
    ],
)
def test_a_bad_argument_is_refused_with_its_value(factory, argument, value):
    with pytest.raises(ValueError, match=f"but got {argument}={value!r}"):
        factory(**{argument: value})


def test_the_digits_network_learns_them_in_seconds():
    from branchfold.search.data.splits import Batches, load_data

    torch.manual_seed(0)
    data = load_data("digits")
    batches = Batches(data.train, 64, mean=data.mean, std=data.std, shuffle=True, augment=False, seed=0)
    network = vgg_digits(width=0.5)
    optimizer = torch.optim.SGD(network.parameters(), lr=0.05, momentum=0.9)
    for _ in range(3):
        for images, labels in batches:
            loss = nn.functional.cross_entropy(network(images), labels)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    network.eval()
    validation = Batches(data.validation, 144, mean=data.mean, std=data.std, shuffle=False, augment=False, seed=0)
    ((images, labels),) = validation
    assert (network(images).argmax(1) == labels).double().mean() > 0.94


def test_resnet_takes_any_image_size():
    network = ResNet(1, (2, 3, 4), in_channels=1, num_classes=5).eval()
    assert network(torch.randn(2, 1, 17, 30)).shape == (2, 5)
