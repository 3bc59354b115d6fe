#!/usr/bin/env python3
"""Makes one page of what a pipeline found: the figures that `kpd eval` and `kpd simulate sell` wrote with -o, with their
intervals, as pictures and tables, and how trainings went.

    python3 tools/report.py FOLDER [-o report.html] [--title TEXT]

Read are all .tsv files below FOLDER that begin with `figure TAB value TAB low TAB high`, or with eval ann's header, and all
metrics.tsv. Files of one folder whose names differ only before the first dot are systems of one table: auction/ctr.truth.tsv
and auction/llm.truth.tsv are ctr and llm of "auction, truth". Of a comparison (--against) the difference stands below the
value, with a * where its p is below .05 by Holm's method over the systems of the table. Trainings whose folders differ only
behind the last dot, as seeds do, are drawn together. The page holds all it needs. Needs matplotlib and jinja2; nothing needs
it."""
import argparse
import base64
import io
import os
import sys

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
import plot  # noqa: E402

HEADER, ANN = ["figure", "value", "low", "high"], ["asked", "found", "low", "high"]
# What is drawn, where a file has it: at most DRAWN of these, in this order.
MAIN = ["f1", "auc", "auc_in_query", "ndcg_in_query", "kp", "pr", "pass@10", "pass@20", "gmb", "roas", "adopted", "ndcg@10",
        "map", "recall@100", "mrr@10"]
DRAWN = 4

