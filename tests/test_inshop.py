from itertools import count
from pathlib import Path

import pytest
from sample_photos import COLOURS, edit, lay, shown, spoil

from bench.datasets.inshop import RELEASE, inshop
from bench.datasets.split import DataError, Split

LIST = Path("Eval/list_eval_partition.txt")
PUBLISHED = {"train": (3997, 25882), "query": (3985, 14218), "gallery": (3985, 12612)}
FEW = {"train": (2, 6), "query": (2, 4), "gallery": (2, 5)}
Rows = list[tuple[str, int, str]]


def rows(counts: dict[str, tuple[int, int]]) -> Rows:
    """Lines of a list with so many items and photos; query and gallery share their items, which take turns."""
    numbers = count(1)
    first = {"train": 1, "query": 1 + counts["train"][0], "gallery": 1 + counts["train"][0]}
    listed = [(first[status] + n % items, status) for status, (items, photos) in counts.items() for n in range(photos)]
    return [(f"img/WOMEN/Dresses/id_{item:08}/{next(numbers):05}_1_front.jpg", item, status) for item, status in listed]


def expect(monkeypatch: pytest.MonkeyPatch, counts: dict[str, tuple[int, int]]) -> None:
    parts = {"train": counts["train"], "test": counts["query"], "gallery": counts["gallery"]}
    monkeypatch.setattr("bench.datasets.inshop.COUNTS", parts)


def written(root: Path, lines: Rows, images: str = "Img", *, photos: bool = True) -> Path:
    """The official layout with that list, its columns padded, and its photos."""
    text = [str(len(lines)), "image_name item_id evaluation_status"]
    text += [f"{path:<80} id_{item:08}  {status:<8}" for path, item, status in lines]
    (root / "Eval").mkdir(parents=True)
    (root / LIST).write_text("\n".join(text) + "\n", encoding="utf-8")
    if photos:
        lay(root / images, ((path, item) for path, item, _ in lines))
    return root


