"""How a network is changed on its way into a file."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Options:
    """How a network is changed on its way into a graph format; the other formats hold it as it is.

    Attributes:
        fuse: fold BatchNorms into the layers before them.
        with_normalisation: take images as uint8 and normalise them inside.
    """

    fuse: bool = False
    with_normalisation: bool = False


AS_IT_IS = Options()
