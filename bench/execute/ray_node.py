"""What runs on a node of a Ray cluster: the look at whether it is fit for jobs, and the actor that runs them."""

import importlib.metadata
import os
import platform
import secrets
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing.connection import wait
from pathlib import Path
from typing import NamedTuple

from bench.execute.pool import Worker, refuse
from bench.execute.stop import Stop
from bench.execute.worker import News, Outlook, Setup
from bench.matrix.job import ConfigError, Job
from bench.store.address import Address
from bench.store.job_folders import DRAFT, StoreError, unwritten
from bench.store.mirror import mirrored
from bench.store.processes import ours

__all__ = ["Host", "Sight", "sight", "unfit"]

PULSE = 1.0
"""Seconds after which an actor answers that there is no news: it hears of a stop between two answers."""
PACKAGES = ("lossbench", "torch", "faiss-cpu", "timm", "pytorch-metric-learning", "numpy")
"""What has to be the same on all nodes: other versions can give other bits."""


class Sight(NamedTuple):
    """What every node is to see as this process does."""

    results: Path
    marker: str
    """Name of a file in the folder of results."""
    data: Path | None
    names: frozenset[str]
    """What lies in the folder of data."""
    plugins: tuple[Path, ...]
    versions: Mapping[str, str | None]
    """None where any will do."""
    address: str | None = None
    """Where the marker is, if not in the folder."""


@contextmanager
def sight(setup: Setup, *, any_versions: bool = False) -> Iterator[Sight]:
    """What this process sees, with a marker where the results go as long as it is compared."""
    names = frozenset(os.listdir(setup.data) if setup.data is not None and setup.data.is_dir() else ())
    plugins, wanted = tuple(plugin.file for plugin in setup.plugins), {} if any_versions else versions()
    marker = f"{DRAFT}{ours().mark}{secrets.token_hex(8)}"
    with _there(setup, marker):
        yield Sight(setup.results, marker, setup.data, names, plugins, wanted, setup.address)


@contextmanager
def _there(setup: Setup, marker: str) -> Iterator[None]:
    """Within it, there is a file or object of this name where the results go."""
    address = setup.address and Address(setup.address)
    file = setup.results / marker
    try:
        if address:
            address.write(marker, b"")
        else:
            file.touch(exist_ok=False)
    except OSError as error:
        raise error if isinstance(error, StoreError) else unwritten(setup.results, error) from error
    try:
        yield
    finally:
        if address:
            address.remove([marker])
        else:
            file.unlink(missing_ok=True)


def versions() -> dict[str, str | None]:
    """Of Python and of each package that decides what a job computes; None where it is not installed."""
    return {"Python": platform.python_version()} | {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def unfit(seen: Sight) -> list[str]:
    """What this node lacks of what another one sees, one sentence each."""
    return [*_unseen(seen), *_other_versions(seen.versions)]


def _unseen(seen: Sight) -> Iterator[str]:
    advice = "name a folder that all nodes share"
    if seen.address:
        yield from _unreached(seen.address, seen.marker)
    elif not (seen.results / seen.marker).exists():
        yield f"it does not see the folder of results {seen.results}: {advice} with --results"
    elif not os.access(seen.results, os.W_OK | os.X_OK):
        yield f"it may not write in the folder of results {seen.results}: let its user write there"
    if seen.data is not None:
        here = set(os.listdir(seen.data)) if seen.data.is_dir() else set()
        if missing := sorted(seen.names - here):
            yield f"it does not see {missing[0]} in the data folder {seen.data}: {advice} with --data, or copy it there"
    for file in seen.plugins:
        if not file.exists():
            yield f"it does not see the plugin {file}: put it where all nodes see it"


def _unreached(address: str, marker: str) -> Iterator[str]:
    try:
        there = Address(address).item(marker) is not None
    except StoreError as error:
        yield f"it cannot use the address of results: {error}"
        return
    if not there:
        yield f"it sees other results at {address}: let the environment of all nodes lead to the same"


def _other_versions(wanted: Mapping[str, str | None]) -> Iterator[str]:
    found = versions()
    other = [name for name, version in wanted.items() if found.get(name) != version]
    if other:
        both = ", ".join(f"{name} {found.get(name) or 'absent'} instead of {wanted[name] or 'none'}" for name in other)
        yield f"it has {both}: install the same versions on all nodes, or add --any-versions if other bits will do"


class Host:
    """On a node: one worker process, and what it says. This is the actor."""

    def __init__(self, setup: Setup) -> None:
        """Start the process. Results that go to an address do so by way of a folder of this node."""
        if setup.address:
            setup = setup._replace(results=mirrored(setup.address, fetch=False))
        self.worker = Worker(setup)
        self.worker.start()

    def ready(self) -> None:
        """Answered once there is a node for it."""

    def refuse(self, jobs: Sequence[Job]) -> Outlook:
        """Build everything once; what cannot be built, and what is doubtful."""
        try:
            return Outlook([], refuse(self.worker, jobs, Stop()))
        except ConfigError as error:
            return Outlook([str(error)], [])

    def run(self, job: Job) -> list[News | Exception]:
        """Begin a job; its first news, or why its checkpoint cannot be fetched."""
        try:
            self.worker.take(job)
        except StoreError as error:
            return [error]
        with suppress(OSError):  # a process that has just died says so when it is asked for news
            self.worker.socket.send(job)
        return self.news()

    def news(self) -> list[News | Exception]:
        """What the worker has to say, an error that ends the run as itself; nothing after a second of silence."""
        said: list[News | Exception] = []
        while self.worker.job is not None and wait([self.worker.socket], 0 if said else PULSE):
            try:
                event = self.worker.news()
            except Exception as error:
                return [*said, error]
            said.append(News(event.kind, event.epochs, event.reason, event.of))
        return said

    def stop(self) -> None:
        """Ask the job to stop at its next step."""
        self.worker.ask_to_stop()
