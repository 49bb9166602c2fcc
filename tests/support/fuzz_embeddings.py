"""Random files of embeddings and labels, of which the right scores are known: these, or a refusal, are the answer."""

import json
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pandas as pd
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import parquet
from support.one_sentence import refused
from typer.testing import CliRunner

from bench.cli.app import app
from bench.datasets.embeddings import embeddings
from bench.datasets.split import DataError, Split

__all__ = ["as_dataset", "trial"]

Draws = np.random.Generator
KINDS = ("f4", "f8", "f2", ">f4", "i1", "i4", "i8", "u1", "u2", "c8", "?", "O", "S4", "U4", "M8[s]", "g")
LABELS: tuple[Any, ...] = ("a", "b", "c", "7", "007", "Käfer", "x y", 'say "no"', "1,5", "NA", "nan", "two words")


class Truth(NamedTuple):
    """What is to be scored."""

    points: NDArray[Any]
    """[N, dim]."""
    labels: list[Any]


def trial(draws: Draws, folder: Path) -> str:
    """Write embeddings into an empty folder and score them; what came of it, in a word."""
    truth = _truth(draws)
    arguments = _written(draws, truth, folder)
    damaged = draws.random() < 0.2
    if damaged:
        _damage(draws, Path(draws.choice(sorted(map(str, folder.iterdir())))))
    done = CliRunner().invoke(app, ["evaluate", *map(str, arguments), "--json", "--restarts", "0", "--k", "1,3"])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    said = done.stderr.splitlines()
    assert all(line.startswith("bench: ") and line.isprintable() for line in said), said
    if done.exit_code:
        assert done.exit_code in (2, 3)
        assert said
        return "refused"
    (found,) = json.loads(done.stdout)["conventions"]
    if damaged:
        return "scored though damaged"
    _compare(truth, found["scores"])
    return "scored"


def as_dataset(draws: Draws, folder: Path) -> str:
    """Write embeddings into an empty folder and make a split of them; what came of it, in a word."""
    truth = _truth(draws)
    file, *beside = _written(draws, truth, folder)
    damaged = draws.random() < 0.2
    if damaged:
        _damage(draws, Path(draws.choice(sorted(map(str, folder.iterdir())))))
    table = next((str(one) for one in beside if one.suffix in (".csv", ".parquet")), None)
    try:
        split = embeddings(None, path=str(file), table=table, min_images=1, seed=int(draws.integers(3)))
    except DataError as error:
        return refused(error)
    if damaged:
        return "read though damaged"
    _compare_split(truth, split)
    return "read"


def _compare_split(truth: Truth, split: Split) -> None:
    """Every embedding is there once, as single precision, under its label."""
    labels = np.array([str(label) for label in truth.labels])
    found = {name: part.images[part.labels == number] for part in split[:2] for number, name in enumerate(part.classes)}
    assert found.keys() == set(labels)
    for name, vectors in found.items():
        assert np.array_equal(vectors, truth.points[labels == name].astype(np.float32))


def _truth(draws: Draws) -> Truth:
    count, width = int(draws.integers(1, 40)), int(draws.integers(1, 9))
    points = np.asarray(draws.normal(size=(count, width)) * 10.0 ** draws.integers(-3, 3))
    if draws.random() < 0.1:
        points *= 10.0 ** draws.integers(-40, 20)
    if draws.random() < 0.2:
        points[draws.integers(count, size=count)] = points[draws.integers(count, size=count)]
    if draws.random() < 0.1:
        points[draws.integers(count), draws.integers(width)] = draws.choice([np.nan, np.inf, -np.inf, 1e300])
    names = LABELS[: draws.integers(1, len(LABELS))] if draws.random() < 0.6 else tuple(range(-2, 6))
    return Truth(points, [names[one] for one in draws.integers(len(names), size=count)])


def _written(draws: Draws, truth: Truth, folder: Path) -> list[Path]:
    """The files, and which of them `evaluate` is given."""
    how = draws.choice([_npy, _npz, _wide, _lists, _other])
    with np.errstate(all="ignore"):
        embeddings = how(draws, truth, folder)
    beside = embeddings[1:] or ([_labels(draws, truth, folder)] if how is _npy or draws.random() < 0.5 else [])
    return [embeddings[0], *beside]


def _npy(draws: Draws, truth: Truth, folder: Path) -> list[Path]:
    kind = str(draws.choice(KINDS))
    values = truth.points if kind not in ("S4", "U4", "M8[s]") else np.nan_to_num(truth.points, posinf=0, neginf=0)
    values = values.clip(-1e9, 1e9) if kind == "M8[s]" else values
    array = values.astype("i8").astype(kind) if kind == "M8[s]" else values.astype(kind)
    if draws.random() < 0.15:
        array = [array[0], array[None], array[:0], array.T][draws.integers(4)]
    array = np.asfortranarray(array) if draws.random() < 0.3 else array
    np.save(folder / "e.npy", array, allow_pickle=True)
    _set(truth, array)
    return [folder / "e.npy"]


def _set(truth: Truth, array: NDArray[Any]) -> None:
    """From here on the truth is what was really written, where that is numbers."""
    if array.dtype.kind in "fiu" and array.shape == truth.points.shape:
        truth.points[:] = array.astype(np.float64)


def _npz(draws: Draws, truth: Truth, folder: Path) -> list[Path]:
    points = truth.points.astype(str(draws.choice(KINDS[:7])))
    _set(truth, points)
    arrays: dict[str, Any] = {str(draws.choice(["embeddings", "embedding", "x", "arr_0"])): points}
    if draws.random() < 0.7:
        arrays[str(draws.choice(["labels", "label", "y"]))] = np.array(truth.labels)
    if draws.random() < 0.2:
        arrays["ids"] = np.arange(len(points))
    (np.savez_compressed if draws.random() < 0.5 else np.savez)(folder / "e.npz", **arrays)
    return [folder / "e.npz"]


