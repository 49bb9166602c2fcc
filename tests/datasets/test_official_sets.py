"""Every loader of a published set reads the official lists, or lists of the official size, with generated photos."""

import shutil
from pathlib import Path

import pytest
from scipy.io import loadmat
from support.published_sets import SETS, Counts, Parts, Published, Rows, counts_of, expect, laid, made, parts_of
from support.sample_photos import COLOURS, lay, shown

from bench.datasets.split import DataError, Split

OFFICIAL: dict[str, Counts] = {
    "cub200": {"train": (100, 5864), "test": (100, 5924)},
    "cars196": {"train": (98, 8054), "test": (98, 8131)},
    "sop": {"train": (11318, 59551), "test": (11316, 60502)},
    "inshop": {"train": (3997, 25882), "test": (3985, 14218), "gallery": (3985, 12612)},
    "flowers102": {"train": (51, 4094), "test": (51, 4095)},
    "oxford_pets": {"train": (19, 3774), "test": (18, 3575)},
    "grocery_store": {"train": (35, 2478), "test": (46, 1341), "gallery": (46, 1602)},
}
"""Classes and photos; of Flowers102 and Oxford-IIIT Pet only the sum of the photos is checked: 8,189 and 7,349."""


def same(split: Split, parts: Parts, names: dict[int, str]) -> None:
    """Pictures are those of the photos listed, labels their classes, and classes in the order of their ids."""
    assert [name for name, part in zip(("train", "test", "gallery"), split[:3], strict=True) if part] == list(parts)
    for part, rows in zip(split[:3], parts.values(), strict=False):
        assert part is not None
        listed = [one for _, one in rows]
        assert part.images.shape == (len(rows), 8, 8, 3)
        assert shown(part) == [one % COLOURS for one in listed]
        assert [part.classes[label] for label in part.labels] == [names[one] for one in listed]
        assert list(part.classes) == [names[one] for one in sorted(set(listed))]


def named(published: Published, parts: Parts) -> dict[int, str]:
    return {one: published.name.format(id=one) for rows in parts.values() for _, one in rows}


def split_at(rows: Rows, last: int) -> Parts:
    return {"train": [row for row in rows if row[1] <= last], "test": [row for row in rows if row[1] > last]}


def metadata(shared: Path, name: str) -> Path:
    place = shared / "data" / "metadata" / name
    if not place.exists():
        pytest.skip(f"BENCH_SHARED has no data/metadata/{name}")
    return place


def columns(file: Path) -> list[list[str]]:
    return [line.split() for line in file.read_text(encoding="utf-8").splitlines()]


def test_the_official_lists_of_cub200(shared: Path, tmp_path: Path) -> None:
    lists, root = metadata(shared, "CUB_200_2011"), tmp_path / "CUB_200_2011"
    root.mkdir()
    for name in SETS["cub200"].lists:
        shutil.copy(lists / name, root)
    labels = {number: int(label) for number, label in columns(lists / "image_class_labels.txt")}
    parts = split_at([(f"images/{path}", labels[number]) for number, path in columns(lists / "images.txt")], 100)
    assert counts_of(parts) == OFFICIAL["cub200"]
    for rows in parts.values():
        lay(root, rows)
    split = SETS["cub200"].load(tmp_path, size=8)
    same(split, parts, {int(number): name for number, name in columns(lists / "classes.txt")})
    assert (split.train.classes[0], split.train.classes[-1]) == ("001.Black_footed_Albatross", "100.Brown_Pelican")
    assert (split.test.classes[0], split.test.classes[-1]) == ("101.White_Pelican", "200.Common_Yellowthroat")


def test_the_official_annotations_of_cars196(shared: Path, tmp_path: Path) -> None:
    source, root = metadata(shared, "cars196") / "cars_annos.mat", tmp_path / "cars196"
    root.mkdir()
    shutil.copy(source, root)
    content = loadmat(source)
    parts = split_at([(row[0].item(), int(row[5].item())) for row in content["annotations"][0]], 98)
    assert counts_of(parts) == OFFICIAL["cars196"]
    for rows in parts.values():
        lay(root, rows)
    split = SETS["cars196"].load(tmp_path, size=8)
    same(split, parts, dict(enumerate((name.item() for name in content["class_names"][0]), start=1)))
    assert split.train.classes[0] == "AM General Hummer SUV 2000"
    assert split.test.classes[-1] == "smart fortwo Convertible 2012"


