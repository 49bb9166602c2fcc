import numpy as np
import pytest
from scipy import stats
from support import brute_force
from support.jobs import go, tiny

from bench import datasets, store
from bench.analysis.complement import _drawn, _Task, study
from bench.datasets.split import Images, Split
from bench.matrix.job import ConfigError
from bench.store.queries import Queries
from bench.store.row import Result, Row

DIMS = (3, 5, 4, 6)
SIZES = (1, 7, 4, 5, 2, 6, 3)  # the first class has nothing to find but in a gallery


def images(labels):
    return Images(np.zeros((len(labels), 1, 1, 1), np.uint8), np.asarray(labels), tuple(map(str, range(len(SIZES)))))


def split_of(gallery=False):
    random = np.random.default_rng(3)
    labels = random.permutation(np.repeat(np.arange(len(SIZES)), SIZES))
    # The gallery lacks the class 2, and so do its queries something to find.
    others = random.permutation(np.repeat([0, 1, 3, 4, 5, 6], 3)) if gallery else None
    return Split(images(labels), images(labels), images(others) if gallery else None)


def jobs_of(members=4, seeds=2, **changes):
    return tiny(losses=[{"name": "triplet", "margin": 0.1 * (n + 1)} for n in range(members)], seeds=seeds, **changes)


def points_of(job, split, *, seed=0):
    """Clouds around the classes' centres, wide enough to be mistaken for one another, no two members alike."""
    number = round(job.objective.parameters["margin"] * 10) - 1
    random = np.random.default_rng([number, job.seed, seed])
    labels = np.concatenate([split.test.labels, split.gallery.labels]) if split.gallery else split.test.labels
    centres = np.random.default_rng([number, seed]).standard_normal((len(SIZES), DIMS[number]))
    return (centres[labels] + 0.9 * random.standard_normal((len(labels), DIMS[number]))).astype(np.float32)


def nearest(members, query, candidates):
    """By the mean of cosine similarities, which orders as distances of unit vectors side by side do."""
    units = [
        points / np.linalg.norm(points, axis=1, keepdims=True) for points in (one.astype(float) for one in members)
    ]
    joined, others = np.concatenate(units, axis=1), [one for one in candidates if one != query]
    return others[brute_force.order(joined[[query]], joined[others])[0, 0]]


def hit(members, query, labels, candidates):
    return labels[nearest(members, query, candidates)] == labels[query]


def tasks(split):
    """Queries with something to find, candidates and labels, counted anew."""
    count = len(split.test.labels)
    labels = np.concatenate([split.test.labels, split.gallery.labels]) if split.gallery else split.test.labels
    candidates = list(range(count, len(labels))) if split.gallery else list(range(count))
    queries = [q for q in range(count) if any(labels[c] == labels[q] for c in candidates if c != q)]
    return queries, candidates, labels


def halves_of(split):
    """Queries, labels and candidates of two halves, dealt out like cards: shuffled, classes with queries on top."""
    queries, candidates, labels = tasks(split)
    cards = np.random.default_rng(1).permutation(sorted({int(label) for label in labels})).tolist()
    asked = {int(labels[query]) for query in queries}
    cards = [card for card in cards if card in asked] + [card for card in cards if card not in asked]
    hands = [set(), set()]
    for place, card in enumerate(cards):
        hands[place % 2].add(card)
    return [
        ([q for q in queries if labels[q] in hand], labels, [c for c in candidates if labels[c] in hand])
        for hand in hands
    ]


def stored(results, jobs, split, *, make=points_of, seed=0):
    """Write what a job leaves behind; gives job key -> embeddings."""
    queries, candidates, labels = tasks(split)
    found = {}
    for job in jobs:
        points = make(job, split, seed=seed)
        ranks = np.zeros(len(split.test.labels), np.int32)
        for query in queries:
            ranks[query] = 1 if hit([points], query, labels, candidates) else 2
        store.write(
            results, Result(Row.of(job, "done"), queries=Queries(None, ranks, {}, None, None), embeddings=points)
        )
        found[job.key] = points
    return found


def studied(tmp_path, jobs, split, **options):
    (one,) = study(jobs, {jobs[0].dataset.label: split}, tmp_path, **options)
    return one


def by_seed(jobs, points):
    """Embeddings of the members in order, for every seed."""
    return [[points[job.key] for job in jobs if job.seed == seed] for seed in sorted({job.seed for job in jobs})]


def recall(members, queries, labels, candidates):
    return float(np.mean([hit(members, query, labels, candidates) for query in queries]))


@pytest.mark.parametrize("gallery", [False, True])
def test_overlaps_are_counts_of_queries(tmp_path, gallery):
    split, jobs = split_of(gallery), jobs_of()
    points = by_seed(jobs, stored(tmp_path, jobs, split))
    queries, candidates, labels = tasks(split)
    one = studied(tmp_path, jobs, split)
    assert one.queries == len(queries) == (24 if gallery else 27)
    assert one.labels == tuple(job.objective.label for job in jobs if job.seed == 0)
    for a in range(4):
        for b in range(4):
            counts = np.zeros((2, 2))
            for members in points:
                for query in queries:
                    found = [hit([members[m]], query, labels, candidates) for m in (a, b)]
                    counts[int(found[0]), int(found[1])] += 1 / (2 * len(queries))
            shares = [one.both[a, b], one.only[a, b], one.only[b, a], one.neither[a, b]]
            assert shares == pytest.approx([counts[1, 1], counts[1, 0], counts[0, 1], counts[0, 0]])


