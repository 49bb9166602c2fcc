"""An objective that compares a batch with batches before it."""

from collections.abc import Sequence
from typing import Annotated

import torch
from annotated_types import Ge, Gt
from torch import Tensor, nn

from losses.arguments import checked
from losses.batch_checks import whole_labels
from losses.ensembles import Distance, Member, compared_by, read
from losses.members import Members, Weighing
from losses.module import compares
from losses.pairwise import References, single
from losses.shape import Shape

__all__ = ["cross_batch_memory"]


@checked
def cross_batch_memory(
    shape: Shape, members: Sequence[Member], *, size: Annotated[int, Gt(0)] = 8192, warmup: Annotated[int, Ge(0)] = 0
) -> nn.Module:
    """Cross-batch memory, XBM (Wang, Zhang, Huang, Scott, CVPR 2020, arXiv 1912.06798).

    One member, a loss over pairs or triplets of images, compares the batch with the last `size` embeddings, the batch's
    own among them, as they came from the model then: they pass no gradient. An image is not compared with its own copy.
    In the first `warmup` batches, and in evaluation mode, the member sees the batch alone and nothing is remembered.
    The authors warm up for 1,000 batches; the default is 0 because a short training would end before. Their code
    adds the member's loss within the batch: for that, name the member and its memory as members of `sum`.
    Raises ValueError for more or fewer members than one, or one that cannot compare a batch with anything else.
    """
    if len(members) != 1:
        raise ValueError(f"cross_batch_memory takes one member, not {len(members)}: use `sum` to add several up.")
    member = members[0](shape)
    if not compares(member):
        raise ValueError("cross_batch_memory needs a member that compares images with others, such as contrastive.")
    return _CrossBatchMemory(Members([member]), shape.dim, size, warmup)


class _CrossBatchMemory(nn.Module):
    embeddings: Tensor
    labels: Tensor

    def __init__(self, members: Members, dim: int, size: int, warmup: int) -> None:
        super().__init__()
        self.members = members
        self.size = size
        self.warmup = warmup
        self.batches = 0
        self.stored = 0
        self.register_buffer("embeddings", torch.zeros(size, dim))
        self.register_buffer("labels", torch.zeros(size, dtype=torch.long))

    def forward(self, embeddings: Tensor, labels: Tensor) -> Tensor:
        labels = whole_labels(embeddings, labels, dim=self.embeddings.shape[1])
        if self.training and len(labels) > self.size:
            raise ValueError(f"cross_batch_memory of size {self.size} cannot hold {len(labels)} images: raise size.")
        self.batches += self.training
        remembers = self.training and self.batches > self.warmup
        references = self.remember(single(embeddings.detach()), labels) if remembers else None
        loss: Tensor = self.members[0](embeddings, labels, references=references)
        self.members.note(loss[None])
        return loss

    def weighing(self) -> Weighing:
        """Nothing changes the member's loss."""
        return Weighing([1.0])

    def remember(self, embeddings: Tensor, labels: Tensor) -> References:
        """Puts a batch in the place of the oldest images; gives all there is."""
        own = (torch.arange(len(labels), device=embeddings.device) + self.stored) % self.size
        # Copied, not written in place: a backward pass to come may need the memory as it was.
        self.embeddings = self.embeddings.to(embeddings).index_copy(0, own, embeddings)
        self.labels = self.labels.to(labels).index_copy(0, own, labels)
        self.stored += len(labels)
        filled = min(self.stored, self.size)
        return References(self.embeddings[:filled], self.labels[:filled], own)

    @property
    def distance(self) -> Distance:
        """That of the member."""
        return compared_by(self.members[0])

    def readout(self, embeddings: Tensor) -> Tensor:
        """As the member reads it, [N, dim]."""
        return read(self.members[0], embeddings)

    def get_extra_state(self) -> Tensor:
        """What `state_dict` holds beside the memory: batches seen and images stored so far."""
        return torch.tensor([self.batches, self.stored])

    def set_extra_state(self, state: Tensor) -> None:
        """Puts back what `get_extra_state` gave."""
        self.batches, self.stored = state.tolist()
