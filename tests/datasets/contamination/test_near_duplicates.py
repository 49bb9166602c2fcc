import csv
import io
from collections.abc import Callable
from pathlib import Path

import imagehash
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, ImageEnhance, ImageFilter

from bench.datasets.contamination import near_duplicates as module
from bench.datasets.contamination.near_duplicates import DISTANCE, NearDuplicates, Pair, near_duplicates
from bench.datasets.files.decode import read_pictures
from bench.datasets.grocery_store import grocery_store
from bench.datasets.split import DataError, Images, Split

PHOTOS, SIZE = 40, 64
RNG = np.random.default_rng(7)


def scene(rng: np.random.Generator, size: int = SIZE) -> Image.Image:
    """Blobs of many sizes, as a photo has them: noise at four scales, the coarse ones strongest."""
    layers = [
        np.asarray(Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8)).resize((size, size)), np.float32)
        * weight
        for cells, weight in ((3, 0.4), (7, 0.3), (15, 0.2), (31, 0.1))
    ]
    return Image.fromarray(np.sum(layers, 0).astype(np.uint8))


def part(pictures: list[Image.Image] | NDArray[np.uint8]) -> Images:
    images = np.stack([np.asarray(picture) for picture in pictures])
    return Images(images, np.arange(len(images)), tuple(map(str, range(len(images)))))


def stripes(low: int, high: int) -> Image.Image:
    return Image.fromarray(np.repeat(np.linspace(low, high, SIZE, dtype=np.uint8), SIZE * 3).reshape(SIZE, SIZE, 3))


def jpeg(picture: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=quality)
    return Image.open(buffer).convert("RGB")


def margin(picture: Image.Image, share: float) -> Image.Image:
    cut = round(SIZE * share)
    return picture.crop((cut, cut, SIZE - cut, SIZE - cut)).resize((SIZE, SIZE), Image.Resampling.BILINEAR)


