import hashlib
import random
import resource
import socket
from pathlib import Path

import pytest
from support.loopback import Answer, serving

from bench.datasets.acquire.download import Patience, download
from bench.datasets.acquire.partial_file import differs
from bench.datasets.split import DataError

CONTENT = random.Random(0).randbytes(300_000)
OTHER = random.Random(1).randbytes(300_000)
SHA = f"sha256:{hashlib.sha256(CONTENT).hexdigest()}"
MD5 = f"md5:{hashlib.md5(CONTENT).hexdigest()}"
PATIENT = Patience(connect=10, read=10, tries=3, pause=0.01)
HASTY = PATIENT._replace(read=0.5)
"""For servers that fall silent."""
WHOLE = Answer(CONTENT)


def get(tmp_path: Path, url: str, *more: str, patience: Patience = PATIENT, **known: object) -> bytes:
    target = tmp_path / "file.zip"
    download([url, *more], target, patience=patience, **{"digest": SHA, "size": len(CONTENT), **known})
    assert [place.name for place in tmp_path.iterdir()] == ["file.zip"], "something was left beside it"
    return target.read_bytes()


def left(tmp_path: Path) -> bytes:
    return (tmp_path / ".file.zip.part").read_bytes()


@pytest.mark.parametrize("known", [{}, {"digest": MD5}, {"digest": "", "size": None}, {"size": None}])
@pytest.mark.parametrize("length", [None, -1])
def test_a_file_arrives(tmp_path: Path, known: dict[str, object], length: int | None) -> None:
    with serving(WHOLE._replace(length=length)) as server:
        assert get(tmp_path, server.url, **known) == CONTENT
    assert [request.range for request in server.requests] == [None]


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[tuple[int, int | None]] = []
    with serving(WHOLE._replace(sends=100_000), WHOLE) as server:
        get(tmp_path, server.url, watch=lambda done, total: told.append((done, total)))
    done = [so_far for so_far, _ in told]
    assert done == sorted(done)
    assert 100_000 in done
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert {total for _, total in told} == {len(CONTENT)}


@pytest.mark.parametrize("stalls", [False, True])
@pytest.mark.parametrize("etag", ['"one"', 'W/"one"', ""])
def test_a_transfer_that_breaks_off_is_continued(tmp_path: Path, stalls: bool, etag: str) -> None:
    part = Answer(CONTENT, etag=etag, sends=100_000, stalls=stalls)
    with serving(part, part, WHOLE._replace(etag=etag)) as server:
        assert get(tmp_path, server.url, patience=HASTY if stalls else PATIENT) == CONTENT
    assert [request.range for request in server.requests] == [None, "bytes=100000-", "bytes=200000-"]
    assert {request.if_range for request in server.requests[1:]} == {etag if etag == '"one"' else None}


@pytest.mark.parametrize("stalls", [False, True])
def test_another_call_continues(tmp_path: Path, stalls: bool) -> None:
    with serving(WHOLE._replace(sends=100_000, stalls=stalls), Answer(CONTENT, 503)) as server:
        with pytest.raises(DataError, match="answers 503 Service Unavailable"):
            get(tmp_path, server.url, patience=HASTY if stalls else PATIENT)
        assert left(tmp_path) == CONTENT[:100_000]
        assert not (tmp_path / "file.zip").exists()
    with serving(WHOLE) as server:
        assert get(tmp_path, server.url) == CONTENT
    assert [request.range for request in server.requests] == ["bytes=100000-"]


def test_a_download_that_was_only_not_named_yet_asks_nobody(tmp_path: Path) -> None:
    (tmp_path / ".file.zip.part").write_bytes(CONTENT)
    with serving(WHOLE) as server:
        assert get(tmp_path, server.url) == CONTENT
    assert server.requests == []


@pytest.mark.parametrize("known", [{}, {"digest": "", "size": None}])
@pytest.mark.parametrize("validator", [{"etag": '"%s"'}, {"modified": "Mon, 0%s Jan 2024 00:00:00 GMT"}])
def test_a_file_that_changed_meanwhile_is_got_anew(
    tmp_path: Path, known: dict[str, object], validator: dict[str, str]
) -> None:
    """The server sees by If-Range that what is there is of another file, and sends all."""
    old, new = ({name: form % version for name, form in validator.items()} for version in (1, 2))
    with serving(Answer(OTHER, sends=100_000, **old), Answer(CONTENT, **new)) as server:
        assert get(tmp_path, server.url, **known) == CONTENT
    assert server.requests[1].range == "bytes=100000-"
    assert server.requests[1].if_range == next(iter(old.values()))


