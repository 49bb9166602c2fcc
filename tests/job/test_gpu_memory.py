import gc

import numpy as np
import pytest
import torch
from support.jobs import tiny

from bench import datasets
from bench.datasets.held_out import folds
from bench.job import batches
from bench.job.batches import reader
from bench.job.fit import begin, pictures
from bench.job.gpu_memory import room
from bench.job.memory_advice import advised, doubts, sentence
from bench.job.run import run
from bench.job.train import train
from bench.job.watch import LimitError

CUDA = torch.device("cuda:0")
needs_a_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")


@pytest.fixture
def half_a_gigabyte():
    """Of the GPU's memory, and not more, for a test."""
    gc.collect()
    torch.cuda.empty_cache()
    before = torch.cuda.get_per_process_memory_fraction(CUDA)
    total = torch.cuda.mem_get_info(CUDA)[1]
    torch.cuda.set_per_process_memory_fraction((2**29 + torch.cuda.memory_reserved(CUDA)) / total, CUDA)
    yield
    torch.cuda.set_per_process_memory_fraction(before, CUDA)


@pytest.mark.parametrize(
    ("most", "expected"),
    [
        (0, "8.0 GB of the GPU's memory that the job may take are too little for one image: take a smaller trunk"),
        (48, "are too little for 120 images at a time: set images_at_a_time = 48"),
        (120, "did not suffice, though 120 images at a time would fit now: let fewer jobs share the GPU"),
    ],
)
def test_the_advice_depends_on_what_would_fit(most, expected):
    assert expected in sentence(8e9, most, asked=120)


@needs_a_gpu
@pytest.mark.usefixtures("half_a_gigabyte")
def test_a_job_without_memory_says_how_many_images_fit_and_they_do(tmp_path):
    large = {"recipe": {"classes_per_batch": 12, "images_per_class": 2000, "epochs": 1}}
    (job,) = tiny(backbones=[{"name": "conv4", "width": 64}], **large)
    with pytest.raises(LimitError, match="set images_at_a_time = ") as caught:
        run(job, data=None, results=tmp_path, device=CUDA)
    fit = int(str(caught.value).rpartition("= ")[2])
    # Of the loss's own matrices nothing is said, so the batch itself becomes smaller here.
    smaller = {"recipe": {"classes_per_batch": 12, "images_per_class": fit // 12, "epochs": 1}}
    (job,) = tiny(backbones=[{"name": "conv4", "width": 64}], losses=["proxy_anchor"], **smaller)
    assert run(job, data=None, results=tmp_path, device=CUDA).row.status == "done"
    assert 100 < fit < 24_000


@needs_a_gpu
@pytest.mark.usefixtures("half_a_gigabyte")
def test_before_anything_trains_it_is_known_what_will_not_fit():
    """Two losses with one batch are one sentence, and with what it advises nothing is doubted any more."""
    wide, losses = [{"name": "conv4", "width": 64}], ["triplet", "proxy_anchor"]
    large = tiny(backbones=wide, losses=losses, recipe={"classes_per_batch": 12, "images_per_class": 2000, "epochs": 1})
    small = tiny(backbones=wide, losses=losses, recipe={"classes_per_batch": 12, "images_per_class": 4, "epochs": 1})
    (said,) = doubts([*small, *large], None, CUDA)
    assert said.startswith("conv4 on ")
    assert "are too little for 24000 images at a time: set images_at_a_time = " in said
    fit = int(said.rpartition("= ")[2])
    recipe = {"classes_per_batch": 12, "images_per_class": 2000, "epochs": 1, "images_at_a_time": fit}
    assert doubts(tiny(backbones=wide, recipe=recipe), None, CUDA) == []
    assert torch.cuda.memory_allocated(CUDA) < 2**28


def test_on_a_processor_nothing_is_doubted():
    large = tiny(recipe={"classes_per_batch": 12, "images_per_class": 2000, "epochs": 1})
    assert doubts(large, None, torch.device("cpu")) == []


@needs_a_gpu
@pytest.mark.usefixtures("half_a_gigabyte")
def test_what_a_failed_training_held_is_free_again():
    (job,) = tiny()
    split = datasets.load(job.dataset, None)
    images, fold = pictures(split, job.recipe, CUDA), folds(split.train.labels, None, seed=0)[0]

    def fail() -> None:
        held = torch.empty(2**28, dtype=torch.uint8, device=CUDA)
        training = begin(job, images, fold)
        torch.empty(2**30, dtype=torch.uint8, device=CUDA)
        assert held is not training

    left = []
    for _ in range(2):  # in the first, libraries of CUDA take what they keep for good
        with pytest.raises(LimitError, match="would fit now"), advised(job, images, fold):
            fail()
        left.append(room(CUDA))
    assert left[1] > left[0] - 2**22


@needs_a_gpu
def test_images_stay_on_the_gpu_as_long_as_their_array_does():
    images = np.random.default_rng(0).integers(0, 256, (50, 9, 8, 3), dtype=np.uint8)
    read, again = reader(images, CUDA), reader(images, CUDA)
    rows = torch.tensor([3, 3, 49])
    assert read(rows).cpu().equal(torch.from_numpy(images[rows.numpy()]).permute(0, 3, 1, 2))
    place = id(images), CUDA
    kept = batches._kept[place]
    assert again.__closure__[1].cell_contents is kept or again.__closure__[0].cell_contents is kept
    del images, read, again
    assert place not in batches._kept


def test_images_of_other_datasets_go_when_a_job_has_its_own(monkeypatch):
    one, other = np.zeros((2, 4, 4, 3), np.uint8), np.ones((2, 4, 4, 3), np.uint8)
    kept = {(id(images), CUDA): torch.from_numpy(images) for images in (one, other)}
    monkeypatch.setattr(batches, "_kept", kept)
    batches.forget_all_but([other])
    assert list(kept) == [(id(other), CUDA)]


@needs_a_gpu
@pytest.mark.usefixtures("half_a_gigabyte")
def test_images_too_large_for_the_gpu_are_read_batch_by_batch():
    images = np.random.default_rng(0).integers(0, 256, (6000, 225, 225, 1), dtype=np.uint8)
    before = torch.cuda.memory_allocated(CUDA)
    read = reader(images, CUDA)
    assert torch.cuda.memory_allocated(CUDA) == before
    assert read(torch.tensor([5999])).cpu().equal(torch.from_numpy(images[5999:]).permute(0, 3, 1, 2))


@needs_a_gpu
@pytest.mark.filterwarnings("ignore:Synchronization debug mode is a prototype")
@pytest.mark.parametrize("share", [batches.OF_A_GPU, 0], ids=["pictures on the GPU", "read batch by batch"])
def test_the_processor_waits_for_the_gpu_once_in_an_epoch(monkeypatch, share):
    monkeypatch.setattr(batches, "OF_A_GPU", share)
    (job,) = tiny(recipe={"crop": 24, "flip": True})
    split = datasets.load(job.dataset, None)
    images, fold = pictures(split, job.recipe, CUDA), folds(split.train.labels, None, seed=0)[0]
    training, done = begin(job, images, fold), []

    def after() -> None:
        done.append(True)
        torch.cuda.set_sync_debug_mode("error" if len(done) < 4 else "default")

    feed = batches.epochs(images.draw, fold.labels, job.recipe, draws=training.generators)
    try:
        next(train(training, feed, after_step=after))
    finally:
        torch.cuda.set_sync_debug_mode("default")
    assert len(done) == 4
