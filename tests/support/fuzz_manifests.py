"""Random manifests, as programs and people write them: each is read as it was meant, or refused in one sentence."""

import csv
import io
import unicodedata
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from PIL import Image
from support.one_sentence import refused

from bench.datasets.manifest import manifest
from bench.datasets.split import DataError, Split

__all__ = ["trial"]

Draws = np.random.Generator
LABELS = (
    *("mug", "blue mug", "007", "7", "7.0", "1e3", "NA", "nan", "None", "NULL", "TRUE", "-1", "#N/A", "1,5", "a;b"),
    *('5" disc', "o'clock", '"quoted"', "tab\tin", "Käfer", "Größe", "É", "e\u0301", "茶", "😀", "=1+1", "@x", "a|b"),
    *("train", "label", "path", "x" * 300, "sep=,", "\\N", "a\\b", "a/b", "..", "%20", "\u00a0x", "\u200bz", "A", "a"),
)
NAMES = ("a b.png", "ä.png", "a,b.png", "a;b.png", 'a"b.png', "a'b.PNG", "茶.png", "100%.png", "x.y.png", "=1.png")
NARROW = ("cp1252", "mac-roman", "cp1251")
ENCODINGS = (*["utf-8"] * 4, "utf-8-sig", "utf-8-sig", "utf-16", "utf-32", "utf-16-le", "cp1252", *NARROW)


def trial(draws: Draws, folder: Path) -> str:
    """Write a manifest into an empty folder and read it; what came of it, in a word."""
    encoding = str(draws.choice(ENCODINGS))
    table = _table(draws, folder, encoding)
    file = _written(draws, table, folder, encoding)
    damaged = draws.random() < 0.15
    if damaged:
        _damage(draws, file)
    try:
        split = manifest(folder, path=file.name, size=8)
    except DataError as error:
        return refused(error)
    if damaged:
        return "read though damaged"
    if "encoding" in split.notes:
        assert encoding in NARROW, "a doubt where the file says its encoding"
        if encoding != "cp1252":
            return "read with a doubt"
    _compare(table, split)
    return f"read as {encoding}" if encoding in NARROW else "read"


def _table(draws: Draws, folder: Path, encoding: str) -> pd.DataFrame:
    """Rows of pictures that are there, each in the colour of its label, in words that this encoding has."""
    labels = [label for label in LABELS if _has(encoding, label)]
    names = [name for name in NAMES if _has(encoding, name)]
    chosen = draws.choice(len(labels), draws.integers(4, 9), replace=False)
    rows = []
    for place, label in enumerate(labels[one] for one in chosen):
        for number in range(draws.integers(2 if place < 4 else 1, 4)):
            name = f"{place}{number}{names[draws.integers(len(names))]}"
            Image.new("RGB", (9, 8), (20 * place, 100, 60)).save(folder / name)
            rows.append({"path": name, "label": label, "split": "train" if place % 2 else "test", "red": 20 * place})
    return pd.DataFrame(rows).sample(frac=1, random_state=int(draws.integers(1000))).reset_index(drop=True)


def _has(encoding: str, text: str) -> bool:
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return False
    return True


def _written(draws: Draws, table: pd.DataFrame, folder: Path, encoding: str) -> Path:
    columns = table.drop(columns="red")
    if draws.random() < 0.4:
        columns["note"] = [draws.choice(["", "a, b", 'say "no"', "two\nlines", "ok;"]) for _ in range(len(columns))]
    if draws.random() < 0.3:
        columns["price"] = "1,5"
    columns = columns[list(draws.permutation(columns.columns))]
    if draws.random() < 0.2:
        return _parquet(draws, columns, folder)
    file = folder / f"my.{draws.choice(['csv', 'txt', 'tsv', 'CSV'])}"
    file.write_bytes(_text(draws, columns).encode(encoding))
    return file


def _parquet(draws: Draws, columns: pd.DataFrame, folder: Path) -> Path:
    for name in columns.columns:
        columns[name] = columns[name].astype(str(draws.choice(["object", "string", "category"])))
    if draws.random() < 0.3:
        columns = columns.set_index(str(draws.choice(["path", "label"])))
    columns.to_parquet(folder / "my.parquet")
    return folder / "my.parquet"


def _text(draws: Draws, columns: pd.DataFrame) -> str:
    """CSV of some dialect."""
    quoting: Any = draws.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL, csv.QUOTE_NONNUMERIC])
    separator = str(draws.choice(list(",;\t|")))
    end = str(draws.choice(["\n", "\r\n", "\r"]))
    index = draws.random()
    written = io.StringIO()
    options: dict[str, Any] = {"sep": separator, "lineterminator": end, "quoting": int(quoting)}
    columns.to_csv(
        written, index=bool(index < 0.4), index_label=draws.choice(["", "id", "X"]) if index < 0.4 else None, **options
    )
    text = written.getvalue()
    if draws.random() < 0.2:
        text = f"sep={separator}{end}{text}"
    if draws.random() < 0.2:
        text += end * int(draws.integers(1, 4))
    return end + text if draws.random() < 0.1 else text


def _damage(draws: Draws, file: Path) -> None:
    content = bytearray(file.read_bytes())
    if draws.random() < 0.5:
        del content[int(draws.integers(len(content))) :]
    for _ in range(draws.integers(1, 6)):
        if content:
            content[int(draws.integers(len(content)))] = int(draws.integers(256))
    file.write_bytes(content)


def _compare(table: pd.DataFrame, split: Split) -> None:
    """Every picture is in the class that its row says, told by its colour, and no other is there."""
    table = table.assign(label=[unicodedata.normalize("NFC", label.strip()) for label in table["label"]])
    for part, images in (("train", split.train), ("test", split.test)):
        rows = table[table["split"] == part]
        counts = rows["label"].value_counts()
        expected = {label: count for label, count in counts.items() if count >= 2}
        reds = {label: set(group) for label, group in rows.groupby("label")["red"]}
        found = {_plain(name): number for number, name in enumerate(images.classes)}
        assert set(found) == {_plain(label) for label in expected}, (set(found), expected)
        for label, count in expected.items():
            pictures = images.images[images.labels == found[_plain(label)]]
            assert len(pictures) == count, (label, len(pictures), count)
            assert set(pictures[:, 4, 4, 0].tolist()) == reds[label], label


def _plain(name: str) -> str:
    """A name as a sentence shows it, without what cannot be printed."""
    return (
        "".join(letter if letter.isprintable() else "?" for letter in name)
        .replace("\\t", "?")
        .replace("\\u200b", "?")
        .replace("\\xa0", "?")
    )
