"""What jobs will find on this machine: versions, devices, memory, disk, folders; and what is wrong, with its mend."""

import importlib.metadata
import locale
import os
import platform
import re
import shutil
import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench import store
from bench.datasets.acquire.inventory import inventory
from bench.execute.devices import devices, places
from bench.matrix.cache_folder import cache_folder
from bench.matrix.packaged_weights import EXTRA, PACKAGED, content

__all__ = ["Fact", "environment"]

GB = 1e9
LITTLE = 1.0
"""GB of memory, or of a disk, below which a run is likely to fail."""
FILES = 256
"""Files that may be open at a time, at least."""
SHOWN = ("torch", "timm", "pytorch-metric-learning", "faiss-cpu", "numpy", "pandas", "pyarrow", "scikit-learn")
"""Packages whose versions decide most."""
CGROUP = Path("/sys/fs/cgroup")
"""Where a container's limits are, of either version."""
RUNTIMES = {"libgomp": "GNU", "libiomp": "Intel", "libomp": "LLVM", "vcomp": "Microsoft"}
"""Beginning of an OpenMP library's name -> whose it is."""


class Fact(NamedTuple):
    """One line of what `bench doctor` tells."""

    name: str
    value: str
    problems: tuple[str, ...] = ()
    """What is wrong, each one sentence that says what to do."""


def environment(results: Path, data: Path | None) -> Iterator[Fact]:
    """Everything worth knowing before a run; nothing is written. torch and faiss are imported."""
    yield _python()
    yield _packages()
    yield _devices()
    yield _libraries()
    yield _memory()
    yield _text()
    yield _data(data)
    yield _cache()
    yield _results(results)
    yield _weights()


def _python() -> Fact:
    wanted = _metadata("Requires-Python") or ""
    least, below = (re.search(rf"{sign}(\d+)\.(\d+)", wanted) for sign in (">=", "<"))
    fits = (not least or sys.version_info[:2] >= _pair(least)) and (not below or sys.version_info[:2] < _pair(below))
    problem = f"Python {platform.python_version()} does not fit ({wanted}): make an environment with another Python"
    value = f"{platform.python_version()} on {platform.system()} {platform.machine()}; lossbench {_metadata('Version')}"
    return Fact("Python", value, () if fits else (problem,))


def _pair(found: re.Match[str]) -> tuple[int, int]:
    return int(found[1]), int(found[2])


def _metadata(name: str) -> str | None:
    """What the installed package says of itself; nothing where the folder was never installed."""
    try:
        return importlib.metadata.metadata("lossbench")[name]
    except importlib.metadata.PackageNotFoundError:
        return None


def _packages() -> Fact:
    problems = []
    try:
        stated = importlib.metadata.requires("lossbench") or []
    except importlib.metadata.PackageNotFoundError:
        stated, problems = [], ["lossbench is not installed: pip install -e . in its folder"]
    for requirement in [one for one in stated if "extra ==" not in one]:
        name, least = _requirement(requirement)
        found = _version(name)
        if found is None:
            problems.append(f"{name} is not installed: pip install '{requirement}'")
        elif _numbers(found) < _numbers(least):
            problems.append(f"{name} {found} is older than {least}: pip install --upgrade '{requirement}'")
    return Fact("Packages", ", ".join(f"{name} {_version(name) or 'absent'}" for name in SHOWN), tuple(problems))


def _requirement(text: str) -> tuple[str, str]:
    """Name and least version, "0" where any will do."""
    name = re.match(r"[\w.-]+", text)
    least = re.search(r">=\s*([\d.]+)", text)
    return name[0] if name else text, least[1] if least else "0"


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> list[int]:
    return [int(part) for part in re.findall(r"\d+", version.partition("+")[0])[:3]]


def _devices() -> Fact:
    """Where `bench run` would train, and how many jobs at a time."""
    try:
        import torch

        found, workers = devices("auto"), len(places("auto"))
    except Exception as error:  # a broken installation raises whatever it likes
        return Fact("Devices", "unknown", (f"torch cannot be imported ({_first(error)}): install it anew",))
    names = [torch.cuda.get_device_name(name) for name in found if name != "cpu"]
    problems = []
    if not names and any(Path("/dev").glob("nvidia[0-9]*")):
        built = torch.version.cuda or "the processor alone"
        problems.append(f"there is a GPU, but torch, which is built for {built}, sees none: install another torch")
    value = ", ".join(names) or f"no GPU; {platform.processor() or platform.machine()}"
    return Fact("Devices", f"{value}; {_counted(workers, 'job')} at a time", tuple(problems))


def _libraries() -> Fact:
    """Which libraries compute, with how many threads, once all are loaded as in a worker."""
    problems = []
    try:
        import faiss  # noqa: F401
        import sklearn  # noqa: F401
        import torch  # noqa: F401
    except Exception as error:
        problems.append(f"a library cannot be imported ({_first(error)}): install it anew")
    try:
        from threadpoolctl import threadpool_info  # which scikit-learn brings

        loaded = threadpool_info()
    except ImportError:
        return Fact("Threads", f"OMP_NUM_THREADS {os.environ.get('OMP_NUM_THREADS', 'not set')}", tuple(problems))
    blas = sorted({f"{one['internal_api']} {one['version'] or ''}".strip() for one in _of(loaded, "blas")})
    openmp = sorted({whose for one in _of(loaded, "openmp") if (whose := _whose(str(one["prefix"])))})
    threads = os.environ.get("OMP_NUM_THREADS", "not set")
    value = f"OMP_NUM_THREADS {threads}; BLAS {', '.join(blas) or 'unknown'}; OpenMP {', '.join(openmp) or 'none'}"
    return Fact("Threads", value, (*problems, *_clash(openmp)))


