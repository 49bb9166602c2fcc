"""Losses and ensembles of losses for deep metric learning, usable without the harness.

    from losses import Shape, proxy_anchor

    loss = proxy_anchor(Shape(dim=128, classes=100), margin=0.2)
    loss(embeddings, labels).backward()  # [B, 128] as the model gives them, [B]

Every public function of a file that takes a Shape first is found here by its name, and torch is imported with the first
of them. `losses.sum` and `from losses import sum` give the ensemble; a star import leaves it out, since it would hide
Python's own `sum`.
"""

import ast
import builtins
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # What type checkers and editors read, written by `make tables`.
    # <!-- families -->
    from losses.adaptive import *  # noqa: F403
    from losses.angular_softmax import *  # noqa: F403
    from losses.average_precision import *  # noqa: F403
    from losses.batch_softmax import *  # noqa: F403
    from losses.centers import *  # noqa: F403
    from losses.class_softmax import *  # noqa: F403
    from losses.decomposable import *  # noqa: F403
    from losses.distillation import *  # noqa: F403
    from losses.distribution import *  # noqa: F403
    from losses.ensembles import *  # noqa: F403
    from losses.group_loss import *  # noqa: F403
    from losses.hypergraph import *  # noqa: F403
    from losses.learned import *  # noqa: F403
    from losses.memory import *  # noqa: F403
    from losses.message_passing import *  # noqa: F403
    from losses.modalities import *  # noqa: F403
    from losses.multitask import *  # noqa: F403
    from losses.normalizing_flow import *  # noqa: F403
    from losses.pair import *  # noqa: F403
    from losses.poincare_ball import *  # noqa: F403
    from losses.proxy import *  # noqa: F403
    from losses.quadruplets import *  # noqa: F403
    from losses.ranked import *  # noqa: F403
    from losses.recall import *  # noqa: F403
    from losses.rho_regularized import *  # noqa: F403
    from losses.shape import *  # noqa: F403
    from losses.sigmoid import *  # noqa: F403
    from losses.signal_to_noise import *  # noqa: F403
    from losses.synthetic_classes import *  # noqa: F403
    from losses.triplets import *  # noqa: F403
    from losses.tuplet import *  # noqa: F403
    from losses.varying_margin import *  # noqa: F403
    # <!-- end -->
else:

    def __getattr__(name: str) -> Any:
        """A loss, an ensemble, Shape or Unsuitable, its file imported now; `__all__`, found like the names in it."""
        if name == "__all__":
            return [each for each in _modules() if not hasattr(builtins, each)]
        if name not in _modules():
            raise AttributeError(f"losses has no {name!r}; dir(losses) names what it has")
        globals()[name] = getattr(import_module(f"losses.{_modules()[name]}"), name)
        return globals()[name]

    def __dir__() -> list[str]:
        return sorted({*globals(), *_modules()})


@cache
def _modules() -> dict[str, str]:
    """Name -> the file that has it, read without importing it."""
    found = {"Shape": "shape", "Unsuitable": "shape"}
    for file in sorted(Path(__file__).parent.glob("*.py")):
        found |= dict.fromkeys(_builders(ast.parse(file.read_text(encoding="utf-8"))), file.stem)
    return found


def _builders(tree: ast.Module) -> list[str]:
    """The functions named in `__all__` whose first argument is `shape`."""
    assigned = {ast.unparse(node.targets[0]): node.value for node in tree.body if isinstance(node, ast.Assign)}
    public = ast.literal_eval(assigned["__all__"]) if "__all__" in assigned else []
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name in public]
    return [node.name for node in functions if [each.arg for each in node.args.args][:1] == ["shape"]]
