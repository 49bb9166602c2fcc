"""What a reader must know to read a leaderboard: the columns, the interval, what was not done."""

__all__ = ["GUIDE"]

GUIDE = (
    (
        "±",
        "Scores are percent, the mean over seeds. ± is the half-width of the 95 % Student t interval of that mean. "
        "It covers the variation between seeds only, not another split of the classes. With two seeds it is wide "
        "(12.7 standard errors, against 4.3 with three and 2.8 with five); with one seed there is none.",
    ),
    (
        "Recall@K",
        "Share of queries that have at least one image of their own class among their K nearest neighbours (Oh Song "
        "et al., CVPR 2016). Every test image is a query against all others, or against the gallery where the "
        "dataset has one.",
    ),
    (
        "MAP@R, R-precision",
        "With R images of the query's class to be found, R-precision is the share of them among the R nearest "
        "neighbours; MAP@R sums the precision at every one of those R ranks that holds a match and divides by R, so "
        "order counts (Musgrave, Belongie and Lim, ECCV 2020).",
    ),
    (
        "NMI, AMI",
        "Normalised mutual information between the classes and a k-means clustering, k being the number of test "
        "classes; the mean over several seeded restarts of k-means. AMI corrects it for chance (Vinh, Epps and "
        "Bailey, JMLR 2010).",
    ),
    (
        "Chance level",
        "What a random embedding of the same test images scores. With many classes the NMI of chance is far above 0.",
    ),
    (
        "Selection",
        "The last epoch is evaluated; the test set never selects an epoch.",
    ),
    (
        "Seeds, Dim, Time",
        "Seeds that finished; width of the embedding that is compared; mean time of training one seed on the devices "
        "above. † A model ensemble fuses stored embeddings: its own time, without that of training its members.",
    ),
    (
        "Bold",
        "The best mean of a column, as printed. It does not say that the difference is real: look at the intervals.",
    ),
    (
        "(field=value)",
        "The line was trained under another recipe than most of its board, in these fields. Different recipes are "
        "never averaged.",
    ),
    (
        "Gain over the best member",
        "Recall@1 of the ensemble minus that of its best member, paired by seed, in percentage points. The best "
        "member is picked by these same test scores, which flatters the member, so the gain is if anything "
        "understated; picking the best of many ensembles from the board flatters that ensemble in the same way.",
    ),
)
"""Term and explanation, plain text."""