PAGE = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{{ title }}</title><style>
body { font: 15px/1.5 system-ui, sans-serif; color: #222; max-width: 1100px; margin: 2em auto; padding: 0 1em }
h1 { font-size: 1.6em } h2 { font-size: 1.2em; margin-top: 2em; border-bottom: 1px solid #ddd }
nav a { margin-right: 1em } .wide { overflow-x: auto } img { max-width: 100% }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; font-size: 13px }
th, td { padding: .25em .7em; text-align: right; border-bottom: 1px solid #eee; white-space: nowrap; vertical-align: top }
th:first-child, td:first-child { text-align: left } thead th { border-bottom: 2px solid #bbb }
small { color: #666 } .more { color: #07652f } .less { color: #a11 } summary { cursor: pointer; margin: .7em 0; color: #555 }
</style></head><body>
<h1>{{ title }}</h1>
<p>{{ tables|length }} table(s), {{ trainings|length }} training(s). In brackets are 95 % intervals; below a value stands its
difference, or change in per cent, to the system that it was compared with, marked * where p is below .05 by Holm's method over
the rows.</p>
<nav>{% for t in tables %}<a href="#t{{ loop.index }}">{{ t.name }}</a>{% endfor %}
{% if trainings %}<a href="#r">trainings</a>{% endif %}</nav>
{% for t in tables %}
<h2 id="t{{ loop.index }}">{{ t.name }}</h2>
<p><img alt="{{ t.name }}: figures with intervals" src="{{ t.picture }}"></p>
<div class="wide"><table><thead><tr><th></th>{% for f in t.columns %}<th>{{ f }}</th>{% endfor %}</tr></thead><tbody>
{% for row in t.rows %}<tr><td>{{ row.name }}</td>
{% for c in row.cells %}<td>{{ c.value }}{% if c.interval %} <small>{{ c.interval }}</small>{% endif %}
{% if c.difference %}<br><small class="{{ c.sign }}">{{ c.difference }}</small>{% endif %}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div>
{% if t.counts %}<details><summary>Counts</summary><div class="wide"><table>
<thead><tr><th></th>{% for f in t.counts %}<th>{{ f }}</th>{% endfor %}</tr></thead><tbody>
{% for row in t.rows %}<tr><td>{{ row.name }}</td>{% for c in row.counts %}<td>{{ c }}</td>{% endfor %}</tr>
{% endfor %}</tbody></table></div></details>{% endif %}
{% endfor %}
{% if trainings %}<h2 id="r">Trainings</h2>
{% for t in trainings %}<details{{ " open" if trainings|length < 4 }}><summary>{{ t.name }}: {{ t.what }}</summary>
<img alt="{{ t.name }}: loss and rate by step" src="{{ t.picture }}"></details>
{% endfor %}{% endif %}
</body></html>
"""


def is_one_of(path, *heads):
    with open(path, encoding="utf-8", errors="replace") as f:
        head = f.readline().rstrip("\n").split("\t")
    return any(head[:len(h)] == h for h in heads)


def number(x):
    return None if x == "-" else float(x)


def read(path):
    """{figure: [value, low, high, of the other, its low, high, difference, low, high, p, unit]}; the last eight of a
    comparison, whose difference is per cent where simulate sell wrote it"""
    with open(path, encoding="utf-8") as f:
        head, *rows = [line.rstrip("\n").split("\t") for line in f]
    unit = ["%"] if "change" in head else [""] if len(head) > 4 else []
    if head[:4] == ANN:
        return {f"recall, {row[0]} asked": [number(x) for x in row[1:4]] for row in rows}
    for line, row in enumerate(rows, 2):
        if len(row) != len(head):
            sys.exit(f"{path}:{line}: {len(row)} columns, expected {len(head)}")
    return {row[0]: [number(x) for x in row[1:]] + unit for row in rows}


def text(x, digits=3):
    if x is None:
        return "-"
    return f"{x:.0f}" if float(x).is_integer() else f"{x:.{digits}f}"


def holm(p):
    """{name: p} adjusted for being tested together"""
    out, worst = {}, 0
    for i, name in enumerate(sorted(p, key=p.get)):
        worst = max(worst, min(1, (len(p) - i) * p[name]))
        out[name] = worst
    return out


def cell(values, p):
    out = {"value": text(values[0]), "interval": "", "difference": "", "sign": ""}
    if values[1] is not None:
        out["interval"] = f"[{text(values[1])}, {text(values[2])}]"
    if len(values) > 6 and values[7] is not None and values[6]:
        by, form, unit = (100, ".0f", " %") if values[10] == "%" else (1, ".3f", "")
        low, high = (format(by * x, form) for x in values[7:9])
        out["difference"] = f"{by * values[6]:+{form}}{unit} [{low}, {high}]" + (" *" if p is not None and p < .05 else "")
        out["sign"] = "" if p is None or p >= .05 else "more" if values[6] > 0 else "less"
    return out


def with_other(systems):
    """And what they were compared with, where that is one, and no system of the table."""
    own, others = [{f: v[:3] for f, v in s.items()} for s in systems.values()], []
    for s in systems.values():
        other = {f: v[3:6] for f, v in s.items() if len(v) > 5}
        if other and other not in own + others:
            others.append(other)
    return {**systems, "against": others[0]} if len(others) == 1 else systems


def table(name, systems):
    """systems: {name: read(path)}"""
    systems = with_other(systems)
    figures = list(dict.fromkeys(f for figures in systems.values() for f in figures))
    columns = [f for f in figures if any(s.get(f, [None] * 2)[1] is not None for s in systems.values())]
    counts = [f for f in figures if f not in columns and any(s.get(f, [None])[0] is not None for s in systems.values())]
    p = {f: holm({n: s[f][9] for n, s in systems.items() if len(s.get(f, [])) > 9 and s[f][9] is not None and s[f][6]})
         for f in columns}
    rows = [{"name": n, "cells": [cell(s.get(f, [None] * 3), p[f].get(n)) for f in columns],
             "counts": [text(s.get(f, [None])[0]) for f in counts]} for n, s in systems.items()]
    drawn = ([f for f in MAIN if f in columns] or columns)[:DRAWN]
    return {"name": name, "columns": columns, "counts": counts, "rows": rows, "picture": picture_of(systems, drawn)}


def embedded(figure):
    data = io.BytesIO()
    figure.savefig(data, format="svg", metadata={"Date": None})
    return "data:image/svg+xml;base64," + base64.b64encode(data.getvalue()).decode()


def picture_of(systems, figures):
    """A row for each system, a panel for each figure: a dot with its interval."""
    from matplotlib import pyplot
    names, n = list(systems), max(1, len(figures))
    size = (min(11, 2.5 + 2.4 * n), 1 + .3 * len(names))
    figure, axes = pyplot.subplots(1, n, sharey=True, squeeze=False, layout="constrained", figsize=size)
    for axis, name in zip(axes[0], figures):
        for y, system in enumerate(names):
            value, low, high = systems[system].get(name, [None] * 3)[:3]
            if value is not None and low is not None:
                axis.plot([low, high], [y, y], color="C0", linewidth=2, solid_capstyle="butt", alpha=.5)
                axis.plot(value, y, "o", color="C0", markersize=5)
        axis.set_title(name, fontsize=10)
        axis.grid(axis="x", alpha=.3)
        axis.tick_params(labelsize=8)
        axis.tick_params(axis="y", length=0)
        axis.spines[["top", "right", "left"]].set_visible(False)
    axes[0][0].set_yticks(range(len(names)), names)
    axes[0][0].invert_yaxis()
    out = embedded(figure)
    pyplot.close(figure)
    return out


def training(name, paths):
    runs = {n: plot.read(path) for n, path in paths.items()}
    runs = {n: rows for n, rows in runs.items() if any(r["loss"] is not None for r in rows)}
    if not runs:
        return None
    steps = max(r["step"] for rows in runs.values() for r in rows)
    data = io.BytesIO()
    plot.draw(runs, None, data)
    return {"name": name, "what": f"{len(runs)} run{'s' if len(runs) > 1 else ''}, {steps:.0f} steps",
            "picture": "data:image/png;base64," + base64.b64encode(data.getvalue()).decode()}


def found(folder):
    """({table: {system: path}}, {training: {run: path}})"""
    tables, trainings = {}, {}
    for place, folders, files in os.walk(folder):
        folders.sort()
        inside = os.path.relpath(place, folder)
        for file in sorted(files):
            path = os.path.join(place, file)
            if file == "metrics.tsv":
                stem, _, end = inside.rpartition(".")
                family = stem if stem and end.isdigit() else inside
                trainings.setdefault(family, {})[inside] = path
            elif file.endswith(".tsv") and is_one_of(path, HEADER, ANN):
                system, _, rest = file[:-len(".tsv")].partition(".")
                name = ", ".join(x for x in ("" if inside == "." else inside, rest) if x)
                tables.setdefault(name or "figures", {})[system] = path
    return tables, trainings


def named(name, systems):
    """A table of one system is called after it."""
    if len(systems) > 1:
        return name, systems
    [system] = systems
    return f"{system}, {name}" if name != system else name, systems


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("folder")
    p.add_argument("-o", default="report.html", help="the page (report.html)")
    p.add_argument("--title", help="(the folder's name)")
    a = p.parse_args()
    if not os.path.isdir(a.folder):
        sys.exit(f"{a.folder}: no such folder")
    tables, trainings = found(a.folder)
    if not tables and not trainings:
        sys.exit(f"{a.folder}: no file of kpd eval, simulate sell or train is below it")
    read_tables = [named(name, {n: read(path) for n, path in systems.items()}) for name, systems in tables.items()]
    try:
        import jinja2
        import matplotlib
    except ImportError as e:
        sys.exit(f"report.py needs matplotlib and jinja2: {e}")
    matplotlib.use("Agg")
    matplotlib.rcParams["svg.hashsalt"] = "kpd"
    page = jinja2.Environment(autoescape=True).from_string(PAGE).render(
        title=a.title or os.path.basename(os.path.abspath(a.folder)),
        tables=[table(name, systems) for name, systems in read_tables],
        trainings=[t for name, paths in trainings.items() for t in [training(name, paths)] if t])
    temporary = f"{a.o}.{os.getpid()}.tmp"
    with open(temporary, "w", encoding="utf-8") as f:
        f.write(page)
    os.replace(temporary, a.o)
    print(f"{a.o}: {len(tables)} table(s), {len(trainings)} training(s)")


if __name__ == "__main__":
    main()
