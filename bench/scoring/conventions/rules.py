"""How other tools score the same embeddings: each convention a set of rules, and what each rule does to a score."""

import re
from typing import Literal, NamedTuple

from bench.matrix.catalogue import did_you_mean
from bench.matrix.job import ConfigError

__all__ = ["CONVENTIONS", "SENTENCES", "Convention", "Rules", "convention"]


class Rules(NamedTuple):
    """Everything in which conventions differ; the defaults are those of this harness."""

    distance: Literal["euclidean", "cosine", "hyperbolic"] = "euclidean"
    search: Literal["direct", "single"] = "direct"
    own: Literal["index", "first"] = "index"
    lone: Literal["left out", "miss", "fails"] = "left out"
    r: Literal["others", "class"] = "others"
    depth: int | None = None
    """How many candidates are looked at; None for all."""
    mean: Literal["queries", "classes"] = "queries"
    ties: Literal["index", "favour"] = "index"
    clusters: Literal["restarts", "sampled", "once"] = "restarts"
    entropy: Literal["arithmetic", "older"] = "arithmetic"


SENTENCES = {
    ("distance", "euclidean"): "compares by Euclidean distance of the vectors as they are",
    ("distance", "cosine"): "L2-normalises, so compares by cosine similarity",
    ("distance", "hyperbolic"): "compares points of the Poincaré ball of radius 1 by hyperbolic distance",
    ("search", "direct"): "takes distances from direct differences",
    ("search", "single"): "takes distances from products in single precision",
    ("own", "index"): "takes the query itself out by its index",
    ("own", "first"): "drops what ranks first as the query, be it a duplicate",
    ("lone", "left out"): "leaves out a query whose class has no other image",
    ("lone", "miss"): "counts a query whose class has no other image",
    ("lone", "fails"): "has no score where the class of a query is not in the gallery",
    ("r", "others"): "takes as R the number of other images of the class",
    ("r", "class"): "counts the query itself in R",
    ("depth", None): "looks at all candidates",
    ("depth", 0): "looks no deeper than its k, yet divides MAP@R by R",
    ("mean", "queries"): "averages over queries",
    ("mean", "classes"): "averages over classes",
    ("ties", "index"): "decides ties by the lower index",
    ("ties", "favour"): "decides ties in favour of the class of the query",
    ("clusters", "restarts"): "averages over restarts of k-means",
    ("clusters", "sampled"): "runs k-means once from seed 1234, on at most 256 rows per cluster",
    ("clusters", "once"): "runs k-means once from seed 1234",
    ("entropy", "arithmetic"): "divides by the arithmetic mean of the entropies",
    ("entropy", "older"): "divides NMI by the geometric mean of the entropies and AMI by the larger",
}
"""What a rule and its value mean; any depth that is a number is listed under 0."""

RECALL, EVERY = r"recall_at_\d+", r".*"


class Convention(NamedTuple):
    """Whose scores, by which rules, and which of the scores that source knows."""

    source: str
    rules: Rules
    gallery: Rules | None
    """Where the queries have a gallery of their own; None where the source has no such case."""
    reports: str = EVERY
    """Pattern of the scores that it reports."""


_PML = Rules(search="single", clusters="sampled")
_PML_REPORTS = "recall_at_1|map_at_r|r_precision|nmi|ami"
_LOSSBENCH, _OLDER = Rules(), Rules(entropy="older")
_FIRST = Rules(search="single", own="first", lone="miss", r="class", clusters="once")

CONVENTIONS = {
    "lossbench": Convention("This harness, and its stored results", _LOSSBENCH, _LOSSBENCH),
    "pml": Convention("AccuracyCalculator of pytorch-metric-learning 2.9", _PML, _PML, _PML_REPORTS),
    "pml-avg-of-avgs": Convention(
        "AccuracyCalculator(avg_of_avgs=True) of pytorch-metric-learning 2.9",
        _PML._replace(mean="classes"),
        _PML._replace(mean="classes"),
        _PML_REPORTS,
    ),
    "musgrave": Convention(
        "Musgrave, Belongie, Lim, A Metric Learning Reality Check, ECCV 2020: testers of pytorch-metric-learning",
        _PML._replace(distance="cosine"),
        _PML._replace(distance="cosine"),
        _PML_REPORTS,
    ),
    "revisiting": Convention(
        "Roth et al., Revisiting Training Strategies in Deep Metric Learning, ICML 2020: e_recall, mAP_c and nmi of "
        "Confusezius/Revisiting_Deep_Metric_Learning_PyTorch",
        _FIRST,
        None,
        f"{RECALL}|map_at_r|nmi",
    ),
    "proxy-anchor": Convention(
        "Kim et al., Proxy Anchor Loss, CVPR 2020: evaluate_cos and evaluate_cos_Inshop of "
        "tjddus9597/Proxy-Anchor-CVPR2020",
        Rules(distance="cosine", own="first", lone="miss"),
        Rules(distance="cosine", lone="fails", ties="favour"),
        RECALL,
    ),
    "song": Convention(
        "Song et al., Deep Metric Learning via Lifted Structured Feature Embedding, CVPR 2016: evaluate_recall.m of "
        "rksltnl/Deep-Metric-Learning-CVPR16",
        Rules(lone="miss"),
        None,
        RECALL,
    ),
    "sklearn-0.21": Convention(
        "NMI and AMI as scikit-learn computed them by default before 0.22", _OLDER, _OLDER, "nmi|ami"
    ),
}
"""Name -> convention. Beside these, `convention` knows pml@K."""


def convention(name: str) -> Convention:
    """The convention of that name; "pml@K" is "pml" with its `k` set to a whole number. Raises ConfigError."""
    if name in CONVENTIONS:
        return CONVENTIONS[name]
    found = re.fullmatch(r"pml@([1-9]\d*)", name)
    if not found:
        raise ConfigError(f"{name!r} is no convention{did_you_mean(name, [*CONVENTIONS, 'pml@K', 'all'])}")
    rules = _PML._replace(depth=int(found[1]))
    return Convention(f"AccuracyCalculator(k={found[1]}) of pytorch-metric-learning 2.9", rules, rules, _PML_REPORTS)
