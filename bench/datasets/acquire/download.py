"""A file from a web server: continued where it stopped, checked, and under its name only when complete and right."""

import json
import os
import re
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import httpx

from bench.datasets.acquire.partial_file import Wanted
from bench.datasets.split import DataError

__all__ = ["Patience", "Watch", "download"]

Watch = Callable[[int, int | None], None]
"""Told how far it is: bytes done, and of how many, None where that is not known."""

TRANSIENT = frozenset([408, 425, 429, 500, 502, 503, 504])
PROGRESS = 2**20
"""Bytes more than ever before, after which the number of tries starts again: a long download may break off often."""


class Patience(NamedTuple):
    """How long a server is waited for, in seconds, and how often it is tried without getting further."""

    connect: float = 15.0
    read: float = 60.0
    tries: int = 4
    pause: float = 1.0
    """Before the second try; twice as long before each later one."""


PATIENCE = Patience()


class TransientError(Exception):
    """Worth another try."""


class RefusedError(Exception):
    """This address will not give the file."""


def download(
    urls: Sequence[str],
    target: Path,
    *,
    digest: str = "",
    size: int | None = None,
    patience: Patience = PATIENCE,
    watch: Watch = lambda _done, _total: None,
) -> None:
    """Get a file from the first of the addresses that gives it.

    What has come stays beside the target in a hidden file, and the next call continues it, where the server can and the
    file there is still the same.

    Args:
        urls: http or https addresses of the same file.
        target: where it goes; its folder exists.
        digest: "sha256:HEX" or "md5:HEX"; empty: not checked.
        size: in bytes, where known.
        patience: with the server.
        watch: called as bytes come.

    Raises:
        DataError: no address gave it, or the disk did not take it; half a sentence, for what to do depends on the file.
    """
    wanted, name = Wanted(target, digest, size), target.name.removeprefix(".")
    timeout = httpx.Timeout(patience.read, connect=patience.connect)
    headers = {"Accept-Encoding": "identity", "User-Agent": "lossbench"}
    reasons = []
    with httpx.Client(follow_redirects=True, timeout=timeout, headers=headers) as client:
        for url in urls:
            try:
                _insist(client, url, wanted, patience, watch)
                return
            except RefusedError as error:
                reasons.append(f"{url} {error}")
            except OSError as error:
                raise DataError(f"{target.parent} cannot take {name} ({error.strerror or error})") from error
    raise DataError(" and ".join(reasons) or f"{name} cannot be downloaded")


def _insist(client: httpx.Client, url: str, wanted: Wanted, patience: Patience, watch: Watch) -> None:
    """Try until the file is there, or `patience.tries` tries in a row came to little."""
    furthest, fruitless = wanted.size_so_far, 0
    while True:
        try:
            return _try(client, url, wanted, patience, watch)
        except TransientError as error:
            reached = wanted.size_so_far
            fruitless = 0 if reached >= furthest + PROGRESS else fruitless + 1
            furthest = max(furthest, reached)
            if fruitless >= patience.tries:
                raise RefusedError(str(error)) from error
            time.sleep(patience.pause * 2 ** max(0, fruitless - 1))


def _try(client: httpx.Client, url: str, wanted: Wanted, patience: Patience, watch: Watch) -> None:
    start, headers = _continuation(url, wanted)
    if not wanted.size or start < wanted.size:
        try:
            with client.stream("GET", url, headers=headers) as response:
                start = _receive(response, url, wanted, start, watch)
        except httpx.UnsupportedProtocol as error:
            raise RefusedError("is no http or https address") from error
        except httpx.TransportError as error:
            raise TransientError(_reason(error, wanted, patience)) from error
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise RefusedError(f"cannot be got ({error})") from error
    _finish(wanted, continued=start > 0)


def _continuation(url: str, wanted: Wanted) -> tuple[int, dict[str, str]]:
    """Where to start, and the headers that ask for it; 0 where what is there may be of another file."""
    start = wanted.size_so_far
    memo = wanted.remembered()
    validator = memo.get("validator", "") if memo.get("url") == url else ""
    if not start or not (validator or wanted.digest) or (wanted.size or start) < start:
        wanted.discard()
        return 0, {}
    return start, {"Range": f"bytes={start}-", **({"If-Range": validator} if validator else {})}


def _receive(response: httpx.Response, url: str, wanted: Wanted, start: int, watch: Watch) -> int:
    """Write what the server sends; where it begins, which is 0 when it sends all although it was asked for the rest."""
    start, total = _extent(response, wanted, start)
    if response.headers.get("Content-Type", "").lower().startswith(("text/html", "application/xhtml")):
        raise RefusedError("sends a web page instead of the file, perhaps to log in or to agree")
    if wanted.size is not None and total is not None and total != wanted.size:
        raise RefusedError(f"has a file of {total:,} bytes, not the published one of {wanted.size:,}")
    with wanted.part.open("ab") as file:
        if file.tell() != start:
            file.truncate(start)
        wanted.memo.write_text(json.dumps({"url": url, "validator": _validator(response)}), encoding="utf-8")
        done = start
        for chunk in response.iter_raw():
            file.write(chunk)
            done += len(chunk)
            if wanted.size is not None and done > wanted.size:
                wanted.discard()
                raise RefusedError(f"sends more than the {wanted.size:,} bytes of the published file")
            watch(done, total or wanted.size)
        file.flush()
        os.fsync(file.fileno())
    return start


def _extent(response: httpx.Response, wanted: Wanted, start: int) -> tuple[int, int | None]:
    """Where what comes begins, and how long the whole file is."""
    status = response.status_code
    if status == 206:
        match = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", response.headers.get("Content-Range", ""))
        if not match or int(match[1]) != start:
            wanted.discard()
            raise TransientError("sends another piece than it was asked for")
        return start, None if match[2] == "*" else int(match[2])
    if status == 416:
        wanted.discard()
        raise TransientError("has no such piece of the file")
    if status != 200:
        kind = TransientError if status in TRANSIENT else RefusedError
        raise kind(f"answers {status} {response.reason_phrase}".rstrip())
    length = response.headers.get("Content-Length", "")
    return 0, int(length) if length.isdecimal() else None


def _validator(response: httpx.Response) -> str:
    """For If-Range, which takes no weak ETag."""
    etag: str = response.headers.get("ETag", "")
    return etag if etag.startswith('"') else str(response.headers.get("Last-Modified", ""))


def _finish(wanted: Wanted, *, continued: bool) -> None:
    """Give the file its name if it is right. One put together of two answers that is wrong deserves another try."""
    wrong = wanted.wrong()
    if wrong:
        wanted.discard()
        raise TransientError(wrong) if continued else RefusedError(wrong)
    wanted.keep()


def _reason(error: httpx.TransportError, wanted: Wanted, patience: Patience) -> str:
    if isinstance(error, httpx.ConnectTimeout):
        return f"does not answer within {patience.connect:g} s"
    if isinstance(error, httpx.TimeoutException):
        return f"sends nothing for {patience.read:g} s after {wanted.size_so_far:,} bytes"
    if isinstance(error, httpx.ConnectError | httpx.ProxyError):
        return f"cannot be reached ({error})"
    return f"breaks off after {wanted.size_so_far:,} bytes ({error})"
