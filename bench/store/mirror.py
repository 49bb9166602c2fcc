"""A folder of this machine that stands for an address: what is read is fetched first, and what ends here is sent.

The store works on the folder as on any other one. A job's row is sent last and removed first, so a row that is at the
address is whole. Test embeddings and those of training images are large, and only fetched when they are needed.

.lossbench-address       the address
.lossbench-at-address    a line for each file that is here and there: name/number/size/time of change, and what the
                         address says of it. Who has no line was not sent yet. It may only be deleted with the folder.
.lossbench-alone         held while files are fetched or sent: several processes may use the folder
"""

import fcntl
import hashlib
import os
import re
import secrets
import shutil
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.matrix.cache_folder import cache_folder
from bench.store.address import Address, Item, address_in
from bench.store.checkpoints import CHECKPOINT
from bench.store.job_folders import DRAFT, FILES, KEY, StoreError, job_folders, unwritten
from bench.store.processes import ours
from bench.store.publish import finished, new_draft, publish
from bench.store.row_file import DamagedError, read_row

__all__ = ["Mirror", "fetch_arrays", "mirror_of", "mirrored"]

NAME = ".lossbench-address"
AT_ADDRESS = ".lossbench-at-address"
ALONE = ".lossbench-alone"
ROW = "row.parquet"
ARRAYS = frozenset({"embeddings.npy", "training.npy"})
AT_A_TIME = 500
"""Jobs that are fetched before their rows can be seen."""


def mirrored(source: str | Path, *, fetch: bool = True) -> Path:
    """The folder that stands for an address, with all rows that are there; any other folder or file as it is.

    Raises:
        StoreError: the address cannot be used.
    """
    address = address_in(source)
    if address is None:
        return Path(source)
    protocol, _, rest = address.partition(":")
    readable = re.sub(r"[^A-Za-z0-9]+", "-", f"{protocol}-{rest}").strip("-")[:60]
    folder = cache_folder() / "results" / f"{readable}-{hashlib.sha256(address.encode()).hexdigest()[:12]}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / NAME).write_text(address, encoding="utf-8")
    except OSError as error:
        raise StoreError(
            f"{folder}: cannot be written ({error.strerror}): set BENCH_CACHE to a folder that can"
        ) from error
    if fetch:
        Mirror(folder, address).fetch()
    return folder


