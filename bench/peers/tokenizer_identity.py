#!/usr/bin/env python3
"""Compares kpd's token ids and spans with those of Hugging Face `tokenizers`, on every code point and on much else.

    python3 bench/peers/tokenizer_identity.py [--quick]

Needs `pip install tokenizers` and a C compiler (CC, default cc): it builds tests/tokenize_hex.c. KPD_HEADER is the folder of
kpd.h (default: the repository). With KPD_MODELS (a folder of model folders that hold vocab.txt) random strings and titles
also go through real vocabularies; with KPD_DATA (a folder with items.tsv: id, title, category) the titles are real.
Prints `set: N lines, M differing`; exits with 1 if anything differs. About twenty minutes; --quick about three.

The vocabulary of the sets on code points has every character, alone and behind ##, so ids show the exact normalisation.
"""
import glob
import os
import random
import subprocess
import sys
import tempfile

import tokenizers
from tokenizers import AddedToken, Tokenizer, models, normalizers, pre_tokenizers, processors

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(ROOT, "tools"))
from golden_tokenizer import ODD, spans

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
SETTINGS = [(cased, strip, joined) for cased in (False, True) for strip in (None, True, False) for joined in (False, True)]
CODE_POINTS = [c for c in range(0x110000) if not 0xD800 <= c < 0xE000]
CHUNK = 20000
failed = False


def build(folder):
    driver = os.path.join(folder, "tokenize_hex")
    include = os.environ.get("KPD_HEADER", ROOT)
    subprocess.run([os.environ.get("CC", "cc"), "-O2", "-I", include, os.path.join(ROOT, "tests", "tokenize_hex.c"), "-o",
                    driver, "-lm",
                    "-pthread"], check=True)
    return driver


def read_vocab(path):
    with open(path, encoding="utf-8", newline="\n") as f:
        return {line.rstrip("\n"): i for i, line in enumerate(f)}       # of equal lines the last one wins


def reference(vocab, cased, strip, joined, limit=0):
    t = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
    t.normalizer = normalizers.BertNormalizer(clean_text=True, handle_chinese_chars=not joined, strip_accents=strip,
                                              lowercase=not cased)
    t.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    t.post_processor = processors.BertProcessing(("[SEP]", vocab["[SEP]"]), ("[CLS]", vocab["[CLS]"]))
    t.add_special_tokens([AddedToken(s, special=True, normalized=False) for s in SPECIAL if s in vocab])
    if limit:
        t.enable_truncation(limit)
    return t


def options(cased, strip, joined, limit=0):
    out = ["--cased"] if cased else []
    out += [] if strip is None else ["--strip=yes" if strip else "--strip=no"]
    out += ["--joined"] if joined else []
    return out + ([f"--max={limit}"] if limit else [])


def as_python(text):
    """What the reference sees of a text that is bytes, or of a tuple of segments."""
    if isinstance(text, tuple):
        parts = [as_python(x) for x in text]
        return tuple(parts) if len(parts) == 2 else " [SEP] ".join(parts)
    return text.decode("utf-8", errors="replace") if isinstance(text, bytes) else text


def as_bytes(text):
    """The text's segments."""
    return [x if isinstance(x, bytes) else x.encode("utf-8") for x in (text if isinstance(text, tuple) else (text,))]


def as_hex(text):
    return "\t".join(x.hex() for x in as_bytes(text))


