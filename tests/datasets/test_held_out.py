import math

import numpy as np
import pytest

from bench.datasets.held_out import folds
from bench.job.epoch_choice import selection
from bench.matrix.recipe import Validation
from bench.store.columns import LOOKS

LABELS = np.random.default_rng(0).permutation(np.repeat(np.arange(11), 5))
SHARES = [0.01, 0.2, 0.5, 0.9]


def apart(fold):
    """Classes that train and classes held out, by the labels of the split."""
    trained = set(LABELS[fold.labels >= 0].tolist())
    held_out = set(LABELS[fold.held_out].tolist())
    return trained, held_out


def test_without_validation_every_class_trains():
    (fold,) = folds(LABELS, None, seed=0)
    assert np.array_equal(fold.labels, LABELS)
    assert fold.classes.tolist() == list(range(11))
    assert len(fold.held_out) == 0


@pytest.mark.parametrize("share", SHARES)
def test_a_share_of_the_classes_is_held_out_whole(share):
    (fold,) = folds(LABELS, Validation(share=share), seed=0)
    trained, held_out = apart(fold)
    assert trained.isdisjoint(held_out)
    assert trained | held_out == set(range(11))
    assert len(held_out) == max(1, round(share * 11))


@pytest.mark.parametrize("count", [2, 3, 4, 11])
def test_every_class_is_held_out_of_one_fold(count):
    found = [apart(fold) for fold in folds(LABELS, Validation(folds=count), seed=0)]
    assert sorted(one for _, held_out in found for one in held_out) == list(range(11))
    assert all(trained == set(range(11)) - held_out for trained, held_out in found)
    assert max(len(held_out) for _, held_out in found) - min(len(held_out) for _, held_out in found) <= 1


def test_classes_are_renumbered_in_their_order():
    (fold,) = folds(LABELS, Validation(share=0.4), seed=3)
    trains = fold.labels >= 0
    assert np.array_equal(fold.classes[fold.labels[trains]], LABELS[trains])
    assert sorted(set(fold.labels[trains].tolist())) == list(range(len(fold.classes)))
    assert np.array_equal(np.flatnonzero(~trains), fold.held_out)


def test_the_seed_decides_and_nothing_else():
    one, same, other = (folds(LABELS, Validation(share=0.4), seed=seed)[0].classes.tolist() for seed in (0, 0, 1))
    assert one == same != other


def history(*looks, model=0):
    """Epochs from 1 with (validation MAP@R, test Recall@1), or None where it was not looked at."""
    rows = []
    for epoch, look in enumerate(looks, start=1):
        held_out, test = look or (math.nan, math.nan)
        seen = dict(zip(LOOKS, (held_out / 2, held_out, test, test / 2), strict=True))
        rows.append({"epoch": epoch, "loss": 1.0, "model": model, **seen})
    return rows


def test_the_gap_between_the_epoch_that_is_selected_and_the_best_of_the_test():
    seen = history((0.2, 0.5), (0.4, 0.6), (0.3, 0.9), (0.4, 0.8))
    assert selection([(seen, 2)]) == {
        "validation_recall_at_1": 0.2,
        "validation_map_at_r": 0.4,
        "recall_at_1_selected": 0.6,  # of two epochs that are equally good the first
        "recall_at_1_last": 0.8,
        "recall_at_1_oracle": 0.9,
    }


def test_the_epoch_that_counts_may_be_another_than_the_one_selected():
    found = selection([(history((0.4, 0.6), None, (0.3, 0.9)), 3)])
    assert found["validation_map_at_r"] == 0.3
    assert found["recall_at_1_selected"] == 0.6


def test_several_models_are_averaged():
    found = selection([(history((0.4, 0.6)), 1), (history((0.2, 0.2), (0.1, 0.4)), 1)])
    assert found["validation_map_at_r"] == pytest.approx(0.3)
    assert found["recall_at_1_selected"] == pytest.approx(0.4)
    assert found["recall_at_1_last"] == found["recall_at_1_oracle"] == pytest.approx(0.5)


@pytest.mark.parametrize("seen", [[], [{"epoch": 1, "loss": 1.0}], history(None, None)])
def test_nothing_is_said_where_nothing_was_looked_at(seen):
    assert selection([(seen, len(seen))]) == {}
