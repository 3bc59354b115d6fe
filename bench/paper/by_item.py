"""Puts the labelled pairs of each item together, a yes first, as losses over the pairs of a query want them.

    python3 by_item.py shop/llm.tsv > llm_by_item.tsv

Items without a yes, or with nothing else, are left out. Here the query of the training is the item."""
import sys

items = {}
for number, line in enumerate(open(sys.argv[1], encoding="utf-8"), 1):
    cells = line.rstrip("\n").split("\t")
    if len(cells) != 4:
        sys.exit(f"by_item.py: {sys.argv[1]}:{number}: {len(cells)} columns, expected keyphrase, title, category, label")
    keyphrase, title, category, label = cells
    items.setdefault((title, category), []).append((keyphrase, label))
print("query\tkeyphrase\ttitle\tcategory\tlabel")
for (title, category), pairs in items.items():
    pairs.sort(key=lambda pair: pair[1] != "1")
    if pairs[0][1] == "1" and len(pairs) > 1:
        for keyphrase, label in pairs:
            print(title, keyphrase, title, category, label, sep="\t")
