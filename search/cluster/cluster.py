"""An existing Ray cluster, joined for a run: how many workers it has room for, and each of them begun on it."""

import importlib
import logging
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

from ...errors import StudyError, one_line
from ..crew.lifeline import Job
from ..crew.sharing import Share
from .actor import WorkerActor
from .checks import check_reach
from .remote import RemoteWorker


class Needs(NamedTuple):
    """What each worker takes of a node.

    Attributes:
        cpus: cores, and threads that it trains with.
        gpus: also less than one, shared with others then.
    """

    cpus: int = 1
    gpus: float = 0.0


class Cluster:
    """A cluster that is joined.

    Args:
        ray: the module, connected.
        needs: of each worker.
    """

    def __init__(self, ray: Any, needs: Needs) -> None:
        self.ray, self.needs = ray, needs
        self._actor = ray.remote(num_cpus=needs.cpus, num_gpus=needs.gpus, max_restarts=0)(WorkerActor)

    def room(self) -> int:
        """How many workers fit on the nodes that there are.

        Raises:
            StudyError: if none does.
        """
        nodes = [node["Resources"] for node in self._nodes()]
        if not (room := room_on(nodes, self.needs)):
            largest = max((node.get("CPU", 0.0) for node in nodes), default=0.0)
            gpus = f" and {self.needs.gpus:g} GPUs" if self.needs.gpus else ""
            raise StudyError(
                f"no node of the cluster has {self.needs.cpus} cores{gpus} for a worker (the largest has "
                f"{largest:g} cores): give --worker-cpus or --worker-gpus less"
            )
        return room

    def shares(self, workers: int) -> list[Share]:
        """What so many workers have."""
        return [Share(self.needs.cpus)] * workers

    def check(self, url: str) -> None:
        """Checks that the cluster's machines reach a study's database and files.

        Raises:
            StudyError: if they do not.
        """
        own = self.ray.util.get_node_ip_address()
        check_reach(url, {node["NodeManagerAddress"] for node in self._nodes()} - {own, "127.0.0.1"})

    def begin(self, job: Job, share: Share) -> RemoteWorker:
        """A worker, on whichever node has room for it; the run begins another one when it is lost."""
        return RemoteWorker(job, self._actor.remote(), self.ray)

    def _nodes(self) -> list[Mapping[str, Any]]:
        return [node for node in self.ray.nodes() if node["Alive"]]


@contextmanager
def joined(address: str, needs: Needs) -> Iterator[Cluster]:
    """The cluster at an address, for a block; Ray's lines stay in its logs, a worker's last words are told.

    Args:
        address: HOST:PORT of its head, `auto` for the one of this machine, or `ray://HOST:PORT`.
        needs: of each worker.

    Raises:
        StudyError: if Ray is not installed, or there is no cluster.
    """
    try:
        ray = importlib.import_module("ray")
    except ImportError:
        raise StudyError("--ray needs Ray; install it with pip install 'branchfold[cluster]'") from None
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # connections, versions, tokens: each by an error of its own
        raise StudyError(f"cannot join a Ray cluster at {address}: {one_line(error)}; check --ray") from None
    try:
        yield Cluster(ray, needs)
    finally:
        ray.shutdown()


def room_on(nodes: Iterable[Mapping[str, float]], needs: Needs) -> int:
    """How many workers fit on nodes of these resources, as Ray names them."""
    return sum(_fitting(node, needs) for node in nodes)


def _fitting(node: Mapping[str, float], needs: Needs) -> int:
    fit = [node.get("CPU", 0.0) // needs.cpus]
    if needs.gpus:
        # A share of a GPU is of one: two GPUs hold two workers of 0.6, not three.
        gpus = node.get("GPU", 0.0)
        fit.append(gpus * (1 // needs.gpus) if needs.gpus <= 1 else gpus // needs.gpus)
    return int(min(fit))