def official_sop(shared: Path) -> Parts:
    lists = {part: metadata(shared, "Stanford_Online_Products") / f"Ebay_{part}.txt" for part in ("train", "test")}
    return {part: [(path, int(one)) for _, one, _, path in columns(file)[1:]] for part, file in lists.items()}


def test_the_official_lists_of_sop(shared: Path, tmp_path: Path) -> None:
    """Counts and classes are found right before photos are looked for; to decode all would take long."""
    root = tmp_path / "Stanford_Online_Products"
    shutil.copytree(metadata(shared, "Stanford_Online_Products"), root)
    assert counts_of(official_sop(shared)) == OFFICIAL["sop"]
    with pytest.raises(DataError, match=r"lacks 120,053 of its 120,053 photos, such as bicycle_final/111085122871_0.J"):
        SETS["sop"].load(tmp_path, size=8)


def test_every_tenth_product_of_the_official_lists_of_sop(
    shared: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    parts = {part: [row for row in rows if row[1] % 10 == 0] for part, rows in official_sop(shared).items()}
    expect(monkeypatch, "sop", counts_of(parts))
    laid(SETS["sop"], tmp_path, parts)
    rows = [row for part in parts.values() for row in part]
    split = SETS["sop"].load(tmp_path, size=8)
    same(split, parts, {one: f"{path.split('_final/')[0]} {one}" for path, one in rows})
    assert (split.train.classes[0], split.test.classes[-1]) == ("bicycle 10", "toaster 22630")


def test_a_list_of_the_published_size_of_inshop(tmp_path: Path) -> None:
    parts = parts_of(SETS["inshop"], OFFICIAL["inshop"])
    SETS["inshop"].write(tmp_path / "inshop", parts)
    assert columns(tmp_path / "inshop" / SETS["inshop"].lists[0])[0] == ["52712"]
    with pytest.raises(DataError, match=r"lacks 52,712 of its 52,712 photos, such as Img/img/WOMEN/Dresses/id_"):
        SETS["inshop"].load(tmp_path, size=8)


@pytest.mark.parametrize("name", ["flowers102", "oxford_pets", "grocery_store"])
def test_lists_of_the_published_size(name: str, tmp_path: Path) -> None:
    parts = parts_of(SETS[name], OFFICIAL[name])
    laid(SETS[name], tmp_path, parts)
    same(SETS[name].load(tmp_path, size=8), parts, named(SETS[name], parts))


@pytest.mark.parametrize("name", SETS)
def test_a_small_set_is_read_from_every_place_with_any_line_ends(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = made(name, tmp_path, monkeypatch)
    split = small.read()
    same(split, small.parts, named(small.published, small.parts))
    for place in range(1, len(small.published.places)):
        data = tmp_path / f"data {place}"
        root = laid(small.published, data, small.parts, place=place)
        for file in (root / name for name in small.published.lists if not name.endswith(".mat")):
            file.write_bytes(b"\xef\xbb\xbf" + file.read_bytes().replace(b"\n", b"\r\n") + b"\r\n")
        assert small.published.load(data, size=8).sha == split.sha


def test_the_photos_of_inshop_may_lie_beside_its_list(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small = made("inshop", tmp_path, monkeypatch)
    sha = small.read().sha
    (small.root / "Img" / "img").rename(small.root / "img")
    (small.root / "Img").rmdir()
    assert small.read().sha == sha


def test_photos_and_comments_beside_the_list_of_oxford_pets_are_passed_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = made("oxford_pets", tmp_path, monkeypatch)
    sha = small.read().sha
    lay(small.root, [("images/Long_hair_1_999.jpg", 9)])
    with (small.root / small.published.lists[0]).open("a", encoding="utf-8") as file:
        file.write("# the end\n")
    assert small.read().sha == sha
