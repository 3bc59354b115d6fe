#!/usr/bin/env python3
"""Ranks the judged keyphrases of each dev item with an untrained model: AUC and AP beside token overlap, and the time.

usage: rank.py [MODEL_FOLDER]         needs numpy and scikit-learn
Environment: KPD_DATA, a folder with items.tsv (id, title, category), train.tsv and dev.tsv (query, item id, grade, label);
             KPD_MODELS, a folder with all-MiniLM-L6-v2 (unless MODEL_FOLDER is given).

A pair's score is the cosine of the item's (title [SEP] category) and the keyphrase's vectors, at full width and cut to 64
columns. Token overlap is the IDF-weighted share of the keyphrase's words that stand in title or category. Overall AUC and AP
are over all pairs; "by query" is the mean AUC inside queries that have both labels. Categories in the data are mostly mined
from the titles, and add little.
"""
import math, os, re, subprocess, sys, time
import numpy as np
from sklearn.metrics import average_precision_score, roc_auc_score

DATA = os.environ.get('KPD_DATA') or sys.exit('set KPD_DATA (see the top of this file)')
FOLDER = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.environ.get('KPD_MODELS') or sys.exit('set KPD_MODELS'), 'all-MiniLM-L6-v2')
OUT = 'build/real'
WORD = re.compile(r'[a-z0-9]+')


def rows(name):
    with open(os.path.join(DATA, name), encoding='utf-8') as f:
        return [line.rstrip('\n').split('\t') for line in f]


def embed(model, texts, tower, name):
    path = '%s/%s.txt' % (OUT, name)
    with open(path, 'w', encoding='utf-8') as f:
        f.writelines(t + '\n' for t in texts)
    r = subprocess.run(['build/kpd', 'embed', model, path, '-o', path + '.npy', '--tower', tower, '--stats'], capture_output=True, text=True)
    if r.returncode:
        sys.exit(r.stderr)
    print('%-10s %6d texts  %s' % (name, len(texts), r.stderr.strip().splitlines()[-1]))
    return np.load(path + '.npy')


def report(name, label, score, query):
    groups = {}
    for q, y, s in zip(query, label, score):
        groups.setdefault(q, []).append((y, s))
    inside = [roc_auc_score(*zip(*g)) for g in groups.values() if len({y for y, _ in g}) == 2]
    print('%-22s AUC %.4f  AP %.4f   by query: AUC %.4f (%d queries)' % (
        name, roc_auc_score(label, score), average_precision_score(label, score), np.mean(inside), len(inside)))


os.makedirs(OUT, exist_ok=True)
model = OUT + '/model.kpd'
subprocess.run(['build/kpd', 'import', FOLDER, '-o', model], check=True, stderr=subprocess.DEVNULL)
items = {r[0]: (r[1], r[2] if len(r) > 2 else '') for r in rows('items.tsv')}
pairs = [r for r in rows('dev.tsv') if r[1] in items]
query, label = [p[0] for p in pairs], [int(p[3]) for p in pairs]
ids, phrases = sorted({p[1] for p in pairs}), sorted({p[0] for p in pairs})
start = time.time()
a = embed(model, ['\t'.join(items[i]) if items[i][1] else items[i][0] for i in ids], 'item', 'items')
b = embed(model, phrases, 'keyphrase', 'phrases')
print('both in %.1f s' % (time.time() - start))
row_a, row_b = ({x: i for i, x in enumerate(s)} for s in (ids, phrases))
va, vb = a[[row_a[p[1]] for p in pairs]], b[[row_b[p[0]] for p in pairs]]

df, docs = {}, {i: set(WORD.findall(' '.join(items[i]).lower())) for i in items}
for words in docs.values():
    for w in words:
        df[w] = df.get(w, 0) + 1


def overlap(q, i):
    w = {x: math.log((1 + len(docs)) / (1 + df.get(x, 0))) for x in WORD.findall(q.lower())}
    return sum(v for x, v in w.items() if x in docs[i]) / (sum(w.values()) or 1)


print('%d pairs, %d queries, %d items, %.1f %% yes' % (len(pairs), len(phrases), len(ids), 100 * np.mean(label)))
report('token overlap', label, [overlap(p[0], p[1]) for p in pairs], query)
report('cosine, %d columns' % a.shape[1], label, (va * vb).sum(1), query)
cut = [v[:, :64] / np.linalg.norm(v[:, :64], axis=1, keepdims=True) for v in (va, vb)]
report('cosine, 64 columns', label, (cut[0] * cut[1]).sum(1), query)
