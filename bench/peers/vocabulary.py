#!/usr/bin/env python3
"""Trains WordPiece vocabularies with kpd and with Hugging Face `tokenizers` on the same titles, and compares them.

    python3 bench/peers/vocabulary.py [--sizes 8000,30000] [--rounds 3]

Environment: KPD_DATA, a folder with items.tsv (id, title, ...) and corpus.tsv (title, ...); KPD, the command line (default:
build/kpd of the repository). Needs `pip install tokenizers`. Every 50th title is held out. Both get a file of the others
and write vocab.txt, in turn, each in a process of its own with one thread; seconds are the process's, with Python's start
(printed too), the best of the rounds. Prints per size how many entries are the same, how many are in two of Hugging Face's
own runs (its ties vary), whether it is identical once its alphabet has kpd's order, and tokens per held-out title.
"""
import argparse
import os
import subprocess
import sys
import tempfile
import time

os.environ.update(RAYON_NUM_THREADS="1", TOKENIZERS_PARALLELISM="false")
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
KPD = os.environ.get("KPD", os.path.join(ROOT, "build", "kpd"))
TRAIN = """
import sys
from tokenizers import BertWordPieceTokenizer
t = BertWordPieceTokenizer()
path, out, size, special = sys.argv[1], sys.argv[2], int(sys.argv[3]), open(sys.argv[4], encoding="utf-8").read().split("\\n")
t.train([path], vocab_size=size, special_tokens=special, show_progress=False)
v = t.get_vocab()
open(out, "w", encoding="utf-8", newline="\\n").write("".join(w + "\\n" for w in sorted(v, key=v.get)))
"""
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]


def read(path):
    with open(path, encoding="utf-8", errors="replace", newline="\n") as f:
        return f.read().split("\n")


def titles():
    data = os.environ.get("KPD_DATA") or sys.exit("set KPD_DATA to a folder with items.tsv and corpus.tsv")
    items = [line.rstrip("\r").split("\t")[1] for line in read(os.path.join(data, "items.tsv")) if "\t" in line]
    return items + [line.rstrip("\r").split("\t")[0] for line in read(os.path.join(data, "corpus.tsv")) if line]


def seconds(command):
    begin = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - begin


def write_lines(path, lines):
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write("\n".join(lines))


def alphabet_end(vocab):
    return next(i for i in range(5, len(vocab) + 1) if i == len(vocab) or len(vocab[i].removeprefix("##")) > 1)


def per_title(vocab, texts):
    from tokenizers import BertWordPieceTokenizer
    t = BertWordPieceTokenizer({w: i for i, w in enumerate(vocab)})
    out = t.encode_batch(texts, add_special_tokens=False)
    unknown = sum(x.ids.count(1) for x in out)
    return sum(len(x.ids) for x in out) / len(texts), unknown


def run_size(folder, size, rounds, held_out):
    path = lambda name: os.path.join(folder, name)
    python = [sys.executable, "-c", TRAIN, path("corpus")]
    best = {"kpd": 1e9, "hf": 1e9}
    for _ in range(rounds):
        best["hf"] = min(best["hf"], seconds(python + [path("hf"), str(size), path("special")]))
        best["kpd"] = min(best["kpd"], seconds([KPD, "vocab", path("corpus"), "-o", path("kpd"), "--size", str(size)]))
    kpd, hf = read(path("kpd"))[:-1], read(path("hf"))[:-1]
    seconds(python + [path("hf2"), str(size), path("special")])
    write_lines(path("ordered"), kpd[:alphabet_end(kpd)])
    seconds(python + [path("hf3"), str(size), path("ordered")])
    print(f"size {size}: kpd {len(kpd)} entries in {best['kpd']:.2f} s, HF {len(hf)} in {best['hf']:.2f} s")
    print(f"  the same: {len(set(kpd) & set(hf))}; of two runs of HF {len(set(hf) & set(read(path('hf2'))))}; "
          f"HF with kpd's order of the alphabet {'identical' if kpd == read(path('hf3'))[:-1] else 'DIFFERENT'}")
    for name, vocab in (("kpd", kpd), ("HF", hf)):
        mean, unknown = per_title(vocab, held_out)
        print(f"  {name}: {mean:.4f} tokens per held-out title, {unknown} [UNK]")


def main():
    p = argparse.ArgumentParser()
    p.add_argument("--sizes", default="8000,30000")
    p.add_argument("--rounds", type=int, default=3)
    args = p.parse_args()
    import tokenizers
    texts = titles()
    with tempfile.TemporaryDirectory() as folder:
        corpus = [t for i, t in enumerate(texts) if i % 50]
        write_lines(os.path.join(folder, "corpus"), corpus)
        write_lines(os.path.join(folder, "special"), SPECIAL)
        size = os.path.getsize(os.path.join(folder, "corpus"))
        idle = min(seconds([sys.executable, "-c", "import tokenizers"]) for _ in range(3))
        print(f"tokenizers {tokenizers.__version__}, Python {sys.version.split()[0]}; {len(corpus)} titles, {size} bytes; "
              f"Python's start {idle:.2f} s; best of {args.rounds}")
        for n in args.sizes.split(","):
            run_size(folder, int(n), args.rounds, texts[::50])


if __name__ == "__main__":
    main()
