#!/usr/bin/env python3
"""Recall and speed of kpd's indexes beside faiss, hnswlib, glass and SVS, in one run: the same vectors, one thread.

usage: ann.py [--k 10] [--n 200000] [--queries 2000] [--rounds 5] [--lists 0] [--skip NAME,...] [--png FILE]

Environment: KPD_DATA, a folder with base.npy and query.npy, float32. Without it, clustered random vectors of 64 dimensions.
kpd is build/bench_index (make CFLAGS=-O3 build/bench_index). A peer that is not installed is named and left out: pip install
faiss-cpu hnswlib pyglass-portable scalable-vs. Pin it to a core, as with taskset.

Everything is under cosine, as inner products of unit vectors. Recall counts every hit as good as the k-th best. Times are
processor time, the best of --rounds passes over the queries, one query a call, where peers' calls go through Python, some
microseconds each; then all of them in one. Prints a line a setting: index, setting, recall, queries a second one by one and at
once; then tables of the fastest setting of each index at recalls of .90, .95 and .99, and how many times as fast kpd is as the
best of the peers. --png draws recall against speed; that needs matplotlib.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

os.environ.update(OMP_NUM_THREADS='1', OPENBLAS_NUM_THREADS='1', MKL_NUM_THREADS='1')
import numpy as np

ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
ap.add_argument('--k', type=int, default=10)
ap.add_argument('--n', type=int, default=200000)
ap.add_argument('--queries', type=int, default=2000)
ap.add_argument('--rounds', type=int, default=5)
ap.add_argument('--lists', type=int, default=0)
ap.add_argument('--skip', default='')
ap.add_argument('--png')
a = ap.parse_args()
OUT = 'build/ann'
RECALLS = .90, .95, .99
os.makedirs(OUT, exist_ok=True)
seen = []       # (index, recall, queries a second one by one, at once)


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


def note(index, setting, recall, one, batch):
    seen.append((index, recall, one, batch))
    print(f'{index}\t{setting}\t{recall:.4f}\t{one:.0f}\t{batch:.0f}', flush=True)


def recall_of(ids):
    scores = np.stack([base[row] @ q[i] for i, row in enumerate(ids)])
    return np.mean(scores >= worst[:, None] - 1e-6)


def best_seconds(run, rounds):
    best = 1e9
    for _ in range(rounds):
        begin = time.process_time()
        ids = run()
        best = min(best, time.process_time() - begin)
    return ids, best


def measure(index, setting, search, batch=None, rounds=a.rounds):
    """search(queries [n, dim]) gives ids of each; batch does so where many go another way."""
    ids, one = best_seconds(lambda: [search(q[i:i + 1])[0] for i in range(len(q))], rounds)
    _, many = best_seconds(lambda: (batch or search)(q), rounds)
    note(index, setting, recall_of(ids), len(q) / one, len(q) / many)


def built(make):
    begin = time.process_time()
    x = make()
    print(f'# built in {time.process_time() - begin:.1f} s', flush=True)
    return x


def run_kpd():
    for name, x in ('base', base), ('query', q):
        np.save(f'{OUT}/{name}.npy', x)
    out = subprocess.run(['build/bench_index', f'{OUT}/base.npy', f'{OUT}/query.npy', str(a.k), str(a.lists), 'f32,int16'],
                         stdout=subprocess.PIPE, text=True, check=True).stdout
    for line in out.splitlines():
        _, storage, _, recall, one, batch, how, build, size, level = line.split('\t')
        index = ('kpd ' if storage.startswith('flat') else 'kpd tree ') + storage
        note(index, f'{how}, {level}, built in {build} s, {size} bytes a vector', float(recall), float(one), float(batch))


def run_faiss():
    import faiss
    faiss.omp_set_num_threads(1)
    dim = base.shape[1]
    ip = faiss.METRIC_INNER_PRODUCT
    flat = faiss.IndexFlatIP(dim)
    flat.add(base)
    measure('faiss Flat', 'all', lambda v: flat.search(v, a.k)[1], rounds=min(a.rounds, 2))
    kinds = [(f'IVF{n}', lambda n=n: faiss.IndexIVFFlat(faiss.IndexFlatIP(dim), dim, n, ip)) for n in (512, 1024, 4096)]
    kinds += [(f'IVF{n} SQ8', lambda n=n: faiss.IndexIVFScalarQuantizer(
        faiss.IndexFlatIP(dim), dim, n, faiss.ScalarQuantizer.QT_8bit, ip)) for n in (1024, 4096)]
    for name, make in kinds:
        if int(name.split()[0][3:]) * 39 > len(base):
            continue
        x = make()
        built(lambda: (x.train(base), x.add(base)))
        for probes in 1, 2, 4, 8, 16, 24, 32, 48, 64, 96, 128, 192:
            x.nprobe = probes
            measure(f'faiss {name}', f'nprobe {probes}', lambda v: x.search(v, a.k)[1])
    x = faiss.index_factory(dim, f'IVF512,PQ{dim // 2}x4fs,RFlat', ip)
    built(lambda: (x.train(base), x.add(base)))
    for factor in 4, 10:
        x.k_factor = factor
        for probes in 4, 8, 16, 32, 64, 96, 128:
            faiss.extract_index_ivf(x.base_index).nprobe = probes
            measure(f'faiss IVF512 PQFastScan refine', f'nprobe {probes} x {factor}', lambda v: x.search(v, a.k)[1])


EFFORTS = 10, 14, 20, 28, 40, 56, 80, 112, 160, 224, 320


def run_hnswlib():
    import hnswlib
    x = hnswlib.Index(space='ip', dim=base.shape[1])
    x.init_index(max_elements=len(base), ef_construction=200, M=32)
    x.set_num_threads(1)
    built(lambda: x.add_items(base, num_threads=1))
    for ef in EFFORTS:
        if ef >= a.k:
            x.set_ef(ef)
            measure('hnswlib M32', f'ef {ef}', lambda v: x.knn_query(v, k=a.k, num_threads=1)[0])


def run_glass():
    import glass
    glass.set_num_threads(1)
    graph = built(lambda: glass.Index('HNSW', 'IP', 'FP32', 64, 400).build(base))
    with tempfile.TemporaryDirectory() as folder:
        graph.save(folder + '/graph')
        for quant in 'FP16', 'SQ8U':
            x = glass.Searcher(glass.Graph(folder + '/graph'), base, 'IP', quant, 'FP32' if quant == 'SQ8U' else '')
            x.optimize(1)
            for ef in EFFORTS:
                if ef >= a.k:
                    x.set_ef(ef)
                    measure(f'glass HNSW R64 {quant}', f'ef {ef}', lambda v: [x.search(v[0], a.k)[0][:a.k]],
                            lambda v: x.batch_search(v, a.k, 1))


def run_svs():
    import svs
    parameters = svs.VamanaBuildParameters(graph_max_degree=64, window_size=128, alpha=0.95)    # below 1 for inner products
    with tempfile.TemporaryDirectory() as folder:
        kinds = [('f16', lambda: base.astype(np.float16))]
        if 'GenuineIntel' in open('/proc/cpuinfo').read():              # elsewhere LVQ ends the process
            svs.write_vecs(base, folder + '/base.fvecs')
            data = svs.VectorDataLoader(folder + '/base.fvecs', svs.DataType.float32)
            kinds += [(f'LVQ{p}x{r}', lambda p=p, r=r: svs.LVQLoader(data, primary=p, residual=r)) for p, r in ((4, 8), (8, 8))]
        for name, load in kinds:
            try:
                x = built(lambda: svs.Vamana.build(parameters, load(), svs.DistanceType.MIP, num_threads=1))
            except RuntimeError as e:
                print(f'SVS {name}: {e}', file=sys.stderr)
                continue
            for window in EFFORTS:
                if window >= a.k:
                    x.search_window_size = window
                    measure(f'SVS Vamana R64 {name}', f'window {window}', lambda v: x.search(v, a.k)[0])


def fastest(index, recall, batch):
    return max((s[3 if batch else 2] for s in seen if s[0] == index and s[1] >= recall), default=None)


def table(batch):
    indexes = list(dict.fromkeys(s[0] for s in seen))
    print(f'\n| k {a.k}, {len(base)} vectors, ' + (f'{len(q)} queries at once' if batch else 'one query a call') + ' | ' +
          ' | '.join(f'{r:.2f}' for r in RECALLS) + ' |')
    print('|---' * (len(RECALLS) + 1) + '|')
    show = lambda s: f'{s:.0f}' if s else '-'
    for i in indexes:
        print(f'| {i} | ' + ' | '.join(show(fastest(i, r, batch)) for r in RECALLS) + ' |')
    of = lambda flat: [i for i in indexes if not i.startswith('kpd') and flat == i.endswith(' Flat')]
    for ours, peers in (('kpd tree f32', of(False)), ('kpd tree int16', of(False)), ('kpd flat int8', of(True))):
        cells = []
        for r in RECALLS:
            best = max(((fastest(i, r, batch) or 0, i) for i in peers), default=(0, ''))
            mine = fastest(ours, r, batch)
            cells.append(f'{mine / best[0]:.1f} ({best[1]})' if best[0] and mine else '-')
        print(f'| {ours} to the best peer | ' + ' | '.join(cells) + ' |')


def draw(path):
    import matplotlib
    matplotlib.use('Agg')
    from matplotlib import pyplot
    figure, axes = pyplot.subplots(figsize=(8, 5), layout='constrained')
    axes.set_prop_cycle(color=pyplot.get_cmap('tab20').colors)
    for i in dict.fromkeys(s[0] for s in seen):
        points, best = sorted(((r, one) for n, r, one, _ in seen if n == i and r >= .8), reverse=True), 0
        front = [(r, best := s) for r, s in points if s > best]         # nothing else is as good and faster
        if front:
            axes.plot(*zip(*front), marker='.', linewidth=2 if i.startswith('kpd') else 1, label=i,
                      linestyle='-' if i.startswith('kpd') else '--')
    axes.set(yscale='log', xlabel=f'recall at {a.k}', ylabel='queries a second, one core', title=f'{len(base)} vectors')
    axes.grid(alpha=.3, which='both')
    axes.legend(fontsize=7)
    figure.savefig(path, dpi=80)


base, q = load()
worst = kth_best(base, q)
for name, run in ('kpd', run_kpd), ('faiss', run_faiss), ('hnswlib', run_hnswlib), ('glass', run_glass), ('svs', run_svs):
    if name in a.skip.split(','):
        continue
    try:
        run()
    except ImportError as e:
        print(f'{name}: not installed ({e})', file=sys.stderr)
table(False)
table(True)
if a.png:
    draw(a.png)
