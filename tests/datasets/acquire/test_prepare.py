import fcntl
import os
import re
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest
from PIL import Image
from support.loopback import Answer
from support.sample_sets import LIST, PICTURES_TGZ, Stages, get, hosts, inside, mine, packed

from bench.datasets.acquire.prepare import prepare_dataset
from bench.datasets.acquire.steps import Unit
from bench.datasets.split import DataError
from bench.matrix.job import Part


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("BENCH_DATA", raising=False)
    return tmp_path / "cache"


def test_a_set_is_got_unpacked_and_decoded_and_the_second_time_is_there(tmp_path: Path) -> None:
    data = tmp_path / "new" / "data"
    first, second = Stages(), Stages()
    with hosts([Answer(LIST)], [Answer(PICTURES_TGZ)]) as servers:
        split, again = get(data, mine(servers), first), get(data, mine(servers), second)
    assert inside(data) == ["mine"]
    assert inside(data / "mine") == ["list.txt", "pictures"]
    shown = {name: {9 * number for number in range(24) if number % 6 == int(name[-1])} for name in split.train.classes}
    assert len(shown) == 3
    for label, name in enumerate(split.train.classes):
        assert set(split.train.images[split.train.labels == label].ravel().tolist()) == shown[name]
    assert [len(server.requests) for server in servers] == [1, 1]
    assert list(first.told) == [
        "folder: list.txt", "folder: pictures.tgz", "folder: unpacking pictures.tgz", "folder: decoding"
    ]  # fmt: skip
    assert first.told["folder: pictures.tgz"][-1] == (len(PICTURES_TGZ), len(PICTURES_TGZ))
    assert first.told["folder: decoding"][-1] == (12, 12)
    assert (again.sha, second.told) == (split.sha, {"folder: decoding": []}), "read or decoded again"


def test_a_changed_picture_is_noticed(tmp_path: Path) -> None:
    stages = Stages()
    with hosts([Answer(LIST)], [Answer(PICTURES_TGZ)]) as servers:
        before = get(tmp_path, mine(servers))
        Image.new("L", (9, 8), 255).save(tmp_path / "mine" / "pictures" / "class 0" / "0.png")
        after = get(tmp_path, mine(servers), stages)
    assert stages.told["folder: decoding"]
    changed = [
        (old.images != new.images).any(axis=(1, 2, 3)).sum() for old, new in zip(before[:2], after[:2], strict=True)
    ]
    assert sum(changed) == 1


def test_a_command_that_was_interrupted_continues(tmp_path: Path) -> None:
    broken = [Answer(PICTURES_TGZ, sends=100), Answer(b"", 503), Answer(b"", 503), Answer(PICTURES_TGZ)]
    with hosts([Answer(LIST)], broken) as servers:
        with pytest.raises(DataError, match=r"answers 503 Service Unavailable; get pictures.tgz by hand from https"):
            get(tmp_path, mine(servers))
        assert not (tmp_path / "mine" / "pictures").exists()
        get(tmp_path, mine(servers))
    assert len(servers[0].requests) == 1
    assert servers[1].requests[-1].range == "bytes=100-"
    assert inside(tmp_path / "mine") == ["list.txt", "pictures"]


def test_what_was_downloaded_is_not_downloaded_again_when_unpacking_is_interrupted(tmp_path: Path) -> None:
    class Impatient(Stages):
        def __call__(self, name: str, unit: Unit) -> AbstractContextManager[Callable[[int, int | None], None]]:
            if "unpacking" in name:
                raise KeyboardInterrupt
            return super().__call__(name, unit)

    with hosts([Answer(LIST)], [Answer(PICTURES_TGZ)]) as servers:
        with pytest.raises(KeyboardInterrupt):
            get(tmp_path, mine(servers), Impatient())
        get(tmp_path, mine(servers))
    assert [len(server.requests) for server in servers] == [1, 1]
    assert inside(tmp_path / "mine") == ["list.txt", "pictures"]


