"""What a reader must know to read a leaderboard: the columns, the interval, what was not done."""

__all__ = ["GAINS", "GAINS_READ", "GUIDE", "SELECTION", "SELECTION_READ"]

GAINS = "What ensembles gain over their best member, in Recall@1"
GAINS_READ = (
    "Points of Recall@1, paired by seed; bold where the 95 % interval lies above 0. In each seed the best member is "
    "the one that is best over the other seeds. Size and cost are numbers an image and training images, relative to it."
)

SELECTION = "Which epoch counts, and what that costs, in Recall@1"
SELECTION_READ = (
    "Held out: of the training classes kept apart, at the epoch that counts. Selected, last: of the test, at the epoch "
    "that these classes select and at the last. Best on test: at the epoch one may not pick, an oracle; the gap is "
    "what picking it would add. Nothing is ranked by it. Of several models the mean of each alone."
)

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
        "The last epoch is evaluated, or the one at which training classes that were held out have the best MAP@R; the "
        "test set never selects an epoch.",
    ),
    (
        "Seeds, Dim, Time",
        "Seeds that finished; width of the embedding that is compared; mean time of training one seed on the devices "
        "above. † Nothing is trained: a model ensemble fuses stored embeddings, a floor is made of images; the time is "
        "that of doing so, without the members'.",
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
        "Gain",
        "Recall@1 of the ensemble minus that of its best member. The member is chosen without the seed it is compared "
        "in, so luck in that seed flatters neither. Picking the best of many ensembles from the board still flatters "
        "that ensemble.",
    ),
    (
        "Reduced to its size",
        "The ensemble's embedding reduced to as many numbers as the best member has, by the principal components of "
        "embeddings of training images, minus the best member. Where the sizes agree, the gain itself.",
    ),
    (
        "Over it at this size, at this cost",
        "The ensemble minus the best member trained anew at the ensemble's total size, or for as many images as all "
        "of the ensemble's models together. Lines of the kind control are these members.",
    ),
    (
        "Floor",
        "Raw pixels as embeddings, without any learning: what a method must beat before it has learned anything. Where "
        "they do well, the test has almost the same picture twice.",
    ),
    (
        "Contamination",
        "What is known of the pictures a pretrained trunk has seen: images, pictures of the set are known to be among "
        "them; classes, classes of the test side are, or pictures like theirs were sought; unknown, they are not "
        "published or were not compared; none known. Near-duplicates are test images that a perceptual hash finds "
        "again among the training images. A warning, which corrects nothing; none known does not mean clean.",
    ),
    (
        "Naive gain",
        "The ensemble minus the member that is best by the mean of these same scores: what papers mostly report.",
    ),
)
"""Term and explanation, plain text."""
