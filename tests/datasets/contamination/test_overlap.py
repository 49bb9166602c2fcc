import csv
import re
import tomllib
from collections.abc import Iterable
from pathlib import Path

import pytest
import timm
import torchvision
from timm.data import ImageNetInfo

from bench.datasets.contamination import overlap
from bench.datasets.contamination.overlap import GRADES, known_overlap
from bench.matrix.catalogue import entries

CORPORA = tomllib.loads((Path(overlap.__file__).with_name("overlap.toml")).read_text(encoding="utf-8"))["corpus"]
IMAGENETS = {"ImageNet-1k": "imagenet-1k", "ImageNet-12k": "imagenet-12k", "ImageNet-21k": "imagenet-22k"}
PETS = (
    "Leonberg, Maine Coon, miniature pinscher, Newfoundland, Persian cat, Pomeranian, pug, Ragdoll, Russian Blue, "
    "Saint Bernard, Samoyed, Scottish terrier, Shiba Inu, Siamese, Sphynx, Staffordshire bull terrier, "
    "soft-coated wheaten terrier, Yorkshire terrier"
)
"""The breeds 20 to 37; Leonberger, Persian and wheaten terrier as ImageNet calls them."""
OTHER_SENSES = {"ImageNet-1k": {"sweet potato"}, "ImageNet-12k": {"toad lily"}, "ImageNet-21k": {"toad lily"}}
"""Names of test classes that only mean something else there: an ocarina, and an Indian lettuce."""


def known(tag: str, dataset: str) -> str:
    text = known_overlap(f"timm/vit_small.{tag}", pretrained=True, weights=None, dataset=dataset)
    assert text is not None
    return text


def named(corpus: str, wanted: Iterable[str]) -> int:
    """How many of the names are among those of the corpus's classes, by timm's lists."""
    info = ImageNetInfo(IMAGENETS[corpus])
    texts = [info.index_to_description(number) for number in range(info.num_classes())]
    there = {plain(name) for text in texts for name in text.split(",")}
    names = {plain(name) for name in wanted} - OTHER_SENSES[corpus]
    return sum(name in there or name.removesuffix("s") in there for name in names)


def plain(name: str) -> str:
    return " ".join(re.findall("[a-z]+", name.lower()))


def counted(corpus: str, dataset: str) -> tuple[int, int]:
    """The "N of the M" of the table; none and one are spelled out."""
    (facts,) = [one["facts"] for one in CORPORA if one["name"] == corpus]
    found = re.search(r"(\w+) of the (\d+) test ", facts[dataset]["says"])
    assert found is not None
    number = {"none": 0, "one": 1}.get(found[1])
    return int(found[1]) if number is None else number, int(found[2])


@pytest.mark.parametrize("corpus", IMAGENETS)
def test_names_shared_with_imagenet(corpus: str) -> None:
    breeds = PETS.split(", ")
    assert counted(corpus, "oxford_pets") == (named(corpus, breeds), len(breeds))
    flowers = [name.strip("?") for name in torchvision.datasets.Flowers102.classes[51:]]
    assert counted(corpus, "flowers102") == (named(corpus, flowers), len(flowers))


@pytest.mark.parametrize("corpus", IMAGENETS)
def test_names_of_sets_in_hand_shared_with_imagenet(corpus: str, shared: Path) -> None:
    lists = (shared / "data/metadata/CUB_200_2011/classes.txt", shared / "data/grocery_store/class_split.csv")
    if not all(file.exists() for file in lists):
        pytest.skip("BENCH_SHARED has no data/metadata/CUB_200_2011 or no data/grocery_store")
    species = [line.partition(".")[2] for line in lists[0].read_text(encoding="utf-8").splitlines()[100:]]
    if corpus == "ImageNet-1k":
        assert named(corpus, species) == 0
    else:
        assert counted(corpus, "cub200") == (named(corpus, species), 100)
    rows = csv.DictReader(lists[1].read_text(encoding="utf-8").splitlines())
    groceries = [row["class_name"] for row in rows if row["split"] == "test"]
    assert counted(corpus, "grocery_store") == (named(corpus, groceries), len(groceries))


