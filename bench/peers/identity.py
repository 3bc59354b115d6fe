#!/usr/bin/env python3
"""Does kpd give what sentence-transformers gives? Imports all-MiniLM-L6-v2 and variants of it, embeds generated texts with
both (fp32), exports the models and loads these exports with sentence-transformers again.

    KPD_MODELS=DIR python bench/peers/identity.py [--texts 2000] [--kpd build/kpd]

DIR holds all-MiniLM-L6-v2. Prints the least cosine and the largest difference of each; exit status 1 if a cosine is under
.999999, a coordinate differs by more than 1e-5, a logit by more than 1e-4, or a model that must be refused is not.
"""
import argparse
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile

import numpy
import safetensors.torch
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, Normalize, Pooling
from transformers import AutoModelForSequenceClassification, AutoTokenizer

failed = False


def word(rng, vocab, extra):
    if rng.random() < 0.1:
        return rng.choice(extra)
    w = rng.choice(vocab)
    return w.title() if rng.random() < 0.2 else w


def texts(n, tokenizer, seed=1):
    """1 to 256 tokens, mostly short ones, of words, pieces, capitals, accents, CJK, digits and punctuation."""
    rng = random.Random(seed)
    vocab = [t.replace("##", "") for t in tokenizer.get_vocab() if not t.startswith("[")]
    vocab.sort()
    extra = ["Café", "NIÑO", "iPhone13", "USB-C", "12.5V", "中国手机", "straße", "(new)", "don't", "e\u0301te",
             "x" * 101, "Ωmega", "½", "🙂", "10,000", "A/C"]
    lines = []
    for i in range(n):
        words = rng.randint(1, 12) if i % 4 else rng.randint(1, 250)
        lines.append(" ".join(word(rng, vocab, extra) for _ in range(words)))
    return lines


def run(kpd, *args):
    p = subprocess.run([kpd, *args], capture_output=True, text=True)
    if p.returncode:
        raise SystemExit(f"{' '.join([kpd, *args])}: exit {p.returncode}: {p.stderr.strip()}")
    return p.stdout


def report(name, ok, text):
    global failed
    failed = failed or not ok
    print(f"{'ok  ' if ok else 'FAIL'} {name:34} {text}", flush=True)


def compare(name, got, want):
    if got.shape != want.shape:
        return report(name, False, f"shape {got.shape}, expected {want.shape}")
    cosine = (got * want).sum(1) / numpy.maximum(numpy.linalg.norm(got, axis=1) * numpy.linalg.norm(want, axis=1), 1e-30)
    worst = abs(got - want).max()
    report(name, cosine.min() > 0.999999 and worst < 1e-5, f"least cosine {cosine.min():.9f}, largest difference {worst:.2e}")


def reference(folder, lines):
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": torch.float32})
    return model.encode(lines, batch_size=32, show_progress_bar=False).astype(numpy.float64)


def embed(kpd, model, path, out):
    run(kpd, "embed", model, path, "-o", out)
    return numpy.load(out).astype(numpy.float64)


def check_bi(kpd, tmp, name, folder, lines, text_file):
    model, back = os.path.join(tmp, name + ".kpd"), os.path.join(tmp, name + "_export")
    run(kpd, "import", folder, "-o", model)
    want = reference(folder, lines)
    got = embed(kpd, model, text_file, os.path.join(tmp, name + ".npy"))
    compare(name, got, want)
    run(kpd, "export", model, "-o", back)
    compare(name + ", exported", reference(back, lines), got)


def save_variant(tmp, name, folder, make):
    """A sentence-transformers folder with the same Transformer and other modules behind it."""
    model = SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": torch.float32})
    out = os.path.join(tmp, name)
    SentenceTransformer(modules=[model[0], *make()], device="cpu").save(out)
    return out


def cls_modules():
    return [Pooling(384, "cls")]


def dense_modules():
    torch.manual_seed(3)
    return [Pooling(384, "mean"), Dense(384, 200), Normalize()]


def logits(folder, two):
    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32).eval()
    out = []
    with torch.no_grad():
        for i in range(0, len(two), 32):
            a, b = zip(*two[i:i + 32])
            batch = tokenizer(list(a), list(b), padding=True, truncation="longest_first", max_length=256, return_tensors="pt")
            out.append(model(**batch).logits.numpy())
    return numpy.concatenate(out).astype(numpy.float64)[:, 0]


