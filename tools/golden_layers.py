"""Writes tests/golden/layers.bin: outputs and gradients of tiny BERTs by transformers in double precision, as float32.

Weights, texts and the gradient of the output are made as tests/test_layers.c makes them. For each case: out [4, D], then the
gradient of every parameter in the order of kpd_train.h's flat buffer.   usage: golden_layers.py OUT
"""
import sys
import numpy as np
import torch
import transformers
from transformers import BertConfig, BertForSequenceClassification, BertModel

H, HEADS, F, LAYERS, V, P, LABELS = 12, 3, 20, 2, 12, 10, 2


def numbers(name, n):
    state = 2166136261
    for c in name.encode():
        state = ((state ^ c) * 16777619) & 0xFFFFFFFF
    out = np.empty(n, np.float32)
    for i in range(n):
        state = (state * 1664525 + 1013904223) & 0xFFFFFFFF
        out[i] = np.float32((state >> 8) / 8388608 - 1)
    return out


def values(name, shape):
    v = numbers(name, int(np.prod(shape)))
    v = np.float32(1) + np.float32(.125) * v if name.endswith("orm.weight") else np.float32(.5) * v
    return torch.from_numpy(v.reshape(shape)).double()


def names(modules, cross):
    yield from ["embeddings.word_embeddings.weight", "embeddings.position_embeddings.weight",
                "embeddings.token_type_embeddings.weight", "embeddings.LayerNorm.weight", "embeddings.LayerNorm.bias"]
    for i in range(LAYERS):
        p = f"encoder.layer.{i}."
        for kind in ("weight", "bias"):
            for part in ("query", "key", "value"):
                yield f"{p}attention.self.{part}.{kind}"
        for part in ("attention.output.dense", "attention.output.LayerNorm", "intermediate.dense", "output.dense",
                     "output.LayerNorm"):
            yield f"{p}{part}.weight"
            yield f"{p}{part}.bias"
    if modules:
        yield from ["modules.0.linear.weight", "modules.0.linear.bias", "modules.1.norm.weight", "modules.1.norm.bias",
                    "modules.2.linear.weight"]
    if cross:
        yield from ["pooler.dense.weight", "pooler.dense.bias", "classifier.weight", "classifier.bias"]


def pooled(kind, x):
    n = x.shape[0]
    if kind == "mean":
        return x.mean(0)
    if kind == "max":
        return x.max(0).values
    w = torch.arange(1, n + 1, dtype=torch.double)
    return (x * w[:, None]).sum(0) / w.sum()


def texts():
    t = 0
    for n in (5, 1, 10, 3):
        yield (torch.tensor([[(i * 7 + 3) % V for i in range(t, t + n)]]), torch.tensor([[int(i >= 3) for i in range(n)]]))
        t += n


def case(pooling, activation, modules=False, normalize=True, cross=False):
    c = BertConfig(vocab_size=V, hidden_size=H, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=F,
                   hidden_act=activation, max_position_embeddings=P, num_labels=LABELS, attn_implementation="eager")
    model = (BertForSequenceClassification(c) if cross else BertModel(c, add_pooling_layer=False)).double().eval()
    head = torch.nn.ModuleDict({"linear0": torch.nn.Linear(H, 7), "norm1": torch.nn.LayerNorm(7),
                                "linear2": torch.nn.Linear(7, 9, bias=False)}).double()
    encoder = model.bert if cross else model
    encoder.embeddings.word_embeddings.padding_idx = None   # texts here use every id; packed batches have no padding
    bert = dict(encoder.named_parameters())
    found = {}
    for name in names(modules, cross):
        if name.startswith("modules."):
            _, j, kind, what = name.split(".")
            p = getattr(head[kind + j], what)
        elif name.startswith("classifier."):
            p = getattr(model.classifier, name.split(".")[1])
        else:
            p = bert[name]
        p.data = values(name, tuple(p.shape))
        found[name] = p
    rows = []
    for ids, types in texts():
        if cross:
            rows.append(model(input_ids=ids, token_type_ids=types).logits[0])
            continue
        x = pooled(pooling, model(input_ids=ids, token_type_ids=types).last_hidden_state[0])
        if modules:
            x = head["linear2"](head["norm1"](torch.tanh(head["linear0"](x))))
        rows.append(torch.nn.functional.normalize(x, dim=0) if normalize else x)
    out = torch.stack(rows)
    dout = torch.from_numpy(numbers("dout", out.numel()).reshape(out.shape)).double()
    (out * dout).sum().backward()
    parts = [out.detach()] + [p.grad for p in found.values()]
    return b"".join(p.numpy().astype("<f4").tobytes() for p in parts)


if __name__ == "__main__":
    with open(sys.argv[1], "wb") as f:
        f.write(case("mean", "gelu"))
        f.write(case("max", "gelu_new", modules=True))
        f.write(case("weighted", "relu", normalize=False))
        f.write(case("", "gelu", cross=True))
    print("torch", torch.__version__, "transformers", transformers.__version__)