@pytest.fixture
def small(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    expect(monkeypatch, FEW)
    return written(tmp_path / RELEASE, rows(FEW))


def same(split: Split, lines: Rows) -> None:
    assert split.gallery is not None
    assert split.gallery.classes == split.test.classes
    assert not set(split.train.classes) & set(split.test.classes)
    for status, part in (("train", split.train), ("query", split.test), ("gallery", split.gallery)):
        items = [item for _, item, its in lines if its == status]
        assert part.images.shape == (len(items), 8, 8, 3)
        assert shown(part) == [item % COLOURS for item in items]
        assert [part.classes[label] for label in part.labels] == [f"id_{item:08}" for item in items]
        assert part.texts is None


def test_a_list_of_the_published_size_is_as_published(tmp_path: Path) -> None:
    """Counts and items are found right before photos are looked for; to decode all would take long."""
    root = written(tmp_path / RELEASE, rows(PUBLISHED), photos=False)
    assert len((root / LIST).read_text(encoding="utf-8").splitlines()) == 52714
    with pytest.raises(
        DataError, match=r"lacks 52,712 of its 52,712 photos, such as Img/img/WOMEN/Dresses/id_00000001/"
    ):
        inshop(tmp_path, size=8)


def test_a_tenth_of_the_published_size(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tenth = {status: (items // 10, photos // 10) for status, (items, photos) in PUBLISHED.items()}
    expect(monkeypatch, tenth)
    written(tmp_path / RELEASE, rows(tenth))
    split = inshop(tmp_path, size=8)
    same(split, rows(tenth))
    assert [len(part.classes) for part in split[:3] if part] == [399, 398, 398]


@pytest.mark.parametrize("place", [RELEASE, f"inshop/{RELEASE}", "inshop"])
@pytest.mark.parametrize("images", ["Img", "."])
@pytest.mark.usefixtures("small")
def test_every_layout_is_read_alike(tmp_path: Path, place: str, images: str) -> None:
    root = written(tmp_path / "other" / place, rows(FEW), images)
    assert (root / images / "img").is_dir()
    split = inshop(tmp_path / "other", size=8)
    same(split, rows(FEW))
    assert split.sha == inshop(tmp_path, size=8).sha


def test_a_missing_set_says_where_it_comes_from_and_goes(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=rf"inshop has no folder .*{RELEASE}: get the set from https://\S+ .*put it"):
        inshop(tmp_path)
    with pytest.raises(DataError, match=r"inshop needs .*--data DIR or set BENCH_DATA"):
        inshop(None)


def test_a_missing_list_is_a_sentence(small: Path) -> None:
    (small / LIST).unlink()
    with pytest.raises(DataError, match=rf"{LIST} cannot be read \(No such file.*\): get it again from https"):
        inshop(small.parent, size=8)


def test_a_gallery_that_lacks_an_item_is_a_sentence(small: Path) -> None:
    lines = rows(FEW)
    text = (small / LIST).read_text(encoding="utf-8")
    for path, item, status in lines:
        if (item, status) == (3, "gallery"):
            text = text.replace(f"{path:<80} id_00000003", f"{path:<80} id_00000005")
    (small / LIST).write_text(text, encoding="utf-8")
    with pytest.raises(DataError, match=r"2 class\(es\) on only one of query and gallery, such as id_00000003: get"):
        inshop(small.parent, size=8)


PHOTO = "img/WOMEN/Dresses/id_00000002/00002_1_front.jpg"


@pytest.mark.parametrize(("old", "new", "sentence"), [
    ("15\n", "16\n", r"does not begin with the line\(s\) 15 / image_name item_id evaluation_status"),
    ("image_name item_id", "image item", r"does not begin with the line\(s\) 15 / image_name item_id"),
    (" id_00000002  train", "  train", "a line 'img.*train.*' that does not fit its columns"),
    (" id_00000002  train", " id_2nd train", "a line 'img.* id_2nd train.*' that does not fit its columns"),
    (" id_00000002  train", " 00000002 train", "a line 'img.* 00000002 train.*' that does not fit its columns"),
    (" id_00000002  train", " id_00000002 test", "a line 'img.* id_00000002 test.*' that does not fit its columns"),
    (" id_00000002  train", " id_00000003  train", r"1 class\(es\) on both the train and the test side, such as id_0"),
    (" id_00000002  train", " id_00000009  train", "3 classes with 6 photos for train, not 2 with 6"),
    (" id_00000001  train", " id_00000003  query", "2 classes with 5 photos for train, not 2 with 6"),
    (PHOTO, "../../secret.jpg", "names 'Img/../../secret.jpg', which is outside its folder"),
    (PHOTO, "/secret.jpg", "names '/secret.jpg', which is outside its folder"),
])  # fmt: skip
def test_a_list_that_does_not_fit_is_a_sentence(small: Path, old: str, new: str, sentence: str) -> None:
    edit(small / LIST, old, new)
    with pytest.raises(DataError, match=f"{sentence}.*: get (it|them) again from https"):
        inshop(small.parent, size=8)


def test_an_absent_photo_is_a_sentence(small: Path) -> None:
    (small / "Img" / PHOTO).unlink()
    with pytest.raises(DataError, match=rf"lacks 1 of its 15 photos, such as Img/{PHOTO}: get them from https"):
        inshop(small.parent, size=8)


def test_absent_images_are_a_sentence(small: Path) -> None:
    (small / "Img").rename(small / "not unpacked")
    with pytest.raises(DataError, match=r"lacks 15 of its 15 photos, such as Img/img/WOMEN/.*: get them from https"):
        inshop(small.parent, size=8)


def test_an_unreadable_photo_is_a_sentence(small: Path) -> None:
    spoil(small / "Img" / PHOTO)
    with pytest.raises(DataError, match=rf"1 photo\(s\) that cannot be read, such as Img/{PHOTO}: get them from https"):
        inshop(small.parent, size=8)
