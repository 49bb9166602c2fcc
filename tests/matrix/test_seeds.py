from bench.matrix.seeds import derive


def test_a_purpose_has_its_own_stream_and_a_seed_too():
    seeds = {derive(seed, purpose) for seed in range(3) for purpose in ("model", "batches", "k-means")}
    assert len(seeds) == 9
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_streams_are_pinned():
    """A change here changes every stored result: raise PROTOCOL with it."""
    assert derive(0, "batches") == 2312056721596985416