def check_logits(name, got, want):
    worst = abs(got - want).max()
    report(name, got.shape == want.shape and worst < 1e-4,
           f"largest difference {worst:.2e}, logits from {want.min():.3f} to {want.max():.3f}")


def check_cross(kpd, tmp, folder, two):
    torch.manual_seed(4)
    made, model, back = (os.path.join(tmp, n) for n in ("cross", "cross.kpd", "cross_export"))
    head = AutoModelForSequenceClassification.from_pretrained(folder, num_labels=1, dtype=torch.float32)
    with torch.no_grad():
        head.classifier.weight.mul_(20)
    head.save_pretrained(made)
    AutoTokenizer.from_pretrained(folder, model_max_length=256).save_pretrained(made)
    path = os.path.join(tmp, "pairs.txt")
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.write("".join(a + "\t" + b + "\n" for a, b in two))
    run(kpd, "import", made, "-o", model)
    got = numpy.array([float(x.split()[0]) for x in run(kpd, "score", model, path).splitlines()])
    check_logits("cross-encoder", got, logits(made, two))
    run(kpd, "export", model, "-o", back)
    check_logits("cross-encoder, exported", logits(back, two), got)


def check_refused(kpd, tmp, folder):
    out = os.path.join(tmp, "unsupported")
    shutil.copytree(folder, out)
    with open(os.path.join(out, "modules.json")) as f:
        modules = json.load(f)
    modules.insert(2, {"idx": 2, "name": "2", "path": "2_CNN", "type": "sentence_transformers.models.CNN"})
    with open(os.path.join(out, "modules.json"), "w") as f:
        json.dump(modules, f)
    p = subprocess.run([kpd, "import", out, "-o", os.path.join(tmp, "no.kpd")], capture_output=True, text=True)
    report("unknown module refused", p.returncode == 1 and "models.CNN" in p.stderr, p.stderr.strip().replace(tmp, ""))


def half(tmp, folder, name, dtype):
    """The folder with its weights in a 16-bit type; the reference computes on the same rounded weights."""
    out = os.path.join(tmp, name)
    shutil.copytree(folder, out)
    path = os.path.join(out, "model.safetensors")
    state = {k: v.to(dtype) if v.is_floating_point() else v for k, v in safetensors.torch.load_file(path).items()}
    safetensors.torch.save_file(state, path, metadata={"format": "pt"})
    return out


def main():
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("--texts", type=int, default=2000)
    p.add_argument("--kpd", default="build/kpd")
    args = p.parse_args()
    if "KPD_MODELS" not in os.environ:
        raise SystemExit("KPD_MODELS must name the folder that holds all-MiniLM-L6-v2")
    folder = os.path.join(os.environ["KPD_MODELS"], "all-MiniLM-L6-v2")
    lines = texts(args.texts, AutoTokenizer.from_pretrained(folder))
    few = lines[:max(1, args.texts // 5)]
    with tempfile.TemporaryDirectory() as tmp:
        paths = [os.path.join(tmp, "all.txt"), os.path.join(tmp, "few.txt")]
        for path, some in zip(paths, (lines, few)):
            with open(path, "w", encoding="utf-8", newline="\n") as f:
                f.write("".join(t + "\n" for t in some))
        check_bi(args.kpd, tmp, "all-MiniLM-L6-v2", folder, lines, paths[0])
        check_bi(args.kpd, tmp, "cls_unnormalised", save_variant(tmp, "cls", folder, cls_modules), few, paths[1])
        check_bi(args.kpd, tmp, "dense", save_variant(tmp, "dense", folder, dense_modules), few, paths[1])
        check_bi(args.kpd, tmp, "float16", half(tmp, folder, "f16", torch.float16), few, paths[1])
        check_bi(args.kpd, tmp, "bfloat16", half(tmp, folder, "bf16", torch.bfloat16), few, paths[1])
        check_cross(args.kpd, tmp, folder, [(few[i], few[-1 - i]) for i in range(len(few))])
        check_refused(args.kpd, tmp, folder)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
