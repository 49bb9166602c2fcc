"""Students: one model that learns, beside its own loss, from what models trained before it have stored.

Each public function that takes `objective` and `teacher` is one. It gives a module to which the numbers of the images
are what labels are to a loss. The student is trained as its first teacher was: by that loss, under that recipe.
"""

from typing import Annotated, NamedTuple

from annotated_types import Ge, Gt
from torch import Tensor, nn

from bench.job.built import built
from bench.matrix.catalogue import find
from bench.matrix.job import Part
from losses.distillation import divergence
from losses.ensembles import Distance, compared_by, read

__all__ = ["Teacher", "relations", "student"]


class Teacher(NamedTuple):
    """What the teachers say of the training images."""

    labels: Tensor
    """[N]: the class of every training image, -1 where it is held out."""
    place: Tensor
    """[N]: where among the embeddings each image is, -1 where the teachers stored none of it."""
    embeddings: Tensor
    """[M, dim]: all teachers side by side, so that cosine similarities are the mean of theirs."""


def student(asked: Part, objective: nn.Module, teacher: Teacher) -> nn.Module:
    """The objective that trains a student, as a job asks for it: its own, and what the teachers say."""
    entry = find("students", asked.name)
    return built(entry, entry.function()(objective, teacher, **asked.parameters))


def relations(
    objective: nn.Module,
    teacher: Teacher,
    *,
    weight: Annotated[float, Ge(0)] = 10.0,
    temperature: Annotated[float, Gt(0)] = 0.1,
) -> nn.Module:
    """Distilled relations, as in S2SD (Roth, Milbich, Ommer, Cohen, Ghassemi, ICML 2021, arXiv 2009.08348).

    One model of the size of one teacher. To its own loss is added, `weight` times, how far its similarities within a
    batch are from those of the teachers: each row of cosine similarities, over the `temperature` a softmax; the mean
    Kullback-Leibler divergence, times the temperature squared. The teachers' similarities are the mean over all of
    them. They are of the images as they are, the student's of augmented ones; and of those images of a batch alone
    that the teachers stored, which of large data sets are few. In the paper a wider embedding of the same model
    teaches, at weight 50 and temperature 1; both defaults here are our own.
    """
    return _Taught(objective, teacher, weight, temperature)


class _Taught(nn.Module):
    labels: Tensor
    place: Tensor
    embeddings: Tensor

    def __init__(self, objective: nn.Module, teacher: Teacher, weight: float, temperature: float) -> None:
        super().__init__()
        self.objective = objective
        self.weight = weight
        self.temperature = temperature
        for name, tensor in teacher._asdict().items():  # which a checkpoint need not hold
            self.register_buffer(name, tensor, persistent=False)

    def forward(self, embeddings: Tensor, numbers: Tensor) -> Tensor:
        """The loss of embeddings [B, dim] of the training images of these numbers [B]."""
        own: Tensor = self.objective(embeddings, self.labels[numbers])
        place = self.place[numbers]
        known = place >= 0
        if known.sum() < 2:
            return own
        apart = divergence(embeddings[known], self.embeddings[place[known]], temperature=self.temperature)
        return own + self.weight * apart

    @property
    def distance(self) -> Distance:
        """That of its own loss."""
        return compared_by(self.objective)

    def readout(self, embeddings: Tensor) -> Tensor:
        """As its own loss reads it."""
        return read(self.objective, embeddings)
