import json

import pytest
import torch
from torch import nn

from branchfold.errors import NetworkError
from branchfold.models.examples import arguments, described, first_of, placed, shape_text, zeros_like


class Several(nn.Module):
    def __init__(self):
        super().__init__()
        self.fc = nn.Linear(4, 2).double()

    def forward(self, image, tokens, scale=1.0, parts=None):
        return self.fc(image)


def kinds(value):
    if isinstance(value, torch.Tensor):
        return (tuple(value.shape), value.dtype)
    if isinstance(value, dict):
        return {key: kinds(item) for key, item in value.items()}
    return [kinds(item) for item in value] if isinstance(value, list | tuple) else value


@pytest.mark.parametrize(
    "inputs",
    [
        (torch.ones(2, 3, 4, 5),),
        (torch.ones(2, 3, dtype=torch.uint8),),
        (torch.ones(2, 4), torch.ones(2, dtype=torch.int64), 0.5, {"a": [torch.ones(2, 7)], "b": None}),
    ],
)
def test_a_description_in_json_makes_inputs_of_the_same_kinds(inputs):
    told = json.loads(json.dumps(described(inputs)))
    assert kinds(zeros_like(told, 2)) == kinds(inputs)
    assert all(x.shape[0] == 5 for x in zeros_like(told, 5) if isinstance(x, torch.Tensor))


def test_one_image_is_told_by_its_shape_alone():
    assert described((torch.zeros(2, 3, 8, 9),)) == [3, 8, 9]
    assert shape_text([3, 8, 9]) == "3×8×9"
    assert shape_text(described((torch.zeros(2, 3), torch.zeros(2, 4, 5)))) == "3, 4×5"


@pytest.mark.parametrize("told", [[3, -1], [{"shape": [3]}], [{"shape": [2], "dtype": "text"}], ["x"], [{}]])
def test_what_describes_no_inputs_is_refused(told):
    with pytest.raises(NetworkError):
        zeros_like(told, 2)


def test_names_are_put_in_the_forwards_order():
    image, tokens = torch.ones(2, 4), torch.ones(2)
    assert arguments({"tokens": tokens, "image": image}, Several()) == (image, tokens)
    with pytest.raises(NetworkError, match="no argument 'imgae'"):
        arguments({"imgae": image}, Several())


def test_placed_inputs_have_the_networks_dtype_where_they_are_floating():
    image, tokens = placed((torch.ones(2, 4), torch.ones(2, dtype=torch.int64)), Several())
    assert (image.dtype, tokens.dtype) == (torch.float64, torch.int64)


def test_the_first_of_several_inputs():
    image, rest = first_of((torch.arange(4), [torch.arange(4) * 2]), 3)
    assert image.tolist() == [0, 1, 2]
    assert rest[0].tolist() == [0, 2, 4]
