"""What the package promises, with numpy alone."""
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

import kpd
from kpd import _library, _text


def python(code, *args, **more):
    """A child of its own: the program's output, and how it ended."""
    return subprocess.Popen([sys.executable, "-X", "dev", "-W", "error", "-c", code, *args], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True, **more)


# >>library -----------------------------------------------------------------------------------------------------------

def test_layout_drift_is_an_import_error():
    class Hit(ctypes.Structure):
        _fields_ = [("id", ctypes.c_int64), ("rank", ctypes.c_int32), ("score", ctypes.c_float)]

    class Tuning(ctypes.Structure):
        _fields_ = [("gamma", ctypes.c_float), ("recall", ctypes.c_double)]
    for name, struct, says in (("kpd_hit", Hit, "kpd_hit.rank"), ("kpd_tuning", Tuning, "kpd_tuning")):
        with pytest.raises(ImportError, match=says):
            _library.check_layout(_library.lib, {**_library.STRUCTS, name: struct})
    with pytest.raises(ImportError, match="kpd_hit"):
        _library.check_layout(_library.lib, {n: s for n, s in _library.STRUCTS.items() if n != "kpd_hit"})
    with pytest.raises(ImportError, match="interface"):
        _library.check_layout(_library.lib, abi=_library.ABI + 1)


def test_import_loads_nothing_else():
    code = ("import sys; before = set(sys.modules); import kpd; "
            "print({m.split('.')[0] for m in set(sys.modules) - before} - set(sys.stdlib_module_names))")
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout == "{'kpd'}\n"            # numpy takes ten times as long as all else


def test_errors_have_kinds(shop, tmp_path):
    with pytest.raises(kpd.FileError, match="nosuch: cannot be opened") as e:
        kpd.Model("nosuch")
    assert isinstance(e.value, OSError) and e.value.status == "KPD_ERR_IO"
    (tmp_path / "x.kpd").write_bytes(b"no model" * 40)
    with pytest.raises(kpd.FormatError, match="not a kpd file"):
        kpd.Model(tmp_path / "x.kpd")
    with pytest.raises(ValueError, match="expected a bi-encoder"):
        kpd.Model(shop.assistant)
    with pytest.raises(ValueError, match="simd"):
        kpd.Model(shop.student, simd="mmx")
    with pytest.raises(ValueError, match="threads"):
        kpd.Model(shop.student, threads=0)


# >>models ------------------------------------------------------------------------------------------------------------

def test_encode_shapes_and_bits(shop):
    one, two = kpd.Model(shop.student, threads=1), kpd.Model(shop.student, threads=2)
    texts = list(shop.phrases.values())
    vectors = one.encode(texts, tower="keyphrase")
    assert vectors.shape == (len(texts), one.dim) and vectors.dtype == np.float32
    assert one.get_sentence_embedding_dimension() == one.dim == 128
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-6)
    assert np.array_equal(vectors, two.encode(texts * 30, tower="keyphrase")[-len(texts):])
    assert np.array_equal(vectors[3], one.encode(texts[3], tower="keyphrase"))
    assert np.array_equal(one.encode(t for t in texts), one.encode(tuple(texts)))
    assert one.encode([]).shape == (0, 128) and one.encode("").shape == (128,)
    cut = one.encode(texts, truncate_dim=64)
    assert np.allclose(cut, vectors[:, :64] / np.linalg.norm(vectors[:, :64], axis=1, keepdims=True), atol=1e-6)
    assert not np.array_equal(one.encode([shop.items[0]])[0], one.encode(shop.items[0][0]))     # a category counts
    assert np.array_equal(one.encode([("a", ""), "b"]), one.encode(["a", "b"]))
    assert one.encode(["\ud800 caf\u00e9 \U0001f600 \0"]).shape == (1, 128)


