import numpy as np
import pytest
import torch
from sklearn.metrics import f1_score, jaccard_score
from torchmetrics.functional.image import peak_signal_noise_ratio

from branchfold.errors import StudyError
from branchfold.search.tasks.classification import Classification
from branchfold.search.tasks.multilabel import Multilabel
from branchfold.search.tasks.reconstruction import Reconstruction
from branchfold.search.tasks.regression import Regression
from branchfold.search.tasks.segmentation import Segmentation
from branchfold.search.tasks.table import make_task
from branchfold.search.tasks.task import Task


def value(task: Task, *batches: tuple[object, object]) -> float:
    judge = task.judge()
    for outputs, targets in batches:
        judge.add(outputs, targets)
    return judge.value()


def test_accuracy_is_the_share_of_right_ones_over_all_batches():
    logits = torch.tensor([[2.0, 1.0], [0.0, 1.0], [3.0, 1.0]])
    assert value(Classification(), (logits, torch.tensor([0, 1, 1])), (logits[:1], torch.tensor([1]))) == 0.5


def test_multilabel_is_scikit_learns_f1_of_samples():
    torch.manual_seed(0)
    logits, targets = torch.randn(50, 6), (torch.rand(50, 6) < 0.3).long()
    expected = f1_score(targets.numpy(), (logits > 0).numpy(), average="samples", zero_division=1.0)
    assert value(Multilabel(), (logits[:20], targets[:20]), (logits[20:], targets[20:])) == pytest.approx(expected)


def test_regression_takes_one_output_as_the_targets_number():
    outputs, targets = torch.tensor([[1.0], [4.0]]), torch.tensor([2.0, 2.0])
    assert value(Regression(), (outputs, targets)) == 1.5
    assert float(Regression().loss(outputs, targets)) == 2.5


def test_reconstruction_counts_errors_in_units_of_the_pixels():
    torch.manual_seed(0)
    images, wrong = torch.rand(4, 3, 5, 5), torch.rand(4, 3, 5, 5)
    std = (0.2, 0.5, 0.25)
    normalise = torch.tensor(std).view(1, 3, 1, 1)
    expected = np.mean(
        [float(peak_signal_noise_ratio(w, i, data_range=1.0)) for w, i in zip(wrong, images, strict=True)]
    )
    assert value(Reconstruction(std), (wrong / normalise, images / normalise)) == pytest.approx(expected, rel=1e-5)


def test_reconstruction_compares_with_the_inputs():
    images = torch.rand(2, 1, 4, 4)
    assert Reconstruction().targets(images, torch.tensor([3, 4])) is images


def test_segmentation_is_the_mean_iou_without_ignored_pixels():
    torch.manual_seed(0)
    logits, masks = torch.randn(6, 3, 8, 8), torch.randint(0, 3, (6, 8, 8))
    masks[:, :2] = 255
    counted = masks != 255
    expected = jaccard_score(masks[counted].numpy(), logits.argmax(1)[counted].numpy(), average="macro")
    task = Segmentation(3)
    assert value(task, (logits[:4], masks[:4]), ({"out": logits[4:]}, masks[4:])) == pytest.approx(expected, rel=1e-6)
    assert task.judge().scores() is None


@pytest.mark.parametrize(
    ("task", "outputs", "targets", "said"),
    [
        (Classification(10), torch.zeros(2, 7), torch.tensor([1, 2]), "gives (2, 7) for 2 examples of 10 classes"),
        (
            Classification(3),
            torch.zeros(2, 3),
            torch.tensor([1, 3]),
            "classes are numbers from 0 to 2, as many as the network has outputs, not 3",
        ),
        (Classification(3), torch.zeros(2, 3), torch.zeros(2, 3), "needs one class number an example"),
        (Multilabel(), torch.zeros(2, 3), torch.tensor([[0, 1, 2], [0, 0, 0]]), "one is 2"),
        (Regression(), torch.zeros(2, 3), torch.zeros(2, 4), "gives (2, 3) for targets (2, 4)"),
        (Reconstruction(), torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 8, 8), "gives (2, 1, 4, 4) for inputs"),
        (Segmentation(4), torch.zeros(2, 4, 8, 8), torch.full((2, 8, 8), 9), "mask value 9 is none of the classes"),
        (Segmentation(4), torch.zeros(2, 3, 8, 8), torch.zeros(2, 8, 8).long(), "gives (2, 3, 8, 8)"),
    ],
)
def test_what_does_not_fit_is_told(task, outputs, targets, said):
    assert said in (task.wrong_targets(targets) or task.misfit(outputs, targets))


@pytest.mark.parametrize(
    ("task", "outputs", "targets"),
    [
        (Classification(3), torch.zeros(2, 3), torch.tensor([0, 2])),
        (Multilabel(), torch.zeros(2, 3), torch.tensor([[0, 1, 1], [0, 0, 0]])),
        (Regression(), torch.zeros(2, 1), torch.zeros(2)),
        (Reconstruction(), torch.zeros(2, 1, 4, 4), torch.zeros(2, 1, 4, 4)),
        (Segmentation(4), torch.zeros(2, 4, 8, 8), torch.full((2, 8, 8), 255)),
    ],
)
def test_what_fits_passes(task, outputs, targets):
    assert task.wrong_targets(targets) == task.misfit(outputs, targets) == ""


def test_the_divergence_of_masks_is_the_mean_over_their_pixels():
    torch.manual_seed(0)
    logits, teacher = torch.randn(2, 4, 3, 3), torch.randn(2, 4, 3, 3)
    rows = (x.permute(0, 2, 3, 1).reshape(-1, 4) for x in (logits, teacher))
    flat = Classification().distance(*rows, kind="divergence", temperature=3.0)
    whole = Segmentation(4).distance(logits, {"out": teacher}, kind="divergence", temperature=3.0)
    assert float(whole) == pytest.approx(float(flat), rel=1e-6)


def test_segmentation_says_which_key_is_missing():
    with pytest.raises(StudyError, match=r"^task\.num_classes is missing: .* e\.g\. task\.num_classes = 21$"):
        make_task("segmentation", {}, num_classes=None, scale=(1.0,))
