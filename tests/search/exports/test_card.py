"""What a model card says where there is little to say."""

from branchfold.models import NetworkDescription
from branchfold.search.exports.card import model_card, share_text
from branchfold.search.exports.evaluation import Evaluation
from branchfold.search.exports.places import MARK, is_card
from branchfold.search.trial.latency import Latency
from branchfold.studies.metric import ACCURACY

LATENCY = Latency(0.5, (0.4, 0.75), 0.321, (0.3, 0.36), True, 5, 1, 1, 1.5)
EVALUATION = Evaluation(ACCURACY, 0.5, None, "test", 100, None, 25, 10, 100, 20, LATENCY, "torch 2")


def test_of_a_network_that_no_study_has_and_that_takes_several_inputs(tmp_path):
    description = NetworkDescription(
        "net.py:make", {}, [{"shape": [3]}, {"shape": [4]}], {"a": 2}, {"name": "own.py:data"}, [{"split": "train"}]
    )
    text = model_card(description, EVALUATION, {"a": 4, "b": 3}, 1234)
    assert text.startswith(f"{MARK}\n\n# net.py:make\n")
    assert "A `net.py:make` for several inputs, trained on own.py:data" in text
    assert "It takes batches of several inputs as its data have them." in text
    assert "| `a` | 4 | 2 |\n| `b` | 3 | 3 |" in text
    assert "| MACs of one example | 25 (25.0 %) | 100 |" in text
    assert "| parameters | 10 (50.0 %) | 20 |" in text
    assert (
        "Its tensors are 1.2 kB. Latency: 0.500 ms in torch 2, one example on one thread: 32.1 % of the full network's "
        "1.500 ms (interquartile range 30.0 to 36.0 %, unsure)."
    ) in text
    assert "## Recipe" not in text
    assert "## Files" not in text
    (tmp_path / "card.md").write_text(text)
    (tmp_path / "note.md").write_text("# net.py:make")
    assert is_card(tmp_path / "card.md")
    assert not is_card(tmp_path / "note.md")
    assert not is_card(tmp_path / "missing.md")


def test_a_network_that_came_as_an_object_is_told_as_such():
    text = model_card(NetworkDescription("given:12ab", {}, [3, 8, 8]), EVALUATION, {"a": 4}, 1234)
    assert (
        "\n\n# a network given as an object\n\nA network that a program handed over as an object (digest 12ab; " in text
    )
    assert 'load_network("FILE.safetensors", factory=make)' in text
    assert "given:" not in text


def test_numbers_for_people():
    assert [share_text(x) for x in (0.0, 1.54e-6)] == ["0", "1.5e-06"]
