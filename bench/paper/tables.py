"""The tables beside the paper's, as Markdown, of what `kpd run paper.ini` left in a folder, and in its folders bases, negatives,
clicks, labels and sensitivity; or those of real pairs, of what real.ini left.

    python3 tables.py FOLDER [STUDENT ...]
    python3 tables.py --worlds FOLDER ...    # what make paper left of several worlds, side by side
    python3 tables.py --tuning TRIALS TUNED  # tuning.ini: the folder of its trials, and of what they chose

Of the students that are named, or of all. Table 1 compares F1 with that of the last, or with Pearson's; table 2 with
LLM+CTR+KD's.
Intervals are of 95 %, of bootstraps over seeds and pairs or items. A difference is marked * where its p, by Holm's method over
the table's rows, is below .05; anything less is a tie. What is not there is left out."""
import glob
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "../../tools"))
import report  # noqa: E402

PAPER1 = {  # F1, precision, recall, rho
    "mse": (.81, .77, .86, .78), "cosent": (.87, .86, .88, .82), "pearson": (.88, .87, .88, .87),
    "margin-mse": (.86, .84, .88, .80), "kl": (.85, .83, .88, .66), "llm": (.83, None, None, None),
    "softmax": (.66, None, None, None),
    "ctr": (.66, None, None, None), "llm+ctr": (.83, None, None, None), "llm+ctr+kd": (.88, None, None, None)}
NAMES1 = {"llm": "contrastive (LLM)", "softmax": "softmax (LLM)", "ctr": "MNR (CTR)", "llm+ctr": "LLM+CTR",
          "llm+ctr+kd": "LLM+CTR+KD", "mse": "MSE", "cosent": "CoSENT", "pearson": "Pearson", "margin-mse": "margin-MSE", "kl": "KL"}
PAPER2 = {  # KP, pass rate, Pass@5, 10, 15, 20
    "llm+ctr+kd": (12, .71, .68, .60, .55, .52), "llm+sr+ctr+kd": (11, .70, .67, .59, .54, .51),
    "llm+sr+kd": (12, .51, .47, .42, .41, .39), "llm+kd": (11, .49, .36, .35, .33, .32),
    "llm": (11, .61, .45, .41, .38, .35), "tuned": None, "ctr": (7, .60, .51, .42, .37, .34), "llm+ctr": None, "llm+mined+kd": None}
CEILINGS = {"oracle-text": "oracle of the texts", "oracle-truth": "oracle of the truth", "oracle-llm": "oracle of the LLM"}
PAPER3 = {  # recall, precision, F1
    "large": (.92, .81, .86), "distilled": (.92, .78, .85), "foreign": (.91, .76, .83), "small": None, "random": None}
NAMES3 = {"large": "large, shop's texts (eBERT)", "distilled": "small, distilled from it (microBERT)",
          "foreign": "large, another shop's (ModernBERT)", "small": "small, shop's texts", "random": "small, no texts"}
NEGATIVES = {"batch": "of the batch", "bm25": "BM25", "mined": "mined once", "ance": "mined as it learns (ANCE)",
             "ngame": "of a batch of like items (NGAME)"}

CLICKS = {"plain": "CTR", "weighted": "CTR, weighted", "all": "LLM+CTR+KD", "weighted-all": "LLM+CTR+KD, weighted"}
LABELS = {"fewer-2000": "2,000 of the LLM", "fewer-5000": "5,000", "fewer-10000": "10,000", "fewer-20000": "20,000",
          "placebo-shuffled": "50,100, dealt anew", "placebo-truth": "50,100 of the truth", "rated-llm": "3,500 others of the LLM",
          "rated-people": "3,500 of people, yes or no", "rated-grades": "3,500 of people, grades"}
