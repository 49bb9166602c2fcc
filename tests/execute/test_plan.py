import numpy as np
import pandas as pd
import pytest
import timm
from PIL import Image
from support.jobs import tiny

from bench.execute import data_check, plan
from bench.matrix.job import ConfigError, Part

FUSED = {"name": "concatenate", "members": ["triplet", "contrastive"]}


def pictures(folder, sizes):
    draws = np.random.default_rng(0)
    for name, count in sizes.items():
        (folder / name).mkdir(parents=True)
        for index in range(count):
            Image.fromarray(draws.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(folder / name / f"{index}.png")


def photos(path, **parameters):
    return [{"name": "folder", "path": str(path), "size": 16, "min_images": 1, **parameters}]


def test_a_good_matrix_has_its_splits():
    jobs = tiny()
    (split,) = data_check.check(jobs, None).values()
    assert len(split.train.classes) == 12


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        (
            {"recipe": {"classes_per_batch": 13}},
            "only 12 are for training: add --set recipe.classes_per_batch=12",
        ),
        ({"datasets": ["omniglot"]}, "omniglot"),
        (
            {"recipe": {"crop": 40}},
            "crop = 40 is larger than the pictures, 32 pixels: add --set recipe.crop=32, or a larger size",
        ),
        (
            {"recipe": {"validation": {"folds": 2}, "classes_per_batch": 7}},
            "only 6 are for training",
        ),
        (
            {"recipe": {"validation": {"share": 0.1}}},
            "fewer than two classes are held out of 12: add --set recipe.validation.share=0.17 or more",
        ),
        ({"recipe": {"validation": {"folds": 12}}}, "set recipe.validation.folds=6 or fewer"),
        ({"backbones": ["timm/resnet99"]}, "timm has no model 'resnet99'; did you mean"),
        ({"backbones": ["timm/resnet18.nonsense"]}, "timm has no weights 'resnet18.nonsense'; did you mean 'resnet18."),
        ({"backbones": ["timm/resnet18.a1_in1kk"]}, "did you mean 'resnet18.a1_in1k'?"),
        ({"backbones": ["timm/resnet18."]}, "timm has no weights 'resnet18.'; did you mean 'resnet18."),
        ({"backbones": ["timm/coatnet_0_224.sw_in1k"]}, "timm has no weights 'coatnet_0_224.sw_in1k'; there are none"),
        (
            {"backbones": [{"name": "timm/coatnet_0_224", "pretrained": True}]},
            "timm has no weights of 'coatnet_0_224': remove pretrained = true, or choose another model",
        ),
        ({"datasets": [{"name": "glyphs", "classes": 5000}]}, "glyphs has"),
    ],
)
def test_what_cannot_run_is_a_sentence(tmp_path, changes, sentence):
    with pytest.raises(ConfigError) as error:
        data_check.check(tiny(**changes), tmp_path)
    assert sentence in str(error.value)


def test_an_unknown_timm_model_is_answered_with_ten_names_at_most():
    with pytest.raises(ConfigError) as error:
        data_check.check(tiny(backbones=["timm/qqqq"]), None)
    near = str(error.value).partition(" are ")[2].split(", ")
    assert len(near) == len(set(near)) == 10
    assert set(near) <= set(timm.list_models())


@pytest.mark.parametrize("backbone", ["timm/resnet18", "timm/resnet18.a1_in1k", "timm/coatnet_0_224"])
def test_models_that_timm_has_are_accepted_with_and_without_the_tag_of_weights(backbone):
    assert data_check.check(tiny(backbones=[backbone]), None)


@pytest.mark.parametrize(
    "validation",
    [{"share": 0.01}, {"share": 0.1}, {"folds": 7}, {"folds": 12}],
)
def test_what_a_sentence_says_to_set_is_accepted(validation):
    recipe = {"classes_per_batch": 2, "validation": validation}
    with pytest.raises(ConfigError) as error:
        data_check.check(tiny(recipe=recipe), None)
    name, _, value = (
        str(error.value)
        .partition("set recipe.validation.")[2]
        .removesuffix(" or more")
        .removesuffix(" or fewer")
        .partition("=")
    )
    recipe["validation"] = {name: float(value) if name == "share" else int(value)}
    assert data_check.check(tiny(recipe=recipe), None)


def vectors(folder):
    """A dataset of stored embeddings, 4 of each of 12 classes."""
    labels = np.arange(48) % 12
    sides = ["train" if label < 6 else "test" for label in labels]
    np.savez(folder / "x.npz", embeddings=np.random.default_rng(0).normal(size=(48, 5)), labels=labels, split=sides)
    return [{"name": "embeddings", "path": str(folder / "x.npz")}]


