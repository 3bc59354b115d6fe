#!/usr/bin/env python3
"""Writes the golden data of the import and export tests to tests/golden: tiny random models over an invented vocabulary
in the folder layouts that sentence-transformers and transformers read, and what these libraries make of some texts.

    python tools/golden.py            needs torch, transformers, sentence-transformers, safetensors, numpy

The same versions give the same bytes; they are recorded in tests/golden/versions.txt.

    tiny_mean        mean pooling, normalised; F32, tokenizer.json only: the newest layout
    tiny_cls_dense   CLS pooling, Dense (tanh), LayerNorm, normalised; odd sizes; cased; prompts; two shards, F32 and F16;
                     vocab.txt only: the oldest layout
    tiny_cross       BertForSequenceClassification, one label, F32; vocab.txt and tokenizer.json
    tiny_cross3      the same with three labels, BF16, one layer
    expected/*.npy   what a variant gives for texts.txt or pairs.txt, [lines, D] f32. Variants that differ in one option
                     have no folder: the test changes the option in a copy.
"""
import json
import os
import random
import shutil
import sys

import numpy
import safetensors.torch
import sentence_transformers
import tokenizers
import torch
import transformers
from sentence_transformers import SentenceTransformer
from sentence_transformers.models import Dense, LayerNorm, Normalize, Pooling, Transformer
from transformers import (AutoModelForSequenceClassification, AutoTokenizer, BertConfig, BertForSequenceClassification,
                          BertModel, BertTokenizer)

ROOT = os.path.join(os.path.dirname(os.path.dirname(os.path.abspath(__file__))), "tests", "golden")
SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
WORDS = """red blue phone case cover laptop sleeve charger cable usb adapter for the with and new black white leather
    wallet stand holder screen protector glass mini pro max surface watch band steel silver gold water proof cafe resume
    nino strasse apple Apple Case iPhone Red""".split()
PIECES = """##s ##er ##ing ##ed ##e ##n ##ly ##a ##o ##i ##t ##r ##d ##l ##0 ##1 ##5 ##x ##case ##proof ##band
    ##hone ##é""".split()
OTHERS = list("abcdefghijklmnopqrstuvwxyz0123456789.,-/&'()+") + list("AIRC") + [
    "é", "ö", "ñ", "中", "国", "手", "機", "£", "½"]


def vocabulary():
    return SPECIAL + WORDS + PIECES + OTHERS


def texts(rng):
    """1 to about 60 tokens, and one that must be cut; capitals, accents, CJK, unknown words."""
    words = WORDS + ["Cases", "charging", "USB-C", "iPhone5", "café", "Niño", "中国手機", "£10",
                     "waterproof", "(new)", "unknowable", "Öl", "5.5"]
    lines = ["red", "Case", "中", "ö", "zzzyx", "a b c d", "Red Apple Case [SEP] phone"]
    for n in (2, 3, 4, 5, 6, 8, 10, 12, 15, 18, 22, 26, 30, 34, 38, 42, 90):
        lines.append(" ".join(rng.choice(words) for _ in range(n)))
    return lines


def pairs(rng):
    lines = texts(rng)
    half = len(lines) // 2
    return [(lines[i], lines[-1 - i]) for i in range(half)] + [(lines[-1 - i], lines[i]) for i in range(half)]


def randomize(module, seed):
    """Larger than BERT's own initial weights, so that every non-linearity matters."""
    g = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for name, p in module.named_parameters():
            noise = torch.randn(p.shape, generator=g)
            if "norm.weight" in name.lower():
                p.copy_(1 + 0.2 * noise)
            else:
                p.copy_((0.1 if p.dim() == 1 else 0.18) * noise)
    return module.eval()


def config(**kw):
    base = dict(vocab_size=len(vocabulary()), hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=64,
                max_position_embeddings=64, attn_implementation="eager")
    base.update(kw)
    return BertConfig(**base)


def write_json(folder, name, value):
    with open(os.path.join(folder, name), "w", encoding="utf-8") as f:
        json.dump(value, f, indent=1, ensure_ascii=False)
        f.write("\n")


def write_vocab(folder):
    with open(os.path.join(folder, "vocab.txt"), "w", encoding="utf-8", newline="\n") as f:
        f.write("".join(t + "\n" for t in vocabulary()))