@pytest.mark.parametrize("gallery", [False, True])
def test_gains_are_of_the_mean_similarity_over_the_better_one_in_every_seed(tmp_path, gallery):
    split, jobs = split_of(gallery), jobs_of(seeds=3)
    points = by_seed(jobs, stored(tmp_path, jobs, split))
    queries, candidates, labels = tasks(split)
    one = studied(tmp_path, jobs, split)
    alone = np.array([[recall([m], queries, labels, candidates) for m in members] for members in points])
    assert one.recall == pytest.approx(alone)
    assert np.diag(one.gain).tolist() == [0, 0, 0, 0]
    assert np.diag(one.together) == pytest.approx(alone.mean(0))
    for a, b in ((0, 1), (1, 0), (2, 3), (0, 3), (3, 1)):
        pair = np.array([recall([members[a], members[b]], queries, labels, candidates) for members in points])
        gains = pair - np.maximum(alone[:, a], alone[:, b])
        low, high = stats.t.interval(0.95, 2, loc=gains.mean(), scale=stats.sem(gains))
        assert one.together[a, b] == pytest.approx(pair.mean())
        assert one.gain[a, b] == pytest.approx(gains.mean())
        assert one.gain_half_width[a, b] == pytest.approx((high - low) / 2, abs=1e-12)
    assert np.abs(one.gain).max() > 0.05


@pytest.mark.parametrize("gallery", [False, True])
def test_committees_are_chosen_greedily_on_one_half_and_judged_on_the_other(tmp_path, gallery):
    split, jobs = split_of(gallery), jobs_of()
    points = by_seed(jobs, stored(tmp_path, jobs, split))
    one = studied(tmp_path, jobs, split, size=3)
    halves = halves_of(split)
    assert one.committee.chosen.shape == (2, 2, 3)
    for seed, members in enumerate(points):
        for side in (0, 1):
            own, other = halves[side], halves[1 - side]
            chosen: list[int] = []
            for step in range(3):
                scores = [-1.0 if m in chosen else recall([members[c] for c in (*chosen, m)], *own) for m in range(4)]
                chosen.append(scores.index(max(scores)))
                judged = recall([members[c] for c in chosen], *other)
                assert one.committee.chosen[seed, side, step] == chosen[-1]
                assert one.committee.seen[seed, side, step] == pytest.approx(max(scores))
                assert one.committee.unseen[seed, side, step] == pytest.approx(judged)


def test_what_a_half_chooses_does_not_depend_on_the_classes_that_judge_it(tmp_path):
    split, jobs = split_of(), jobs_of(seeds=1)
    stored(tmp_path / "a", jobs, split)
    judges = halves_of(split)[1][2]

    def changed(job, split, *, seed):
        points = points_of(job, split, seed=seed)
        points[judges] = points_of(job, split, seed=seed + 1)[judges]
        return points

    stored(tmp_path / "b", jobs, split, make=changed)
    before, after = (studied(tmp_path / name, jobs, split).committee for name in "ab")
    assert np.array_equal(before.chosen[:, 0], after.chosen[:, 0])
    assert np.array_equal(before.seen[:, 0], after.seen[:, 0])
    assert not np.array_equal(before.unseen[:, 0], after.unseen[:, 0])


def test_an_offset_that_all_share_costs_no_digits(tmp_path):
    split, jobs = split_of(), jobs_of(seeds=1)

    def narrow(job, split, *, seed):
        points = 1e-5 * points_of(job, split, seed=seed)
        points[:, 0] += 1
        return points

    (members,) = by_seed(jobs, stored(tmp_path, jobs, split, make=narrow))
    queries, candidates, labels = tasks(split)
    one = studied(tmp_path, jobs, split)
    for a, b in ((0, 1), (1, 2), (2, 3)):
        assert one.together[a, b] == pytest.approx(recall([members[a], members[b]], queries, labels, candidates))


def test_at_most_so_many_queries_of_every_class_its_share(tmp_path):
    split, jobs = split_of(), jobs_of(seeds=1)
    points = by_seed(jobs, stored(tmp_path, jobs, split))
    one = studied(tmp_path, jobs, split, most=9)
    assert (one.queries, one.judged) == (27, 9)
    everything, candidates, labels = tasks(split)
    queries = _drawn(_Task(np.array(everything), np.array(candidates), labels), 9)
    drawn = np.bincount(labels[queries], minlength=len(SIZES))
    assert len(set(queries.tolist())) == 9
    assert all(abs(count - size / 3) < 1 for count, size in zip(drawn[1:], SIZES[1:], strict=True))
    assert one.together[0, 1] == pytest.approx(recall(points[0][:2], queries, labels, candidates))
    alone = [recall(points[0][m : m + 1], queries, labels, candidates) for m in (0, 1)]
    assert one.gain[0, 1] == pytest.approx(one.together[0, 1] - max(alone))
    assert one.recall[0, 0] == pytest.approx(recall(points[0][:1], everything, labels, candidates))
    assert studied(tmp_path, jobs, split, most=None).judged == studied(tmp_path, jobs, split, most=27).judged == 27