@pytest.mark.parametrize("corpus", IMAGENETS)
def test_kinds_that_the_table_names_are_there(corpus: str) -> None:
    kinds = ["convertible", "minivan", "table lamp", "teapot", "cardigan", "miniskirt"]
    assert named(corpus, kinds) == len(kinds)


def test_every_trunk_and_set_has_a_graded_text() -> None:
    tags = {name.partition(".")[2] for name in timm.list_pretrained()}
    for dataset in entries("datasets").keys() - {"embeddings"}:
        for tag in tags:
            for text in known(tag, dataset).split(" | "):
                grade, _, rest = text.partition(": ")
                assert grade in GRADES.values()
                assert rest


def test_of_stored_embeddings_nothing_is_said() -> None:
    for weights in (None, "own.pt"):
        assert known_overlap("timm/resnet50.a1_in1k", pretrained=True, weights=weights, dataset="embeddings") is None


def test_the_tables_sets_are_the_catalogues() -> None:
    for corpus in CORPORA:
        assert corpus.get("facts", {}).keys() <= entries("datasets").keys()


def test_no_rule_is_idle() -> None:
    tags = {name.partition(".")[2] for name in timm.list_pretrained()}
    assert all(any(re.search(corpus["tags"], tag) for tag in tags) for corpus in CORPORA)


@pytest.mark.parametrize(
    ("tag", "dataset", "grades"),
    [
        ("a1_in1k", "cub200", ["images"]),
        ("a1_in1k", "oxford_pets", ["classes"]),
        ("a1_in1k", "flowers102", ["none known"]),
        ("augreg_in21k", "flowers102", ["classes"]),
        ("augreg_in21k_ft_in1k", "flowers102", ["classes"]),
        ("a1_in1k", "glyphs", ["none known"]),
        ("openai", "cars196", ["unknown"]),
        ("laion2b_ft_in12k_in1k", "oxford_pets", ["classes", "unknown"]),
        ("laion2b_ft_in1k", "glyphs", ["unknown"]),
        ("lvd142m", "cub200", ["images", "classes"]),
        ("lvd142m", "cars196", ["classes"]),
        ("lvd142m", "sop", ["classes", "unknown"]),
        ("dinov3_lvd1689m", "cub200", ["images", "unknown"]),
        ("v2_webli", "inshop", ["unknown"]),
        ("a1_in1k", "manifest", ["unknown"]),
        ("a_tag_of_tomorrow", "cub200", ["unknown"]),
        ("", "cub200", ["unknown"]),
    ],
)
def test_grades(tag: str, dataset: str, grades: list[str]) -> None:
    assert [text.partition(":")[0] for text in known(tag, dataset).split(" | ")] == grades


@pytest.mark.parametrize(
    ("tag", "dataset", "words"),
    [
        ("a1_in1k", "oxford_pets", "classes of ImageNet-1k by name (this project; measured)"),
        ("augreg_in21k_ft_in1k", "oxford_pets", "classes of ImageNet-21k by name"),
        ("lvd142m", "cars196", "arXiv 2304.07193, Table 15"),
        ("openai", "cub200", "12.1 %"),
        ("tag_of_tomorrow", "cub200", "not in overlap.toml"),
    ],
)
def test_words(tag: str, dataset: str, words: str) -> None:
    assert words in known(tag, dataset)


@pytest.mark.parametrize("dataset", ["cub200", "manifest"])
def test_random_weights_have_seen_nothing(dataset: str) -> None:
    assert known_overlap("conv4", pretrained=False, weights=None, dataset=dataset) is None
    assert known_overlap("timm/resnet50.a1_in1k", pretrained=False, weights=None, dataset=dataset) is None


@pytest.mark.parametrize("pretrained", [False, True])
def test_a_local_file_is_unknown(pretrained: bool) -> None:
    text = known_overlap("timm/resnet50.a1_in1k", pretrained=pretrained, weights="own.pt", dataset="cub200")
    assert text is not None
    assert text.startswith("unknown: the weights are a local file")


def test_the_default_tag_is_timms_to_resolve() -> None:
    name = "resnet50"
    full = f"timm/{name}.{timm.get_pretrained_cfg(name).tag}"
    text = known_overlap(full, pretrained=True, weights=None, dataset="cub200")
    assert text is not None
    assert text.startswith("images: ")