def _clash(openmp: Sequence[str]) -> tuple[str, ...]:
    """What is wrong where libraries of several makers are loaded; several copies of one maker's do no harm."""
    if len(openmp) < 2:
        return ()
    loaded = f"OpenMP of {' and '.join(openmp)} is loaded at once, which can hang or compute wrongly"
    return (f"{loaded}: install torch, faiss-cpu and scikit-learn from one source",)


def _of(loaded: list[dict[str, Any]], kind: str) -> list[dict[str, Any]]:
    return [one for one in loaded if one["user_api"] == kind]


def _whose(prefix: str) -> str | None:
    return next((whose for start, whose in RUNTIMES.items() if prefix.startswith(start)), None)


def _memory() -> Fact:
    """What may still be used: of the machine, or of the container if that is less."""
    free = {"of the machine": _machine_memory(), "within the container's limit": _container_memory()}
    known = {where: size for where, size in free.items() if size is not None}
    if not known:
        return Fact("Memory", "unknown")
    where, size = min(known.items(), key=lambda found: found[1])
    problem = f"only {size / GB:.1f} GB of memory are free: end other programs, or raise the limit"
    limit = _open_files()
    few = f"only {limit} files may be open at a time: ulimit -n 4096"
    problems = ([problem] if size < LITTLE * GB else []) + ([few] if limit is not None and limit < FILES else [])
    return Fact("Memory", f"{size / GB:,.1f} GB free {where}", tuple(problems))


def _machine_memory() -> float | None:
    found = re.search(r"MemAvailable:\s+(\d+) kB", _content(Path("/proc/meminfo")))
    return 1024.0 * int(found[1]) if found else None


def _container_memory() -> float | None:
    for limit, used in (
        ("memory.max", "memory.current"),
        ("memory/memory.limit_in_bytes", "memory/memory.usage_in_bytes"),
    ):
        most, now = _content(CGROUP / limit).strip(), _content(CGROUP / used).strip()
        if most.isdigit() and now.isdigit() and int(most) < 2**60:  # more means no limit
            return float(int(most) - int(now))
    return None


def _content(file: Path) -> str:
    try:
        return file.read_text(encoding="ascii", errors="replace")
    except OSError:
        return ""


def _open_files() -> int | None:
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return None
    return resource.getrlimit(resource.RLIMIT_NOFILE)[0]


def _text() -> Fact:
    files, terminal = sys.getfilesystemencoding(), getattr(sys.stdout, "encoding", None) or "unknown"
    wrong = files.lower().replace("-", "") != "utf8"
    problem = f"names of files are read as {files}, so many cannot be: export PYTHONUTF8=1"
    preferred = locale.getpreferredencoding(False)
    return Fact("Text", f"files {files}, output {terminal}, locale {preferred}", (problem,) if wrong else ())


def _data(data: Path | None) -> Fact:
    if data is None:
        return Fact("Data", "no folder named: --data DIR, or BENCH_DATA; glyphs need none")
    if not os.path.isdir(data) or not os.access(data, os.R_OK | os.X_OK):
        return Fact(
            "Data", str(data), (f"{data} is no folder that you may read: name another by --data or BENCH_DATA",)
        )
    there = [one["name"] for one in inventory(data) if one["there"]]
    return Fact("Data", f"{data}: {', '.join(there) or 'none of the public sets'}")


def _cache() -> Fact:
    root = cache_folder()
    files = [Path(place, name) for place, _, names in os.walk(root) for name in names]
    size = sum(file.lstat().st_size for file in files if os.path.lexists(file))
    return _on_disk("Cache", root, f"{size / GB:,.1f} GB", f"set BENCH_CACHE to a folder that can (now {root})")


def _results(results: Path) -> Fact:
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        problems, value = _tried(lambda: _counted(len(store.load(results)), "job"))
    damaged = tuple(str(one.message) for one in told)
    fact = _on_disk("Results", results, value, "name another folder with --results")
    return fact._replace(problems=(*problems, *damaged, *fact.problems))


def _tried(count: Callable[[], str]) -> tuple[tuple[str, ...], str]:
    try:
        return (), count()
    except store.StoreError as error:
        return (str(error),), "cannot be read"
    except FileNotFoundError:
        return (), "none yet"


def _on_disk(name: str, folder: Path, what: str, advice: str) -> Fact:
    """A folder with what is free on its disk, and whether it can be written."""
    place = next(path for path in (folder.absolute(), *folder.absolute().parents) if os.path.lexists(path))
    problems = []
    if os.path.isdir(place) and not os.access(place, os.W_OK | os.X_OK):
        problems.append(f"{place} cannot be written: {advice}")
    free = shutil.disk_usage(place).free if os.path.isdir(place) else None
    if free is not None and free < LITTLE * GB:
        problems.append(f"only {free / GB:.1f} GB are free on the disk of {place}: free some, or {advice}")
    left = "" if free is None else f"; {free / GB:,.1f} GB free"
    return Fact(name, f"{folder}: {what}{left}", tuple(problems))


def _weights() -> Fact:
    there, problems = [], []
    for model in PACKAGED:
        try:
            there += [model] if content(model) else []
        except ValueError as error:
            problems.append(str(error))
    return Fact("Weights", ", ".join(there) or f"no package with weights of trunks: {EXTRA}", tuple(problems))


def _counted(count: int, noun: str) -> str:
    return f"{count:,} {noun}{'s' * (count != 1)}"


def _first(error: Exception) -> str:
    return f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0]}"