def test_one_seed_has_no_interval_and_few_members_make_a_small_committee(tmp_path):
    split, jobs = split_of(), jobs_of(members=2, seeds=1)
    stored(tmp_path, jobs, split)
    one = studied(tmp_path, jobs, split, size=4)
    assert np.isnan(one.gain_half_width).all()
    assert one.committee.chosen.shape == (1, 2, 2)
    assert sorted(one.committee.chosen[0, 0]) == [0, 1]


def test_the_size_of_a_block_does_not_show(tmp_path, monkeypatch):
    split, jobs = split_of(), jobs_of()
    stored(tmp_path, jobs, split)
    whole = studied(tmp_path, jobs, split)
    monkeypatch.setattr("bench.analysis.complement.BLOCK", 4 * 28 * 2)
    parts = studied(tmp_path, jobs, split)
    assert np.array_equal(whole.together, parts.together)
    assert all(np.array_equal(a, b) for a, b in zip(whole.committee, parts.committee, strict=True))


def test_members_without_the_common_seeds_are_left_out_and_named(tmp_path):
    split, jobs = split_of(), jobs_of(seeds=3)
    here = [job for job in jobs if (round(job.objective.parameters["margin"] * 10), job.seed) not in {(2, 1), (2, 2)}]
    stored(tmp_path, [job for job in here if job.objective.parameters["margin"] != 0.1 or job.seed != 0], split)
    one = studied(tmp_path, jobs, split)
    first, second, third, fourth = (job.objective.label for job in jobs if job.seed == 0)
    assert one.seeds == (1, 2)
    assert one.labels == (first, third, fourth)
    assert one.missing == (
        f"{first} has no stored results for seed 0.",
        f"{second} has no stored results for seed 1, 2; left out.",
    )


def test_two_members_with_one_seed_go_before_one_with_many(tmp_path):
    split, jobs = split_of(), jobs_of(members=2, seeds=3)
    stored(tmp_path, [job for job in jobs if job.objective.parameters["margin"] == 0.1 or job.seed == 1], split)
    one = studied(tmp_path, jobs, split)
    assert one.seeds == (1,)
    assert len(one.labels) == 2


def test_fewer_than_two_members_is_a_sentence(tmp_path):
    split, jobs = split_of(), jobs_of(members=2, seeds=2)
    stored(tmp_path, [jobs[0], jobs[3]], split)  # one per seed
    with pytest.raises(ConfigError, match=r"fewer than two objectives have stored results.*run the matrix first"):
        studied(tmp_path, jobs, split)


def test_results_of_other_data_are_a_sentence(tmp_path):
    split, jobs = split_of(), jobs_of(members=2, seeds=1)
    stored(tmp_path, jobs, split_of(gallery=True))
    with pytest.raises(ConfigError, match="other data; name another folder"):
        studied(tmp_path, jobs, split)


def test_a_single_test_class_is_a_sentence(tmp_path):
    labels = np.zeros(6, np.int64)
    split = Split(images(labels), images(labels))
    jobs = jobs_of(members=2, seeds=1)
    stored(tmp_path, jobs, split)
    with pytest.raises(ConfigError, match="two halves of the test classes need two classes"):
        studied(tmp_path, jobs, split)


@pytest.mark.parametrize("options", [{"size": 0}, {"most": 1}])
def test_senseless_sizes_are_a_sentence(tmp_path, options):
    with pytest.raises(ConfigError, match="size from 1 up and at least 2 queries"):
        study(jobs_of(), {}, tmp_path, **options)


def test_trained_jobs_end_to_end(tmp_path, one_thread):
    jobs = tiny(
        losses=["triplet", "proxy_nca"],
        ensembles=[{"name": "sum", "members": ["triplet", "proxy_nca"]}],
        model_ensembles=[{"name": "concatenate", "members": ["triplet", "proxy_nca"]}],
        seeds=2,
    )
    results = {job.key: go(job, tmp_path) for job in jobs}
    one = studied(tmp_path, jobs, datasets.load(jobs[0].dataset, None))
    scores = {(job.objective.label, job.seed): results[job.key].row.scores["recall_at_1"] for job in jobs}
    assert one.labels == ("triplet", "proxy_nca", "sum[triplet, proxy_nca]")
    assert one.recall == pytest.approx(np.array([[scores[label, seed] for label in one.labels] for seed in (0, 1)]))
    # The harness's own search of the concatenated embeddings.
    fused = np.mean([scores["concatenate[triplet, proxy_nca]", seed] for seed in (0, 1)])
    assert one.together[0, 1] == pytest.approx(fused)
    assert one.missing == ()