def test_encode_refuses(shop):
    m = kpd.Model(shop.student)
    for texts in ([1], [None], ["a", b"b"], [("a", 2)]):
        with pytest.raises(TypeError):
            m.encode(texts)
    with pytest.raises(ValueError, match="3 parts"):
        m.encode([("a", "b", "c")])
    with pytest.raises(ValueError, match="tower"):
        m.encode(["a"], tower="title")
    for dim in (129, 0, -1, 2**32 + 5):          # of which the library takes 0 for all columns, and C cuts the last
        with pytest.raises(kpd.ArgumentError, match="truncate_dim"):
            m.encode(["a"] * 200, truncate_dim=dim)
    with pytest.raises(ValueError, match="tower"):
        m.fingerprint("title")
    with pytest.raises(ValueError, match="tower"):
        m.tokenize(["a"], tower="title")
    with pytest.raises(TypeError, match="a list of texts"):
        m.tokenize("a title")
    for dim in (2**32 + 5, np.int64(2**32 + 5)):
        with pytest.raises(ValueError, match="dim"):
            kpd.Index(dim)
    with pytest.raises(ValueError, match="expected"):
        kpd.Index(8).reconstruct(2**64)
    with pytest.raises(TypeError, match="found a str"):
        kpd.Index(8).set_texts([0], "a")
    with pytest.raises(ValueError, match="zero byte"):
        m.save("a\0b")
    for out in (np.empty((1, 64), np.float32), np.empty((1, 128)), np.empty((2, 128), np.float32)[::2]):
        with pytest.raises(ValueError, match="out"):
            m.encode(["a"] if out.shape[1] == 64 or out.dtype != np.float32 else ["a", "b"], out=out)


def test_nothing_is_copied(shop):
    m = kpd.Model(shop.student)
    out = np.empty((2, 128), np.float32)
    assert m.encode(["a", "b"], out=out) is out
    assert np.shares_memory(_text.matrix("x", out, 128), out)
    ids = np.arange(2)
    assert np.shares_memory(_text.id_array(ids), ids)
    x = kpd.Index(128)
    assert x.add(out, ids) is not None
    scores, found = x.search(out, 2)
    assert scores.base is not None and scores.base is found.base


def test_similarity(shop):
    m = kpd.Model(shop.student)
    a, b = m.encode(["phone case", "desk lamp"]), m.encode(["phone case", "laptop sleeve", "lamp"])
    s = m.similarity(a, b)
    assert s.shape == (2, 3) and abs(s[0, 0] - 1) < 1e-6 and s[1, 2] == s[1].max()
    assert np.allclose(kpd.similarity(a, b, "dot"), s, atol=1e-6)
    assert np.allclose(kpd.similarity(a, b, "l2"), -np.linalg.norm(a[:, None] - b[None], axis=2), atol=1e-3)
    assert [len(t) for t in m.tokenize(["phone case", ("phone case", "phones")])] == [4, 7]


def test_cross_encoder(shop):
    a = kpd.CrossEncoder(shop.assistant)
    titles = [title for title, _ in shop.items]
    p = a.predict([("tavo x2 case", t) for t in titles])
    assert p.shape == (len(titles),) and p.argmax() == 2 and ((0 <= p) & (p <= 1)).all()
    logits = a.predict([["tavo x2 case", t] for t in titles], apply_sigmoid=False)
    assert np.allclose(p, 1 / (1 + np.exp(-logits)), atol=1e-6)
    assert float(a.predict(("tavo x2 case", titles[2]))) == p[2]
    assert a.predict([("a", "c", "t")]).shape == (1,) and a.predict([]).shape == (0,)
    ranked = a.rank("tavo x2 case", titles, top_k=3, return_documents=True)
    assert ranked[0] == {"corpus_id": 2, "score": float(p[2]), "text": titles[2]} and len(ranked) == 3
    assert a.rank("x", []) == [] and len(a.rank("tavo", shop.items)) == len(titles)
    with pytest.raises(ValueError, match="pair 1"):
        a.predict([("a", "b"), ("a",)])
    with pytest.raises(ValueError, match="expected a cross-encoder"):
        kpd.CrossEncoder(shop.student)


# >>index -------------------------------------------------------------------------------------------------------------

def random(n, dim, seed=1):
    return np.random.default_rng(seed).standard_normal((n, dim)).astype(np.float32)


@pytest.mark.parametrize("metric", ["cosine", "dot", "l2"])
def test_search_is_exact(metric):
    v, q = random(500, 24), random(20, 24, 2)
    x = kpd.Index(24, metric)
    ids = x.add(v, np.arange(500) * 3 + 7)
    s = kpd.similarity(q, v, metric).astype(np.float64)
    if metric == "l2":
        s = -s * s
    scores, found = x.search(q, 12)
    best = np.argsort(-s, axis=1)[:, :12]
    assert np.array_equal(found, ids[best]) and np.allclose(scores, np.take_along_axis(s, best, 1), atol=1e-3)


