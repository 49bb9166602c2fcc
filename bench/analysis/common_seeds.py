"""Which seeds several objectives share, and who has to be left out for it."""

from collections.abc import Mapping, Sequence

__all__ = ["Keys", "common_seeds", "members_with", "missing"]

Keys = dict[str, dict[int, str | None]]
"""Label -> seed -> key of the stored job, or None where nothing is stored."""


def _finished(keys: Mapping[int, str | None]) -> frozenset[int]:
    return frozenset(seed for seed, key in keys.items() if key is not None)


def common_seeds(members: Keys) -> tuple[int, ...]:
    """The seeds that keep most cells, members times seeds, and if possible two members."""
    owned = [_finished(keys) for keys in members.values()]
    offers = sorted({tuple(sorted(seeds)) for own in owned for seeds in (own, *([seed] for seed in own)) if own})

    def worth(seeds: tuple[int, ...]) -> tuple[bool, int, int]:
        count = sum(own.issuperset(seeds) for own in owned)
        return count > 1, count * len(seeds), count

    return max(offers, key=worth, default=())


def members_with(members: Keys, seeds: Sequence[int]) -> list[str]:
    """The labels that finished all of these seeds."""
    return [label for label, keys in members.items() if seeds and _finished(keys).issuperset(seeds)]


def missing(members: Keys, labels: Sequence[str]) -> list[str]:
    """Which seeds have no stored results, and whose label is therefore not among `labels`: one sentence per label."""
    absent = {label: [str(seed) for seed in keys if seed not in _finished(keys)] for label, keys in members.items()}
    out = {label: "" if label in labels else "; left out" for label in members}
    return [f"{label} has no stored results for seed {', '.join(s)}{out[label]}." for label, s in absent.items() if s]
