"""Makes what real.ini begins with of judged pairs: a folder with items.tsv (id, title, category), train.tsv and dev.tsv (query,
item id, grade of 0 to 1, label). Ids begin with their source and a colon; hd is Home Depot, the others are called open.

    python3 real_parts.py DATA FOLDER ROWS

Writes train, dev and both of each part (keyphrase, title, category, grade, label); yes.tsv and yes_by_keyphrase.tsv, ROWS pairs
that are right, or a few more, all of an item, or of a keyphrase, together; keyphrases.txt and titles.txt, of training pairs;
and overlap.tsv (score, label, keyphrase), where the score of a dev pair is the share of the keyphrase's words that stand in title or
category, by their inverse document frequency."""
import math
import os
import random
import re
import sys

WORD = re.compile(r"[a-z0-9]+")


def read(path):
    with open(path, encoding="utf-8", newline="\n") as f:
        return [line.rstrip("\n").split("\t") for line in f]


def write(path, rows):
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.writelines("\t".join(row) + "\n" for row in rows)


def drawn(rows, key, n):
    """Rows of keys at random, all of a key, until there are n; in their order."""
    keys = sorted({key(row) for row in rows})
    random.Random(1).shuffle(keys)
    rank = {k: i for i, k in enumerate(keys)}
    first = sorted(rows, key=lambda row: rank[key(row)])[:n]
    whole = {key(row) for row in first}
    return [row for row in rows if key(row) in whole]


def overlap(items, pairs):
    texts = [set(WORD.findall(" ".join(item).lower())) for item in items]
    count = {}
    for words in texts:
        for w in words:
            count[w] = count.get(w, 0) + 1

    def weight(words):
        return sum(math.log((len(texts) + 1) / (count.get(w, 0) + 1)) for w in words)

    for keyphrase, title, category, _, label in pairs:
        words, there = WORD.findall(keyphrase.lower()), set(WORD.findall((title + " " + category).lower()))
        yield f"{weight([w for w in words if w in there]) / max(weight(words), 1e-9):.6f}", label, keyphrase


def main(data, folder, rows):
    items = {row[0]: tuple((row[1:] + [""])[:2]) for row in read(os.path.join(data, "items.tsv"))}
    for name in ("train", "dev"):
        source = [row for row in read(os.path.join(data, name + ".tsv")) if row[1] in items]
        pairs = [(query, *items[item], grade, label) for query, item, grade, label in source]
        write(f"{folder}/{name}.tsv", pairs)
        for part in ("hd", "open"):
            of = [pair for pair, row in zip(pairs, source) if row[1].startswith("hd:") == (part == "hd")]
            write(f"{folder}/{name}.{part}.tsv", of)
        if name == "dev":
            write(folder + "/overlap.tsv", overlap(items.values(), pairs))
            continue
        yes = [pair[:3] for pair in pairs if pair[4] == "1"]
        write(folder + "/yes.tsv", drawn(yes, lambda pair: pair[1:], rows))
        write(folder + "/yes_by_keyphrase.tsv", drawn(yes, lambda pair: pair[0], rows))
        write(folder + "/keyphrases.txt", sorted({(pair[0],) for pair in pairs}))
        write(folder + "/titles.txt", sorted({(pair[1],) for pair in pairs}))


if __name__ == "__main__":
    if len(sys.argv) < 4:
        sys.exit(__doc__)
    main(sys.argv[1], sys.argv[2], int(sys.argv[3]))