CHANGES = {"scale": ("mnr, scale (20)", ("10", "40")), "margin": ("contrastive, margin (.5)", (".3", ".7")),
           "label": ("contrastive, weight (1)", ("10", "30", "100")),
           "bare": ("no Pearson, contrastive, weight", ("10", "30", "100")),
           "weight": ("Pearson, weight (1)", (".3", "3")), "target": ("Pearson, target (probability)", ("logit",)),
           "batch": ("batch (64)", ("32", "128")), "rate": ("rate (1e-3)", ("5e-4", "2e-3")),
           "mse": ("MSE alone, target (probability)", ("cosine", "logit")), "cosent": ("CoSENT alone, scale (20)", ("5", "50")),
           "pearson": ("Pearson alone, target (probability)", ("logit",)), "kl": ("KL alone, temperature (1)", (".5", "2")),
           "margin-mse": ("margin-MSE alone, target (probability)", ("logit",))}
# What a keyphrase is, by what the truth gives it: a product of factors, one for each thing that is amiss (see simulate)
MISSES = {"right": lambda t: t >= .5, "an attribute, or a sibling of its type": lambda t: t == .25,
          "brand": lambda t: t == .2, "model": lambda t: t == .15, "accessory for device, or the reverse": lambda t: t == .05,
          "several of these": lambda t: 0 < t < .5, "another type": lambda t: t == 0}
REAL = {"overlap": "token overlap", "start": "untrained", "assistant": "assistant", "labels": "labels", "grades": "grades",
        "kd": "labels + KD", "mnr": "labels + MNR", "mined": "labels + MNR, mined", "lists": "labels + KL over what was mined",
        "items": "labels + MNR of items, mined"}
PARTS = {"hd": "Home Depot", "open": "ESCI and Icecat"}


def read(path):
    """As report.py reads it, if it is there"""
    return report.read(path) if os.path.exists(path) else None


def number(x, digits=3):
    if x is None:
        return "-"
    text = f"{x:.{digits}f}"
    text = text if float(text) else text.lstrip("-")
    return text.replace("0.", ".", 1) if text.startswith(("0.", "-0.")) else text


def interval(cells, digits=3):
    return f"{number(cells[0], digits)} [{number(cells[1], digits)}, {number(cells[2], digits)}]"


def differences(tables, figure, reference):
    """{name: the difference to the reference as a cell of the table}"""
    rows = {name: t[figure] for name, t in tables.items() if name != reference and figure in t and len(t[figure]) > 9}
    adjusted = report.holm({name: row[9] for name, row in rows.items() if row[9] is not None})
    return {name: interval(row[6:9]) + (" *" if adjusted.get(name, 1) < .05 else "") for name, row in rows.items()}


def table(head, rows):
    print("| " + " | ".join(head) + " |\n|" + "---|" * len(head))
    for row in rows:
        print("| " + " | ".join(row) + " |")
    print()


def paper(values, i, digits=2):
    return number(values[i], digits) if values else "-"


def tables_of(rows, students, path):
    """{name: its table}, in the order of rows, of the students that are asked for and have one; {} in path stands for a name"""
    return {n: t for n in rows if not students or n in students for t in [read(path.format(n))] if t}


def table1(folder, students):
    reference = students[-1] if students else "pearson"
    other = NAMES1.get(reference, reference.upper())
    llm = tables_of(PAPER1, students, folder + "/pairs/{}.llm.tsv")
    truth = {n: read(f"{folder}/pairs/{n}.truth.tsv") for n in llm}
    change = differences(llm, "f1", reference)
    rows = []
    for name, t in llm.items():
        rho = read(f"{folder}/rho/{name}.tsv")
        of = truth[name]
        rows.append([NAMES1[name], interval(t["f1"]), number(t["precision"][0]), number(t["recall"][0]),
                     interval(rho["spearman_assistant"]) if rho else "-", change.get(name, "-"), interval(t["auc"]),
                     interval(t["auc_in_query"]),
                     *(interval(of[f]) if of else "-" for f in ("f1", "ndcg_in_query", "spearman")),
                     " / ".join(paper(PAPER1[name], i) for i in range(4))])
    print("**Table 1.** F1, precision, recall on the LLM's labels of unseen pairs; rho, Spearman with the assistant of the same "
          f"seed;\nF1 less that of {other}; AUC, and within a query; F1, NDCG within a query and Spearman under the truth; the "
          "paper's F1 / P / R / rho.\n")
    table(["loss", "F1", "P", "R", "rho", f"F1 - {other}'s", "AUC", "AUC in query", "F1, truth", "NDCG, truth",
           "Spearman, truth", "paper"], rows)
    assistant = read(f"{folder}/pairs/assistant.llm.tsv")
    if assistant:
        print("The assistant itself: " + ", ".join(
            f"{name} {interval(assistant[figure])}" for name, figure in (
                ("F1", "f1"), ("AUC", "auc"), ("AUC in query", "auc_in_query"))) + ".\n")


