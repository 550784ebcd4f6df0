"""The data sets by name; a new one is one entry here and its name in ``names.DATA_SETS``."""

from pathlib import Path

from .digits import Digits
from .idx import IdxFiles
from .pickles import TorchvisionPickles
from .source import Source

_FASHION_PACKAGE = Path("/usr/share/datasets/fashion-mnist")  # Debian's dataset-fashion-mnist

_ALL: tuple[Source, ...] = (
    Digits("digits", 10, (1, 8, 8)),
    IdxFiles("mnist", 10, (1, 32, 32), padding=2, torchvision_name="MNIST", folder="MNIST/raw"),
    IdxFiles(
        "fashion-mnist",
        10,
        (1, 32, 32),
        padding=2,
        flips=True,
        torchvision_name="FashionMNIST",
        folder="FashionMNIST/raw",
        packaged=_FASHION_PACKAGE,
    ),
    TorchvisionPickles(
        "cifar10", 10, (3, 32, 32), flips=True, torchvision_name="CIFAR10", folder="cifar-10-batches-py"
    ),
    TorchvisionPickles(
        "cifar100", 100, (3, 32, 32), flips=True, torchvision_name="CIFAR100", folder="cifar-100-python"
    ),
)
SOURCES: dict[str, Source] = {source.name: source for source in _ALL}
