"""Makes pairs of texts with labels from titles alone: some words of a title and the title, yes; with a word or all words of
another title, no, unless these happen to be in it. What BERT learns by the next sentence, in a shop: which words of two texts
are the same.

    python3 words_of_titles.py shop/items.tsv > words.tsv"""
import random
import sys

EACH = 40   # pairs of a title

random.seed(1)
items = [line.rstrip("\n").split("\t") for line in open(sys.argv[1], encoding="utf-8")]
titles = [title.split() for title, _ in items]
pairs = []
for i, (title, category) in enumerate(items):
    for _ in range(EACH):
        n = min(random.choice([1, 2, 2, 3, 3, 4]), len(titles[i]))
        words, other, kind = random.sample(titles[i], n), random.choice(titles), random.random()
        if kind > .75:
            words = random.sample(other, min(n, len(other)))
        elif kind > .5:
            words[random.randrange(n)] = random.choice(other)
        label = int(all(word in titles[i] for word in words))
        pairs.append((" ".join(words), title, category, label))
random.shuffle(pairs)
for pair in pairs:
    print(*pair, sep="\t")
