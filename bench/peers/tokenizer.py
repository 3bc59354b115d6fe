#!/usr/bin/env python3
"""Tokenizing with kpd and with Hugging Face `tokenizers` in one run: the same texts, one core, in turn, round by round.

usage: tokenizer.py [--rounds 5] [--core 0] [--sets queries,titles,long] [TEXTS ...]

Environment: PEERS, a folder with models/all-MiniLM-L6-v2 (tokenizer.json, vocab.txt) and data/{queries,titles,long}.txt. TEXTS
are more files, a text a line. Needs build/bench_tokenizer (make build/bench_tokenizer; or BENCH_TOKENIZER says where it is)
and a Python with tokenizers. Hugging Face gets its texts by encode_batch, without padding, truncation or threads; kpd each
text in a call of its own. Prints, per set, the medians in MB/s and the median over rounds of kpd / Hugging Face.
"""
import argparse
import os
import platform
import statistics
import subprocess
import sys
import time

os.environ["TOKENIZERS_PARALLELISM"] = "false"
import tokenizers

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
BENCH = os.environ.get("BENCH_TOKENIZER", os.path.join(ROOT, "build", "bench_tokenizer"))
PEERS = os.environ.get("PEERS") or sys.exit("set PEERS to the folder of the peers (see the top of this file)")
MODEL = os.path.join(PEERS, "models", "all-MiniLM-L6-v2")


def kpd(path):
    """(MB/s, tokens)"""
    run = subprocess.run([BENCH, os.path.join(MODEL, "vocab.txt"), path], capture_output=True, text=True, check=True)
    fields = run.stdout.splitlines()[-1].removeprefix(path).split()
    return float(fields[fields.index("MB/s") - 1]), int(fields[fields.index("tokens") - 1])


def hugging_face(t, texts):
    begin = time.process_time()
    encodings = t.encode_batch(texts)
    seconds = time.process_time() - begin
    return sum(len(x.encode()) for x in texts) / seconds / 1e6, sum(len(x.ids) for x in encodings)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--core", type=int, default=0)
    p.add_argument("--sets", default="queries,titles,long")
    p.add_argument("texts", nargs="*")
    a = p.parse_args()
    os.sched_setaffinity(0, {a.core})
    t = tokenizers.Tokenizer.from_file(os.path.join(MODEL, "tokenizer.json"))
    t.no_padding()
    t.no_truncation()
    print(f"tokenizers {tokenizers.__version__}, python {platform.python_version()}, core {a.core}, {a.rounds} rounds, "
          f"load {os.getloadavg()[0]:.2f}; processor time")
    for path in [os.path.join(PEERS, "data", s + ".txt") for s in a.sets.split(",") if s] + a.texts:
        with open(path, encoding="utf-8", errors="replace", newline="\n") as f:
            texts = f.read().removesuffix("\n").split("\n")
        hugging_face(t, texts)
        mine, other = [], []
        for _ in range(a.rounds):
            mine.append(kpd(path))
            other.append(hugging_face(t, texts))
        if mine[0][1] != other[0][1]:
            return f"{path}: kpd has {mine[0][1]} tokens, Hugging Face {other[0][1]}"
        ratio = statistics.median(m[0] / o[0] for m, o in zip(mine, other))
        print(f"{os.path.basename(path):16} {len(texts):7} texts {mine[0][1]:9} tokens: kpd "
              f"{statistics.median(m[0] for m in mine):7.1f} MB/s, Hugging Face {statistics.median(o[0] for o in other):5.2f} "
              f"MB/s, ratio {ratio:6.1f}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