def smaller(picture: Image.Image) -> Image.Image:
    return picture.resize((SIZE // 2, SIZE // 2), Image.Resampling.BILINEAR).resize((SIZE, SIZE))


COPIES: dict[str, Callable[[Image.Image], Image.Image]] = {
    "the same": lambda picture: picture,
    "JPEG 50": lambda picture: jpeg(picture, 50),
    "half the size": smaller,
    "darker": lambda picture: ImageEnhance.Brightness(picture).enhance(0.7),
    "brighter": lambda picture: ImageEnhance.Brightness(picture).enhance(1.2),
    "more contrast": lambda picture: ImageEnhance.Contrast(picture).enhance(1.2),
    "a margin of 2 %": lambda picture: margin(picture, 0.02),
    "blurred": lambda picture: picture.filter(ImageFilter.GaussianBlur(1)),
}


@pytest.fixture
def scenes() -> list[Image.Image]:
    rng = np.random.default_rng(7)
    return [scene(rng) for _ in range(3 * PHOTOS)]


def found(split: Split) -> NearDuplicates:
    result = near_duplicates(split)
    assert result is not None
    return result


@pytest.mark.parametrize("copy", COPIES.values(), ids=COPIES)
def test_planted_copies_are_found_and_no_others(
    scenes: list[Image.Image], copy: Callable[[Image.Image], Image.Image]
) -> None:
    train, test, gallery = (scenes[start::3] for start in range(3))
    test[5], test[11], gallery[0] = copy(train[30]), copy(train[2]), copy(train[7])
    result = found(Split(part(train), part(test), part(gallery)))
    assert {(pair.part, pair.image, pair.training_image) for pair in result.pairs} == {
        ("test", 5, 30),
        ("test", 11, 2),
        ("gallery", 0, 7),
    }
    assert (result.images, result.compared, result.flat) == (3, 2 * PHOTOS, 0)


def test_mirrored_turned_and_much_cut_copies_are_not_claimed(scenes: list[Image.Image]) -> None:
    train, test = scenes[:PHOTOS], scenes[PHOTOS : 2 * PHOTOS]
    test[:3] = [train[0].transpose(Image.Transpose.FLIP_LEFT_RIGHT), train[1].rotate(90), margin(train[2], 0.15)]
    assert found(Split(part(train), part(test))).images == 0


def test_agrees_with_brute_force(scenes: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISTANCE", 106)  # far enough that chance pairs lie on both sides of it
    monkeypatch.setattr(module, "EXAMPLES", 1000)
    train, test, gallery = scenes[:50], scenes[50:90], scenes[90:]
    test[3] = jpeg(train[9], 20)
    hashes = [imagehash.phash(picture, 16, 2) for picture in train]
    expected = {}
    for name, pictures in (("test", test), ("gallery", gallery)):
        for number, picture in enumerate(pictures):
            nearest = int(min(imagehash.phash(picture, 16, 2) - one for one in hashes))
            if nearest <= 106:
                expected[name, number] = nearest
    result = found(Split(part(train), part(test), part(gallery)))
    assert {(pair.part, pair.image): pair.distance for pair in result.pairs} == expected
    assert 3 < len(expected) < 70
    for pair in result.pairs:
        picture = (test if pair.part == "test" else gallery)[pair.image]
        assert imagehash.phash(picture, 16, 2) - hashes[pair.training_image] == pair.distance
    assert [pair.distance for pair in result.pairs] == sorted(expected.values())


def test_the_distance_counts_as_near(scenes: list[Image.Image], monkeypatch: pytest.MonkeyPatch) -> None:
    train, test = scenes[:1], [margin(scenes[0], 0.04)]
    apart = int(imagehash.phash(train[0], 16, 2) - imagehash.phash(test[0], 16, 2))
    assert apart > 0
    for distance, images in ((apart, 1), (apart - 1, 0)):
        monkeypatch.setattr(module, "DISTANCE", distance)
        assert found(Split(part(train), part(test))).images == images


def test_an_image_counts_once_and_few_pairs_are_kept(scenes: list[Image.Image]) -> None:
    train = [scenes[0], jpeg(scenes[0], 90), scenes[1]]
    result = found(Split(part(train), part([scenes[0]] * 25)))
    assert (result.images, len(result.pairs)) == (25, 20)
    assert set(result.pairs) <= {Pair(part="test", image=n, training_image=0, distance=0) for n in range(25)}


def test_flat_and_striped_pictures_are_left_out(scenes: list[Image.Image]) -> None:
    flat = [Image.new("RGB", (SIZE, SIZE), (grey, grey, grey)) for grey in range(256)]
    flat += [Image.new("RGB", (SIZE, SIZE), colour) for colour in ("red", "teal")]
    flat += [stripes(0, 255), stripes(90, 140), stripes(90, 140).rotate(90)]
    result = found(Split(part([*flat, scenes[0]]), part([*flat, scenes[0]])))
    assert result.pairs == (Pair(part="test", image=len(flat), training_image=len(flat), distance=0),)
    assert (result.compared, result.flat) == (1, len(flat))


@pytest.mark.parametrize(("train_flat", "test_flat"), [(True, False), (False, True), (True, True)])
def test_a_side_of_flat_pictures_only(scenes: list[Image.Image], train_flat: bool, test_flat: bool) -> None:
    flat = [Image.new("RGB", (SIZE, SIZE), "grey")] * 3
    result = found(Split(part(flat if train_flat else scenes[:3]), part(flat if test_flat else scenes[:3])))
    assert (result.images, result.compared) == (0, 0 if test_flat else 3)


def test_one_channel_is_not_compared() -> None:
    images = Images(RNG.integers(0, 256, (4, 32, 32, 1), np.uint8), np.arange(4), tuple("abcd"))
    assert near_duplicates(Split(images, images)) is None


def test_a_second_call_reads_the_cache(
    scenes: list[Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    split = Split(part(scenes[:5]), part(scenes[3:9]))
    first = found(split)
    (file,) = tmp_path.iterdir()
    with monkeypatch.context() as patch:
        patch.setattr(module, "_find", lambda _: pytest.fail("compared again"))
        assert near_duplicates(split) == first
    for content in (b"", b"{", b'{"images": 1}', file.read_bytes()[:-3]):
        file.write_bytes(content)
        assert near_duplicates(split) == first
    assert [one.name for one in tmp_path.iterdir()] == [file.name]


def test_another_split_has_another_file(
    scenes: list[Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path))
    train = part(scenes[:5])
    assert found(Split(train, part(scenes[4:9]))).images == 1
    assert found(Split(train, part(scenes[5:9]))).images == 0
    assert found(Split(train, part(scenes[5:9]), sha="another")).images == 0
    monkeypatch.setattr(module, "DISTANCE", DISTANCE + 1)
    found(Split(train, part(scenes[5:9])))
    assert len(list(tmp_path.iterdir())) == 4


def test_a_cache_that_cannot_be_written(
    scenes: list[Image.Image], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BENCH_CACHE", str(tmp_path / "file"))
    with pytest.raises(DataError, match=r"cannot be written .* set BENCH_CACHE"):
        near_duplicates(Split(part(scenes[:3]), part(scenes[3:6])))


def test_grocery_series_stay_on_their_side(shared: Path) -> None:
    if not (shared / "data" / "grocery_store").is_dir():
        pytest.skip("BENCH_SHARED has no data/grocery_store")
    result = found(grocery_store(shared / "data"))
    assert (result.images, result.compared, result.flat) == (0, 2943, 0)


def test_the_known_pairs_of_cars(shared: Path) -> None:
    """Eleven crops stand in the set twice, under two labels; every second one of them is put on the test side here."""
    folder = shared / "data" / "cars196_half"
    if not folder.is_dir():
        pytest.skip("BENCH_SHARED has no data/cars196_half")
    known = {50: 3436, 151: 4892, 595: 3516, 2045: 4665, 2456: 2598, 2641: 7765, 2843: 6839, 4223: 6153, 4250: 6713,
             5334: 5614, 6353: 7381}  # fmt: skip
    rows = csv.DictReader((folder / "manifest.csv").read_text(encoding="utf-8").splitlines())
    files = {int(Path(row["path"]).stem): folder / row["path"] for row in rows}
    test = [*known, *(number for number in range(1, 8145, 20) if number not in {*known, *known.values()})]
    train = [number for number in sorted(files) if number not in test][::3]
    train = sorted({*train, *known.values()})
    parts = [part(read_pictures([files[number] for number in side], 64, 3).images) for side in (train, test)]
    result = found(Split(*parts))
    exact = {test[pair.image]: train[pair.training_image] for pair in result.pairs if pair.distance == 0}
    assert exact == known
    assert len(known) <= result.images <= len(known) + 3


def test_vectors_are_not_compared() -> None:
    vectors = Images(RNG.normal(size=(4, 3)).astype(np.float32), np.arange(4), tuple("abcd"))
    assert near_duplicates(Split(vectors, vectors)) is None
