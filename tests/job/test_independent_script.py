"""The same recipe, written as a plain script of other libraries' parts, reaches the same score."""

import numpy as np
import pytest
import torch
from pytorch_metric_learning.losses import MultiSimilarityLoss
from pytorch_metric_learning.miners import MultiSimilarityMiner
from pytorch_metric_learning.samplers import MPerClassSampler
from pytorch_metric_learning.utils.accuracy_calculator import AccuracyCalculator
from support.jobs import go, tiny
from torch import nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader, Dataset
from torchvision.transforms.v2 import RandomAffine

from bench import datasets

pytestmark = pytest.mark.usefixtures("one_thread")

GLYPHS = {"name": "glyphs", "classes": 48, "images_per_class": 10, "test_classes": 48, "test_images_per_class": 8}
CONV4 = {"name": "conv4", "width": 32, "pooling": "flatten", "norm": "batch"}
RECIPE = {
    "epochs": 4, "dim": 64, "classes_per_batch": 16, "images_per_class": 4, "trunk_rate": 2e-3, "head_rate": 2e-3,
    "interpolation": "nearest", "fill": "black", "restarts": 1,
}  # fmt: skip
SEEDS = 5


class Distorted(Dataset):
    """Training images, each turned, resized and shifted anew whenever it is read."""

    def __init__(self, images, labels):
        self.images, self.labels = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float() / 255, labels
        self.distort = RandomAffine(degrees=10, translate=(0.1, 0.1), scale=(0.9, 1.1))

    def __len__(self):
        return len(self.images)

    def __getitem__(self, index):
        return self.distort(self.images[index]), self.labels[index]


def conv4(channels, width, side, dim):
    layers, inputs = [], channels
    for _ in range(4):
        layers += [
            nn.Conv2d(inputs, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.MaxPool2d(2),
        ]
        inputs, side = width, side // 2
    features = width * side * side
    return nn.Sequential(*layers, nn.Flatten(), nn.BatchNorm1d(features, affine=False), nn.Linear(features, dim))


def plain_script(split, seed):
    """Recall@1 of a network trained by the parts of pytorch-metric-learning and torchvision."""
    torch.manual_seed(seed)
    np.random.seed(seed)  # noqa: NPY002
    train = Distorted(split.train.images, split.train.labels)
    mean, std = train.images.mean(), train.images.std()
    model = conv4(train.images.shape[1], 32, train.images.shape[2], 64)
    sampler = MPerClassSampler(split.train.labels, m=4, batch_size=64, length_before_new_iter=len(train))
    batches = DataLoader(train, batch_size=64, sampler=sampler, drop_last=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-3, weight_decay=1e-4)
    schedule = CosineAnnealingLR(optimizer, T_max=4 * len(batches))
    loss, miner = MultiSimilarityLoss(alpha=2, beta=50, base=0.5), MultiSimilarityMiner(epsilon=0.1)
    for _ in range(4):
        model.train()
        for images, labels in batches:
            embeddings = model((images - mean) / std)
            optimizer.zero_grad()
            loss(embeddings, labels, miner(embeddings, labels)).backward()
            optimizer.step()
            schedule.step()
    model.eval()
    with torch.no_grad():
        test = torch.from_numpy(np.array(split.test.images)).permute(0, 3, 1, 2).float() / 255
        found = nn.functional.normalize(model((test - mean) / std))
    accuracy = AccuracyCalculator(include=("precision_at_1",), k=1)
    return accuracy.get_accuracy(found, torch.from_numpy(split.test.labels))["precision_at_1"]


def test_the_same_recipe_gives_the_score_of_an_independent_script(tmp_path):
    jobs = tiny(datasets=[GLYPHS], backbones=[CONV4], losses=["multi_similarity"], recipe=RECIPE, seeds=SEEDS)
    ours = np.array([go(job, tmp_path).row.scores["recall_at_1"] for job in jobs])
    split = datasets.load(jobs[0].dataset, None)
    theirs = np.array([plain_script(split, seed) for seed in range(SEEDS)])
    error = np.sqrt((ours.var(ddof=1) + theirs.var(ddof=1)) / SEEDS)
    assert theirs.mean() > 0.3  # both have learned
    assert abs(ours.mean() - theirs.mean()) <= 2 * error
