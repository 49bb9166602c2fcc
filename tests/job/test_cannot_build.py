"""What is refused in a sentence before anything trains."""

import pytest
from support.jobs import BACKBONE, tiny
from support.plugins import plugin_file

from bench.job.cannot_build import refusals
from bench.matrix.plugins import use

pytestmark = pytest.mark.usefixtures("one_thread")


def test_what_cannot_be_built_is_refused_in_a_sentence():
    jobs = tiny(losses=["triplet"], ensembles=[
        {"name": "sum", "members": ["triplet"], "weights": [1.0, 2.0]},
        {"name": "slices", "members": ["triplet"] * 17, "label": "too many"},
    ])  # fmt: skip
    sentences = refusals(jobs, None)
    assert len(sentences) == 2
    assert "2 weights for 1 members" in sentences[0]
    assert sentences[1].startswith("too many on conv4(width=8)")


@pytest.mark.parametrize(
    ("backbone", "sentence"),
    [
        ({"name": "timm/inception_v4"}, "pictures of 32 × 32 pixels do not suit this trunk"),
        ({"name": "timm/efficientformer_l1"}, "set size = 224 of the dataset, or choose another backbone"),
        ({"name": "timm/crossvit_9_240"}, "set size = 240 of the dataset"),
        ({"name": "conv4", "width": 8, "pooling": "token"}, "have no class token: set another pooling"),
        (
            {"name": "conv4", "width": 8, "freeze_stages": 5},
            "the trunk has 4 stages, and freeze_stages = 5 leaves none",
        ),
        ({"name": "conv4", "weights": __file__}, "not weights of this trunk; it is no state dict"),
    ],
)
def test_a_trunk_that_does_not_suit_the_pictures_is_refused_in_one_sentence(backbone, sentence):
    (said,) = refusals(tiny(backbones=[backbone], seeds=2), None)
    assert sentence in said
    assert "\n" not in said


def test_head_epochs_without_anything_to_learn_are_refused():
    backbone = {"name": "conv4", "width": 8, "head": "none"}
    jobs = tiny(losses=["triplet", "proxy_nca"], backbones=[backbone], recipe={"head_epochs": 1})
    (said,) = refusals(jobs, None)  # a loss with proxies has these
    assert said.startswith("triplet on conv4")
    assert "nothing would learn: set head_epochs = 0, or a head on the backbone" in said
    assert refusals(tiny(backbones=[{**backbone, "pooling": "gem"}], recipe={"head_epochs": 1}), None) == []


def test_what_concerns_every_objective_is_said_once():
    jobs = tiny(
        losses=["triplet", "contrastive", "margin"], backbones=[{"name": "conv4", "width": 8, "pooling": "token"}]
    )
    (said,) = refusals(jobs, None)
    assert said.startswith("triplet and 2 more on conv4(width=8, pooling=token): the features have no class token")


def test_a_trunk_that_cannot_be_built_is_tried_once_for_all_objectives(tmp_path):
    text = (
        "def unreachable(channels):\n    'Unreachable.'\n"
        f"    with open({str(tmp_path / 'tries')!r}, 'a') as file:\n        file.write('x')\n"
        "    raise ValueError('no weights here')\n"
    )
    use([plugin_file(tmp_path, text)])
    try:
        jobs = tiny(losses=["triplet", "contrastive", "margin"], backbones=["unreachable", BACKBONE], seeds=2)
        (said,) = refusals(jobs, None)
    finally:
        use([])
    assert said == "triplet and 2 more on unreachable: no weights here"
    assert (tmp_path / "tries").read_text() == "x"


@pytest.mark.parametrize("name", ["timm/vit_tiny_patch16_224", "timm/deit_tiny_distilled_patch16_224"])
def test_a_transformer_made_for_larger_pictures_is_built_for_these(name):
    assert refusals(tiny(backbones=[name]), None) == []
