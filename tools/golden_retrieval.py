"""Makes tests/golden/retrieval: judgements, a run, and each query's figures as trec_eval has them.

    python3 tools/golden_retrieval.py tests/golden/retrieval

The judgements are graded, the run has equal scores, queries without relevant documents, queries that only one of both has, and
documents that nobody judged. Needs pytrec_eval (pip install pytrec-eval-terrier; 0.5.11 made the files) for the figures; the
tests only read them. What trec_eval does not count so: a query of the judgements that the run lacks has 0 here (its -c), and
one without relevant documents has none.
"""
import os
import random
import sys

CUTS = (1, 3, 10, 100)
NAMES = (("ndcg", "ndcg_cut"), ("map", "map_cut"), ("recall", "recall"), ("precision", "P"), ("mrr", None))


def make(rng):
    qrels, run = {}, {}
    for q in range(24):
        name = "q%d" % q
        documents = ["d%d" % d for d in rng.sample(range(300), 60)]
        most = 0 if q % 8 == 5 else rng.choice((1, 2, 3))
        qrels[name] = {d: rng.randint(0, most) for d in documents[:rng.randint(2, 40)]}
        if q % 8 != 5 and not any(qrels[name].values()):
            qrels[name][documents[0]] = 1
        rng.shuffle(documents)
        if q % 11 != 7:
            run[name] = {d: rng.randint(0, 12) / 4 for d in documents[:rng.choice((1, 5, 12, 50))]}
    run["unknown"] = {"d1": 1.0}
    return qrels, run


def first_rank(qrels, run, k):
    order = sorted(sorted(run, reverse=True), key=lambda d: -run[d])
    hits = [i for i, d in enumerate(order[:k], 1) if qrels.get(d, 0) > 0]
    return 1 / hits[0] if hits else 0.0


def figures(qrels, run):
    import pytrec_eval

    measures = {"map", "recip_rank"} | {"%s.%s" % (m, ",".join(map(str, CUTS))) for _, m in NAMES if m}
    found = pytrec_eval.RelevanceEvaluator(qrels, measures).evaluate(run)
    for q in sorted(qrels):
        if not any(g > 0 for g in qrels[q].values()):
            yield q, None
            continue
        r = found.get(q)
        row = [(r["%s_%d" % (m, k)] if m else first_rank(qrels[q], run[q], k)) if r else 0.0 for k in CUTS for _, m in NAMES]
        yield q, row + [r["map"] if r else 0.0, r["recip_rank"] if r else 0.0]


def main():
    folder = sys.argv[1]
    os.makedirs(folder, exist_ok=True)
    qrels, run = make(random.Random(1))
    with open(os.path.join(folder, "qrels.tsv"), "w") as f:
        f.write("query-id\tcorpus-id\tscore\n")
        f.writelines("%s\t%s\t%d\n" % (q, d, g) for q in qrels for d, g in qrels[q].items())
    with open(os.path.join(folder, "run.tsv"), "w") as f:
        f.writelines("%s\t%s\t%g\n" % (q, d, s) for q in run for d, s in run[q].items())
    with open(os.path.join(folder, "expected.tsv"), "w") as f:
        names = ["%s@%d" % (n, k) for k in CUTS for n, _ in NAMES] + ["map", "mrr"]
        f.write("\t".join(["query"] + names) + "\n")
        for q, row in figures(qrels, run):
            f.write("\t".join([q] + (["%.6f" % v for v in row] if row else ["-"] * len(names))) + "\n")


main()
