#!/usr/bin/env python3
"""Makes tests/golden/tokenizer_vocab.txt and tests/golden/tokenizer.tsv from Hugging Face `tokenizers`.

    python3 tools/golden_tokenizer.py [FOLDER]

The vocabulary is our own: invented pieces, common words, all ASCII characters, characters of many scripts, and what
normalisation can lead to. Lines of tokenizer.tsv (fields are separated by TABs, # begins a comment):

    text  CASED STRIP JOINED MAX NO_SPECIAL  HEX[,HEX[,HEX]]  IDS  TYPE0  SPANS     a text of 1..3 segments, its ids, how
    many have type 0, and BEGIN,END,SEGMENT of each in bytes (0,0,-1 = in none)
    odd   HEX  HEX  IDS                                                             a vocabulary, a text, its ids
    sweep CASED STRIP JOINED FIRST LAST HASH                       ids of the text made of `c acb ` for each code point c

STRIP is 0 by default, 1 yes, -1 no, as in kpd_tokenizer_desc. HASH is FNV-1a (64 bits) over the ids, four bytes each, least
byte first. Surrogates are left out of a sweep. Needs `pip install tokenizers`; its version is in the first line.
"""
import bisect
import codecs
import os
import random
import sys
import unicodedata

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """the of and to in for with new set case cover cable charger laptop phone blue red black women men size large
small light genuine adapter surface pro sleeve yellow leather wallet running shoes kitchen steel garden vintage un aff able ##s
##ing ##ed ##er ##est ##able ##ly ##ion ##al ##y wall paper ##paper ##let straße σας
ελλάδα москва товар книга çelik été naïve 日本 ##本 한국 ing ed""".split()
SWEEP = [(0, 0x30000), (0xE0000, 0xE1000)]      # beyond lie no assigned characters but private ones and ideographs


def vocabulary():
    """Pieces in a fixed order: the reference's own normaliser says what there must be for ids to tell characters apart."""
    out = dict.fromkeys(SPECIAL + WORDS)
    fold = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=True,
                                      lowercase=True).normalize_str
    lower = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=False, strip_accents=False,
                                       lowercase=True).normalize_str
    letters = [c for c in range(0x21, 0x30000) if not 0xD800 <= c < 0xE000]
    targets = {ch for c in letters for f in (fold, lower) if f(chr(c)) != chr(c) for ch in f(chr(c))}
    targets |= {chr(c) for c in list(range(0x21, 0x7F)) + list(range(0x300, 0x310)) + [0x302E, 0x302F, 0x8D4, 0x1D165, 0x1D16D,
                                                                                       0x1BAA]}
    targets |= set("日本語中文字한국어ひらがなカタカナ€£™©®–—“”’…•°½×÷√∞≠→😀👍🏽中ÀÉÖßØŁÐÞİıſǅΣςЙё")
    rng = random.Random(1)
    for ch in sorted(t for t in targets if not t.isspace()):
        out[ch] = None
        out["##" + ch] = None
    for _ in range(600):
        out[rng.choice(["", "##"]) + "".join(rng.choices("etaoinshrdlucmfw", k=rng.randint(2, 4)))] = None
    return list(out)


def reference(vocab, cased, strip, joined, ids=None):
    ids = ids or {w: i for i, w in enumerate(vocab)}
    t = Tokenizer(models.WordPiece(ids, unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=not joined, lowercase=not cased,
                                              strip_accents={0: None, 1: True, -1: False}[strip])
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.BertProcessing(("[SEP]", ids["[SEP]"]), ("[CLS]", ids["[CLS]"]))
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL if s in ids])
    return t