def test_index_changes(tmp_path):
    v = random(100, 8)
    x = kpd.Index(8, threads=2)
    assert list(x.add(v[:50])) == list(range(50)) and list(x.add(v[50:])) == list(range(50, 100))
    assert len(x) == x.ntotal == 100 and x.d == 8
    assert x.remove([0, 1, 2, 1000]) == 3 and x.remove_ids(np.array([], np.int64)) == 0
    x.add(v[5], [99])
    assert x.ntotal == 97 and np.allclose(x.reconstruct(99), v[5] / np.linalg.norm(v[5]))
    with pytest.raises(LookupError):
        x.reconstruct(0)
    scores, ids = x.search(v[5], 2)
    assert list(ids[0]) == [5, 99] and np.allclose(scores, 1, atol=1e-6)
    scores, ids = x.search(v[:2], 99)
    assert (ids[:, 97:] == -1).all() and np.isneginf(scores[:, 97:]).all() and (ids[:, :97] >= 0).all()
    scores, ids = x.search(v[:3], 5, among=[40, 7, 9])
    assert {*ids[:, :3].ravel()} == {40, 7, 9} and (ids[:, 3:] == -1).all()
    scores, ids = x.search(v[10], 50, min_score=0.5)
    assert (scores[ids >= 0] >= 0.5).all() and ids[0, 0] == 10
    x.save(tmp_path / "x.kpi")
    y = kpd.read_index(tmp_path / "x.kpi")
    assert y.info()["read_only"] and np.array_equal(np.sort(y.ids()), np.sort(x.ids()))
    with pytest.raises(kpd.ArgumentError, match="read-only"):
        y.add(v)
    z = kpd.Index.open(tmp_path / "x.kpi", writable=True, verify=True)
    assert list(z.add(v[:2])) == [100, 101]
    assert x.search(v[5], 2000)[1].shape == (1, 2000)


def test_texts(tmp_path):
    x = kpd.Index(8)
    assert list(x.add(random(3, 8), texts=["one", "zw\u00f6lf", ""])) == [0, 1, 2]
    assert [x.text(i) for i in range(3)] == ["one", "zw\u00f6lf", ""] and x.info()["text_bytes"] > 0
    x.set_texts([2], ["three"])
    x.save(tmp_path / "x.kpi")
    assert kpd.read_index(tmp_path / "x.kpi").text(2) == "three"
    for call in (lambda: x.text(9), lambda: x.set_texts([9], ["a"])):
        with pytest.raises(LookupError):
            call()
    with pytest.raises(ValueError, match="1 for 2"):
        x.set_texts([0, 1], ["a"])


def test_texts_over_the_limit_change_nothing():
    x = kpd.Index(8)
    first, most = random(1, 8), "a" * _text.MAX_TEXT
    x.add(first, [7], texts=["seven"])
    for call in (lambda: x.add(random(2, 8, 5), [7, 8], texts=["b", most + "a"]), lambda: x.set_texts([7, 7], ["b", most + "a"])):
        with pytest.raises(kpd.ArgumentError, match="text 1: 16777216 bytes") as e:
            call()
        assert e.value.status == "KPD_ERR_LIMIT" and e.value.where == 1
    assert len(x) == 1 and x.text(7) == "seven" and x.search(first, 1)[0][0, 0] > 0.999
    x.set_texts([7], [most])
    assert x.text(7) == most