def mirror_of(results: Path) -> "Mirror | None":
    """What a folder of results is a mirror of; None for any other folder."""
    try:
        return Mirror(results, (results / NAME).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def fetch_arrays(results: Path, keys: Iterable[str]) -> None:
    """Fetch the embeddings of jobs that are not here; nothing in a folder that is no mirror."""
    if (mirror := mirror_of(results)) is not None:
        mirror.fetch_arrays(keys)


class Mirror:
    """The folder and the address; every method raises StoreError where one of them cannot be used."""

    def __init__(self, folder: Path, address: str) -> None:
        self.folder, self.address = folder, Address(address)

    def fetch(self, keys: Collection[str] | None = None, *, conflicts: bool = False) -> None:
        """Bring the rows that are not here, and what lies beside them; of all jobs, or of these.

        A row that was sent or fetched before and is there no more, or is another one, is removed here.

        Args:
            keys: of jobs.
            conflicts: also where there is a row here that was not sent: a finished one stays, any other one goes.
        """
        with self._alone():
            there, known = self._jobs(keys), self._known()
            for folder in job_folders(self.folder, keys=keys):
                token, row = known.get(self._mark(folder / ROW)), there.get(folder.name, {}).get(ROW)
                if token is None and (folder / ROW).exists() and not conflicts:
                    there.pop(folder.name, None)
                elif token is not None and row is not None and token == row.token:
                    del there[folder.name]
                elif token is not None:
                    _remove(folder)
            wanted = list(there)
            for start in range(0, len(wanted), AT_A_TIME):
                self._bring({key: there[key] for key in wanted[start : start + AT_A_TIME]})

    def send_all(self) -> None:
        """Send the jobs that ended here without being sent: the run was killed, or the address was out of reach."""
        known = self._known()
        for folder in job_folders(self.folder):
            if (folder / ROW).exists() and self._mark(folder / ROW) not in known:
                self.send(folder.name)

    def send(self, key: str) -> None:
        """Send a job that has ended, its row last; it needs no checkpoint any more."""
        with self._alone():
            home = self.folder / key
            names = sorted(name for name in FILES if (home / name).exists())
            left = [name for name in self._jobs([key]).get(key, ()) if name == ROW or name not in names]
            self.address.remove([f"{key}/{name}" for name in sorted(left, key=lambda name: name != ROW)])
            self.address.put([(home / name, f"{key}/{name}") for name in names if name != ROW])
            self._put(home / ROW, f"{key}/{ROW}")
        self.address.remove([f"{CHECKPOINT}{key}"])

    def has_embeddings(self, key: str) -> bool:
        """Whether there are test embeddings of a job at the address."""
        return self.address.item(f"{key}/embeddings.npy") is not None

    def fetch_arrays(self, keys: Iterable[str]) -> None:
        """Bring the embeddings of these jobs, as far as they are there and not here."""
        for key in keys:
            missing = [name for name in ARRAYS if not (self.folder / key / name).exists()]
            if missing and (self.folder / key).exists():
                with self._alone():
                    for name in set(missing) & set(self._jobs([key]).get(key, ())):
                        self._get(f"{key}/{name}", self.folder / key / name)

    def send_checkpoint(self, key: str) -> None:
        """Send the checkpoint of a job, so that the job can be continued elsewhere."""
        file = self.folder / f"{CHECKPOINT}{key}"
        with self._alone():
            if file.exists():
                self._put(file, file.name)

    def fetch_checkpoint(self, key: str) -> None:
        """Bring the checkpoint of a job, unless there is a newer one here that was not sent."""
        file = self.folder / f"{CHECKPOINT}{key}"
        with self._alone():
            there, token = self.address.item(file.name), self._known().get(self._mark(file))
            if there is None:
                if token is not None:
                    file.unlink(missing_ok=True)  # a job that has just ended removes it too
            elif token != there.token and not (token is None and _changed(file) > there.changed):
                self._get(file.name, file)
                self._note([(file, there)])

    def _jobs(self, keys: Collection[str] | None) -> dict[str, dict[str, Item]]:
        """Key -> name of a file of ours -> what is known of it at the address."""
        found: dict[str, dict[str, Item]] = {}
        lists = [self.address.listed()] if keys is None else [self.address.listed(f"{key}/") for key in keys]
        for path, item in (pair for one in lists for pair in one.items()):
            key, _, name = path.partition("/")
            if KEY.fullmatch(key) and name in FILES:
                found.setdefault(key, {})[name] = item
        return found

    def _bring(self, jobs: Mapping[str, Mapping[str, Item]]) -> None:
        """Fetch what lies there of jobs that have a row; a finished row that is here stays."""
        whole = {key: files for key, files in jobs.items() if ROW in files}
        draft = new_draft(self.folder)
        try:
            for key in whole:
                (draft / key).mkdir()
            names = [f"{key}/{name}" for key, files in whole.items() for name in sorted(files.keys() - ARRAYS)]
            self.address.get([(name, draft / name) for name in names])
            placed = [(key, _placed(draft / key, self.folder / key)) for key in whole]
            self._note([(self.folder / key / ROW, whole[key][ROW]) for key, ours in placed if ours])
        except OSError as error:
            raise error if isinstance(error, StoreError) else unwritten(self.folder, error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _get(self, name: str, file: Path) -> None:
        draft = new_draft(self.folder)
        try:
            self.address.get([(name, draft / "whole")])
            os.replace(draft / "whole", file)
        except OSError as error:
            raise error if isinstance(error, StoreError) else unwritten(self.folder, error) from error
        finally:
            shutil.rmtree(draft, ignore_errors=True)

    def _put(self, file: Path, name: str) -> None:
        self.address.put([(file, name)])
        if (item := self.address.item(name)) is not None:
            self._note([(file, item)])

    def _known(self) -> dict[str, str]:
        """Mark of a file -> what the address says of it."""
        with suppress(OSError):
            lines = (self.folder / AT_ADDRESS).read_text(encoding="utf-8", errors="replace").splitlines()
            return {mark: token for mark, _, token in (line.partition(" ") for line in lines)}
        return {}

    def _note(self, pairs: Sequence[tuple[Path, Item]]) -> None:
        lines = "".join(f"{self._mark(file)} {item.token}\n" for file, item in pairs)
        try:
            with (self.folder / AT_ADDRESS).open("a", encoding="utf-8") as opened:
                opened.write(lines)
        except OSError as error:
            raise unwritten(self.folder, error) from error

    def _mark(self, file: Path) -> str:
        """What tells a file from any other one; "" where it is not there."""
        try:
            found = file.stat()
        except OSError:
            return ""
        name = file.relative_to(self.folder).as_posix()
        return f"{name}/{found.st_ino}/{found.st_size}/{found.st_mtime_ns}"

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Within it, no other process fetches or sends."""
        try:
            opened = (self.folder / ALONE).open("a")
        except OSError as error:
            raise unwritten(self.folder, error) from error
        with opened:
            fcntl.flock(opened, fcntl.LOCK_EX)
            yield


def _placed(draft: Path, home: Path) -> bool:
    """Give a fetched job its place; whether it has it."""
    row = os.stat(draft / ROW)
    try:
        draft.rename(home)
    except OSError:
        try:
            read_row(draft)
            status = "done" if finished(draft) else "failed"
        except DamagedError:
            status = "failed"
        publish(draft, home, status)
    with suppress(OSError):
        return os.path.samestat(os.stat(home / ROW), row)
    return False


def _changed(file: Path) -> float:
    try:
        return file.stat().st_mtime
    except OSError:
        return 0.0


def _remove(folder: Path) -> None:
    """Out of sight first, so that nobody reads half of it."""
    aside = folder.with_name(f"{DRAFT}{ours().mark}{secrets.token_hex(8)}")
    with suppress(OSError):
        folder.rename(aside)
    shutil.rmtree(aside, ignore_errors=True)
