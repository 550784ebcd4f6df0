"""The definition of a study on a few of the digits that trains in seconds."""


def tiny_toml(
    *,
    trials: int,
    baseline_epochs: int,
    epochs: int,
    shapes: str = '["instant", "linear"]',
    trial: str = "",
    search: str = 'sampler = "random"\npruner = "none"\n',
) -> str:
    """The study "tiny" as TOML.

    Args:
        trials: that it is to have.
        baseline_epochs: of the baseline's training.
        epochs: of a trial.
        shapes: of the schedules, as TOML.
        trial: more lines of `[trial]`.
        search: the first lines of `[search]`.
    """
    return f"""
[study]
name = "tiny"
budget = {{ macs = 0.25 }}
trials = {trials}
[model]
factory = "vgg_digits"
width = 0.25
[data]
name = "digits"
limit = 320
validation = 0.2
[baseline]
epochs = {baseline_epochs}
batch_size = 32
[trial]
epochs = {epochs}
batch_size = 32
calibration_examples = 64
{trial}recalibration_batches = 2
[space.schedule]
shape = {shapes}
[search]
{search}recipes = []
finalists = 1
"""
