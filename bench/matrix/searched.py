"""How a matrix's settings were found: the table `searched` of a matrix that `bench search` has written."""

from typing import Annotated

from annotated_types import Ge
from pydantic import BaseModel, ConfigDict

from bench.matrix.recipe import Validation

__all__ = ["Searched"]


class Searched(BaseModel):
    """A search with one budget for every objective. It is no part of any job."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    trials: Annotated[int, Ge(1)]
    """Of each objective, the matrix's own setting among them."""
    seed: int
    metric: str
    """What a trial was judged by."""
    validation: Validation
    """Which training classes were held out."""
    command: str = ""

    @property
    def sentence(self) -> str:
        """What a reader of a board should know."""
        trials = "1 trial" if self.trials == 1 else f"{self.trials} trials"
        return f"Each objective called tuned had {trials} on held-out training classes to find its settings."
