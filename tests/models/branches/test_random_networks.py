"""Networks drawn at random fold exactly, whatever is fed into what."""

import copy

import torch
import torch.nn.functional as F
from comparing import assert_equal, normal
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from branchfold.models import add_branches, fold

CHANNELS = st.integers(2, 5)
KERNELS = st.tuples(st.integers(1, 3), st.integers(1, 3))
ACTIVATIONS = st.sampled_from([nn.ReLU(inplace=True), nn.Tanh(), nn.LeakyReLU(0.1), nn.SiLU(inplace=True), nn.PReLU()])
POOLS = st.sampled_from([nn.MaxPool2d(2, stride=1), nn.AvgPool2d((2, 1)), nn.MaxPool2d(3, 2, 1)])
_LAYERS = ["conv", "conv", "norm", "layer norm", "positions", "act", "depthwise", "groups", "group norm", "pool"]
KINDS = st.sampled_from([*_LAYERS, "add", "mul", "cat", "pad", "part", "part", "reshape", "change", "gate", "gate"])
PARTS = {
    "first half": lambda x: x.chunk(2, dim=1)[0],
    "second half": lambda x: x[:, x.shape[1] // 2 :],
    "split": lambda x: torch.split(x, x.shape[1] // 2, 1)[1],
    "every second": lambda x: x[:, 1::2] if x.shape[1] % 2 == 0 else x[:, 1:-1:2],
    "all": lambda x: x[:, :99],
    "written out": lambda x: x[:, 1:],
}
RESHAPES = {
    "shuffle": lambda x: x.view(len(x), 2, -1, *x.shape[2:]).transpose(1, 2).reshape(len(x), -1, *x.shape[2:]),
    "stack": lambda x: torch.stack(x.view(len(x), 2, x.shape[1] // 2, *x.shape[2:]).unbind(1), 1).sum(1),
    "gate": lambda x: x * torch.sigmoid(x.mean((2, 3)).view(*x.shape[:2], 1, 1)).expand_as(x),
    "pixels": lambda x: F.pixel_unshuffle(F.pixel_shuffle(F.pad(x, (0, 0, 0, 0, 0, -x.shape[1] % 4)), 2), 2),
    "softmax": lambda x: torch.softmax(x.unflatten(1, (2, -1)), 1).flatten(1, 2) if x.shape[1] % 2 == 0 else x,
}


GATES = {
    "attention": lambda x: F.scaled_dot_product_attention(y := x.flatten(2).mT, y, y).mean(2).view_as(x[:, :1]),
    "products": lambda x: torch.einsum("bchw,bcij->bhw", x, x.tanh())[:, None] / x.shape[1] ** 0.5,
    "mean": lambda x: torch.sigmoid(x.mean(1, keepdim=True)),
    "largest": lambda x: torch.tanh(x.flatten(1).norm(dim=1) - x.amax((1, 2, 3)))[:, None, None, None],
    "softmax": lambda x: x.softmax(1).max(1, keepdim=True)[0] - F.normalize(x, dim=1).sum(1, keepdim=True),
}


class ChannelNorm(nn.Module):
    """A norm over the channels alone."""

    def __init__(self, norm):
        super().__init__()
        self.norm = norm

    def forward(self, x):
        return self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class Positions(nn.Module):
    """Values for each channel and position: a part of the parameter, moved."""

    def __init__(self, c, h, w):
        super().__init__()
        self.values = nn.Parameter(torch.randn(1, h + 1, w, c))

    def forward(self, x):
        return x + self.values[:, 1 : x.shape[2] + 1].permute(0, 3, 1, 2)


class Program(nn.Module):
    """A network that runs a list of steps over a growing pool of tensors."""

    def __init__(self, layers, steps):
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.steps = steps

    def forward(self, x):
        pool = [x]
        for kind, sources, which in self.steps:
            values = [pool[i] for i in sources]
            if kind == "layer":
                pool.append(self.layers[which](*values))
            elif kind == "add":
                pool.append(values[0] + which * values[1])
            elif kind == "mul":
                pool.append(values[0] * torch.sigmoid(values[1]))
            elif kind == "gate":
                pool.append(values[0] * GATES[which](values[1]))
            elif kind == "cat":
                pool.append(torch.cat(values, 1))
            elif kind == "part":
                pool.append(PARTS[which](values[0]))
            elif kind == "reshape":
                pool.append(RESHAPES[which](values[0]))
            elif kind == "change":
                pool.append(F.leaky_relu(values[0], 0.3, inplace=True))
            else:
                pool.append(F.pad(values[0], which))
        return pool[-1]


class Draft:
    """A program as it grows, and the shapes of the tensors in its pool."""

    def __init__(self, shape):
        self.layers, self.steps, self.shapes = [], [], [shape]

    def step(self, kind, sources, which=None):
        self.steps.append((kind, sources, which))
        program = Program(copy.deepcopy(self.layers), list(self.steps)).eval()
        with torch.no_grad():
            self.shapes.append(tuple(program(torch.zeros(1, *self.shapes[0])).shape[1:]))

    def layer(self, source, layer):
        self.layers.append(layer)
        self.step("layer", [source], len(self.layers) - 1)

    @property
    def last(self):
        return len(self.shapes) - 1

    def alike(self, source):
        """The tensors of the source's shape."""
        return [i for i in range(1, self.last + 1) if self.shapes[i] == self.shapes[source]]

    def aligned(self, source):
        """The tensors of the source's height and width."""
        return [i for i in range(1, self.last + 1) if self.shapes[i][1:] == self.shapes[source][1:]]


def convolution(draw, height, width):
    """What a convolution may be like over so many positions."""
    kernel = draw(KERNELS)
    padding = draw(st.sampled_from([0, 1, (1, 0), (0, 2), "same"]))
    kernel = (min(kernel[0], height), min(kernel[1], width))
    if padding == "same":  # torch warns of even kernels
        kernel = tuple(1 if size == 2 else size for size in kernel)
    stride = 1 if padding == "same" else draw(st.sampled_from([1, 1, 2, (1, 2)]))
    mode = draw(st.sampled_from(["zeros", "zeros", "circular"])) if padding in (0, 1) else "zeros"
    return {
        "kernel_size": kernel,
        "stride": stride,
        "padding": padding,
        "padding_mode": mode,
        "bias": draw(st.booleans()),
    }


def drawn_layer(draw, kind, shape):
    """A layer of that kind for a tensor of that shape (C, H, W), or None where there is none."""
    c, h, w = shape
    if kind == "conv":
        return nn.Conv2d(c, draw(CHANNELS), **convolution(draw, h, w))
    if kind == "norm":
        return nn.BatchNorm2d(c)
    if kind == "layer norm":
        norms = [ChannelNorm(nn.LayerNorm(c)), ChannelNorm(nn.RMSNorm(c)), nn.LayerNorm([c, h, w]), nn.LayerNorm(w)]
        return draw(st.sampled_from(norms))
    if kind == "positions":
        return Positions(c, h, w)
    if kind == "act":
        return copy.deepcopy(draw(ACTIVATIONS))
    if kind == "depthwise":
        return nn.Conv2d(c, c, groups=c, **convolution(draw, h, w))
    if kind in ("groups", "group norm"):
        groups = draw(st.sampled_from([n for n in (2, 3, 4, c) if c % n == 0] or [1]))
        if kind == "group norm":
            return nn.GroupNorm(groups, c, affine=draw(st.booleans()))
        return nn.Conv2d(c, groups * draw(st.integers(1, 3)), groups=groups, **convolution(draw, h, w))
    if kind == "pool" and min(h, w) >= 2:
        return copy.deepcopy(draw(POOLS))
    return None


def add_join(draw, draft, kind, source):
    """A sum, product or concat of the source with another tensor, or its padding."""
    if kind == "add":
        scale = draw(st.sampled_from([1.0, -0.5]))
        draft.step("add", [source, draw(st.sampled_from(draft.alike(source)))], scale)
    elif kind == "mul":
        draft.step("mul", [source, draw(st.sampled_from(draft.alike(source)))])
    elif kind == "gate":
        draft.step("gate", [source, draw(st.sampled_from(draft.aligned(source)))], draw(st.sampled_from(sorted(GATES))))
    elif kind == "cat" and draft.shapes[source][0] <= 10:
        draft.step("cat", [source, draw(st.sampled_from(draft.aligned(source)))])
    elif kind == "part" and draft.shapes[source][0] % 2 == 0:
        draft.step("part", [source], draw(st.sampled_from(sorted(PARTS))))
    elif kind == "reshape" and draft.shapes[source][0] % 2 == 0:
        draft.step("reshape", [source], draw(st.sampled_from(sorted(RESHAPES))))
    elif kind == "change":
        draft.step("change", [source])
    elif kind == "pad":
        draft.step("pad", [source], draw(st.sampled_from([(1, 0), (0, 1, 2, 0)])))


@st.composite
def programs(draw):
    """A random network and its inputs; every tensor that could be fed into another may be."""
    draft = Draft((3, draw(st.integers(6, 11)), draw(st.integers(6, 11))))
    draft.layer(0, nn.Conv2d(3, draw(CHANNELS), 3, padding=1))
    for _ in range(draw(st.integers(2, 9))):
        source = draw(st.integers(max(1, draft.last - 3), draft.last))
        kind = draw(KINDS)
        layer = drawn_layer(draw, kind, draft.shapes[source])
        if layer is not None:
            draft.layer(source, layer)
        else:
            add_join(draw, draft, kind, source)
    c, h, w = draft.shapes[-1]
    if draw(st.booleans()):
        draft.layer(draft.last, nn.Conv2d(c, 3, 1))
    else:
        draft.layer(draft.last, nn.Flatten())
        draft.layer(draft.last, nn.Linear(c * h * w, 3))
    return Program(draft.layers, draft.steps), torch.Size((3, *draft.shapes[0]))


@settings(max_examples=60, deadline=None, derandomize=True)
@given(program=programs(), keep=st.sampled_from([0.2, 0.5, 0.8]), training=st.booleans())
def test_random_networks_fold_exactly(program, keep, training, randomise, randomise_branches):
    network, shape = program
    network, x = randomise(network).train(training), normal(*shape)
    with torch.no_grad():
        branched = randomise_branches(add_branches(network, x, keep=keep, init="kaiming"))
        assert_equal(branched(x), network(x))
        branched.set_alpha(0)
        small = fold(branched)
        assert_equal(small(x), branched(x))
        assert list(small.state_dict()) == list(network.state_dict())
        if branched.plan.widths:
            fewer = sum(p.numel() for p in small.parameters()) < sum(p.numel() for p in network.parameters())
            assert fewer
        fitted = add_branches(network.eval(), x, keep=keep)
        assert_equal(fitted(x), network(x))
        fitted.set_alpha(0)
        assert_equal(fold(fitted)(x), fitted(x))
