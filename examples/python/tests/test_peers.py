"""Beside sentence-transformers and faiss, where they and their models are: KPD_MODELS names a folder with all-MiniLM-L6-v2/."""
import os
import pathlib
import random
import subprocess

import numpy as np
import pytest

import kpd

ROOT = pathlib.Path(__file__).resolve().parents[3]
MODELS = os.environ.get("KPD_MODELS")
pytestmark = pytest.mark.skipif(not MODELS, reason="KPD_MODELS is not set")


@pytest.fixture(scope="module")
def minilm(tmp_path_factory):
    transformers = pytest.importorskip("sentence_transformers")
    folder = str(pathlib.Path(MODELS) / "all-MiniLM-L6-v2")
    file = str(tmp_path_factory.mktemp("models") / "minilm.kpd")
    subprocess.run([os.environ.get("KPD", str(ROOT / "build/kpd")), "import", folder, "-o", file], check=True)
    return kpd.Model(file), transformers.SentenceTransformer(folder, device="cpu")


WORDS = ("genuine", "adapter", "charger", "Surface", "Pro", "15V", "caf\u00e9", "\u96fb\u6c60", "iPhone", "64GB",
         "\U0001f600", "[SEP]", "non-stick", "na\u00efve", "\u00df", "x" * 120, "\t", "1/2\"", "\u0646\u0635")


def test_encode_is_the_same(minilm):
    """A thousand calls of one to three texts of random words; a width now and then."""
    model, peer = minilm
    pick = random.Random(1)
    worst = 0.0
    for call in range(1000):
        texts = [" ".join(pick.choice(WORDS) for _ in range(pick.randrange(0, 9))) for _ in range(pick.randrange(1, 4))]
        dim = pick.choice((None, None, 64, 128))
        given = texts[0] if call % 10 == 0 else texts
        ours = model.encode(given, truncate_dim=dim)
        theirs = peer.encode(given, convert_to_numpy=True, truncate_dim=dim, normalize_embeddings=True)
        assert ours.shape == theirs.shape and ours.dtype == theirs.dtype
        worst = max(worst, float(np.abs(ours - theirs).max()))
    assert worst < 1e-5, worst


def test_similarity_is_the_same(minilm):
    model, peer = minilm
    a, b = model.encode(["phone case", "desk lamp"]), model.encode(["lamp", "laptop sleeve", "case"])
    assert np.allclose(model.similarity(a, b), peer.similarity(a, b).numpy(), atol=1e-6)
    assert model.get_sentence_embedding_dimension() == peer.get_embedding_dimension()
    assert model.max_seq_length == peer.max_seq_length


def exact(metric, q, v):
    """Scores [n, m] in double precision."""
    s = q.astype(np.float64) @ v.T.astype(np.float64)
    return -((q.astype(np.float64) ** 2).sum(1)[:, None] + (v.astype(np.float64) ** 2).sum(1) - 2 * s) if metric == "l2" else s


def same(ours, theirs, scores, ids):
    """The same ids, but for neighbours in rank whose scores are one and the same to f32's rounding, of which there are few."""
    where = np.argsort(ids)
    found = [where[np.searchsorted(ids[where], np.where(x < 0, ids[0], x))] for x in (ours, theirs)]
    differ = ours != theirs
    a, b = (np.take_along_axis(scores, f, 1)[differ] for f in found)
    return differ.mean() < 0.002 and np.array_equal(ours < 0, theirs < 0) and np.allclose(a, b, rtol=2e-6, atol=2e-5)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_search_is_the_same(metric):
    faiss = pytest.importorskip("faiss")
    rng = np.random.default_rng(2)
    for dim, n, k in ((8, 50, 60), (64, 5000, 10), (384, 2000, 100)):
        v, q = rng.standard_normal((n, dim)).astype(np.float32), rng.standard_normal((100, dim)).astype(np.float32)
        if metric == "cosine":
            v, q = (x / np.linalg.norm(x, axis=1, keepdims=True) for x in (v, q))
        ids = rng.choice(10 ** 12, n, replace=False)
        peer = faiss.IndexIDMap(faiss.IndexFlatL2(dim) if metric == "l2" else faiss.IndexFlatIP(dim))
        peer.add_with_ids(v, ids)
        index = kpd.Index(dim, metric)
        index.add_with_ids(v, ids)
        theirs, theirs_ids = peer.search(q, k)
        ours, ours_ids = index.search(q, k)
        assert same(ours_ids, theirs_ids, exact(metric, q, v), ids)
        there = ours_ids >= 0
        assert np.allclose(ours[there], -theirs[there] if metric == "l2" else theirs[there], rtol=1e-5, atol=1e-4)
        drop = ids[::3]
        assert index.remove_ids(drop) == peer.remove_ids(drop) and index.ntotal == peer.ntotal
        assert same(index.search(q, k)[1], peer.search(q, k)[1], exact(metric, q, v), ids)
