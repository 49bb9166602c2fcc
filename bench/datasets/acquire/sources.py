"""Where each published set comes from, what is to be downloaded, and where it goes."""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple

__all__ = ["SOURCES", "File", "Source", "present"]


class File(NamedTuple):
    """One file of a set, as its host serves it."""

    name: str
    urls: tuple[str, ...]
    """Addresses, tried in turn; none where it has to be fetched by hand."""
    place: str
    """What is there once it is got, relative to the folder of the data sets."""
    inside: str = ""
    """Folder of the archive that becomes the place; empty for a file that is kept as it is."""
    digest: str = ""
    """Published hash, "sha256:HEX" or "md5:HEX"; empty where none is known, and the loader's counts decide."""
    bytes: int | None = None


class Source(NamedTuple):
    """What is known of a set without opening it."""

    page: str
    """Where to read about it, and to get it by hand."""
    licence: str
    classes: int
    images: int
    places: tuple[str, ...]
    """Folders that a loader looks into, relative to the folder of the data sets; the first is where to put the set."""
    needs: tuple[tuple[str, ...], ...]
    """What has to be in such a folder, each with its alternatives."""
    files: tuple[File, ...] = ()
    """What a download consists of; empty where the set's terms forbid it."""
    digests: Mapping[str, str] = MappingProxyType({})
    """Path in the set's folder -> published hash of a list or table of labels."""
    note: str = ""
    """Why it cannot be downloaded."""
    by_hand: str = ""
    """Names of what to get, where no file is listed."""

    @property
    def where(self) -> str:
        """The page, and in brackets what to get from it, for the sentences of errors."""
        names = " and ".join(file.name for file in self.files) or self.by_hand
        return f"{self.page} ({names})"

    @property
    def bytes(self) -> int | None:
        """Of the whole download; None where not known."""
        known = [file.bytes for file in self.files if file.bytes is not None]
        return sum(known) if known and len(known) == len(self.files) else None

    @property
    def downloadable(self) -> bool:
        """Whether every file has an address."""
        return bool(self.files) and all(file.urls for file in self.files)


def present(source: Source, data: Path) -> list[Path]:
    """What there is of what the set needs, the first found of each need; as many as needs where nothing is absent."""
    found = [
        next((path for place in source.places for one in need if (path := data / place / one).exists()), None)
        for need in source.needs
    ]
    return [path for path in found if path is not None]


OMNIGLOT = "https://github.com/brendenlake/omniglot/raw/master/python/"
FLOWERS = "https://www.robots.ox.ac.uk/~vgg/data/flowers/102/"
FLOWERS_HOST = "https://thor.robots.ox.ac.uk/flowers/102/"
PETS = "https://www.robots.ox.ac.uk/~vgg/data/pets/data/"
PETS_HOST = "https://thor.robots.ox.ac.uk/pets/"
LABELS = "sha256:4903e94206bac23bf772aadf06451916df56b58fc483a62db32a97b82656651d"
ANNOTATIONS = "sha256:1cfb9206f1336038fc27c70a926e47d1c5d3ed0c870aec48cf5aa1b3880d42bf"