@pytest.mark.parametrize(("change", "hashed", "reason"), [
    ({"status": 404}, True, r"http://\S+ answers 404 Not Found"),
    ({"kind": "text/html"}, True, r"http://\S+ sends a web page instead of the file, perhaps to log in or to agree"),
    ({"content": b"other"}, True, r"http://\S+ has a file of 5 bytes, not the published one of [\d,]+"),
    ({"content": PICTURES_TGZ[::-1]}, True, r"http://\S+ sends another file than the published one \(SHA-256 .*\)"),
    ({"sends": 100, "ranges": False}, True, r"http://\S+ breaks off after 100 bytes \(.+\)"),
    ({"content": b"no archive" * 100}, False, r"\S+pictures.tgz is damaged \(.+\)"),
    ({"content": packed("pictures/../..", {"evil": 0})}, False, r"\S+ is refused, for its member .* leads out of .*"),
    ({"content": packed("other", {"a.png": 0})}, False, r"\S+ has no folder pictures"),
])  # fmt: skip
def test_what_cannot_be_got_is_one_sentence_that_says_where_to_get_and_put_it(
    tmp_path: Path, change: dict[str, Any], hashed: bool, reason: str
) -> None:
    answers = [Answer(LIST)], [Answer(PICTURES_TGZ)._replace(**change)]
    with hosts(*answers) as servers, pytest.raises(DataError) as error:
        get(tmp_path, mine(servers, hashed=hashed))
    place = re.escape(str(tmp_path / "mine"))
    by_hand = rf"get pictures.tgz by hand from https://example.org/mine/, put it in {place}, and give the same command"
    assert re.fullmatch(rf"folder: {reason}; {by_hand} again\.", str(error.value))
    left = {"list.txt", ".pictures.tgz.part", ".pictures.tgz.part.json"}
    assert left >= set(inside(tmp_path / "mine")), "something half was left"
    assert inside(tmp_path) == ["mine"]


def test_where_nothing_came_no_folder_is_left(tmp_path: Path) -> None:
    with hosts([Answer(b"", 404)], [Answer(b"")]) as servers, pytest.raises(DataError, match=r"get list.txt by hand"):
        get(tmp_path, mine(servers))
    assert list(tmp_path.iterdir()) == []


def test_a_file_brought_by_hand_is_checked_unpacked_and_kept(tmp_path: Path) -> None:
    brought = tmp_path / "mine" / "pictures.tgz"
    brought.parent.mkdir()
    brought.write_bytes(PICTURES_TGZ[:-1])
    with hosts([Answer(LIST)], [Answer(b"", 404)]) as servers:
        with pytest.raises(DataError, match=rf"{brought} is not the published file \(SHA-256 .*; get pictures.tgz by"):
            get(tmp_path, mine(servers))
        brought.write_bytes(PICTURES_TGZ)
        get(tmp_path, mine(servers))
    assert servers[1].requests == []
    assert inside(brought.parent) == ["list.txt", "pictures", "pictures.tgz"]


def test_what_a_killed_process_left_goes(tmp_path: Path) -> None:
    (tmp_path / "mine" / ".unpacking-abc" / "pictures").mkdir(parents=True)
    with hosts([Answer(LIST)], [Answer(PICTURES_TGZ)]) as servers:
        get(tmp_path, mine(servers))
    assert inside(tmp_path / "mine") == ["list.txt", "pictures"]


def test_two_processes_do_not_get_the_same_set(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    other = os.open(tmp_path / "mine", os.O_RDONLY)
    fcntl.flock(other, fcntl.LOCK_EX)
    with hosts([Answer(LIST)], [Answer(PICTURES_TGZ)]) as servers:
        with pytest.raises(DataError, match=r"another process is getting files into .*mine: wait until it ends"):
            get(tmp_path, mine(servers))
        assert servers[0].requests == []
        assert (tmp_path / "mine").exists()
        os.close(other)
        get(tmp_path, mine(servers))


def test_a_folder_that_cannot_be_made_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(DataError, match=r"cannot be used \(Not a directory\): name another folder with --data"):
        prepare_dataset(Part(name="flowers102"), tmp_path / "file", Stages())