def sets(folder, students):
    by = {"ctr": "clicks", "sr": "the search engine", "llm": "the LLM", "truth": "the truth"}
    tables = {s: tables_of(PAPER2, students, f"{folder}/sets/{{}}.{s}.tsv") for s in by}
    if not tables["ctr"]:
        return
    change = {s: differences(t, "auc", "llm+ctr+kd") for s, t in tables.items()}
    print("**Each kind of label** of unseen pairs, told by cosines: AUC, and less that of LLM+CTR+KD.\n")
    table(["labels"] + [head for name in by.values() for head in (f"by {name}", "less")],
          [[n.upper()] + [cell for s in by for cell in (interval(tables[s][n]["auc"]), change[s].get(n, "-"))] for n in tables["ctr"]])


def served(folder, students):
    by = {judge: tables_of(PAPER2, students, f"{folder}/auction/{{}}.served.{judge}.tsv") for judge in ("llm", "truth")}
    change = {judge: differences(tables, "pr", "llm+ctr+kd") for judge, tables in by.items()}
    rows = [[name.upper(), interval(t["kp"], 0)] + [cell for judge, tables in by.items() for cell in (
        interval(tables[name]["pr"]), change[judge].get(name, "-"))] + [paper(PAPER2[name], 0, 0), paper(PAPER2[name], 1)]
        for name, t in by["llm"].items()]
    print("**Table 2, the assistant as filter.** KP, the median of an item's keyphrases to which it gives .5 or more; PR, the "
          "share of them\nthat the judge passes, and less that of LLM+CTR+KD; the paper's KP and PR, whose filter is not said.\n")
    table(["labels", "KP", "PR, LLM", "less LLM+CTR+KD's", "PR, truth", "less LLM+CTR+KD's", "KP, paper", "PR, paper"], rows)


def recommended(folder, students):
    figures = ("uniqueness", "head", "tail", "novel")
    tables = tables_of(PAPER2, students, folder + "/auction/{}.truth.tsv")
    tables.update(tables_of(CEILINGS, [], folder + "/auction/{}.truth.tsv"))
    if any("head" in t for t in tables.values()):
        print("**What is recommended**: different keyphrases over recommended ones, all of 20 an item; of these the shares of the "
              "tenth of the\nkeyphrases with the most impressions, of the half with the fewest, and of those that nobody clicked.\n")
        table(["labels", "uniqueness", "head", "tail", "novel"],
              [[CEILINGS.get(n, n.upper()), number(t["uniqueness"][0])] + [interval(t[f]) for f in figures[1:]]
               for n, t in tables.items()])


def popularity(folder):
    ctr, kd = (read(f"{folder}/popularity/{n}.tsv") for n in ("llm+ctr", "llm+ctr+kd"))
    if not ctr or not kd:
        return
    print("**By how much an item is shown**, in tenths of the items, the first being shown least: Pass@10 under the truth of the "
          "students, and\nwhat the LLM's labels (LLM+CTR less CTR) and then distillation (LLM+CTR+KD less LLM+CTR) add to it.\n")
    rows = []
    for tenth in range(1, 11):
        a, b = ctr[f"pass@10, tenth {tenth}"], kd[f"pass@10, tenth {tenth}"]
        rows.append([str(tenth), interval(a[3:6]), interval(a[:3]), interval(b[:3]), interval(a[6:9]), interval(b[6:9])])
    table(["tenth", "CTR", "LLM+CTR", "LLM+CTR+KD", "labels add", "distillation adds"], rows)


