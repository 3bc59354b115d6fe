#!/usr/bin/env python3
"""Writes tests/golden/train.txt: small random inputs of the losses and metrics of kpd_train.h, and what the reference
implementations make of them in double precision.

    python tools/golden_train.py      needs torch, sentence-transformers, scikit-learn, scipy, statsmodels, numpy

A line is NAME N VALUE... Inputs are float32, printed so that they read back exactly. The same versions give the same bytes;
they stand in the first lines. Losses that sentence-transformers has come from it, fed with scores or vectors in place of a model;
Pearson, log q and masks are a few lines of torch here, autograd making their gradients.
"""
import os
import warnings

import numpy as np
import scipy
import scipy.stats
import sentence_transformers
import sklearn
import sklearn.metrics as metrics
import statsmodels
import torch
import torch.nn.functional as F
from sentence_transformers import util
from sentence_transformers.sentence_transformer import losses
from statsmodels.stats.multitest import multipletests

OUT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "golden", "train.txt")
rng = np.random.default_rng(7)
lines = []


class Model(torch.nn.Module):
    """What a loss takes for a model: its features are the embeddings."""
    device = "cpu"

    def forward(self, features):
        return dict(features)

    def get_embedding_dimension(self):
        return 10


def single(x):
    return np.asarray(x, np.float32)


def leaf(x):
    return torch.tensor(np.asarray(x, np.float64), requires_grad=True)


def write(name, values):
    values = np.asarray(values.detach() if torch.is_tensor(values) else values).reshape(-1)
    digits = "%.9g" if values.dtype == np.float32 else "%.10g"
    lines.append(" ".join([name, str(len(values))] + [digits % v for v in values]))


def write_loss(name, loss, **leaves):
    loss.backward()
    write(name + ".loss", loss)
    for k, v in leaves.items():
        write(f"{name}.{k}", v.grad)


def column(x):
    return {"sentence_embedding": x}


def pairs():
    """12 scores in 4 queries of 3: each loss on scores."""
    s, t = single(rng.uniform(-0.2, 1, 12)), single(rng.uniform(0.02, 0.98, 12))
    y = single([1, 0, 0, 1, 1, 0, 0, 1, 0, 1, 0, 0])
    t[5] = t[2]      # a tie
    write("pairs.s", s)
    write("pairs.t", t)
    write("pairs.y", y)
    t, y, model = torch.tensor(t, dtype=torch.float64), torch.tensor(y, dtype=torch.float64), Model()
    first = lambda a, b: a      # the scores stand where vectors would
    distance = lambda a, b: 1 - a

    x = leaf(s)
    write_loss("contrastive", losses.ContrastiveLoss(model, distance, 0.5)([column(x), column(x)], y), ds=x)
    x = leaf(s)
    write_loss("online", losses.OnlineContrastiveLoss(model, distance, 0.5)([column(x), column(x)], y), ds=x)
    for name, target in (("mse", t), ("mse_logit", torch.logit(t)), ("mse_cosine", 2 * t - 1)):
        x = leaf(s)
        write_loss(name, F.mse_loss(x, target), ds=x)
    x = leaf(s)
    write_loss("cosent", losses.CoSENTLoss(model, 20.0, first)([column(x), column(x)], t), ds=x)
    x = leaf(8 * s)
    write_loss("bce", F.binary_cross_entropy_with_logits(x, y, pos_weight=torch.tensor(2.5)), ds=x)

    def pearson(a, b):
        c = ((a - a.mean()) * (b - b.mean())).sum() / (len(a) - 1)
        return 1 - c / (a.std() * b.std() + 1e-8)

    x = leaf(s)
    write_loss("pearson", pearson(x, t), ds=x)
    x = leaf(s)
    write_loss("pearson_logit", pearson(x, torch.logit(t)), ds=x)
    x = leaf(s)
    write_loss("pearson_query", sum(pearson(x[i:i + 3], t[i:i + 3]) for i in range(0, 12, 3)) / 4, ds=x)

    def columns(x):
        return [column(x[0::3])] + [column(x[i::3]) for i in range(3)]

    candidate = lambda a, b: b
    x, wide = leaf(s), t.reshape(4, 3)
    write_loss("margin", losses.MarginMSELoss(model, candidate)(columns(x), wide[:, :1] - wide[:, 1:]), ds=x)
    for name, heat in (("kl", 1.0), ("kl_hot", 2.5)):
        x = leaf(s)
        write_loss(name, losses.DistillKLDivLoss(model, candidate, heat)(columns(x), wide), ds=x)
    for name, weighted in (("ranknet", False), ("ranknet_weighted", True)):
        x, terms = leaf(s), []
        for q in range(0, 12, 3):
            for i in range(q, q + 3):
                for j in range(q, q + 3):
                    if t[i] > t[j]:
                        terms.append(F.softplus(-20 * (x[i] - x[j])) * (t[i] - t[j] if weighted else 1))
        write_loss(name, sum(terms) / len(terms), ds=x)