def _wide(draws: Draws, truth: Truth, folder: Path) -> list[Path]:
    points = truth.points.astype(str(draws.choice(["f4", "f8", "f2", "i8"])))
    _set(truth, points)
    form = str(draws.choice(["e{}", "{}", "dim_{}", "emb_{}_x", "f{:03d}"]))
    table = pd.DataFrame({form.format(number): points[:, number] for number in range(points.shape[1])})
    extra: dict[str, Any] = {
        "image_id": np.arange(len(table)),
        "target": truth.labels,
        "score": draws.random(len(table)),
        "path": [f"{number}.jpg" for number in range(len(table))],
        "label": truth.labels,
        "fold": draws.integers(5, size=len(table)).astype(float),
    }
    for name in draws.permutation(list(extra))[: draws.integers(4)]:
        table.insert(int(draws.integers(table.shape[1] + 1)), str(name), extra[name])
    if draws.random() < 0.3:
        table = table.iloc[draws.permutation(len(table))].sort_index(ascending=False).iloc[::-1]
    table.to_parquet(folder / "e.parquet", index=bool(draws.random() < 0.5))
    return [folder / "e.parquet"]


def _lists(draws: Draws, truth: Truth, folder: Path) -> list[Path]:
    points = truth.points.astype(str(draws.choice(["f4", "f8", "i4"])))
    _set(truth, points)
    kind = pa.from_numpy_dtype(points.dtype)
    kinds = [pa.list_(kind), pa.large_list(kind), pa.list_(kind, points.shape[1])]
    rows = [row.tolist() for row in points]
    if draws.random() < 0.15:
        rows[draws.integers(len(rows))] = None if draws.random() < 0.5 else rows[0][:-1]
        kinds = kinds[:2]
    columns = {
        str(draws.choice(["embedding", "embeddings", "vector"])): pa.array(rows, kinds[draws.integers(len(kinds))])
    }
    if draws.random() < 0.7:
        labels = pa.array(truth.labels)
        columns["label"] = labels.dictionary_encode() if draws.random() < 0.4 else labels
    if draws.random() < 0.3:
        columns["id"] = pa.array(range(len(rows)))
    parquet.write_table(pa.table(columns), folder / "e.parquet")
    return [folder / "e.parquet"]


def _other(draws: Draws, truth: Truth, folder: Path) -> list[Path]:
    """Files of other kinds, or of a name that is not theirs."""
    pd.DataFrame(truth.points).to_csv(folder / "e.csv")
    np.savez(folder / "a.npz", truth.points)
    (folder / "a.npz").rename(folder / "z.npy")
    np.save(folder / "a.npy", truth.points)
    (folder / "a.npy").rename(folder / "y.npz")
    (folder / "empty.npy").touch()
    (folder / "bytes.npz").write_bytes(draws.bytes(200))
    (folder / "bytes.parquet").write_bytes(b"PAR1" + draws.bytes(200) + b"PAR1")
    return [Path(str(draws.choice(sorted(map(str, folder.iterdir())))))]


def _labels(draws: Draws, truth: Truth, folder: Path) -> Path:
    labels = list(truth.labels)
    if draws.random() < 0.1:
        labels = labels[:-1] if draws.random() < 0.5 else [*labels, labels[0]]
    file = folder / f"y{draws.choice(['.csv', '.txt', '.npy', '.npz', '.parquet'])}"
    table = pd.DataFrame({str(draws.choice(["label", "target"])): labels})
    match file.suffix:
        case ".npy":
            array = np.array(labels)
            np.save(file, array if draws.random() < 0.7 else np.char.encode(array.astype(str), "utf-8"))
        case ".npz":
            np.savez(file, np.array(labels))
        case ".parquet":
            table.to_parquet(file)
        case ".csv" if draws.random() < 0.8:
            extra = table.assign(path="a, b.jpg") if draws.random() < 0.5 else table
            extra.to_csv(file, index=bool(draws.random() < 0.3), sep=str(draws.choice(list(",;\t"))))
        case _:
            file.write_text("\n".join(map(str, labels)) + "\n" * int(draws.integers(3)), encoding="utf-8")
    return file


def _damage(draws: Draws, file: Path) -> None:
    content = bytearray(file.read_bytes())
    if draws.random() < 0.5:
        del content[int(draws.integers(len(content) + 1)) :]
    for _ in range(draws.integers(1, 6)):
        if content:
            content[int(draws.integers(len(content)))] = int(draws.integers(256))
    file.write_bytes(content)


def _compare(truth: Truth, scores: dict[str, float | None]) -> None:
    """Recall@1 lies between that of the worst and of the best order of equally near neighbours."""
    labels = np.array([str(label) for label in truth.labels])
    points = truth.points / np.abs(truth.points).max() if truth.points.any() else truth.points
    gaps = points[:, None] - points[None]
    distances = np.sqrt((gaps**2).sum(2))
    np.fill_diagonal(distances, np.inf)
    same = labels[:, None] == labels[None]
    np.fill_diagonal(same, val=False)
    asked = same.any(1)
    found = scores["recall_at_1"]
    if not asked.any():
        assert found is None, scores
        return
    near = distances <= distances.min(1, keepdims=True) * (1 + 1e-5) + 1e-6
    lowest, highest = (near & ~same).any(1), (near & same).any(1)
    assert found is not None
    assert (~lowest[asked]).mean() - 1e-9 <= found <= highest[asked].mean() + 1e-9, (found, scores)
    assert scores["queries"] == len(labels)