def sales(folder, students):
    figures = ("gmb", "roas", "adopted", "adoption", "spend")
    tables = {n: t for n, t in tables_of(PAPER2, students, folder + "/sales/{}.tsv").items() if n != "ctr"}
    if tables:
        print("**A/B test in the shop**, against the student of clicks, in per cent: gross merchandise bought, its ratio to what "
              "is spent on ads,\nkeyphrases adopted an item, the share of those listed that is adopted, and spend. The paper's: "
              "+51 GMB, +39 ROAS, +12 adoption.\n")
        table(["labels", "GMB", "ROAS", "adopted", "share adopted", "spend"],
              [[n.upper()] + [interval([100 * x for x in t[f][6:9]], 0) for f in figures] for n, t in tables.items()])


def table2(folder, students):
    figures = ["pr", "pass@5", "pass@10", "pass@15", "pass@20"]
    for by in ("llm", "truth"):
        tables = tables_of(PAPER2, students, f"{folder}/auction/{{}}.{by}.tsv")
        change = {f: differences(tables, f, "llm+ctr+kd") for f in ("pr", "pass@10")}
        tables.update(tables_of(CEILINGS, [], f"{folder}/auction/{{}}.{by}.tsv"))
        rows = [[CEILINGS.get(name, name.upper()), interval(t["kp"], 0), interval(t["pr"]), change["pr"].get(name, "-")] +
                [interval(t[f]) for f in figures[1:]] + [change["pass@10"].get(name, "-")] +
                ([" / ".join(paper(PAPER2.get(name), i, 2 if i else 0) for i in range(6))] if by == "llm" else [])
                for name, t in tables.items()]
        print(f"**Table 2, by the {'LLM' if by == 'llm' else 'truth'}.** KP, the median of an item's keyphrases that pass the "
              "search engine's filter; PR, the share of them\nthat the judge passes, and less that of LLM+CTR+KD; Pass@k, of the "
              "first k before the filter; Pass@10 less\nthat of LLM+CTR+KD"
              f"{'; the paper (KP / PR / Pass@5 / 10 / 15 / 20)' if by == 'llm' else ''}.\n")
        table(["labels", "KP", "PR", "PR - LLM+CTR+KD's", "Pass@5", "Pass@10", "Pass@15", "Pass@20", "Pass@10 - LLM+CTR+KD's"] +
              (["paper"] if by == "llm" else []), rows)
    served(folder, students)
    recommended(folder, students)
    sets(folder, students)
    misses(folder, students)
    popularity(folder)
    tables = tables_of(PAPER2, students, folder + "/auction/{}.judges.tsv")
    rows = [[name.upper()] + [interval(t[f][6:9]) for f in figures] for name, t in tables.items()]
    sales(folder, students)
    print("**Table 2, the LLM less the truth** on the same lists: what a figure owes to its judge.\n")
    table(["labels", "PR", "Pass@5", "Pass@10", "Pass@15", "Pass@20"], rows)


def worlds(folders):
    tables = {f: tables_of(PAPER2, ["llm+ctr+kd", "llm", "llm+ctr", "ctr"], f + "/auction/{}.truth.tsv") for f in folders}
    for figure, what in (("pass@10", "Pass@10"), ("pr", "PR behind the search engine's filter")):
        print(f"{what}, by the truth: LLM+CTR+KD's, and of the others less that.\n")
        table(["world", "LLM+CTR+KD", "LLM", "LLM+CTR", "CTR"],
              [[f.rstrip("/").partition(".world")[2] or "3", interval(t["llm+ctr+kd"][figure])] +
               [differences(t, figure, "llm+ctr+kd").get(n, "-") for n in ("llm", "llm+ctr", "ctr")] for f, t in tables.items()])


def last_dev(path):
    """What the last look at dev saw, as metrics.tsv has it"""
    if not os.path.exists(path):
        return None
    with open(path, encoding="utf-8") as f:
        seen = [line.rstrip("\n").split("\t")[-1] for line in f]
    return float(seen[-1]) if seen[-1] not in ("-", "dev") else None