def on_identity(jobs, **recipe):
    return [job.changed(backbone=Part(name="identity"), recipe=job.recipe.model_copy(update=recipe)) for job in jobs]


def test_vectors_take_the_backbone_for_vectors_and_pictures_another(tmp_path):
    jobs = tiny(datasets=vectors(tmp_path))
    with pytest.raises(ConfigError, match=r'embeddings are not pictures: set backbones = \["identity"\]'):
        data_check.check(jobs, None)
    assert data_check.check(on_identity(jobs), None)
    with pytest.raises(ConfigError, match="the backbone identity takes stored embeddings, and these are pictures"):
        data_check.check(on_identity(tiny()), None)
    with pytest.raises(ConfigError, match=r"crop = 16 cuts pictures, and these are embeddings: remove recipe\.crop"):
        data_check.check(on_identity(jobs, crop=16), None)


def test_pixels_of_vectors_are_skipped_and_that_is_foretold(tmp_path):
    trained, floor = on_identity(tiny(datasets=vectors(tmp_path), floors=["pixels"]))
    (split,) = data_check.check([trained, floor], None).values()
    assert (
        data_check.unsuited(floor, split) == f"pixels needs pictures, and {floor.dataset.label} has stored embeddings"
    )
    assert data_check.unsuited(trained, split) is None


def test_a_class_with_a_single_image_is_named(tmp_path):
    pictures(tmp_path / "train", {"a": 3, "lonely": 1})
    pictures(tmp_path / "test", {"c": 3, "d": 3})
    with pytest.raises(ConfigError, match="the class 'lonely' has a single image"):
        data_check.check(tiny(datasets=photos(tmp_path), recipe={"classes_per_batch": 2}), None)


def test_a_broken_image_is_named_and_can_be_skipped(tmp_path):
    pictures(tmp_path, dict.fromkeys("abcd", 4))
    (tmp_path / "a" / "0.png").write_bytes(b"")
    recipe = {"classes_per_batch": 2}
    with pytest.raises(ConfigError, match=r"0\.png.*--skip-broken"):
        data_check.check(tiny(datasets=photos(tmp_path), recipe=recipe), None)
    (split,) = data_check.check(tiny(datasets=photos(tmp_path, skip_broken=True), recipe=recipe), None).values()
    assert len(split.train.labels) + len(split.test.labels) == 15


def test_final_cells_are_not_run_again():
    jobs = tiny(seeds=5)
    outcomes = ("done", "failed", "diverged", "skipped")
    statuses = {job.key: status for job, status in zip(jobs, outcomes, strict=False)}
    assert [job.seed for job in plan.without_result(jobs, statuses)] == [1, 3, 4]
    assert plan.counts(jobs, statuses) == {**dict.fromkeys(outcomes, 1), "new": 1}


def test_a_forecast_follows_what_was_measured():
    jobs = tiny(seeds=2)
    splits = data_check.check(jobs, None)
    unknown = plan.forecast(jobs, splits, pd.DataFrame())
    assert unknown.seconds is None
    assert unknown.bytes == 2 * (32 + 96) * 16 * 4  # of test and training images
    both = tiny(losses=["triplet", "contrastive"], model_ensembles=[FUSED])
    assert plan.forecast(both, splits, pd.DataFrame()).bytes == (1 + 1 + 2) * (32 + 96) * 16 * 4
    row = {"dataset": jobs[0].dataset.label, "backbone": jobs[0].backbone.label, "status": "done", "kind": "loss"}
    rows = pd.DataFrame([row | {"images_per_second": 96.0, "seconds_train": 3.0, "seconds": 3.5}])
    assert plan.forecast(jobs, splits, rows).seconds == pytest.approx(2 * (2 * 96 / 96 + 0.5))
    (part,) = tiny(recipe={"images_per_epoch": 48})
    assert plan.forecast([part], splits, rows).seconds == pytest.approx(2 * 48 / 96 + 0.5)
    (folded,) = tiny(recipe={"validation": {"folds": 3}})  # each of the three trains on two thirds of the images
    assert plan.forecast([folded], splits, rows).seconds == pytest.approx(3 * 2 * 64 / 96 + 0.5)


def test_rows_of_other_data_are_refused():
    (job,) = jobs = tiny()
    splits = data_check.check(jobs, None)
    same = pd.DataFrame({"key": [job.key, "other"], "dataset_sha": [splits[job.dataset.label].sha, "0"]})
    data_check.check_same_data(jobs, splits, same)
    data_check.check_same_data(jobs, splits, same.assign(dataset_sha=None))
    with pytest.raises(ConfigError, match="1 stored rows are of other data; name another folder with --results"):
        data_check.check_same_data(jobs, splits, same.assign(dataset_sha="0"))
