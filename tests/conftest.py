import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest


@pytest.fixture(scope="session", autouse=True)
def _own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The tests fill a cache of their own, so that they neither find nor leave anything in the user's.

    The processes of one run of the tests share it.
    """
    base = tmp_path_factory.getbasetemp()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("BENCH_CACHE", str((base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "cache"))
        yield


@pytest.fixture(scope="session", autouse=True)
def _one_core() -> Iterator[None]:
    """A run starts one worker unless a test asks for more: each takes seconds to start, and all cores run tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("LOKY_MAX_CPU_COUNT", "1")
        yield


@pytest.fixture(scope="session", autouse=True)
def _signals() -> None:
    """What a shell starts in the background, or by nohup, is deaf to signals; what the tests start must hear them."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for name in ("SIGQUIT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_DFL)


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of reference material: BENCH_SHARED, else ../shared beside the repository."""
    place = Path(os.environ.get("BENCH_SHARED") or Path(__file__).parents[1] / "../shared").resolve()
    if not place.is_dir():
        pytest.skip(f"{place} is not there: set BENCH_SHARED to the folder of reference material")
    return place


@pytest.fixture
def one_thread() -> Iterator[None]:
    """What a worker computes with."""
    import torch  # which tests of the report, say, need not wait for

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def no_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    """Jobs are run in this process, whose libraries are loaded: for tests that are not about processes."""
    from support.in_this_process import execute

    from bench.execute.run_options import EXECUTORS

    monkeypatch.setitem(EXECUTORS, "local", execute)