def test_a_file_that_changed_unnoticed_is_found_by_its_hash_and_got_anew(tmp_path: Path) -> None:
    with serving(Answer(OTHER, sends=100_000), WHOLE) as server:
        assert get(tmp_path, server.url) == CONTENT
    assert [request.range for request in server.requests] == [None, "bytes=100000-", None]


def test_without_hash_and_version_a_transfer_begins_again(tmp_path: Path) -> None:
    with serving(Answer(OTHER, sends=100_000), WHOLE) as server:
        assert get(tmp_path, server.url, digest="", size=None) == CONTENT
    assert [request.range for request in server.requests] == [None, None]


@pytest.mark.parametrize("odd", [{"ranges": False}, {"begins": 1}, {"status": 416}])
def test_a_server_that_cannot_continue_begins_again(tmp_path: Path, odd: dict[str, int]) -> None:
    with serving(WHOLE._replace(sends=100_000), WHOLE._replace(**odd), WHOLE) as server:
        assert get(tmp_path, server.url) == CONTENT


def test_more_in_the_part_than_the_file_has_is_not_continued(tmp_path: Path) -> None:
    (tmp_path / ".file.zip.part").write_bytes(CONTENT + b"more")
    (tmp_path / ".file.zip.part.json").write_text("not JSON")
    with serving(WHOLE) as server:
        assert get(tmp_path, server.url) == CONTENT
    assert server.requests[0].range is None


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504])
def test_a_passing_failure_is_tried_again(tmp_path: Path, status: int) -> None:
    with serving(Answer(CONTENT, status), Answer(CONTENT, status), WHOLE) as server:
        assert get(tmp_path, server.url) == CONTENT
    assert len(server.requests) == 3


@pytest.mark.parametrize(("status", "sentence"), [(404, "404 Not Found"), (403, "403 Forbidden"), (410, "410 Gone")])
def test_a_final_answer_is_not(tmp_path: Path, status: int, sentence: str) -> None:
    with serving(Answer(CONTENT, status)) as server, pytest.raises(DataError, match=f"/file answers {sentence}$"):
        get(tmp_path, server.url)
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


def test_tries_end(tmp_path: Path) -> None:
    with serving(Answer(CONTENT, 500)) as server, pytest.raises(DataError, match="answers 500 Internal Server Error"):
        get(tmp_path, server.url)
    assert len(server.requests) == PATIENT.tries


def test_silence_is_not_waited_for(tmp_path: Path) -> None:
    silent = WHOLE._replace(sends=0, stalls=True)
    with serving(silent) as server, pytest.raises(DataError, match=r"sends nothing for 0.5 s after 0 bytes"):
        get(tmp_path, server.url, patience=HASTY)
    assert len(server.requests) == PATIENT.tries


def test_tries_begin_again_as_long_as_it_gets_further(tmp_path: Path) -> None:
    content = random.Random(2).randbytes(6 * 2**20)
    digest = f"sha256:{hashlib.sha256(content).hexdigest()}"
    with serving(Answer(content, sends=2**20 + 1)) as server:
        assert get(tmp_path, server.url, digest=digest, size=len(content)) == content
    assert len(server.requests) == 6 > PATIENT.tries


