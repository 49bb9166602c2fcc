import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from bench.job.batches import reader
from bench.job.embed import embed

IMAGES = np.random.default_rng(0).integers(0, 256, (10, 4, 4, 1), dtype=np.uint8)
READ = reader(IMAGES, torch.device("cpu"))
ALL = torch.arange(10)


class Halves(nn.Module):
    def readout(self, embeddings):
        return embeddings / 2


def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16, 3), nn.Dropout(0.5))


def raw(network):
    pixels = torch.from_numpy(IMAGES).permute(0, 3, 1, 2).float() / 255
    return network.eval()(pixels).detach()


def test_embeddings_are_normalised_unless_the_objective_reads_them_out():
    network = model().train()
    assert torch.allclose(embed(network, nn.Identity(), READ, ALL), F.normalize(raw(network)), atol=1e-6)
    assert torch.allclose(embed(network, Halves(), READ, ALL), raw(network) / 2, atol=1e-6)


@pytest.mark.parametrize("batch", [1, 3, 10, 100])
def test_the_size_of_a_batch_changes_nothing(batch, monkeypatch):
    network = model()
    whole = embed(network, nn.Identity(), READ, ALL)
    monkeypatch.setattr("bench.job.embed.AT_A_TIME", batch)
    assert torch.allclose(embed(network, nn.Identity(), READ, ALL), whole, atol=1e-6)
    assert not whole.requires_grad


def test_rows_and_the_middle_of_the_images_are_chosen():
    network, rows = nn.Flatten(), torch.tensor([7, 2])
    middle = torch.from_numpy(IMAGES[[7, 2], 1:3, 1:3]).float().flatten(1) / 255
    assert torch.allclose(embed(network, nn.Identity(), READ, rows, crop=2), F.normalize(middle), atol=1e-6)