def matrix():
    """5 rows, 8 candidates."""
    s, log_q = single(rng.uniform(-0.3, 1, (5, 8))), single(np.log(rng.uniform(0.01, 0.3, 8)))
    mask = (rng.uniform(size=(5, 8)) < 0.25) & ~np.eye(5, 8, dtype=bool)
    write("matrix.s", s)
    write("matrix.log_q", log_q)
    write("matrix.mask", single(mask))
    model = Model()
    for name, q, m, scale in (("mnr", 0, 0, 20), ("mnr_cold", 0, 0, 5), ("mnr_log_q", log_q, 0, 20),
                              ("mnr_mask", log_q, mask, 20)):
        x = leaf(s)
        z = scale * x - torch.tensor(np.asarray(q, np.float64))
        z = z.masked_fill(torch.tensor(np.broadcast_to(m, s.shape).astype(bool)), -torch.inf)
        write_loss(name, F.cross_entropy(z, torch.arange(5)), ds=x)
    x = leaf(s)
    z = 20 * x
    write_loss("symmetric", (F.cross_entropy(z, torch.arange(5)) + F.cross_entropy(z[:, :5].T, torch.arange(5))) / 2, ds=x)
    label = rng.integers(0, 8, 5)
    x = leaf(4 * s)
    write("ce.label", single(label))
    write_loss("ce", F.cross_entropy(x, torch.tensor(label)), ds=x)


def vectors():
    """Vectors of 10 numbers through the losses of sentence-transformers, similarity included."""
    a, b, c = (single(rng.normal(size=(6, 10))) for _ in range(3))
    y, t = single(rng.integers(0, 2, 6)), single(rng.uniform(0, 1, 6))
    for name, v in (("a", a), ("b", b), ("c", c), ("y", y), ("t", t)):
        write("vectors." + name, v)
    model = Model()
    y, t = torch.tensor(y, dtype=torch.float64), torch.tensor(t, dtype=torch.float64)
    cases = (
        ("v_mnr", losses.MultipleNegativesRankingLoss(model), True, y),
        ("v_symmetric", losses.MultipleNegativesSymmetricRankingLoss(model), False, y),
        ("v_dot", losses.MultipleNegativesRankingLoss(model, 1.0, util.dot_score), True, y),
        ("v_contrastive", losses.ContrastiveLoss(model), False, y),
        ("v_cosine_mse", losses.CosineSimilarityLoss(model), False, t),
        ("v_cosent", losses.CoSENTLoss(model), False, t),
        ("v_angle", losses.AnglELoss(model), False, t),
        ("v_matryoshka", losses.MatryoshkaLoss(model, losses.CoSENTLoss(model), [10, 6, 3], [1, 0.5, 2]), False, t),
        ("v_matryoshka_mnr", losses.MatryoshkaLoss(model, losses.MultipleNegativesRankingLoss(model), [10, 4]), True, y),
    )
    for name, loss, three, label in cases:
        x = [leaf(v) for v in ((a, b, c) if three else (a, b))]
        named = dict(zip(("da", "db", "dc"), x))
        write_loss(name, loss([column(v) for v in x], label), **named)
    head = losses.SoftmaxLoss(model, 10, 3).double()
    w, bias, label = single(rng.normal(size=(3, 30)) / 3), single(rng.normal(size=3)), rng.integers(0, 3, 6)
    write("head.w", w)
    write("head.bias", bias)
    write("head.label", single(label))
    with torch.no_grad():
        head.classifier.weight.copy_(torch.tensor(w))
        head.classifier.bias.copy_(torch.tensor(bias))
    u, v = leaf(a), leaf(b)
    loss = head([column(u), column(v)], torch.tensor(label))
    write_loss("head", loss, du=u, dv=v)
    write("head.dw", head.classifier.weight.grad)
    write("head.dbias", head.classifier.bias.grad)


def classification():
    s = single(np.round(rng.uniform(0, 1, 60), 1))      # many ties
    y = (rng.uniform(size=60) < s).astype(int)
    x = single(rng.normal(size=60))
    write("classify.s", s)
    write("classify.y", single(y))
    write("classify.x", x)
    hard = s >= np.float32(0.45)
    write("classify.at", [metrics.f1_score(y, hard), metrics.precision_score(y, hard), metrics.recall_score(y, hard),
                          metrics.accuracy_score(y, hard), metrics.matthews_corrcoef(y, hard)])
    precision, recall, _ = metrics.precision_recall_curve(y, s)
    write("classify.best_f1", [np.max(2 * precision * recall / (precision + recall))])
    write("classify.area", [metrics.average_precision_score(y, s), metrics.roc_auc_score(y, s)])
    bins = np.minimum((s.astype(float) * 15).astype(int), 14)
    write("classify.ece", [sum(abs(y[bins == b].mean() - s[bins == b].astype(float).mean()) * (bins == b).mean()
                               for b in range(15) if (bins == b).any())])
    write("correlation", [scipy.stats.pearsonr(s.astype(float), x.astype(float))[0], scipy.stats.spearmanr(s, x)[0]])
    return s, y


