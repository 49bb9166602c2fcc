"""A set of 24 pictures on servers of this machine, and one of one's own on disk."""

import hashlib
import io
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from PIL import Image
from support.loopback import Answer, Server, serving
from typer.testing import CliRunner, Result

from bench.cli.data import app
from bench.datasets.acquire.download import Patience
from bench.datasets.acquire.prepare import prepare_dataset
from bench.datasets.acquire.sources import File, Source
from bench.datasets.acquire.steps import Unit
from bench.datasets.split import Split
from bench.matrix.job import Part

MINE = Part(name="folder", parameters={"path": "mine/pictures", "size": 8}, label="folder")
PATIENCE = Patience(connect=10, read=10, tries=2, pause=0.01)
LIST = b"a list of the set"
Made = dict[str, Source]


class Stages:
    """The steps that were taken, and how far each came."""

    def __init__(self) -> None:
        self.told: dict[str, list[tuple[int, int | None]]] = {}

    @contextmanager
    def __call__(self, name: str, _unit: Unit) -> Iterator[Callable[[int, int | None], None]]:
        steps = self.told.setdefault(name, [])
        yield lambda done, total: steps.append((done, total))


def packed(folder: str, greys: dict[str, int]) -> bytes:
    """An archive of grey pictures."""
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz", compresslevel=1) as archive:
        for name, grey in greys.items():
            drawn = io.BytesIO()
            Image.new("L", (9, 8), grey).save(drawn, "PNG")
            info = tarfile.TarInfo(f"{folder}/{name}")
            info.size = len(drawn.getvalue())
            archive.addfile(info, io.BytesIO(drawn.getvalue()))
    return content.getvalue()


PICTURES_TGZ = packed("pictures", {f"class {number % 6}/{number}.png": 9 * number for number in range(24)})


def sha(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@contextmanager
def hosts(first: list[Answer], second: list[Answer]) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        yield [stack.enter_context(serving(*answers)) for answers in (first, second)]


def mine(servers: list[Server], *, hashed: bool = True) -> Made:
    """A table of one set, a list and an archive of 24 pictures, as those servers have it."""
    known = [(sha(content), len(content)) if hashed else ("", None) for content in (LIST, PICTURES_TGZ)]
    (list_sha, list_bytes), (tgz_sha, tgz_bytes) = known
    files = (
        File("list.txt", (servers[0].url,), "mine/list.txt", digest=list_sha, bytes=list_bytes),
        File("pictures.tgz", (servers[1].url,), "mine/pictures", "pictures", digest=tgz_sha, bytes=tgz_bytes),
    )
    needs = (("pictures",), ("list.txt",))
    made = Source("https://example.org/mine/", "none", 6, 24, ("mine",), needs, files, {"list.txt": sha(LIST)})
    return {"folder": made}


def get(data: Path, sources: Made, stages: Stages | None = None) -> Split:
    return prepare_dataset(MINE, data, stages or Stages(), sources=sources, patience=PATIENCE)


def inside(folder: Path) -> list[str]:
    return sorted(place.name for place in folder.iterdir())


def own(root: Path, *, broken: int = 0) -> Path:
    """24 pictures of six classes, and a manifest of them."""
    rows = ["path,label,split"]
    for number in range(24):
        place = root / f"class {number % 6}" / f"{number}.png"
        place.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (20, 20), (number * 10, 90, 0)).save(place)
        if number < broken:
            place.write_bytes(place.read_bytes()[:60])
        rows.append(f"class {number % 6}/{number}.png,{number % 6},{'test' if number % 2 else 'train'}")
    (root / "photos.csv").write_text("\n".join(rows), encoding="utf-8")
    return root


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)