SOURCES: Mapping[str, Source] = MappingProxyType({
    "omniglot": Source(
        page="https://github.com/brendenlake/omniglot",
        licence="MIT",
        classes=1623,
        images=32_460,
        places=("omniglot", "omniglot/python", "."),
        needs=(("images_background.zip", "images_background"), ("images_evaluation.zip", "images_evaluation")),
        files=(
            File(
                "images_background.zip",
                (f"{OMNIGLOT}images_background.zip",),
                "omniglot/images_background.zip",
                digest="sha256:ad41ab679c8b5d90b271ef46be6987cc81211774a695c29dcc5367b2b26ee640",
                bytes=9_464_212,
            ),
            File(
                "images_evaluation.zip",
                (f"{OMNIGLOT}images_evaluation.zip",),
                "omniglot/images_evaluation.zip",
                digest="sha256:1f61a8f3366785b057fc117d9228e78a16e3d976c8953b2a10fcc74cf0609cee",
                bytes=6_462_886,
            ),
        ),
    ),
    "cub200": Source(
        page="https://www.vision.caltech.edu/datasets/cub_200_2011/",
        licence="non-commercial research only",
        classes=200,
        images=11_788,
        places=("cub200/CUB_200_2011", "CUB_200_2011"),
        needs=(("images",), ("images.txt",), ("image_class_labels.txt",), ("classes.txt",)),
        files=(
            File(
                "CUB_200_2011.tgz",
                ("https://data.caltech.edu/records/65de6-vp158/files/CUB_200_2011.tgz",),
                "cub200/CUB_200_2011",
                inside="CUB_200_2011",
                digest="sha256:0c685df5597a8b24909f6a7c9db6d11e008733779a671760afef78feb49bf081",
                bytes=1_150_585_339,
            ),
        ),
    ),
    "cars196": Source(
        page="https://ai.stanford.edu/~jkrause/cars/car_dataset.html",
        licence="non-commercial research only",
        classes=196,
        images=16_185,
        places=("cars196",),
        needs=(("car_ims",), ("cars_annos.mat",)),
        files=(
            File(
                "car_ims.tgz",
                (),
                "cars196/car_ims",
                inside="car_ims",
                digest="md5:d5c8f0aa497503f355e17dc7886c3f14",
            ),
            File("cars_annos.mat", (), "cars196/cars_annos.mat", digest=ANNOTATIONS, bytes=394_471),
        ),
        digests={"cars_annos.mat": ANNOTATIONS},
        note="its host has not answered since 2023, so it takes a copy of the original files",
    ),
    "sop": Source(
        page="https://cvgl.stanford.edu/projects/lifted_struct/",
        licence="none stated, research only",
        classes=22_634,
        images=120_053,
        places=("sop/Stanford_Online_Products", "Stanford_Online_Products"),
        needs=(("Ebay_train.txt",), ("Ebay_test.txt",), ("bicycle_final",), ("toaster_final",)),
        files=(
            File(
                "Stanford_Online_Products.zip",
                ("http://ftp.cs.stanford.edu/cs/cvgl/Stanford_Online_Products.zip",),
                "sop/Stanford_Online_Products",
                inside="Stanford_Online_Products",
                digest="sha256:b04fa78210e69fab050ce73939550e1cd0f96890bdd98ec9fee732c3b756ef48",
                bytes=3_083_860_082,
            ),
        ),
        digests={
            "Ebay_train.txt": "sha256:77abb1e82af49f2f1f272dc6bd0b8480904f58742091764f9511b152cad1824e",
            "Ebay_test.txt": "sha256:63d559dc1ca1e03671224c58a26b18985bbff22ae20344d41dabcfe3873cc276",
        },
    ),
    "inshop": Source(
        page="https://mmlab.ie.cuhk.edu.hk/projects/DeepFashion/InShopRetrieval.html",
        licence="non-commercial research only, by agreement, not to be passed on",
        classes=7982,
        images=52_712,
        places=(
            "inshop/In-shop Clothes Retrieval Benchmark",
            "In-shop Clothes Retrieval Benchmark",
            "inshop",
        ),
        needs=(("Eval/list_eval_partition.txt",), ("img", "Img/img")),
        note="its terms want an agreement, and Google Drive a browser",
        by_hand="Img/img.zip and Eval",
    ),
    "grocery_store": Source(
        page="https://github.com/marcusklasson/GroceryStoreDataset",
        licence="MIT",
        classes=81,
        images=5421,
        places=("grocery_store/dataset", "GroceryStoreDataset/dataset"),
        needs=(("classes.csv",), ("train.txt",), ("val.txt",), ("test.txt",), ("train",), ("val",), ("test",)),
        files=(
            File(  # packed on request, so no hash of it lasts
                "GroceryStoreDataset-master.zip",
                ("https://github.com/marcusklasson/GroceryStoreDataset/archive/refs/heads/master.zip",),
                "grocery_store/dataset",
                inside="GroceryStoreDataset-master/dataset",
            ),
        ),
    ),
    "flowers102": Source(
        page="https://www.robots.ox.ac.uk/~vgg/data/flowers/102/",
        licence="none stated, photos from the web",
        classes=102,
        images=8189,
        places=("flowers102", "flowers-102"),
        needs=(("jpg",), ("imagelabels.mat",)),
        files=(
            File(
                "imagelabels.mat",
                (f"{FLOWERS}imagelabels.mat", f"{FLOWERS_HOST}imagelabels.mat"),
                "flowers102/imagelabels.mat",
                digest=LABELS,
                bytes=502,
            ),
            File(
                "102flowers.tgz",
                (f"{FLOWERS}102flowers.tgz", f"{FLOWERS_HOST}102flowers.tgz"),
                "flowers102/jpg",
                inside="jpg",
                digest="sha256:2d01ecc807db462958cfe3d92f57a8c252b4abd240eb955770201e45f783b246",
                bytes=344_862_509,
            ),
        ),
        digests={"imagelabels.mat": LABELS},
    ),
    "oxford_pets": Source(
        page="https://www.robots.ox.ac.uk/~vgg/data/pets/",
        licence="CC BY-SA 4.0",
        classes=37,
        images=7349,
        places=("oxford_pets", "oxford-iiit-pet"),
        needs=(("images",), ("annotations/list.txt",)),
        files=(
            File(
                "annotations.tar.gz",
                (f"{PETS}annotations.tar.gz", f"{PETS_HOST}annotations.tar.gz"),
                "oxford_pets/annotations",
                inside="annotations",
                digest="sha256:52425fb6de5c424942b7626b428656fcbd798db970a937df61750c0f1d358e91",
                bytes=19_173_078,
            ),
            File(
                "images.tar.gz",
                (f"{PETS}images.tar.gz", f"{PETS_HOST}images.tar.gz"),
                "oxford_pets/images",
                inside="images",
                digest="sha256:67195c5e1c01f1ab5f9b6a5d22b8c27a580d896ece458917e61d459337fa318d",
                bytes=791_918_971,
            ),
        ),
    ),
})  # fmt: skip
"""By dataset; one without an entry is made here, is the user's own, or has not been added.

Addresses are those of the sets' pages, of torchvision and, for sop, of ChainerCV. Hashes and sizes are the checksums of
TensorFlow Datasets, those of cars196 and of the lists of sop the ones that public loaders check.
"""
