#!/usr/bin/env python3
"""Recall and speed of kpd's tree beside faiss and hnswlib, in one run: the same vectors, one thread, one query a call.

usage: ann.py [--k 10] [--n 200000] [--queries 1000] [--rounds 3] [--skip faiss,hnswlib]

Environment: KPD_DATA, a folder with base.npy and query.npy, float32. Without it, clustered random vectors of 64 dimensions.
kpd is build/bench_index (make build/bench_index). A peer that is not installed is named and left out: pip install faiss-cpu
hnswlib. Pin it to a core, as with taskset.

Everything is under cosine, as inner products of unit vectors; the true best are faiss's or numpy's. Recall counts every hit as
good as the k-th best. Peers have their best of --rounds passes; their calls go through Python, some microseconds each.
Prints a line a setting: name, recall, queries a second.
"""
import argparse, os, subprocess, sys, time
import numpy as np

ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
ap.add_argument('--k', type=int, default=10)
ap.add_argument('--n', type=int, default=200000)
ap.add_argument('--queries', type=int, default=1000)
ap.add_argument('--rounds', type=int, default=3)
ap.add_argument('--skip', default='')
a = ap.parse_args()
OUT = 'build/ann'
os.makedirs(OUT, exist_ok=True)


def unit(x):
    return np.ascontiguousarray(x / np.linalg.norm(x, axis=1, keepdims=True), dtype=np.float32)


def load():
    data = os.environ.get('KPD_DATA')
    if data:
        return unit(np.load(data + '/base.npy')), unit(np.load(data + '/query.npy')[:a.queries])
    r = np.random.default_rng(1)
    centres = r.standard_normal((max(a.n // 100, 1), 64))
    sample = lambda n: centres[r.integers(0, len(centres), n)] + .7 * r.standard_normal((n, 64))
    return unit(sample(a.n)), unit(sample(a.queries))


def kth_best(base, q):
    """The score of the k-th best of each query."""
    best = np.empty(len(q), np.float32)
    for i in range(0, len(q), 64):
        s = q[i:i + 64] @ base.T
        best[i:i + 64] = -np.partition(-s, a.k - 1, axis=1)[:, a.k - 1]
    return best


def measure(name, search):
    """search(query [1, dim]) gives ids."""
    seconds = 1e9
    for _ in range(a.rounds):
        begin = time.process_time()
        ids = [search(q[i:i + 1]) for i in range(len(q))]
        seconds = min(seconds, time.process_time() - begin)
    scores = np.array([base[row] @ q[i] for i, row in enumerate(ids)])
    print(f'{name}\t{np.mean(scores >= worst[:, None] - 1e-6):.4f}\t{len(q) / seconds:.0f}', flush=True)


def run_kpd():
    for name, x in ('base', base), ('query', q):
        np.save(f'{OUT}/{name}.npy', x)
    out = subprocess.run(['build/bench_index', f'{OUT}/base.npy', f'{OUT}/query.npy', str(a.k)], stdout=subprocess.PIPE,
                         text=True, check=True).stdout
    for line in out.splitlines():
        _, storage, _, recall, speed, gamma, build, size, level = line.split('\t')
        how = f'gamma {gamma} ({level}, built in {build} s, {size} bytes a vector)'
        print(f'kpd {storage} {how}\t{recall}\t{speed}', flush=True)


def run_faiss():
    import faiss
    faiss.omp_set_num_threads(1)
    dim = base.shape[1]
    for lists in 1024, 4096:
        if lists * 39 > len(base):
            continue
        x = faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, lists, faiss.METRIC_INNER_PRODUCT)
        begin = time.process_time()
        x.train(base)
        x.add(base)
        built = time.process_time() - begin
        for probes in 2, 4, 8, 16, 32, 64:
            x.nprobe = probes
            measure(f'faiss IVF{lists} nprobe {probes} (built in {built:.1f} s)', lambda v: x.search(v, a.k)[1][0])


def run_hnswlib():
    import hnswlib
    x = hnswlib.Index(space='ip', dim=base.shape[1])
    x.init_index(max_elements=len(base), ef_construction=200, M=32)
    x.set_num_threads(1)
    begin = time.process_time()
    x.add_items(base, num_threads=1)
    built = time.process_time() - begin
    for ef in 10, 16, 24, 32, 48, 64, 96, 128, 192:
        if ef >= a.k:
            x.set_ef(ef)
            measure(f'hnswlib M32 ef {ef} (built in {built:.1f} s)', lambda v: x.knn_query(v, k=a.k, num_threads=1)[0][0])


base, q = load()
worst = kth_best(base, q)
run_kpd()
for name, peer in ('faiss', run_faiss), ('hnswlib', run_hnswlib):
    if name in a.skip.split(','):
        continue
    try:
        peer()
    except ImportError:
        print(f'{name}: not installed', file=sys.stderr)