def compare(name, driver, vocab_path, vocab, texts, setting, limit=0):
    """Prints the set's line and the first text that differs. Spans are left out where CJK is joined, to save time."""
    global failed
    ref, different, shown = reference(vocab, *setting, limit), 0, ""
    for i in range(0, len(texts), CHUNK):
        chunk = texts[i:i + CHUNK]
        with_spans = not setting[2]
        run = subprocess.run([driver, vocab_path] + options(*setting, limit) + ["--spans"] * with_spans,
                             input="".join(as_hex(x) + "\n" for x in chunk), capture_output=True, text=True, check=True)
        got = run.stdout.split("\n")
        assert len(got) == len(chunk) + 1
        encode = ref.encode_batch if with_spans else ref.encode_batch_fast
        for text, ids, encoding in zip(chunk, got, encode([as_python(x) for x in chunk])):
            want = " ".join(map(str, encoding.ids))
            if with_spans and want:
                want += "\t" + spans(as_bytes(text), encoding)
            if ids != want:
                different += 1
                shown = shown or f"    {text!r}\n    kpd {ids}\n    HF  {want}"
    setting_name = " ".join(options(*setting, limit)) or "default"
    print(f"{name} ({setting_name}): {len(texts)} lines, {different} differing", flush=True)
    if shown:
        print(shown)
    failed = failed or different > 0


def every_code_point():
    """Alone and between letters, 16 to a line."""
    return ["".join(f"{chr(c)} a{chr(c)}b " for c in CODE_POINTS[i:i + 16]) for i in range(0, len(CODE_POINTS), 16)]


def marks_and_letters():
    """(letters with any accents, combining marks): what accent stripping and canonical ordering are about."""
    nfd = normalizers.NFD().normalize_str
    marks = [chr(c) for c in CODE_POINTS if nfd(chr(c) + "\u0334") != chr(c) + "\u0334" and not 0xAC00 <= c < 0xD7A4]
    letters = [c for c in range(0x250) if chr(c).isalpha()] + [0x391, 0x3AC, 0x410, 0x439, 0x5D0, 0x627, 0x928, 0x9C7, 0xBC6,
               0xD46, 0xE01,
               0x1100, 0x1B05, 0x1E9B, 0x1FB4, 0x304B, 0x3042, 0xAC00, 0xAC01, 0x1D157, 0x11131, 0x4E00, 0xF900, 0x2F800]
    return marks, [chr(c) for c in letters]


def pairs_of_marks():
    marks, letters = marks_and_letters()
    return ["".join(f"{x}{m}z " for m in marks[i:i + 32]) for x in letters for i in range(0, len(marks), 32)]


def decompositions():
    """Every character that NFD takes apart: as it is, as its letter and marks, with marks in the wrong order and one more."""
    nfd = normalizers.NFD().normalize_str
    out = []
    for c in map(chr, CODE_POINTS):
        d = nfd(c)
        if d != c:
            out.append(f"{c} {d} x{c}y x{d}y {d[0]}{d[:0:-1]} {d}\u0323 {c}\u0323 {d[0]}\u302e{d[1:]}\u0334z")
    return out


def runs_of_marks(n):
    """Runs of 1 to 12 marks, a few of 150, mostly of those that stripping keeps, with starters that are stripped between."""
    rng = random.Random(7)
    marks, letters = marks_and_letters()
    strip = normalizers.BertNormalizer(False, False, True, False).normalize_str
    kept = [m for m in marks if strip(m)]
    pool = kept * 8 + [m for m in marks if m not in set(kept)] + ["\u0901", "\u093c", "\u0e31", "\u200d", "\u00ad"] * 20
    length = lambda: rng.choice([1, 2, 3, 4, 6, 8, 12] * 20 + [100, 150])
    return ["".join(rng.choice(letters) + "".join(rng.choices(pool, k=length())) + rng.choice(["", " ", "x", "-"])
                    for _ in range(4)) for _ in range(n)]