def table3(folder):
    tables = tables_of(PAPER3, [], folder + "/pairs/{}.llm.tsv")
    if not tables:
        return
    truth = {n: read(f"{folder}/pairs/{n}.truth.tsv") for n in tables}
    change = differences(tables, "f1", "small")
    rows = []
    for name, t in tables.items():
        dev = last_dev(f"{folder}/{name}/metrics.tsv")
        rows.append([NAMES3[name], number(-dev if dev else None, 2), number(t["recall"][0]), number(t["precision"][0]),
                     interval(t["f1"]), change.get(name, "-"), interval(t["auc"]), interval(t["auc_in_query"]),
                     interval(truth[name]["f1"]) if truth[name] else "-",
                     " / ".join(paper(PAPER3[name], i) for i in range(3))])
    print("**Table 3.** What LLM+CTR+KD begins with: loss of guessing hidden words of unseen titles; recall, precision, F1 on the "
          "LLM's labels\nof unseen pairs; F1 less that of the small one by its own texts; AUC, and within a query; F1 under the "
          "truth; the paper's R / P / F1.\n")
    table(["base", "loss", "R", "P", "F1", "less small's", "AUC", "AUC in query", "F1, truth", "paper"], rows)


def negatives(folder):
    by = {judge: tables_of(NEGATIVES, [], f"{folder}/auction/{{}}.{judge}.tsv") for judge in ("llm", "truth")}
    change = {judge: differences(tables, "pass@10", "batch") for judge, tables in by.items()}
    if by["llm"]:
        print("**Negatives of the clicks of LLM+CTR+KD**: Pass@10, and less that of the batch's alone; KP and PR behind the search "
              "engine's\nfilter.\n")
        table(["negatives", "Pass@10, LLM", "less the batch's", "Pass@10, truth", "less the batch's", "KP", "PR, truth"],
              [[NEGATIVES[n]] + [cell for judge, tables in by.items() for cell in (
                  interval(tables[n]["pass@10"]), change[judge].get(n, "-"))] + [interval(t["kp"], 0), interval(t["pr"])]
               for n, t in by["truth"].items()])


def clicks(folder):
    tables = tables_of(CLICKS, [], folder + "/auction/{}.tsv")
    change = differences({n: t for n, t in tables.items() if n.startswith("weighted")}, "pass@10", "")
    if tables:
        print("**Clicks by impressions that are weighed by position**, by the truth: Pass@10, and less that of the same labels "
              "without weights;\nKP and PR behind the search engine's filter.\n")
        table(["labels", "Pass@10", "less without weights", "KP", "PR"],
              [[CLICKS[n], interval(t["pass@10"]), change.get(n, "-"), interval(t["kp"], 0), interval(t["pr"])]
               for n, t in tables.items()])


def misses(folder, students):
    """What the first ten of the lists are, by the truth's value of each"""
    rows = []
    for name in PAPER2:
        judge, lists = f"{folder}/judge/{name}.truth.tsv", sorted(glob.glob(f"{folder}/lists/{name}.*.tsv"))
        if (students and name not in students) or not os.path.exists(judge) or not lists:
            continue
        with open(judge, encoding="utf-8") as f:
            truth = {tuple(cells[:2]): float(cells[2]) for cells in (line.rstrip("\n").split("\t") for line in f)}
        count = dict.fromkeys(MISSES, 0)
        for path in lists:
            with open(path, encoding="utf-8") as f:
                for item, rank, keyphrase, *_ in (line.rstrip("\n").split("\t") for line in f):
                    if int(rank) <= 10:
                        count[next(m for m, holds in MISSES.items() if holds(truth[item, keyphrase]))] += 1
        rows.append([name.upper()] + [number(n / sum(count.values())) for n in count.values()])
    if rows:
        print("**What is wrong** in the first ten, by the truth: shares of what is recommended.\n")
        table(["labels", *MISSES], rows)