def by_query(s, y):
    """Queries of unequal size, 7 of one label only. -1 where there is no AUC; last the mean weighted by rows."""
    query = np.minimum(np.arange(60) ** 2 // 450, 7)
    y = np.where(query == 7, 1, y)
    write("query.of", single(query))
    groups = [query == q for q in range(7)]
    auc = [metrics.roc_auc_score(y[g], s[g]) if 0 < y[g].mean() < 1 else -1 for g in groups]
    rows = [g.sum() * (a >= 0) for g, a in zip(groups, auc)]
    write("query.auc", auc + [np.dot(auc, rows) / np.sum(rows)])


def holm():
    p = [.01, .04, .03, .005, .5, .9, .04, .0001]
    write("holm.p", p)
    write("holm.adjusted", multipletests(p, method="holm")[1])


def ranking():
    gain, ideal = single([0, 3, 0, 1, 2, 0]), single([3, 2, 2, 1, 1])      # 5 relevant, 3 of them found
    everything = np.concatenate([gain, [2, 1]])     # found, then missed, in the order of a score
    order = -np.arange(8.0)
    write("rank.gain", gain)
    write("rank.ideal", ideal)
    write("rank.ndcg", [metrics.ndcg_score([everything], [order], k=k) for k in (1, 3, 6)])
    # scikit-learn's average precision over the found, rescaled from the 3 found to min(k, 5).
    write("rank.map", [metrics.average_precision_score(gain > 0, -np.arange(6.0)) * 3 / 5])


def bootstrap():
    a, b = single(rng.normal(0.1, 1, 80)), single(rng.normal(0, 1, 80))
    write("bootstrap.a", a)
    write("bootstrap.b", b)
    r = scipy.stats.bootstrap((a.astype(float) - b,), np.mean, n_resamples=100000, method="percentile", random_state=1)
    write("bootstrap.interval", [np.mean(a.astype(float) - b), r.confidence_interval.low, r.confidence_interval.high])


def negatives():
    """Anchors with a positive and two negatives each: the losses that take them, cosine included."""
    rng = np.random.default_rng(8)
    a, b, c, d = (single(rng.normal(size=(5, 8))) for _ in range(4))
    t, log_q = single(rng.uniform(0, 1, (5, 3))), single(np.log(rng.uniform(0.01, 0.3, 15)))
    for name, v in (("a", a), ("b", b), ("c", c), ("d", d), ("t", t), ("log_q", log_q)):
        write("negatives." + name, v)
    t, model, cosine = torch.tensor(t, dtype=torch.float64), Model(), util.pairwise_cos_sim

    def scores(x):
        return torch.stack([cosine(x[0], v) for v in x[1:]], 1)

    def pearson(x):
        def one(s, t):
            return 1 - ((s - s.mean()) * (t - t.mean())).sum() / (len(s) - 1) / (s.std() * t.std() + 1e-8)
        return sum(one(s, w) for s, w in zip(scores(x), t)) / 5

    def ranknet(x):
        s = scores(x)
        terms = [F.softplus(-20 * (s[q, i] - s[q, j]))
                 for q in range(5) for i in range(3) for j in range(3) if t[q, i] > t[q, j]]
        return sum(terms) / len(terms)

    def in_order(positive, *negative):      # as the trainer has them: the positives, then each anchor's negatives
        return torch.cat([positive, torch.stack(negative, 1).reshape(10, 8)])

    def corrected(x):
        candidates = in_order(*x[1:])
        return F.cross_entropy(5 * util.cos_sim(x[0], candidates) - torch.tensor(log_q, dtype=torch.float64), torch.arange(5))

    cases = (
        ("n_mnr", lambda x: losses.MultipleNegativesRankingLoss(model, 5.0)([column(v) for v in x], None)),
        ("n_log_q", corrected),
        ("n_margin", lambda x: losses.MarginMSELoss(model, cosine)([column(v) for v in x], t[:, :1] - t[:, 1:])),
        ("n_kl", lambda x: losses.DistillKLDivLoss(model, cosine)([column(v) for v in x], t)),
        ("n_pearson", pearson),
        ("n_ranknet", ranknet),
    )
    for name, loss in cases:
        x = [leaf(v) for v in (a, b, c, d)]
        value = loss(x)
        value.backward()
        write(name + ".loss", value)
        write(name + ".da", x[0].grad)
        write(name + ".db", in_order(*[v.grad for v in x[1:]]))


warnings.simplefilter("ignore")
for part in (pairs, matrix, vectors):
    part()
by_score = classification()
for part in (ranking, bootstrap, holm):
    part()
by_query(*by_score)
negatives()
versions = ", ".join(f"{m.__name__} {m.__version__}" for m in (torch, sentence_transformers, sklearn, scipy, statsmodels, np))
with open(OUT, "w") as f:
    f.write("# Written by tools/golden_train.py with\n# " + versions + "\n" + "\n".join(lines) + "\n")
print(OUT, os.path.getsize(OUT), "bytes")
