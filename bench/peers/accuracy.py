#!/usr/bin/env python3
"""What bf16 and int8 cost: vectors, ranks of STS pairs and a cross-encoder's logits of each type of weights beside f32's.

usage: accuracy.py [--sts FILE.csv] [--cross FILE.kpd] [--texts 1000] [--threads 1]

Environment: PEERS, a folder with models/all-MiniLM-L6-v2 and data/{titles,queries}.txt, a text a line, at least --texts + 500
titles. KPD_DATA, a folder with items.tsv (id, title, category), train.tsv and dev.tsv (query, item id): the cross-encoder is
asked only with it. Run it with a Python that has sentence-transformers.

- The mean and least cosine to sentence-transformers in f32, of the first --texts titles and queries.
- With --sts, a CSV of sentence, sentence, score: Spearman of cosine and score, and its change from f32.
- With KPD_DATA: Spearman of the dev pairs' logits to those in f32, of a trained cross-encoder: FILE.kpd, or else one that
  `make paper-real` left in build/real.

int8 stands there as it is and with 16-bit inputs of query, key and value, each on random tokens and calibrated on 500 texts
that are not among those measured: titles, or pairs of train.tsv.
"""
import argparse, csv, os, subprocess, sys
import numpy as np
from scipy.stats import spearmanr

PEERS = os.environ.get('PEERS') or sys.exit('set PEERS to the folder of the peers (see the top of this file)')
MODEL = PEERS + '/models/all-MiniLM-L6-v2'
OUT = 'build/accuracy'
KINDS = ['f32', 'bf16', 'int8', 'int8 wide', 'int8 calibrated', 'int8 wide calibrated']
CHANGE, RANKS = .002, {'bf16': .999, 'int8': .995}      # targets
ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
ap.add_argument('--sts')
ap.add_argument('--cross', default='build/real/assistant/1/last.kpd')
ap.add_argument('--texts', type=int, default=1000)
ap.add_argument('--threads', type=int, default=1)
a = ap.parse_args()
os.makedirs(OUT, exist_ok=True)
if 'KPD_DATA' in os.environ and not os.path.exists(a.cross):
    sys.exit('%s: not there; `make paper-real` makes build/real/assistant/1/last.kpd, --cross names another' % a.cross)


def read(path):
    with open(path, encoding='utf-8', newline='\n') as f:
        return [line.rstrip('\n') for line in f]


def write(name, lines):
    path = '%s/%s' % (OUT, name)
    with open(path, 'w', encoding='utf-8', newline='\n') as f:
        f.writelines(x + '\n' for x in lines)
    return path


def kpd(*args):
    r = subprocess.run(['build/kpd', *args, '--threads', str(a.threads)], capture_output=True, text=True)
    return r.stdout if not r.returncode else sys.exit(r.stderr)


def converted(path, name, calibration):
    """The model in each type."""
    out, texts = {}, write(name + '-calibration.txt', calibration)
    for k in KINDS:
        out[k] = '%s/%s-%s.kpd' % (OUT, name, k.replace(' ', '-'))
        more = (['--wide-qkv'] if 'wide' in k else []) + (['--calibrate', texts] if 'calibrated' in k else [])
        kpd('convert', path, '-o', out[k], '--dtype', k.split()[0], *more)
    return out


def embed(model, lines):
    kpd('embed', model, write('texts.txt', lines), '-o', OUT + '/texts.npy')
    v = np.load(OUT + '/texts.npy').astype(np.float64)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def vectors(models):
    from sentence_transformers import SentenceTransformer
    import torch
    torch.set_num_threads(a.threads)
    reference = SentenceTransformer(MODEL, device='cpu', model_kwargs={'dtype': torch.float32})
    for s in ('titles', 'queries'):
        lines = read('%s/data/%s.txt' % (PEERS, s))[:a.texts]
        want = reference.encode(lines, show_progress_bar=False, normalize_embeddings=True).astype(np.float64)
        for k, m in models.items():
            c = (embed(m, lines) * want).sum(1)
            print('%-8s %-20s cosine to sentence-transformers: mean %.6f  least %.6f' % (s, k, c.mean(), c.min()), flush=True)


def sts(models):
    with open(a.sts, encoding='utf-8', newline='') as f:
        left, right, score = zip(*csv.reader(f))
    score, f32 = np.array([float(x) for x in score]), None
    for k, m in models.items():
        v = embed(m, left + right)
        rho = spearmanr((v[:len(left)] * v[len(left):]).sum(1), score)[0]
        f32 = rho if f32 is None else f32
        change = '  change %+.5f  (target: less than %g)' % (rho - f32, CHANGE) if k != 'f32' else ''
        print('sts      %-20s Spearman %.5f%s' % (k, rho, change), flush=True)


def pairs(name):
    data = os.environ['KPD_DATA']
    items = {i: (title, category) for i, title, category in (x.split('\t') for x in read(data + '/items.tsv'))}
    rows = [x.split('\t') for x in read('%s/%s.tsv' % (data, name))]
    return ['\t'.join((r[0], *items[r[1]])) for r in rows if r[1] in items]


def cross(path):
    dev, f32 = write('dev.txt', pairs('dev')), None
    for k, m in converted(path, 'cross', pairs('train')[:500]).items():
        logits = np.array(kpd('score', m, dev).split(), dtype=np.float64)
        if f32 is None:
            f32 = logits
            print('cross    %-20s %d logits from %.4f to %.4f' % (k, len(f32), f32.min(), f32.max()), flush=True)
            continue
        print('cross    %-20s Spearman to f32 %.5f  (target: %g)  largest difference %.4f' % (
            k, spearmanr(logits, f32)[0], RANKS[k.split()[0]], abs(logits - f32).max()), flush=True)


def main():
    start = OUT + '/bi.kpd'
    kpd('import', MODEL, '-o', start)
    titles = read(PEERS + '/data/titles.txt')
    if len(titles) < a.texts + 500:
        sys.exit('titles.txt: %d lines, expected at least %d' % (len(titles), a.texts + 500))
    models = converted(start, 'bi', titles[a.texts:a.texts + 500])
    vectors(models)
    if a.sts:
        sts(models)
    if 'KPD_DATA' in os.environ:
        cross(a.cross)


main()