def other_labels(folder):
    pairs = tables_of(LABELS, [], folder + "/pairs/{}.tsv")
    auction = tables_of(LABELS, [], folder + "/auction/{}.tsv")
    if not auction or not pairs.keys() >= auction.keys():
        return
    change = differences(auction, "pass@10", "")
    print("**LLM+CTR+KD by other labels than the LLM's 50,100**, under the truth: the assistant's AUC and its AUC within a query on "
          "unseen pairs;\nPass@10 of the student, and less that by the 50,100; KP and PR behind the search engine's filter.\n")
    rows = [[LABELS[n], interval(pairs[n]["auc"]), interval(pairs[n]["auc_in_query"]), interval(t["pass@10"]), change.get(n, "-"),
             interval(t["kp"], 0), interval(t["pr"])] for n, t in auction.items()]
    one = next(iter(auction))
    rows.append(["50,100 of the LLM"] + [interval(pairs[one][f][3:6]) for f in ("auc", "auc_in_query")] +
                [interval(auction[one]["pass@10"][3:6]), "-", interval(auction[one]["kp"][3:6], 0), interval(auction[one]["pr"][3:6])])
    table(["labels", "AUC, assistant", "AUC in query", "Pass@10", "less the 50,100's", "KP", "PR"], rows)
    for other, name in (("people", "people's yes or no"), ("llm", "the LLM's")):
        of_pairs, of_lists = (read(f"{folder}/{part}/grades-{other}.tsv") for part in ("pairs", "auction"))
        if of_pairs and of_lists:
            print(f"People's grades less {name} of the same pairs: AUC {interval(of_pairs['auc'][6:9])}, within a query "
                  f"{interval(of_pairs['auc_in_query'][6:9])}; Pass@10 {interval(of_lists['pass@10'][6:9])}.\n")


def sensitivity(folder):
    rows, lists = {}, {}
    for what, (title, values) in CHANGES.items():
        for value in values:
            rows[f"{title}: {value}"] = read(f"{folder}/pairs/{what}-{value}.tsv")
            lists[f"{title}: {value}"] = read(f"{folder}/auction/{what}-{value}.tsv")
    lists["128 columns (64)"] = read(f"{folder}/auction/wide.tsv")
    rows, lists = ({n: t for n, t in some.items() if t} for some in (rows, lists))
    if not rows:
        return
    change = {f: differences(rows, f, "") for f in ("auc", "auc_in_query")}
    lists_change = differences(lists, "pass@10", "")
    print("**One thing changed**, its default in brackets; of LLM+CTR+KD, and of the losses of table 1 alone: AUC on the LLM's labels "
          "of unseen\npairs, and within a query; Pass@10 under the truth; and each less that of the default.\n")
    table(["changed", "AUC", "less the default's", "AUC in query", "less the default's", "Pass@10", "less the default's"],
          [[n] + [cell for f in change for cell in ((interval(rows[n][f]), change[f].get(n, "-")) if n in rows else ("-", "-"))] +
           ([interval(lists[n]["pass@10"]), lists_change.get(n, "-")] if n in lists else ["-", "-"]) for n in {**rows, **lists}])
    for weight in CHANGES["label"][1]:
        of_lists, of_pairs = (read(f"{folder}/{part}/kd-{weight}.tsv") for part in ("auction", "pairs"))
        if of_lists and of_pairs:
            print(f"With {weight} times the labels' weight distillation adds to Pass@10 {interval(of_lists['pass@10'][6:9])}, to AUC "
                  f"{interval(of_pairs['auc'][6:9])}, within a query {interval(of_pairs['auc_in_query'][6:9])}.\n")


def tuning(trials, folder):
    """AUC of each trial, which has its loss, option and rate in its name; and table 1 of what was chosen"""
    tried = {}
    for path in sorted(glob.glob(trials + "/trial/*.tsv")):
        loss, option, rate = os.path.basename(path)[:-4].split("_")
        tried.setdefault(loss, {})[option, rate] = report.read(path)["auc"][0]
    rates = sorted({rate for of in tried.values() for _, rate in of}, key=float)
    print("**Trials** in another world, of one seed: AUC on the LLM's labels of unseen pairs, at each rate.\n")
    table(["loss", "option"] + rates, [
        [NAMES1[loss], option] + [number(of.get((option, rate))) for rate in rates]
        for loss, of in tried.items() for option in dict.fromkeys(option for option, _ in of)])
    pairs = tables_of(PAPER1, [], folder + "/pairs/{}.llm.tsv")
    truth = {n: read(f"{folder}/pairs/{n}.truth.tsv") for n in pairs}
    gain = differences(tables_of(PAPER1, [], folder + "/gain/{}.tsv"), "auc", "")
    change = {f: differences(pairs, f, "pearson") for f in ("f1", "auc")}
    print("**Table 1 with the options of the best trial.** F1 on the LLM's labels of unseen pairs, and less that of Pearson; AUC, less "
          "that of Pearson,\nand less that of the same loss by default; F1 and NDCG within a query under the truth.\n")
    table(["loss", "F1", "less Pearson's", "AUC", "less Pearson's", "less its default's", "F1, truth", "NDCG, truth"],
          [[NAMES1[n], interval(t["f1"]), change["f1"].get(n, "-"), interval(t["auc"]), change["auc"].get(n, "-"), gain.get(n, "-")] +
           [interval(truth[n][f]) if truth[n] else "-" for f in ("f1", "ndcg_in_query")] for n, t in pairs.items()])


