#!/usr/bin/env python3
"""Makes tests/golden/vocabulary.tsv: an invented corpus, and the vocabularies that Hugging Face `tokenizers` trains on it.

    python3 tools/golden_vocabulary.py [FOLDER]

Lines (fields are separated by TABs, # begins a comment):

    text   HEX                                                        the corpus, a text a line
    vocab  SIZE MIN_COUNT MAX_ALPHABET CASED STRIP JOINED  TOKENS     with spaces between them; STRIP as in kpd_tokenizer_desc

BertWordPieceTokenizer.train numbers the ## characters in an order that differs from run to run, which decides ties. To have
one, the alphabet is also given as special tokens, in the order of kpd_train.h; that this is the reference's alphabet is
checked against a training without. Needs `pip install tokenizers`; its version is in the first line.
"""
import collections
import os
import random
import sys

import tokenizers
from tokenizers import BertWordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SYLLABLES = "lo mi ra zé tor pan kel dü vo shi ßen ла мо ту 東 京 βι κα ın İs ñu qué fi".split()
SETTINGS = [(300, 2, 1000, 0, 0, 0), (2000, 2, 1000, 0, 0, 0), (2000, 1, 1000, 0, 0, 0), (220, 5, 30, 0, 0, 0),
            (400, 2, 1000, 1, 0, 0), (300, 2, 1000, 0, -1, 1), (300, 2, 1000, 1, 1, 0), (20, 2, 1000, 0, 0, 0)]


def corpus():
    rng = random.Random(3)
    words = ["".join(rng.choices(SYLLABLES, k=rng.randint(1, 5))) for _ in range(150)]
    words += ["aaaa", "aaaaaaa", "banana", "anana", "ababab", "bababa", "abcabc", "xyxyxyx", "mississippi"]
    marks = ["-", ", ", ". ", "'s ", "/", " (", ") ", "\t", "  ", "\u3000", "\u200d", "\u0301", " [SEP] ", "##"]

    def text():
        out = ""
        for _ in range(rng.randint(0, 9)):
            word = words[min(rng.randrange(len(words)), rng.randrange(len(words)))]
            out += rng.choice([word, word, word, word.upper(), word.capitalize()])
            out += rng.choice(marks) if rng.random() < 0.25 else " "
        return out.encode("utf-8")

    return [text() for _ in range(150)] + [b"", b"lomi\xffra \xe6\x9d lo\xc0\x80mi", b"\xf0\x9f\x98\x80 \xf0\x9f\x98\x80"]


def trainer(cased, strip, joined):
    return BertWordPieceTokenizer(lowercase=not cased, handle_chinese_chars=not joined,
                                  strip_accents={0: None, 1: True, -1: False}[strip])


def alphabet(t, texts, limit):
    """Characters in the order of their code points, then those inside words behind ##."""
    count, inner = collections.Counter(), set()
    for text in texts:
        for word, _ in t.pre_tokenizer.pre_tokenize_str(t.normalizer.normalize_str(text)):
            count.update(word)
            inner.update(word[1:])
    ranked = count.most_common()
    assert len(ranked) <= limit or ranked[limit - 1][1] > ranked[limit][1], "a tie where the alphabet is cut"
    kept = sorted(c for c, _ in ranked[:limit])
    return kept, ["##" + c for c in kept if c in inner]


def train(texts, setting, special):
    size, min_count, limit, cased, strip, joined = setting
    t = trainer(cased, strip, joined)
    t.train_from_iterator(texts, vocab_size=size, min_frequency=min_count, limit_alphabet=limit, special_tokens=special,
                          show_progress=False)
    vocab = t.get_vocab()
    return sorted(vocab, key=vocab.get)


def vocabulary(texts, setting):
    first, inner = alphabet(trainer(*setting[3:]), texts, setting[2])
    plain = train(texts, setting, SPECIAL)
    n = len(SPECIAL) + len(first)
    assert plain[:n] == SPECIAL + first and sorted(plain[n:n + len(inner)]) == sorted(inner)
    return train(texts, setting, SPECIAL + first + inner)


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                                                "tests", "golden")
    texts = corpus()
    with open(os.path.join(folder, "vocabulary.tsv"), "w", encoding="utf-8", newline="\n") as f:
        version = f"tokenizers {tokenizers.__version__}, Python {sys.version.split()[0]}"
        f.write(f"# made by tools/golden_vocabulary.py with {version}\n")
        for text in texts:
            f.write(f"text\t{text.hex()}\n")
        for setting in SETTINGS:
            tokens = vocabulary([t.decode("utf-8", errors="replace") for t in texts], setting)
            f.write("\t".join(map(str, ("vocab",) + setting)) + "\t" + " ".join(tokens) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