def tokenizer(**kw):
    return BertTokenizer(vocab={t: i for i, t in enumerate(vocabulary())}, model_max_length=64, **kw)


def fresh(name):
    folder = os.path.join(ROOT, name)
    shutil.rmtree(folder, ignore_errors=True)
    os.makedirs(folder)
    return folder


def expect(name, rows):
    rows = numpy.asarray(rows, dtype="<f4")
    numpy.save(os.path.join(ROOT, "expected", name + ".npy"), rows)
    print(f"{name:24} {rows.shape}  largest {abs(rows).max():.3f}")


def encode(model, lines, **kw):
    """One at a time: padding changes the last bits."""
    assert all(p.dtype == torch.float32 for p in model.parameters())
    return numpy.stack([model.encode([t], **kw)[0] for t in lines])


def drop_readme(folder):
    for root, _, files in os.walk(folder):
        for name in files:
            if name == "README.md":
                os.remove(os.path.join(root, name))


def readable():
    """safetensors writes files that only their owner can read."""
    for root, _, files in os.walk(ROOT):
        for name in files:
            os.chmod(os.path.join(root, name), 0o644)


def load(folder):
    return SentenceTransformer(folder, device="cpu", model_kwargs={"dtype": torch.float32})


def tiny_mean(lines):
    folder, base = fresh("tiny_mean"), fresh("base")
    randomize(BertModel(config(), add_pooling_layer=False), 1).save_pretrained(base)
    tokenizer().save_pretrained(base)
    part = Transformer(base)
    SentenceTransformer(modules=[part, Pooling(32, "mean"), Normalize()], device="cpu").save(folder)
    shutil.rmtree(base)
    drop_readme(folder)
    expect("tiny_mean", encode(load(folder), lines))
    for mode in ("cls", "max", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"):
        model = load(folder)
        pooled = SentenceTransformer(modules=[model[0], Pooling(32, mode), Normalize()], device="cpu")
        expect("tiny_mean_" + mode, encode(pooled, lines))
    for act in ("gelu_new", "relu"):
        expect("tiny_mean_" + act, encode(load_changed(folder, act), lines))
    model = load(folder)
    expect("tiny_mean_plain", encode(SentenceTransformer(modules=[model[0], Pooling(32, "mean")], device="cpu"), lines))


def load_changed(folder, act):
    """The folder with another hidden_act."""
    copy = folder + "_changed"
    shutil.copytree(folder, copy)
    with open(os.path.join(copy, "config.json")) as f:
        c = json.load(f)
    c["hidden_act"] = act
    write_json(copy, "config.json", c)
    model = load(copy)
    shutil.rmtree(copy)
    return model


def save_module(folder, name, module, conf):
    sub = os.path.join(folder, name)
    os.makedirs(sub)
    write_json(sub, "config.json", conf)
    if module is not None:
        state = {k: v.contiguous() for k, v in module.state_dict().items()}
        safetensors.torch.save_file(state, os.path.join(sub, "model.safetensors"))


def tiny_cls_dense(lines):
    folder = fresh("tiny_cls_dense")
    c = config(hidden_size=40, num_attention_heads=5, intermediate_size=72, max_position_embeddings=56, layer_norm_eps=1e-7,
               hidden_act="gelu_new", architectures=["BertModel"])
    c.save_pretrained(folder)
    state = {k: v.contiguous() for k, v in randomize(BertModel(c), 2).state_dict().items()}
    state["embeddings.position_ids"] = torch.arange(56).unsqueeze(0)
    shards = [{k: v for k, v in state.items() if k.startswith("embeddings.")},
              {k: v.half() for k, v in state.items() if not k.startswith("embeddings.")}]
    where = {}
    for i, shard in enumerate(shards):
        name = f"model-{i + 1:05}-of-00002.safetensors"
        safetensors.torch.save_file(shard, os.path.join(folder, name), metadata={"format": "pt"})
        where.update({k: name for k in shard})
    size = sum(v.numel() * v.element_size() for s in shards for v in s.values())
    write_json(folder, "model.safetensors.index.json", {"metadata": {"total_size": size}, "weight_map": where})
    write_vocab(folder)
    write_json(folder, "tokenizer_config.json", {"do_lower_case": False, "strip_accents": None, "tokenize_chinese_chars": True,
               "do_basic_tokenize": True, "never_split": None, "tokenizer_class": "BertTokenizer", "model_max_length": 512,
               "unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]", "cls_token": "[CLS]", "mask_token": "[MASK]"})
    write_json(folder, "special_tokens_map.json", {"unk_token": "[UNK]", "sep_token": "[SEP]", "pad_token": "[PAD]",
               "cls_token": "[CLS]", "mask_token": "[MASK]"})
    write_json(folder, "sentence_bert_config.json", {"max_seq_length": 50, "do_lower_case": False})
    write_json(folder, "config_sentence_transformers.json", {"__version__": {"sentence_transformers": "2.2.2"},
               "prompts": {"query": "find: ", "document": ""}, "default_prompt_name": None})
    kinds = ["Transformer", "Pooling", "Dense", "LayerNorm", "Normalize"]
    paths = ["", "1_Pooling", "2_Dense", "3_LayerNorm", "4_Normalize"]
    write_json(folder, "modules.json", [{"idx": i, "name": str(i), "path": p, "type": "sentence_transformers.models." + k}
                                        for i, (k, p) in enumerate(zip(kinds, paths))])
    save_module(folder, "1_Pooling", None, {"word_embedding_dimension": 40, "pooling_mode_cls_token": True,
                "pooling_mode_mean_tokens": False, "pooling_mode_max_tokens": False,
                "pooling_mode_mean_sqrt_len_tokens": False})
    save_module(folder, "2_Dense", randomize(Dense(40, 24), 3), {"in_features": 40, "out_features": 24, "bias": True,
                "activation_function": "torch.nn.modules.activation.Tanh"})
    save_module(folder, "3_LayerNorm", randomize(LayerNorm(24), 4), {"dimension": 24})
    model = load(folder)
    expect("tiny_cls_dense", encode(model, lines))
    expect("tiny_cls_dense_query", encode(model, lines, prompt_name="query"))


def logits(folder, lines):
    t = AutoTokenizer.from_pretrained(folder)
    m = AutoModelForSequenceClassification.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    with torch.no_grad():
        inputs = [t(a, b, truncation=True, max_length=64, return_tensors="pt") for a, b in lines]
        return numpy.stack([m(**i).logits[0].numpy() for i in inputs])


def tiny_cross(lines):
    folder = fresh("tiny_cross")
    randomize(BertForSequenceClassification(config(num_labels=1)), 5).save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    write_vocab(folder)
    expect("tiny_cross", logits(folder, lines))


def tiny_cross3(lines):
    folder = fresh("tiny_cross3")
    m = BertForSequenceClassification(config(num_labels=3, hidden_size=24, num_attention_heads=2, intermediate_size=40,
                                             num_hidden_layers=1, hidden_act="relu"))
    randomize(m, 6).bfloat16().save_pretrained(folder)
    tokenizer().save_pretrained(folder)
    expect("tiny_cross3", logits(folder, lines))


def main():
    os.makedirs(os.path.join(ROOT, "expected"), exist_ok=True)
    torch.set_num_threads(1)
    torch.manual_seed(0)        # for what transformers adds by itself (a pooler that is not used)
    lines, two = texts(random.Random(1)), pairs(random.Random(2))
    with open(os.path.join(ROOT, "texts.txt"), "w", encoding="utf-8", newline="\n") as f:
        f.write("".join(t + "\n" for t in lines))
    with open(os.path.join(ROOT, "pairs.txt"), "w", encoding="utf-8", newline="\n") as f:
        f.write("".join(a + "\t" + b + "\n" for a, b in two))
    tiny_mean(lines)
    tiny_cls_dense(lines)
    tiny_cross(two)
    tiny_cross3(two)
    with open(os.path.join(ROOT, "versions.txt"), "w") as f:
        f.write(f"python {sys.version.split()[0]}\n")
        for m in (torch, transformers, sentence_transformers, tokenizers, safetensors, numpy):
            f.write(f"{m.__name__} {m.__version__}\n")
    readable()


if __name__ == "__main__":
    main()
