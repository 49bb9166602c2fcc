import shutil
from pathlib import Path

import pytest
from sample_photos import COLOURS, edit, lay, shown, spoil

from bench.datasets.sop import HEADER, sop
from bench.datasets.split import DataError, Images

LISTS = {"train": "Ebay_train.txt", "test": "Ebay_test.txt"}
Rows = list[tuple[str, int]]


def written(root: Path, lists: dict[str, Rows]) -> Path:
    """The official layout with lists of those paths and products, and their photos."""
    root.mkdir(parents=True)
    for part, rows in lists.items():
        lines = [f"{number} {product} 1 {path}" for number, (path, product) in enumerate(rows, start=1)]
        (root / LISTS[part]).write_text("\n".join([*HEADER, *lines]) + "\n", encoding="utf-8")
        lay(root, rows)
    return root


def counted(lists: dict[str, Rows]) -> dict[str, tuple[int, int]]:
    return {part: (len({product for _, product in rows}), len(rows)) for part, rows in lists.items()}


@pytest.fixture(scope="module")
def official(shared: Path) -> Path:
    lists = shared / "data" / "metadata" / "Stanford_Online_Products"
    if not lists.exists():
        pytest.skip("BENCH_SHARED has no data/metadata/Stanford_Online_Products")
    return lists


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two products with three photos each on either side; those of a product do not follow each other."""
    lists = {
        "train": [(f"mug_final/{n}_0.JPG", 1 + n % 2) for n in range(6)],
        "test": [(f"coffee_maker_final/{n}_0.JPG", 4 - n % 2) for n in range(6)],
    }
    monkeypatch.setattr("bench.datasets.sop.COUNTS", counted(lists))
    return written(tmp_path / "Stanford_Online_Products", lists)


def same(part: Images, rows: Rows) -> None:
    products = [product for _, product in rows]
    assert part.images.shape == (len(rows), 8, 8, 3)
    assert shown(part) == [product % COLOURS for product in products]
    assert [int(part.classes[label].split()[-1]) for label in part.labels] == products
    assert part.texts is None


def test_the_official_lists_are_as_published(official: Path, tmp_path: Path) -> None:
    """Counts and classes are found right before photos are looked for; to decode all would take long."""
    root = tmp_path / "Stanford_Online_Products"
    root.mkdir()
    for name in LISTS.values():
        shutil.copy(official / name, root)
    with pytest.raises(DataError, match=r"lacks 120,053 of its 120,053 photos, such as bicycle_final/111085122871_0.J"):
        sop(tmp_path, size=8)


def test_every_tenth_product_of_the_official_lists(
    official: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    columns = {part: [row.split() for row in (official / name).read_text().splitlines()[1:]]
               for part, name in LISTS.items()}  # fmt: skip
    lists = {part: [(path, int(product)) for _, product, _, path in rows if int(product) % 10 == 0]
             for part, rows in columns.items()}  # fmt: skip
    written(tmp_path / "sop" / "Stanford_Online_Products", lists)
    monkeypatch.setattr("bench.datasets.sop.COUNTS", counted(lists))
    split = sop(tmp_path, size=8)
    same(split.train, lists["train"])
    same(split.test, lists["test"])
    assert split.gallery is None
    assert (len(split.train.classes), len(split.test.classes)) == (1131, 1132)
    assert split.train.classes[0] == "bicycle 10"
    assert split.test.classes[-1] == "toaster 22630"


def test_sides_are_the_two_lists(small: Path) -> None:
    split = sop(small.parent, size=8)
    assert split.train.classes == ("mug 1", "mug 2")
    assert split.test.classes == ("coffee_maker 3", "coffee_maker 4")
    assert shown(split.train) == [1, 2, 1, 2, 1, 2]
    assert shown(split.test) == [4, 3, 4, 3, 4, 3]


def test_a_missing_set_says_where_it_comes_from_and_goes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"sop has no folder .*Stanford_Online_Products: get the set from https://\S+ "):
        sop(tmp_path)
    with pytest.raises(DataError, match=r"sop needs .*--data DIR or set BENCH_DATA"):
        sop(None)


@pytest.mark.parametrize("name", LISTS.values())
def test_a_missing_list_is_a_sentence(small: Path, name: str) -> None:
    (small / name).unlink()
    with pytest.raises(DataError, match=rf"{name} cannot be read \(No such file.*\): get it again from https"):
        sop(small.parent, size=8)


@pytest.mark.parametrize(("name", "old", "new", "sentence"), [
    ("Ebay_train.txt", HEADER[0] + "\n", "", r"does not begin with the line\(s\) image_id class_id super_class_id"),
    ("Ebay_train.txt", "2 2 1 mug_final/1_0.JPG", "2 2 1", "a line '2 2 1' that does not fit its columns"),
    ("Ebay_train.txt", "2 2 1 mug", "2 two 1 mug", "a line '2 two 1 mug_final/1_0.JPG' that does not fit its columns"),
    ("Ebay_train.txt", "mug_final/1_0.JPG", "../secret.jpg", "names '../secret.jpg', which is outside its folder"),
    ("Ebay_train.txt", "mug_final/1_0.JPG", "/secret.jpg", "names '/secret.jpg', which is outside its folder"),
    ("Ebay_train.txt", "mug_final/1_0.JPG", "mug_final/2_0.JPG", "name the photo mug_final/2_0.JPG 2 times"),
    ("Ebay_train.txt", "2 2 1 mug_final/1_0.JPG\n", "", "2 classes with 5 photos for train, not 2 with 6"),
    ("Ebay_train.txt", "2 2 1 mug", "2 5 1 mug", "3 classes with 6 photos for train, not 2 with 6"),
    ("Ebay_train.txt", "2 2 1 mug", "2 3 1 mug", r"1 class\(es\) on both the train and the test side, such as "),
])  # fmt: skip
def test_a_list_that_does_not_fit_is_a_sentence(small: Path, name: str, old: str, new: str, sentence: str) -> None:
    edit(small / name, old, new)
    with pytest.raises(DataError, match=f"{sentence}.*: get (it|them) again from https"):
        sop(small.parent, size=8)


def test_an_absent_photo_is_a_sentence(small: Path) -> None:
    (small / "mug_final/5_0.JPG").unlink()
    with pytest.raises(DataError, match=r"lacks 1 of its 12 photos, such as mug_final/5_0.JPG: get them from https"):
        sop(small.parent, size=8)


def test_an_unreadable_photo_is_a_sentence(small: Path) -> None:
    spoil(small / "coffee_maker_final/2_0.JPG")
    with pytest.raises(DataError, match=r"1 photo\(s\) that cannot be read, such as coffee_maker_final/2_0.JPG: get t"):
        sop(small.parent, size=8)