def texts():
    """(bytes, ...) tuples of segments."""
    long = "unaffable" * 12
    single = ["", " ", "unaffable", "Unaffable WALLPAPER walls", "Genuine 15V 4A AC Adapter for Surface Pro 3 4 5 6",
              "laptop-sleeve/case's", "##ing ## #ing",
              "ÇELİK ÉTÉ naïve Straße", "ΕΛΛΆΔΑ ΣΑΣ", "Москва ТОВАР й Ё", "日本語 中文字 wall日本paper", "한국어 각 가", "ひらがな カタカナ が",
              "café cafe\u0301 caf\u00e9\u0327\u0301",
              "q\u0323\u0307 q\u0307\u0323", "\u302e\u302f\u0301\u1baa\U0001d165\U0001d16d",
              "a\u302e\u08d4\u1baa\u0901\u1baa\u08d4", "x\u0344y \u0340", "€9.99 – 50% “off” ½ × 2 … ≠ ≮", "👍🏽 😀",
              "a\0b\ufffdc\u00add\u200be\ufefff", "tab\tnew\nline\r\nend\u00a0x\u2003y\u3000z\u2028w", "[SEP]",
              "a[SEP]b [MASK]ed [CLS] [PAD][UNK]", "[sep] [SEP [[SEP]] [MASKED]",
              "a[SEP]\u0301b", "x" * 100, "x" * 101, long[:100], long[:101], "é" * 100, "é" * 101, "e" + "\u0301" * 300 + "f",
              "\u302e" * 101, "가" * 34, "각" * 33 + "x", "각" * 33 + "xy",
              "\u2126 \u212a \u212b \uf900 \u2f800 \U0002f81a \u1fef \u037e", "\u0130\u0131\u0049 \u1e9e \u01c5 \u017f",
              "~!@#$%^&*()_+`-={}|[]\\:\";'<>?,./", "un" + "\u3042" * 3 + "aff\U00010428\U00010400"]
    out = [(s.encode(),) for s in single]
    out += [(b,) for b in (b"\xff", b"wall\xe4\xb8paper", b"wall\xf0\x9f\x98", b"a\xed\xa0\x80b", b"\xc0\xafa\xf5\x80",
                           b"un\x80aff\xbfable \xe2\x28\xa1", b"\xf4\x90\x80\x80set")]
    rng = random.Random(2)
    pool = WORDS + single[:20]
    text = lambda n: " ".join(rng.choice(pool) for _ in range(n)).encode()
    out += [tuple(text(rng.randint(0, 7)) for _ in range(n)) for n in (1, 2, 2, 2, 2, 3, 3) for _ in range(6)]
    # every character below U+2000 that NFD takes apart, as it is and as its letter and marks
    nfd = normalizers.NFD().normalize_str
    apart = [chr(c) for c in range(0x2000) if nfd(chr(c)) != chr(c)]
    return out + [("".join(f"{c}{nfd(c)}x " for c in apart[i:i + 32]).encode(),) for i in range(0, len(apart), 32)]


def join(parts):
    parts = [p.decode("utf-8", errors="replace") for p in parts]
    return tuple(parts) if len(parts) == 2 else (" [SEP] ".join(parts), None)


def places(data):
    """The byte where each character of the decoded bytes begins, and where they end. A broken sequence is one character."""
    broken = {}

    def note(e):
        broken[e.start] = e.end
        return "\ufffd", e.end

    codecs.register_error("note", note)
    at, out = 0, []
    for c in data.decode("utf-8", errors="note"):
        out.append(at)
        at = broken.get(at) or at + len(c.encode())
    return out + [at]


def spans(parts, encoding):
    """The reference's offsets, which are in characters of what join() makes of the segments, as kpd has them."""
    place = [range(len(p) + 1) if p.isascii() else places(p) for p in parts]
    out = []
    if len(parts) == 2:
        for (begin, end), part in zip(encoding.offsets, encoding.sequence_ids):
            out.append("0,0,-1" if part is None else f"{place[part][begin]},{place[part][end]},{part}")
        return " ".join(out)
    starts = [0]
    for p in place[:-1]:
        starts.append(starts[-1] + len(p) - 1 + len(" [SEP] "))
    for (begin, end), here in zip(encoding.offsets, encoding.sequence_ids):
        part = bisect.bisect_right(starts, begin) - 1
        begin, end = begin - starts[part], end - starts[part]
        outside = here is None or end >= len(place[part])
        out.append("0,0,-1" if outside else f"{place[part][begin]},{place[part][end]},{part}")
    return " ".join(out)