def test_index_refuses():
    x = kpd.Index(8)
    v = random(3, 8)
    with pytest.raises(ValueError, match="-1"):
        x.add(v, [1, -1, 2])
    with pytest.raises(ValueError, match="2 for 3"):
        x.add(v, [1, 2])
    with pytest.raises(TypeError, match="integers"):
        x.add(v, [1.0, 2.0, 3.0])
    with pytest.raises(ValueError, match="2\\^63"):
        x.add(v, np.array([1, 2, 1 << 63], np.uint64))
    with pytest.raises(ValueError, match="shape"):
        x.add(random(3, 7))
    v[1, 2] = np.nan
    with pytest.raises(kpd.ArgumentError) as e:
        x.add(v)
    assert e.value.where == 1 and len(x) == 0
    for k in (0, -1, 1 << 21):
        with pytest.raises(ValueError, match="k"):
            x.search(random(1, 8), k)
        with pytest.raises(ValueError, match="k"):
            x.tune(random(1, 8), k)
    with pytest.raises(ValueError, match="metric"):
        kpd.Index(8, "euclid")
    assert x.search(random(2, 8), 3)[1].tolist() == [[-1] * 3] * 2
    last = (1 << 63) - 1
    assert x.add(random(1, 8), [last - 1]).tolist() == [last - 1] and x.add(random(1, 8)).tolist() == [last]
    with pytest.raises(ValueError, match="0 are left"):
        x.add(random(1, 8))
    assert x.add(random(0, 8)).size == 0 and len(x) == 2


def test_a_session_that_cannot_be_made_changes_nothing(monkeypatch):
    x = kpd.Index.build(random(300, 8), threads=1)
    monkeypatch.setattr(kpd.index, "MAX_K", 1 << 30)    # what the library refuses stands for what has no memory
    for call in (lambda: x.search(random(1, 8), 1 << 21), lambda: x.tune(random(9, 8), 1 << 21)):
        with pytest.raises(kpd.ArgumentError, match="max_k"):
            call()
    assert (x.search(random(1, 8), 3)[1] >= 0).all() and x.tune(random(9, 8), 2000).gamma > 0


def test_tree(tmp_path):
    v = random(3000, 32)
    x = kpd.Index.build(v, threads=2)
    flat = kpd.Index.build(v, kind="flat")
    exact = flat.search(v[:50], 10)[1]
    assert np.array_equal(x.search(v[:50], 10, recall=1)[1], exact)
    tuned = x.tune(random(50, 32, 3), 10, 0.9)
    assert 0 < tuned.gamma <= 1 and tuned.recall >= 0.85 and x.info()["tuned"] == 1 and x.info()["kind"] == "tree"
    assert (x.search(v[:50], 10, recall=0.9)[1] == exact).mean() > 0.5
    with pytest.raises(kpd.ArgumentError):
        flat.tune(v[:5])
    assert kpd.Index.build(v, storage="int8").info()["bytes"] < x.info()["bytes"]
    with pytest.raises(ValueError, match="kind"):
        kpd.Index.build(v, kind="hnsw")


# >>recommend and train -----------------------------------------------------------------------------------------------

def test_compact_and_merge(monkeypatch):
    monkeypatch.setattr(kpd._library, "LOOK", 0.001)
    rng = np.random.default_rng(4)
    v = rng.standard_normal((3000, 24)).astype(np.float32)
    whole = kpd.Index.build(v, metric="dot", threads=1)
    index, more = kpd.Index.build(v[:1000], metric="dot", threads=2), kpd.Index(24, "dot")
    index.add(v[1000:2000], texts=[f"phrase {i}" for i in range(1000)])
    more.add(v[1500:], np.arange(1500, 3000))
    many = kpd.Index.build(rng.standard_normal((20000, 24)).astype(np.float32), np.arange(20000) + 10000, metric="dot")
    with pytest.raises(kpd.Cancelled):
        index.merge(many, progress=lambda done, of: False)
    assert index.ntotal == 2000
    heard = []
    index.merge(more, more, progress=lambda done, of: heard.append((done, of)))
    assert heard[-1][0] == heard[-1][1] > 3000
    assert index.ntotal == 3000 and index.text(1000) == "phrase 0" and more.ntotal == 1500
    assert all(np.array_equal(a, b) for a, b in zip(index.search(v[:50], 10), whole.search(v[:50], 10)))
    index.remove(np.arange(1000, 3000))
    index.compact()
    assert index.ntotal == 1000 and index.info()["blocks"] < whole.info()["blocks"]
    index.add(v[:1])
    assert index.ids().max() == 3000        # the next id is not given anew
    with pytest.raises(kpd.ArgumentError, match="dim 25"):
        index.merge(kpd.Index(25, "dot"))