def real(folder):
    tables = tables_of(REAL, [], folder + "/pairs/{}.tsv")
    narrow = tables_of(REAL, [], folder + "/pairs/{}.64.tsv")
    graded = tables_of(REAL, [], folder + "/grades/{}.tsv")
    students = {n: t for n, t in tables.items() if n not in ("overlap", "start", "assistant")}
    change = {figure: differences(students, figure, "labels") for figure in ("auc", "auc_in_query")}
    begin, end = tables["start"]["auc"][0], tables["assistant"]["auc"][0]
    print("**Real pairs.** Cosines of 384 columns; in brackets intervals over seeds and keyphrases; differences to the student "
          "of labels; the share of\nthe assistant's gain over the untrained; NDCG and Spearman's correlation by grades; AUC of 64 "
          "columns.\n")
    table(["", "AUC", "less labels'", "of the gain", "AP", "AUC in query", "less labels'", "NDCG", "Spearman", "AUC, 64"],
          [[REAL[n], interval(t["auc"]), change["auc"].get(n, "-"),
            f"{100 * (t['auc'][0] - begin) / (end - begin):.0f} %" if n in students else "-", number(t["ap"][0]),
            interval(t["auc_in_query"]), change["auc_in_query"].get(n, "-"),
            *(number(graded[n][f][0]) if n in graded else "-" for f in ("ndcg_in_query", "spearman")),
            interval(narrow[n]["auc"]) if n in narrow else "-"] for n, t in tables.items()])
    print("**From one source to the other.** Students of labels of one, tested on both; less the untrained model.\n")
    on = {n: {part: read(f"{folder}/pairs/{n}.on.{part}.tsv") for part in PARTS} for n in PARTS}
    table(["learned from"] + [f"{figure} on {name}" for name in PARTS.values() for figure in (
        "AUC", "less untrained's", "in query", "less untrained's")],
          [[PARTS[n]] + [cell for t in tables.values() for figure in ("auc", "auc_in_query") for cell in (
              interval(t[figure][:3]), interval(t[figure][6:9]))] for n, tables in on.items() if all(tables.values())])


if __name__ == "__main__":
    if len(sys.argv) < 2 or (sys.argv[1] == "--tuning" and len(sys.argv) != 4):
        sys.exit(__doc__)
    folders = sys.argv[2:] if sys.argv[1] in ("--worlds", "--tuning") else sys.argv[1:2]
    for one in folders:
        if not any(os.path.isdir(f"{one}/{kind}") for kind in ("auction", "pairs", "trial")):
            sys.exit(f"tables.py: {one}: there are no figures of `kpd run` here")
    if sys.argv[1] == "--worlds":
        worlds(folders)
    elif sys.argv[1] == "--tuning":
        tuning(*folders)
    elif os.path.exists(sys.argv[1] + "/pairs/overlap.tsv"):
        real(sys.argv[1])
    else:
        table1(sys.argv[1], sys.argv[2:])
        table2(sys.argv[1], sys.argv[2:])
        table3(sys.argv[1] + "/bases")
        negatives(sys.argv[1] + "/negatives")
        clicks(sys.argv[1] + "/clicks")
        other_labels(sys.argv[1] + "/labels")
        sensitivity(sys.argv[1] + "/sensitivity")