# Vocabularies with lines that a text cannot have, or that are there twice.
ODD = [(b"[UNK]\n[CLS]\n[SEP]\na\n##b\nab\na\n##b\n[SEP]\n", "ab a b abb [SEP]"),
       (b"[UNK]\n\n[CLS]\n[SEP]\n\na\n##\n#\n\n", "a # ## a#"),
       (b"[UNK]\r\n[CLS]\r\n[SEP]\r\na\r\n##b\r\n\r\n.", "ab. a b"),
       (b"[UNK]\n[CLS]\n[SEP]\nx y\nx\ny\n a\na b\n##b\na", "x y a b ab  a"),
       (b"[UNK]\n[CLS]\n[SEP]\n##a\na\n###\n####\n#a\n" + b"a" * 8 + b"\n##" + b"a" * 8 + b"\n" + b"a" * 9 + b"\n##" +
        b"a" * 17 + b"\n" + b"a" * 300 + b"\n",
        " ".join("a" * n for n in (1, 8, 9, 16, 17, 18, 25, 26, 43, 100, 101)) + " ###"),
       (b"[UNK]\n[CLS]\n[SEP]\n" + b"".join(b"%s%x\n" % (b"##" * (i % 2), i * 7) for i in range(300)),
        " ".join(f"{i * 31:x}" for i in range(99)))]


def odd_lines():
    for data, text in ODD:
        vocab = {line: i for i, line in enumerate(data.decode().replace("\r\n", "\n").split("\n"))}
        if data.endswith(b"\n") and vocab[""] == data.count(b"\n"):       # no line, but the end of the last
            lines = data.decode().replace("\r\n", "\n").split("\n")[:-1]
            vocab = {line: i for i, line in enumerate(lines)}
        ids = reference(list(vocab), 0, 0, 0, vocab).encode(text).ids
        yield f"odd\t{data.hex()}\t{text.encode().hex()}\t{' '.join(map(str, ids))}"


def text_lines(vocab):
    for cased, strip, joined in [(0, 0, 0), (1, 0, 0), (0, -1, 0), (1, 1, 0), (0, 0, 1), (1, -1, 0), (0, 1, 0)]:
        ref = reference(vocab, cased, strip, joined)
        cases = [(t, 0, 0) for t in texts()]
        if (cased, strip, joined) == (0, 0, 0):
            cases += [(t, limit, 0) for t in texts()[2:8] + texts()[-42:] for limit in (len(t) == 2 and 3 or 2, 5, 8, 13)]
            cases += [(t, limit, 1) for t in texts()[-12:] for limit in (0, 1, 7)]
        else:
            cases = [c for c in cases if len(c[0]) == 1 and len(c[0][0]) < 100]
        for parts, limit, bare in cases:
            ref.enable_truncation(limit) if limit else ref.no_truncation()
            got = ref.encode(*join(parts), add_special_tokens=not bare)
            yield "\t".join(map(str, ["text", cased, strip, joined, limit, bare, ",".join(p.hex() for p in parts),
                                      " ".join(map(str, got.ids)),
                                      len(got.ids) - sum(got.type_ids), spans(parts, got)]))


def fnv(ids):
    h = 0xCBF29CE484222325
    for byte in b"".join(i.to_bytes(4, "little") for i in ids):
        h = (h ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return h


def sweep_lines(vocab):
    for cased, strip, joined in [(0, 0, 0), (1, 0, 0), (0, -1, 0), (1, 1, 0), (0, 0, 1)]:
        ref = reference(vocab, cased, strip, joined)
        for begin, end in SWEEP:
            for first in range(begin, end, 0x1000):
                text = "".join(f"{chr(c)} a{chr(c)}b " for c in range(first, first + 0x1000) if not 0xD800 <= c < 0xE000)
                yield f"sweep\t{cased}\t{strip}\t{joined}\t{first}\t{first + 0xFFF}\t{fnv(ref.encode(text).ids):016x}"


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))),
                                                                "tests", "golden")
    vocab = vocabulary()
    os.makedirs(folder, exist_ok=True)
    with open(os.path.join(folder, "tokenizer_vocab.txt"), "w", encoding="utf-8", newline="\n") as f:
        f.write("\n".join(vocab) + "\n")
    with open(os.path.join(folder, "tokenizer.tsv"), "w", encoding="ascii", newline="\n") as f:
        version = f"tokenizers {tokenizers.__version__}, Python {sys.version.split()[0]}"
        f.write(f"# made by tools/golden_tokenizer.py with {version}\n")
        for line in list(text_lines(vocab)) + list(odd_lines()) + list(sweep_lines(vocab)):
            f.write(line + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