@pytest.mark.parametrize("known", [{}, {"size": None}])
def test_a_wrong_file_is_refused_and_not_kept(tmp_path: Path, known: dict[str, None]) -> None:
    with (
        serving(Answer(OTHER)) as server,
        pytest.raises(DataError, match=r"another file .*\(SHA-256 \w{12}…, not \w{12}"),
    ):
        get(tmp_path, server.url, **known)
    assert len(server.requests) == 1
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["text/html; charset=utf-8", "application/octet-stream"])
@pytest.mark.parametrize("known", [{"digest": "", "size": None}, {}])
def test_a_page_to_log_in_is_no_file(tmp_path: Path, kind: str, known: dict[str, object]) -> None:
    page = Answer(b"\n<!DOCTYPE html><title>Log in</title>", kind=kind)
    with serving(page) as server, pytest.raises(DataError, match=r"sends a web page|has a file of 37 bytes"):
        get(tmp_path, server.url, **known)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(("odd", "known", "sentence"), [
    ({"length": 400_000}, {}, "has a file of 400,000 bytes, not the published one of 300,000"),
    ({"length": 400_000}, {"size": None}, r"breaks off after 300,000 bytes \("),
    ({"length": 200_000}, {}, "has a file of 200,000 bytes, not the published one of 300,000"),
    ({"length": 200_000}, {"size": None}, "sends another file than the published one"),
    ({"length": -1, "sends": 200_000}, {}, "sends 200,000 bytes, not the 300,000 of the published file"),
    ({"length": -1, "content": CONTENT * 2}, {}, "sends more than the 300,000 bytes of the published file"),
])  # fmt: skip
def test_lengths_that_lie(tmp_path: Path, odd: dict[str, int], known: dict[str, None], sentence: str) -> None:
    with serving(WHOLE._replace(**odd)) as server, pytest.raises(DataError, match=sentence):
        get(tmp_path, server.url, **known)
    assert not (tmp_path / "file.zip").exists()


def test_the_next_address_is_asked_and_continues_the_same_file(tmp_path: Path) -> None:
    dying = (WHOLE._replace(sends=100_000), Answer(CONTENT, 500))
    with serving(*dying) as first, serving(WHOLE) as second:
        assert get(tmp_path, first.url, second.url) == CONTENT
    assert [request.range for request in second.requests] == ["bytes=100000-"]


def test_without_a_hash_the_next_address_begins_again(tmp_path: Path) -> None:
    dying = (Answer(OTHER, etag='"one"', sends=100_000), Answer(CONTENT, 500))
    with serving(*dying) as first, serving(WHOLE._replace(etag='"one"')) as second:
        assert get(tmp_path, first.url, second.url, digest="") == CONTENT
    assert [request.range for request in second.requests] == [None]


def test_every_address_is_named_when_none_gives_the_file(tmp_path: Path) -> None:
    with serving(Answer(CONTENT, 404)) as one, serving(Answer(OTHER)) as two, pytest.raises(DataError) as error:
        get(tmp_path, one.url, two.url)
    assert f"{one.url} answers 404 Not Found and {two.url} sends another file" in str(error.value)


def test_a_redirection_is_followed(tmp_path: Path) -> None:
    with serving(WHOLE) as end, serving(Answer(CONTENT, 301, location=end.url)) as server:
        assert get(tmp_path, server.url) == CONTENT


def test_a_circle_of_redirections_ends(tmp_path: Path) -> None:
    with serving(Answer(CONTENT, 302, location="/file")) as server, pytest.raises(DataError, match="cannot be got"):
        get(tmp_path, server.url)


def test_a_dead_host_is_a_sentence(tmp_path: Path) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/file"
        with pytest.raises(DataError, match=r"/file cannot be reached \(.*refused"):
            get(tmp_path, url)


@pytest.mark.parametrize(
    ("url", "sentence"), [("ftp://127.0.0.1/x", "no http or https"), ("http://x:y/", "cannot be got")]
)
def test_an_address_that_is_none(tmp_path: Path, url: str, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        get(tmp_path, url)


def test_a_disk_that_takes_no_more_is_a_sentence_and_later_it_goes_on(tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    with serving(WHOLE) as server:
        resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, hard))
        try:
            with pytest.raises(DataError, match=rf"{tmp_path} cannot take file.zip \(File too large\)"):
                get(tmp_path, server.url)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
        assert 0 < len(left(tmp_path)) <= 200_000
        assert get(tmp_path, server.url) == CONTENT
    assert server.requests[1].range == f"bytes={200_000}-"


def test_no_address_at_all(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"^file.zip cannot be downloaded$"):
        download([], tmp_path / ".file.zip")


@pytest.mark.parametrize("digest", [SHA, MD5, ""])
def test_hashes(tmp_path: Path, digest: str) -> None:
    for content, same in ((CONTENT, True), (OTHER, digest == "")):
        (tmp_path / "file").write_bytes(content)
        assert (differs(tmp_path / "file", digest) == "") is same
