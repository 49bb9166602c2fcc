"""One run at a time writes to an address."""

import json
import uuid
from datetime import timedelta

import pytest

from bench.store import one_driver
from bench.store.job_folders import StoreError
from bench.store.leases import STALE
from bench.store.mirror import mirror_of, mirrored
from bench.store.one_driver import DRIVER, driving


@pytest.fixture
def mirror(tmp_path, monkeypatch):
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    return mirror_of(mirrored(f"memory://bucket/{uuid.uuid4().hex}", fetch=False))


def held(mirror, **changes):
    """The object of a run, perhaps of another machine."""
    lease = json.loads(one_driver._lease().model_dump_json()) | changes
    mirror.address.write(DRIVER, json.dumps(lease).encode())


def test_a_second_run_is_refused_and_the_first_one_leaves_nothing(mirror):
    with driving(mirror.folder):
        with pytest.raises(StoreError, match=r"another run writes there \(.*, process \d+\)"), driving(mirror.folder):
            pass
        assert mirror.address.item(DRIVER)
    assert mirror.address.listed() == {}
    with driving(mirror.folder):
        pass


def test_a_run_of_another_machine_is_taken_over_once_it_is_silent_for_a_minute(mirror):
    held(mirror, place="another")
    with pytest.raises(StoreError, match="another run writes there"), driving(mirror.folder):
        pass
    system, path = mirror.address.files
    system.store[f"{path}/{DRIVER}"].created -= timedelta(seconds=STALE)
    with driving(mirror.folder):
        pass


def test_a_killed_run_of_this_machine_is_taken_over_at_once(mirror):
    held(mirror, pid=2**22 + 1)  # which no process has
    with driving(mirror.folder):
        pass


def test_a_run_renews_its_object_and_leaves_that_of_another_one(mirror, monkeypatch):
    monkeypatch.setattr(one_driver, "RENEW", 0.01)
    with driving(mirror.folder):
        while not json.loads(mirror.address.read(DRIVER))["count"]:
            pass
        held(mirror, run="another")
    assert json.loads(mirror.address.read(DRIVER))["run"] == "another"


def test_a_folder_that_stands_for_no_address_needs_no_driver(tmp_path):
    with driving(tmp_path), driving(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []
