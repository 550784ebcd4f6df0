"""branchfold on one network: what it takes, what it removes, and whether the result is right in every way."""

from torch import nn

from branchfold.benchmarks.zoo_parts.building import BATCH, KEEP, Subject, Tell
from branchfold.benchmarks.zoo_parts.causes import first_layers, fixed_groups
from branchfold.benchmarks.zoo_parts.checks import check
from branchfold.benchmarks.zoo_parts.counting import count_macs, measured
from branchfold.benchmarks.zoo_parts.untouched import differences, fingerprint
from branchfold.errors import BranchfoldError
from branchfold.models import add_branches, channel_groups, fold


def measure(subject: Subject, tell: Tell, limit: float, *, checked: bool = True) -> None:
    """Tells, as soon as it is known, everything about one network; whether the result is right, if it is `checked`."""
    network, inputs = subject.network, subject.inputs(BATCH, 0)
    whole, by_path = count_macs(network, inputs)
    tell(macs=whole / BATCH, parameters=_parameters(network), stage="add_branches, fold")
    before = fingerprint(network)
    try:
        with measured(limit) as work:
            branched = add_branches(network, inputs, keep=KEEP, init="selection")
            small = fold(branched)
    except BranchfoldError as error:
        tell(refused=str(error), touched=differences(before, fingerprint(network)), stage="")
        return
    tell(seconds=work.seconds, elapsed=work.elapsed, megabytes=work.megabytes, stage="channel_groups")
    with measured(limit) as work:
        groups = channel_groups(network, inputs)
    tell(groups_seconds=work.seconds, touched=differences(before, fingerprint(network)), stage="forward of the fold")
    removed = 1 - count_macs(small, inputs)[0] / whole
    tell(removed=removed, parameters_after=_parameters(small), narrowed=len(branched.alpha), groups=len(groups))
    del branched, small
    first = first_layers(network, inputs)
    tell(fixed=fixed_groups(groups, by_path, whole, network, first), stage="checks")
    if checked:
        check(network.double(), subject, tell)
    tell(stage="")


def _parameters(network: nn.Module) -> int:
    return sum(p.numel() for p in network.parameters())
