#!/usr/bin/env python3
"""Draws the metrics.tsv of `kpd train`: loss by source, smoothed, rate and dev over steps. Needs matplotlib; nothing needs it.

    python3 tools/plot.py student/metrics.tsv [-o metrics.png] [--smooth 0.98]
"""
import argparse
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


def draw(rows, keep, path):
    import matplotlib
    matplotlib.use("Agg")
    from matplotlib import pyplot
    dev = [r for r in rows if r["dev"] is not None]
    figure, axes = pyplot.subplots(3 if dev else 2, 1, sharex=True, figsize=(9, 9 if dev else 6), layout="constrained")
    for source in dict.fromkeys(r["source"] for r in rows):
        of = [r for r in rows if r["source"] == source]
        steps, losses = [r["step"] for r in of], [r["loss"] for r in of]
        line, = axes[0].plot(steps, list(smoothed(losses, keep)), label=source)
        axes[0].plot(steps, losses, color=line.get_color(), alpha=0.2, linewidth=0.7)
    axes[0].set_ylabel("loss")
    axes[0].legend()
    axes[1].plot([r["step"] for r in rows], [r["rate"] for r in rows])
    axes[1].set_ylabel("rate")
    if dev:
        axes[2].plot([r["step"] for r in dev], [r["dev"] for r in dev], marker=".")
        axes[2].set_ylabel("dev")
    axes[-1].set_xlabel("step")
    figure.savefig(path, dpi=120)


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("metrics")
    p.add_argument("-o", default="metrics.png", help="the picture (metrics.png)")
    p.add_argument("--smooth", type=float, default=0.98, help="weight of the past, 0 to below 1 (0.98)")
    a = p.parse_args()
    if not 0 <= a.smooth < 1:
        sys.exit("--smooth: expected 0 to below 1")
    rows = read(a.metrics)
    if not rows:
        sys.exit(f"{a.metrics}: no rows yet")
    draw(rows, a.smooth, a.o)


if __name__ == "__main__":
    main()
