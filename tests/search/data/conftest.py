"""A folder of small images in two classes or more, and data sets opened by the keys of `[data]`."""

import numpy as np
import pytest
from PIL import Image

from branchfold.search.data.opening import Wanted, open_data
from branchfold.studies.definition.data_keys import DataTable


@pytest.fixture
def write_images():
    """Writes images of one grey level for each class, `count` for each: (i + number of the class · 50)."""

    def write(folder, count=20, classes=("cat", "dog"), size=(9, 12), suffix="png"):
        for number, name in enumerate(classes):
            (folder / name).mkdir(parents=True, exist_ok=True)
            for i in range(count):
                pixels = np.full((*size, 3), i + 50 * number, dtype=np.uint8)
                Image.fromarray(pixels).save(folder / name / f"{i:03d}.{suffix}")
        return folder

    return write


@pytest.fixture
def opened():
    """The data of these keys: `opened("folder", root=…, size=8)`."""

    def make(name, seed=0, **keys):
        return open_data(DataTable.model_validate({"name": str(name), **keys}), seed=seed)

    return make


@pytest.fixture
def read(opened):
    """The train and validation splits of these keys; what was told is appended to `told`."""

    def make(name, seed=0, told=None, **keys):
        lines = [] if told is None else told
        return opened(name, seed, **keys).read(Wanted(lines.append))

    return make