SCRIPTS = [(0x20, 0x7E), (0x20, 0x7E), (0x61, 0x7A), (0xA0, 0x17F), (0x180, 0x24F), (0x300, 0x36F), (0x370, 0x3FF),
           (0x400, 0x52F), (0x590, 0x6FF), (0x900, 0x97F), (0xE00, 0xE7F), (0x1100, 0x11FF), (0x1E00, 0x1FFF),
           (0x2000, 0x206F), (0x2070, 0x22FF), (0x3000, 0x30FF), (0x4E00, 0x4EFF), (0xAC00, 0xACFF), (0xF900, 0xFAFF),
           (0xFE00, 0xFFFF), (0x1D100, 0x1D1FF), (0x1F300, 0x1F6FF), (0x20000, 0x200FF), (0xE0000, 0xE01FF), (0, 0x1F),
           (0, 0x10FFFF)]
JOINTS = ["", "", "", " ", " ", "  ", "\t", "\n", "\r\n", "-", "[SEP]", "[MASK] ", "[SEP", "[[CLS]]", "\0", "\ufeff",
          "\u200d", "\u3000", "aaaa" * 26]
BROKEN = [b"\x80", b"\xbf\xbf", b"\xc0\x80", b"\xc3", b"\xe0\x80\x80", b"\xe4\xb8", b"\xed\xa0\x80", b"\xf0\x9f\x98",
          b"\xf4\x90\x80\x80", b"\xf8\x88\x80\x80\x80", b"\xff", b"\xfe"]


def random_text(rng, words):
    def character():
        low, high = rng.choice(SCRIPTS)
        c = rng.randint(low, high)
        return chr(c if not 0xD800 <= c < 0xE000 else 0x41)

    def run():
        if words and rng.random() < 0.5:
            word = rng.choice(words)
            return word.upper() if rng.random() < 0.2 else word
        low, high = rng.choice(SCRIPTS)
        return "".join(character() if rng.random() < 0.2 else chr(rng.randint(low, min(high, 0xD7FF) if low < 0xD800 else high))
                       for _ in range(rng.randint(1, 8)))

    data = "".join(run() + rng.choice(JOINTS) for _ in range(rng.randint(0, 10))).encode("utf-8")
    if rng.random() < 0.3:
        for _ in range(rng.randint(1, 3)):
            at = rng.randint(0, len(data))
            data = data[:at] + rng.choice(BROKEN) + data[at + rng.randint(0, 1):]
    return data


def random_texts(n, seed, vocab):
    rng = random.Random(seed)
    words = [w.removeprefix("##") for w in vocab if len(w) > 1]
    return [random_text(rng, words) for _ in range(n)]


