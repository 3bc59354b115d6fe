#!/usr/bin/env python3
"""Draws the metrics.tsv of `kpd train`: loss by data set, smoothed, rate and dev over steps, of one run or of several in the
same axes. Needs matplotlib; nothing needs it.

    python3 tools/plot.py student/metrics.tsv [other/metrics.tsv ...] [-o metrics.png] [--smooth 0.9]
"""
import argparse
import os
import sys


def read(path):
    """Rows as dicts; a cell `-` is None. The last row may be cut short: training may still be at it."""
    with open(path, encoding="utf-8") as f:
        names = f.readline().rstrip("\n").split("\t")
        if names[:3] != ["step", "source", "loss"]:
            sys.exit(f"{path}:1: not the header of a metrics.tsv")
        lines = f.read().split("\n")[:-1]
    rows = []
    for number, line in enumerate(lines, 2):
        cells = line.split("\t")
        if len(cells) != len(names):
            sys.exit(f"{path}:{number}: {len(cells)} columns, expected {len(names)}")
        row = dict(zip(names, cells))
        rows.append({k: v if k == "source" else None if v == "-" else float(v) for k, v in row.items()})
    return rows


def smoothed(values, keep):
    """The mean of what came before, whose weight fades by `keep` a row; without a bias to zero at the beginning."""
    total = weight = 0.0
    for v in values:
        total, weight = keep * total + (1 - keep) * v, keep * weight + (1 - keep)
        yield total / weight


def draw(runs, keep, path):
    """runs: name -> rows. An axis for each data set, since losses differ in scale; the best look at dev is marked."""
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    steps = {name: [r for r in rows if r["loss"] is not None] for name, rows in runs.items()}     # step 0 is a look at dev
    looks = {name: [r for r in rows if r["dev"] is not None] for name, rows in runs.items()}
    sources = list(dict.fromkeys(r["source"] for rows in steps.values() for r in rows))
    n = len(sources) + 1 + any(looks.values())
    figure, axes = pyplot.subplots(n, 1, sharex=True, figsize=(9, 3 * n), layout="constrained")
    for i, name in enumerate(runs):
        color = f"C{i}"
        for axis, source in zip(axes, sources):
            of = [r for r in steps[name] if r["source"] == source]
            x, losses = [r["step"] for r in of], [r["loss"] for r in of]
            axis.plot(x, losses, color=color, alpha=0.2, linewidth=0.7)
            by = keep if keep is not None else max(0, 1 - 20 / max(len(of), 1))
            axis.plot(x, list(smoothed(losses, by)), color=color, label=name)
            axis.set_ylabel(f"loss of {source}")
        axes[len(sources)].plot([r["step"] for r in steps[name]], [r["rate"] for r in steps[name]], color=color, label=name)
        if looks[name]:
            axes[-1].plot([r["step"] for r in looks[name]], [r["dev"] for r in looks[name]], marker=".", color=color)
            best = max(looks[name], key=lambda r: r["dev"])
            axes[-1].plot(best["step"], best["dev"], marker="o", color=color)
            axes[-1].annotate(f"{best['dev']:.4f}", (best["step"], best["dev"]), textcoords="offset points", xytext=(4, 4))
    axes[len(sources)].set_ylabel("rate")
    if any(looks.values()):
        axes[-1].set_ylabel("dev, the best marked")
    axes[0].legend()
    axes[-1].set_xlabel("step")
    figure.suptitle(", ".join(runs))
    figure.savefig(path, dpi=120)
    pyplot.close(figure)


def name_of(path, paths):
    """The folder, as that is what a run is called; the path where two have the same."""
    folder = os.path.basename(os.path.dirname(os.path.abspath(path)))
    return folder if sum(os.path.basename(os.path.dirname(os.path.abspath(p))) == folder for p in paths) == 1 else path


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("metrics", nargs="+")
    p.add_argument("-o", default="metrics.png", help="the picture (metrics.png)")
    p.add_argument("--smooth", type=float, help="weight of the past, 0 to below 1 (by rows: the last 20th counts)")
    a = p.parse_args()
    if a.smooth is not None and not 0 <= a.smooth < 1:
        sys.exit("--smooth: expected 0 to below 1")
    runs = {name_of(path, a.metrics): read(path) for path in a.metrics}
    for name, rows in runs.items():
        if not any(r["loss"] is not None for r in rows):
            sys.exit(f"{name}: no rows yet")
    draw(runs, a.smooth, a.o)
    print(f"{a.o}: {len(runs)} run(s)")


if __name__ == "__main__":
    main()