def test_long_calls_of_an_index_can_be_stopped(monkeypatch):
    monkeypatch.setattr(kpd._library, "LOOK", 0.001)
    v = np.random.default_rng(5).standard_normal((20000, 32)).astype(np.float32)
    index = kpd.Index.build(v)
    for call in (lambda **k: kpd.Index.build(v, **k), lambda **k: index.tune(v[:100], **k)):
        heard = []
        with pytest.raises(kpd.Cancelled):
            call(progress=lambda done, of: False)
        call(progress=lambda done, of: heard.append(done <= of))
        assert heard and all(heard)


def test_recommend(shop):
    student, assistant = kpd.Model(shop.student), kpd.CrossEncoder(shop.assistant)
    x = kpd.Index(64, fingerprint=student.fingerprint("keyphrase"))
    x.add(student.encode(shop.phrases.values(), tower="keyphrase", truncate_dim=64), list(shop.phrases))
    lists = kpd.recommend(student, x, shop.phrases, shop.items, k=20, assistant=assistant, min_relevance=0.5)
    assert len(lists) == len(shop.items)
    assert {"tavo x2 case", "phone case"} <= {r.keyphrase for r in lists[2]}
    for r in (r for row in lists for r in row):
        assert r.relevance >= 0.5 and shop.phrases[r.id] == r.keyphrase and -1 <= r.similarity <= 1
    x.set_texts(list(shop.phrases), shop.phrases.values())
    assert kpd.recommend(student, x, None, shop.items, k=20, assistant=assistant, min_relevance=0.5) == lists
    few = {i: p for i, p in shop.phrases.items() if i % 2}
    assert all(r.id % 2 for row in kpd.recommend(student, x, few, shop.items) for r in row)
    assert all(np.isnan(r.relevance) for row in kpd.recommend(student, x, list(shop.phrases.values()), ["case"]) for r in row)
    other = kpd.Index(64, fingerprint=5)
    with pytest.raises(kpd.ArgumentError):
        kpd.recommend(student, other, few, shop.items)


def recipe(shop, folder, more=""):
    rows = [f"{p}\t{title}\t{category}" for title, category in shop.items for p in list(shop.phrases.values())[:20]]
    (folder / "pairs.tsv").write_text("\n".join(rows) + "\n")
    path = folder / "r.ini"
    path.write_text(f"[model]\nstart = {shop.student}\n[train]\noutput = out\nbatch = 8\n{more}\n"
                    "[data clicks]\nfile = pairs.tsv\ncolumns = keyphrase title category\nloss = mnr\n")
    return path


def test_train(shop, tmp_path):
    reports = []
    trained = kpd.train(recipe(shop, tmp_path, "steps = 6"), reports.append, threads=1)
    assert [r.step for r in reports] == [1, 2, 3, 4, 5, 6] and reports[-1].done and trained.report == reports[-1]
    assert reports[0].source == "clicks" and reports[0].loss > 0 and trained.best is None
    assert kpd.Model(trained.last).encode("case").shape == (128,) and trained.last == tmp_path / "out/last.kpd"
    with pytest.raises(kpd.FormatError, match="r.ini:6: "):
        kpd.train(recipe(shop, tmp_path, "lr = 6"))


def test_train_keeps_what_is_there(shop, tmp_path):
    path = recipe(shop, tmp_path, "steps = 2")
    last = kpd.train(path).last
    before = last.read_bytes()
    path = recipe(shop, tmp_path, "steps = 1")
    with pytest.raises(FileExistsError, match="last.kpd"):
        kpd.train(path)
    assert last.read_bytes() == before
    (last.parent / "metrics.tsv").write_text("of an earlier one")
    kpd.train(path, force=True)
    assert last.read_bytes() != before and not (last.parent / "metrics.tsv").exists()
    with pytest.raises(OSError, match="none.ini"):
        kpd.train(tmp_path / "none.ini")


def test_train_goes_on_to_the_same_bits(shop, tmp_path):
    path = recipe(shop, tmp_path, "steps = 6")
    whole = kpd.Model(kpd.train(path).last).encode("case")

    def interrupted(report):
        if report.step == 3:
            raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt):
        kpd.train(path, interrupted, force=True)
    t = kpd.Trainer(path, threads=2)
    t.resume(t.output / "checkpoint.kpc")
    assert [t.step().step for _ in range(3)] == [4, 5, 6]
    t.save_model(tmp_path / "again.kpd")
    assert np.array_equal(kpd.Model(tmp_path / "again.kpd").encode("case"), whole)


