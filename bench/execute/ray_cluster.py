"""A cluster of Ray: how to reach it, and how many jobs its nodes have room for. Ray is imported when it is reached."""

import importlib.util
import logging
import os
import signal
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from bench.execute.devices import checked_gpus
from bench.execute.ray_node import sight, unfit
from bench.execute.stop import Stop, Stopped
from bench.execute.worker import Setup
from bench.matrix.job import ConfigError

__all__ = ["TICK", "Cluster", "Share", "connected", "each_node", "see_fit", "share"]

TICK = 0.2
"""Seconds between two looks at whether the run is to stop."""

ADVICE = "start one with ray start --head, or let --address local start one for this run"


class Cluster(NamedTuple):
    """Which cluster, and what each job holds of it."""

    address: str | None = None
    """Of its head as HOST:PORT; auto: the one that this machine belongs to; local: one that is started here."""
    cpus: float | None = None
    gpus: float | None = None
    device: str = "auto"
    most: int | None = None
    """Jobs at a time."""
    any_versions: bool = False
    """Nodes may have other versions of packages than this machine."""

    def checked(self) -> "Cluster":
        """The same.

        Raises:
            ConfigError: Ray is not installed, or what a job is to hold makes no sense.
        """
        if self.device not in {"auto", "cpu", "cuda"}:
            raise ConfigError(f"--device {self.device}: choose auto, cpu or cuda")
        if self.most is not None and self.most < 1:
            raise ConfigError(f"--workers {self.most}: give 1 or more, or leave it out")
        if self.cpus is not None and not (0.001 <= self.cpus <= 1 or self.cpus in range(1, 2**16)):
            raise ConfigError(f"--cpus-per-job {self.cpus:g}: give a whole number, or a part of one CPU")
        checked_gpus(self.gpus, self.device)
        if importlib.util.find_spec("ray") is None:
            raise ConfigError("--executor ray: Ray is not installed; pip install 'lossbench[ray]'")
        return self

    def asked_of(self, executor: str) -> bool:
        """Whether this executor runs jobs on a cluster.

        Raises:
            ConfigError: it does not, and an option is given that only a cluster has.
        """
        options = {"address": self.address, "cpus-per-job": self.cpus}
        given = [name for name, value in options.items() if value is not None]
        given += ["any-versions"] if self.any_versions else []
        if given and executor != "ray":
            raise ConfigError(f"--{given[0]} belongs to --executor ray: add it, or leave it out")
        return executor == "ray"


class Share(NamedTuple):
    """What each job holds of a node."""

    cpus: float
    gpus: float

    def fits(self, node: Mapping[str, Any]) -> int:
        """How many jobs a node of `ray.nodes()` has room for, were it free. A GPU's parts are never of two GPUs."""
        has = node["Resources"]
        cpus = int(has.get("CPU", 0) / self.cpus + 1e-6)
        return min(cpus, int(has.get("GPU", 0)) * int(1 / self.gpus + 1e-6)) if self.gpus else cpus


def share(cluster: Cluster, nodes: Sequence[Mapping[str, Any]], *, threads: int) -> Share:
    """What a job holds: unless told otherwise one CPU for each thread, and one GPU if any node has one.

    Raises:
        ConfigError: no node is large enough.
    """
    any_gpu = cluster.device == "cuda" or any(node["Resources"].get("GPU") for node in nodes)
    gpus = float(any_gpu and cluster.device != "cpu") if cluster.gpus is None else cluster.gpus
    found = Share(cluster.cpus or threads, gpus)
    if any(found.fits(node) for node in nodes):
        return found
    for option, kind, wanted in (("cpus", "CPU", found.cpus), ("gpus", "GPU", found.gpus)):
        most = max((node["Resources"].get(kind, 0) for node in nodes), default=0)
        if wanted > most:
            raise ConfigError(f"--{option}-per-job {wanted:g}: no node of the cluster has more than {most:g}")
    raise ConfigError(f"no node of the cluster has both {found.cpus:g} CPUs and {gpus:g} GPUs: ask for fewer per job")


@contextmanager
def connected(address: str) -> Iterator[Any]:
    """The module of Ray, connected to a cluster. One that the caller is connected to already is used, and stays so."""
    _see_answer(address)
    import ray

    if ray.is_initialized():
        yield ray
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # a cluster that is started here tells nobody of it
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        ray.init(address, log_to_driver=False, logging_level=logging.ERROR)
    except (ConnectionError, RuntimeError, ValueError) as error:
        why = str(error).strip().partition("\n")[0]
        raise ConfigError(f"--address {address}: no Ray cluster can be used there ({why}); {ADVICE}") from error
    finally:
        if threading.current_thread() is threading.main_thread():
            for number, handler in before.items():  # Ray takes SIGTERM for an order to exit
                signal.signal(number, handler)
    try:
        yield ray
    finally:
        ray.shutdown()


def _see_answer(address: str) -> None:
    """See that somebody listens at an address: Ray itself would try for minutes."""
    if address in {"auto", "local"}:
        return
    host, _, port = address.rpartition(":")
    if not host or "/" in host or not port.isdecimal():
        raise ConfigError(f"--address {address}: give auto, local, or HOST:PORT of the head of a cluster")
    try:
        socket.create_connection((host.strip("[]"), int(port)), timeout=10).close()
    except (OSError, OverflowError) as error:
        why = getattr(error, "strerror", None) or str(error)
        raise ConfigError(f"--address {address}: no Ray cluster answers there ({why}); {ADVICE}") from error


def see_fit(
    ray: Any, nodes: Sequence[Mapping[str, Any]], setup: Setup, *, any_versions: bool = False, stop: Stop
) -> None:
    """See that nodes see the same folders as this process, and have the same versions unless any will do.

    Raises:
        ConfigError: one does not.
        StoreError: the folder of results cannot be written.
        Stopped: the run is to stop.
    """
    if not nodes:
        return
    with sight(setup, any_versions=any_versions) as seen:
        told = list(each_node(ray, nodes, unfit, seen, stop))
    problems = {f"{name}: {sentence}" for name, sentences in told for sentence in sentences}
    if problems:
        raise ConfigError("\n".join(sorted(problems)))


def each_node(
    ray: Any, nodes: Sequence[Mapping[str, Any]], look: Callable[[Any], list[str]], asked: Any, stop: Stop
) -> Iterator[tuple[str, list[str]]]:
    """Call a function with what is `asked` on each of these nodes, and give their names with its sentences, as it ends.

    A node that leaves meanwhile has said nothing, and is left out.

    Raises:
        Stopped: the command is to stop.
    """
    from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as pinned

    answers = {}
    for node in nodes:
        place = pinned(node["NodeID"], soft=False)
        answers[ray.remote(num_cpus=0, max_retries=0, scheduling_strategy=place)(look).remote(asked)] = node
    while answers and not stop.asked:
        for answer in ray.wait(list(answers), timeout=TICK)[0]:
            node, said = answers.pop(answer), _said(ray, answer)
            if said is not None:
                yield f"node {node['NodeManagerHostname']} ({node['NodeManagerAddress']})", said
    if answers:
        raise Stopped


def _said(ray: Any, answer: Any) -> list[str] | None:
    try:
        sentences: list[str] = ray.get(answer)
    except ray.exceptions.RayTaskError as error:
        why = str(error).strip().rpartition("\n")[2]
        return [f"lossbench cannot be used there ({why}); install the same version on all nodes"]
    except ray.exceptions.RayError:
        return None  # the node has just left
    return sentences