def segments(texts, n, seed):
    rng = random.Random(seed)
    return [tuple(rng.choice(texts) for _ in range(n)) for _ in range(len(texts) // n)]


def full_vocab(path):
    tokens = SPECIAL + [t for c in CODE_POINTS if chr(c) not in "\r\n" for t in (chr(c), "##" + chr(c))]
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write("\n".join(tokens) + "\n")
    return {t: i for i, t in enumerate(tokens)}


def characters(driver, folder, quick):
    path = os.path.join(folder, "vocab.txt")
    vocab = full_vocab(path)
    settings = [s for s in SETTINGS if not quick or s in ((False, None, False), (True, None, False))]
    points, pairs, runs = every_code_point(), pairs_of_marks(), runs_of_marks(2000 if quick else 20000)
    for s in settings:
        compare("every code point", driver, path, vocab, points, s)
        if not s[2]:
            compare("letter and mark", driver, path, vocab, pairs, s)
            compare("decompositions", driver, path, vocab, decompositions(), s)
            compare("runs of marks", driver, path, vocab, runs, s)
            compare("random strings", driver, path, vocab, random_texts(1000 if quick else 10000, 3, []), s)
    if not quick:
        compare("every code point, a text each", driver, path, vocab, [chr(c) for c in CODE_POINTS], settings[0])


def words(driver, path, quick):
    name, vocab = os.path.basename(os.path.dirname(path)), read_vocab(path)
    texts = random_texts(5000 if quick else 100000, 4, vocab)
    for s in SETTINGS[:1] if quick else [s for s in SETTINGS if not s[2]]:
        part = texts if s == SETTINGS[0] else texts[:len(texts) // 5]
        compare(f"random strings, {name}", driver, path, vocab, part, s)
    for limit in (0, 3, 4, 9, 16, 33):
        for n in (1, 2, 3):
            compare(f"{n} segments, {name}", driver, path, vocab, segments(texts[:6000], n, limit), SETTINGS[0], limit)
    items = os.path.join(os.environ.get("KPD_DATA", ""), "items.tsv")
    if os.environ.get("KPD_DATA"):
        with open(items, "rb") as f:
            rows = [line.rstrip(b"\r\n").split(b"\t") for line in f]
        compare(f"titles, {name}", driver, path, vocab, [r[1] for r in rows if len(r) > 1], SETTINGS[0])
        compare(f"titles and categories, {name}", driver, path, vocab, [(r[1], r[2]) for r in rows if len(r) > 2], SETTINGS[0],
                32)


def large_vocabulary(rng):
    """200,000 lines: numbers and made-up words and pieces."""
    letters = "abcdefghijklmnoprstuvwxyz\u00e9\u044f"
    words = [rng.choice(["##", "", ""]) + "".join(rng.choices(letters, k=rng.randint(1, 9))) for _ in range(150000)]
    lines = [b"[PAD]", b"[UNK]", b"[CLS]", b"[SEP]", b"[MASK]"] + [b"%x" % (i * 7) for i in range(49995)]
    return b"\n".join(lines + [w.encode() for w in words]) + b"\n"


def odd_lines(rng):
    """Duplicates, empty lines, CRLF here and there, spaces before and inside, no end of the last line."""
    lines = [b"[UNK]", b"[CLS]", b"[SEP]", b"[MASK]"]
    for _ in range(3000):
        word = "".join(rng.choices("abcde-", k=rng.randint(1, 5)))
        lines.append(rng.choice([b"", b"##", b"##", b" ", b"a "]) + word.encode() + rng.choice([b"", b"", b"\r"]))
        if rng.random() < .02:
            lines.append(rng.choice([b"", b"\r", b"##", b"#", b"[SEP]", b"a" * 300]))
    return b"\n".join(lines) + b"\n##e"


def odd_vocabularies(driver, folder):
    rng = random.Random(9)
    path = os.path.join(folder, "odd.txt")
    sets = [(f"vocabulary {i}", data, [text]) for i, (data, text) in enumerate(ODD)]
    sets += [("200,000 entries", large_vocabulary(rng), None), ("odd lines", odd_lines(rng), None)]
    for name, data, texts in sets:
        with open(path, "wb") as f:
            f.write(data)
        vocab = models.WordPiece.read_file(path)
        tokens = sorted(vocab)
        texts = texts or random_texts(5000, 10, vocab) + [" ".join(rng.choices(tokens, k=12)) for _ in range(2000)]
        compare(name, driver, path, vocab, texts, SETTINGS[0])
    with open(path, "wb") as f:
        f.write(b"[CLS]\n[SEP]\na\n")
    run = subprocess.run([driver, path], input="", capture_output=True, text=True, check=False)
    print("without [UNK]:", run.stderr.strip() if run.returncode else "accepted")
    return run.returncode != 0


def main():
    global failed
    quick = "--quick" in sys.argv[1:]
    print(f"tokenizers {tokenizers.__version__}, python {sys.version.split()[0]}")
    with tempfile.TemporaryDirectory() as folder:
        driver = build(folder)
        failed = not odd_vocabularies(driver, folder) or failed
        characters(driver, folder, quick)
        paths = sorted(glob.glob(os.path.join(os.environ["KPD_MODELS"], "*",
                                              "vocab.txt"))) if os.environ.get("KPD_MODELS") else []
        for path in [os.path.join(ROOT, "tests", "golden", "tokenizer_vocab.txt")] + paths[:1]:
            words(driver, path, quick)
    print("differences found" if failed else "identical")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