# >>threads, fork, stop -----------------------------------------------------------------------------------------------

def test_eight_threads(shop):
    m, x = kpd.Model(shop.student, threads=2), kpd.Index(128)
    a = kpd.CrossEncoder(shop.assistant, threads=1)
    texts = list(shop.phrases.values())
    expected, scores = m.encode(texts), a.predict([(t, "phone case") for t in texts])
    failed = []

    def work(number):
        try:
            for i in range(10):
                assert np.array_equal(m.encode(texts), expected)
                assert np.array_equal(a.predict([(t, "phone case") for t in texts]), scores)
                x.add(expected, np.arange(len(texts)) + 1000 * number)
                assert (x.search(expected, 3)[0][:, 0] > 0.999).all()
                x.remove(np.arange(10) + 1000 * number)
        except BaseException as e:
            failed.append(e)
    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not failed and len(x) == 8 * (len(texts) - 10)


FORK = """
import os, sys, threading, numpy as np, kpd
m, x = kpd.Model(sys.argv[1], threads=2), kpd.Index(128, threads=2)
texts = ["phone case", "desk lamp", "laptop sleeve"] * 100
expected = m.encode(texts)
x.add(expected[:3])
stop = False
def busy():
    while not stop: m.encode(texts); x.search(expected, 2)
threads = [threading.Thread(target=busy) for _ in range(3)]
for t in threads: t.start()
for _ in range(10):
    child = os.fork()
    if child == 0:
        ok = np.array_equal(m.encode(texts), expected) and (x.search(expected, 1)[1][:3, 0] == [0, 1, 2]).all()
        x.add(expected[3:4], [7])
        os._exit(0 if ok and len(x) == 4 else 1)
    assert os.waitpid(child, 0)[1] == 0
stop = True
for t in threads: t.join()
print("same")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_fork(shop):
    child = subprocess.run([sys.executable, "-c", FORK, shop.student], capture_output=True, text=True, timeout=60)
    assert (child.stdout, child.stderr) == ("same\n", "")


# What runs in the background of a shell inherits that Ctrl-C is ignored.
STOP = """
import signal, sys, time, kpd
signal.signal(signal.SIGINT, signal.default_int_handler)
m = kpd.Model(sys.argv[1], threads=1)
texts = ["Genuine Norvik 65W USB C Laptop Charger Adapter for Norvik Slate 13 " * 8] * 300000
print("begin", flush=True)
try:
    m.encode(texts)
    print("ended")
except KeyboardInterrupt:
    print("stopped", time.time(), flush=True)
print(m.encode(texts[:20]).shape)
"""


def test_ctrl_c_is_heard(shop):
    child = python(STOP, shop.student)
    assert child.stdout.readline() == "begin\n"
    time.sleep(1)
    sent = time.time()
    child.send_signal(signal.SIGINT)
    out, errors = child.communicate(timeout=60)
    said = out.split()
    assert said[0] == "stopped" and said[2:] == ["(20,", "128)"] and errors == ""
    assert float(said[1]) - sent < 30           # of a call of minutes


def test_progress(shop):
    m = kpd.Model(shop.student, threads=1)
    texts = ["phone case with charger"] * 30000
    heard = []
    m.encode(texts, progress=lambda done, of: heard.append((done, of)))
    assert heard[-1] == (30000, 30000) and [d for d, _ in heard] == sorted(d for d, _ in heard)
    with pytest.raises(kpd.Cancelled):
        m.encode(texts * 10, progress=lambda done, of: False)

    def wrong(done, of):
        raise KeyError("mine")
    with pytest.raises(KeyError, match="mine"):
        m.encode(texts * 10, progress=wrong)


def test_the_interpreter_is_free_meanwhile(shop):
    m = kpd.Model(shop.student, threads=1)
    t = threading.Thread(target=m.encode, args=(["phone case with charger"] * 100000,))
    t.start()
    turns = 0
    while t.is_alive():
        time.sleep(0.005)
        turns += 1
    assert turns > 10
