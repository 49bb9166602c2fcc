"""Optimizers that leave torch's compiler alone."""

import subprocess
import sys

import pytest
import torch
from support.terminal import surroundings
from torch import nn
from torch.optim.lr_scheduler import LambdaLR

from bench.job.uncompiled import uncompiled

KINDS = [
    (torch.optim.AdamW, {}),
    (torch.optim.Adam, {"weight_decay": 1e-2}),
    (torch.optim.RMSprop, {"momentum": 0.9}),
    (torch.optim.SGD, {"momentum": 0.9}),
]


AS_A_WORKER = """
import sys
from pathlib import Path
from bench.execute.worker import Setup, _prepared
from support.jobs import go, tiny
results = Path(sys.argv[1])
_prepared(Setup("cpu", 1, results, None))
from bench.job.cannot_build import refusals
(job,) = tiny()
assert refusals([job], None) == []
print(go(job, results).row.status, "torch._dynamo" in sys.modules)
"""


def trained(kind, options):
    """Weights and state after some steps of two groups, with a schedule, continued from its state in between."""
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))
    inputs = torch.randn(16, 4)

    def begun():
        rated = kind([{"params": model[0].parameters()}], lr=0.1, **options)
        rated.add_param_group({"params": model[2].parameters(), "lr": 0.01})
        return rated, LambdaLR(rated, lambda step: 1 / (1 + step))

    optimizer, scheduler = begun()
    for step in range(6):
        if step == 3:
            state, passed = optimizer.state_dict(), scheduler.state_dict()
            optimizer, scheduler = begun()
            optimizer.load_state_dict(state)
            scheduler.load_state_dict(passed)
        optimizer.zero_grad()
        model(inputs).square().sum().backward()
        optimizer.step()
        scheduler.step()
    return list(model.parameters()), optimizer.state_dict()


@pytest.mark.parametrize(("kind", "options"), KINDS)
def test_the_bits_are_those_of_torchs_own(kind, options):
    (weights, state), (own, own_state) = trained(uncompiled(kind), options), trained(kind, options)
    assert all(torch.equal(a, b) for a, b in zip(weights, own, strict=True))
    assert state["param_groups"] == own_state["param_groups"]
    assert repr(state["state"]) == repr(own_state["state"])


def test_hooks_are_called_as_torch_calls_them():
    called = []
    optimizer = uncompiled(torch.optim.AdamW)([nn.Parameter(torch.ones(2))])
    optimizer.register_step_post_hook(lambda *_: called.append("after"))
    optimizer.step()
    assert called == ["after"]


def test_a_job_is_run_without_the_compiler(tmp_path):
    command = [sys.executable, "-c", AS_A_WORKER, tmp_path]
    assert (
        subprocess.run(command, capture_output=True, text=True, check=True, env=surroundings()).stdout == "done False\n"
    )
