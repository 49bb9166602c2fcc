"""What a reader must know to read a leaderboard: the columns, the interval, what was not done."""

__all__ = ["ACROSS_READ", "GAINS", "GAINS_READ", "GUIDE", "SELECTION", "SELECTION_READ"]

ACROSS_READ = (
    "Every method is compared with every other one on each dataset; better, tied and worse count these comparisons. "
    "Behind is the mean difference in Recall@1 over these datasets, in points, with its 95 % interval over new seeds. "
    "It says nothing about other datasets. Tests by ranks or signs (Wilcoxon, Nemenyi) cannot reach .05 on fewer than "
    "six datasets, so there is none."
)

GAINS = "What ensembles gain over their best member, in Recall@1"
GAINS_READ = (
    "Gains are points of Recall@1, with 95 % intervals over new seeds. Bold means that the gain is above 0 by Holm's "
    "correction over its column. In each seed, the best member is the one with the best mean over the other seeds. "
    "Size is the number of values per embedding, and cost the number of training images; both are relative to the best "
    "member."
)

SELECTION = "Which epoch counts, and what that costs, in Recall@1"
SELECTION_READ = (
    "Held out: Recall@1 of the training classes that were held out, at the selected epoch. Selected: test Recall@1 at "
    "the epoch that these classes select. Last: test Recall@1 at the last epoch. Best on test: test Recall@1 at the "
    "epoch where it is highest. Gap: what choosing that epoch would add. That choice looks at the test set, so nothing "
    "is ranked by it. Where a job trains several models, each value is the mean over the models."
)

GUIDE = (
    (
        "±",
        "Scores are percentages, averaged over seeds. ± is the half-width of the 95 % interval of that mean over new "
        "seeds, on these test classes. A few seeds say little about a variance, so it is shrunk toward what is typical "
        "of the board, which counts as three seeds more (Smyth, 2004). Floors and untrained lines stay out of that. "
        "SD is the standard deviation over a line's own seeds: where it is far above its neighbours', the line's "
        "interval is too narrow. With one seed there is no interval.",
    ),
    (
        "Rank, Ties",
        "Rank is the set of ranks that the seeds leave open: 2–5 means that one method is shown to be better, and all "
        "but the best five are shown to be worse. Two lines that share a letter under Ties cannot be told apart; of "
        "more than eight letters the rest is left out, and `bench compare --all` shows them. A pair is told apart by a "
        "t test with Holm's correction over all pairs of the board, at .05. Controls are not ranked. `bench compare A "
        "B` says what is known about one pair, and how many seeds it would need.",
    ),
    (
        "Recall@K",
        "The share of queries that have at least one image of their own class among their K nearest neighbours (Oh "
        "Song et al., CVPR 2016). Every test image is a query against all other test images. Where the dataset has a "
        "gallery, each query is compared with the gallery instead.",
    ),
    (
        "MAP@R, R-precision",
        "R is the number of other images of the query's class. R-precision is the share of them among the R nearest "
        "neighbours. MAP@R adds up the precision at each of those R ranks that holds a match, and divides by R. So "
        "MAP@R also rewards a good order (Musgrave, Belongie and Lim, ECCV 2020).",
    ),
    (
        "NMI, AMI",
        "NMI is the normalised mutual information between the classes and a k-means clustering, where k is the number "
        "of test classes. It is the mean over several seeded restarts of k-means. AMI is the mutual information "
        "corrected for chance (Vinh, Epps and Bailey, JMLR 2010).",
    ),
    (
        "Chance level",
        "The score of a random embedding of the same test images. With many classes, the NMI of a random embedding is "
        "far above 0.",
    ),
    (
        "Selection",
        "The last epoch is evaluated. If the recipe says so, it is instead the epoch with the best MAP@R on training "
        "classes that were held out. The test set never selects an epoch.",
    ),
    (
        "Seeds, Dim, Time",
        "Seeds: how many seeds finished. Dim: the number of values per embedding, as compared at test time. Time: the "
        "mean training time of one seed on the devices above. † Nothing is trained: a model ensemble fuses stored "
        "embeddings, and a floor is computed from the images. Its time does not include the training of its members.",
    ),
    (
        "Bold",
        "The leading group of a column: no other line is shown to be better than these, and they cannot be told apart. "
        "The highest mean alone is no reason to prefer one of them.",
    ),
    (
        "(field=value)",
        "This line was trained with another value in these fields of the recipe than most lines of its board. Results "
        "of different recipes are never averaged.",
    ),
    (
        "Gain",
        "Recall@1 of the ensemble minus Recall@1 of its best member. The best member is chosen without the seed it is "
        "compared in, so a lucky seed favours neither side. If you pick the best of many ensembles on a board, its "
        "gain is still too high.",
    ),
    (
        "Reduced to member size",
        "The ensemble's embedding is reduced to the best member's number of values, with principal components learned "
        "from training images. The column is Recall@1 of the reduced ensemble minus that of the best member. Where the "
        "sizes agree already, it equals the gain.",
    ),
    (
        "vs best member, same size",
        "The ensemble minus its best member, trained again with as many values per embedding as the whole ensemble. "
        "Such retrained members are the lines of kind control.",
    ),
    (
        "vs best member, same cost",
        "The ensemble minus its best member, trained again on as many images as all models of the ensemble together.",
    ),
    (
        "Naive gain",
        "The ensemble minus the member with the best mean of these same scores. This is what papers mostly report.",
    ),
    (
        "Floor",
        "What needs no learning. A method that scores below a floor has learned nothing useful. Raw pixels as "
        "embeddings: where they score high, the test set holds almost the same picture twice. The pretrained trunk "
        "alone: its pooled features without a head, as they are, standardised, or whitened.",
    ),
    (
        "▽",
        "This line is not above the pretrained trunk alone: its mean is not higher than the trunk's best form, or its "
        "interval reaches down to it. Its training has not paid.",
    ),
    (
        "Contamination",
        "What is known about the images that a pretrained trunk has seen. Images: images of this dataset are known to "
        "be in its training data. Classes: classes of the test side are known to be in it, or images like theirs were "
        "searched for. Unknown: its training data is not published, or was not compared. None known: no overlap is "
        "known, which does not mean that there is none. Near-duplicates are test images that a perceptual hash finds "
        "again among the training images. This is a warning; no score is corrected.",
    ),
)
"""Term and explanation, plain text."""
