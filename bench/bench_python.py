#!/usr/bin/env python3
"""What the Python package costs beside the command line: the same texts by Model.encode and by `kpd embed --stats`, in turn.

usage: bench_python.py MODEL.kpd TITLES.txt [--n 20000] [--rounds 5] [--threads 1]

Texts a second, opening the model left out of both; the median of the rounds' ratios, and the seconds that importing numpy and
then the package take. Run it by a Python that has the package (or PYTHONPATH=examples/python KPD_PYTHON_LIBRARY=.../_kpd.so),
pinned by taskset; KPD names the command, build/kpd otherwise.
"""
import argparse
import os
import re
import statistics
import subprocess
import sys
import tempfile
import time


def command(kpd, model, texts, threads):
    with tempfile.NamedTemporaryFile(suffix=".npy") as out:
        said = subprocess.run([kpd, "embed", model, texts, "-o", out.name, "--stats", "--threads", str(threads)],
                              check=True, capture_output=True, text=True).stderr
    found = re.search(r"^texts=(\d+) .*seconds=([\d.]+)", said, re.M)
    return int(found[1]) / float(found[2])


def import_seconds(what):
    code = f"import time, numpy; t = time.perf_counter(); import {what}; print(time.perf_counter() - t)"
    return float(subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("model")
    p.add_argument("titles")
    p.add_argument("--n", type=int, default=20000)
    p.add_argument("--rounds", type=int, default=5)
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    import kpd
    with open(a.titles, encoding="utf-8") as f:
        texts = [line.rstrip("\n").replace("\t", " ") for line in f][:a.n]      # behind a TAB the command reads a category
    if len(texts) < a.n:
        sys.exit(f"{a.titles}: {len(texts)} lines, expected {a.n}")
    model = kpd.Model(a.model, threads=a.threads)
    model.encode(texts[:100])
    rates = []
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as f:
        f.write("\n".join(texts) + "\n")
        f.flush()
        for _ in range(a.rounds):
            began = time.perf_counter()
            model.encode(texts)
            python = a.n / (time.perf_counter() - began)
            rates.append((python, command(os.environ.get("KPD", "build/kpd"), a.model, f.name, a.threads)))
            print("Python {:8.0f} texts/s, kpd embed {:8.0f}, ratio {:.3f}".format(*rates[-1], rates[-1][0] / rates[-1][1]),
                  flush=True)
    print(f"median ratio {statistics.median(x / y for x, y in rates):.3f} of {a.rounds} rounds, {a.n} texts, "
          f"{a.threads} thread(s)")
    print(f"import kpd {1e3 * statistics.median(import_seconds('kpd') for _ in range(5)):.0f} ms after numpy")


if __name__ == "__main__":
    main()
