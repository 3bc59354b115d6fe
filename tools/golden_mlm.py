"""Writes tests/golden/mlm.bin: loss and gradient of masked-language modelling by transformers in double precision, as float32.

Weights and texts are those of golden_layers.py; every third token is masked, with labels as tests/test_layers.c makes them.
The loss, then the gradient of every parameter in the order of kpd_train.h's flat buffer.   usage: golden_mlm.py OUT
"""
import sys
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM
from golden_layers import F, H, HEADS, LAYERS, P, V, names, texts, values

HEAD = {"mlm.transform.weight": "transform.dense.weight", "mlm.transform.bias": "transform.dense.bias",
        "mlm.norm.weight": "transform.LayerNorm.weight", "mlm.norm.bias": "transform.LayerNorm.bias", "mlm.bias": "bias"}

c = BertConfig(vocab_size=V, hidden_size=H, num_hidden_layers=LAYERS, num_attention_heads=HEADS, intermediate_size=F,
               max_position_embeddings=P, attn_implementation="eager")
model = BertForMaskedLM(c).double().eval()
model.bert.embeddings.word_embeddings.padding_idx = None   # texts here use every id; packed batches have no padding
assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
bert, head = dict(model.bert.named_parameters()), dict(model.cls.predictions.named_parameters())
found = [(n, bert[n]) for n in names(False, False)] + [(n, head[theirs]) for n, theirs in HEAD.items()]
for name, p in found:
    p.data = values(name, tuple(p.shape))
model.cls.predictions.decoder.bias = model.cls.predictions.bias

loss, count, at = 0, 0, 0
for ids, types in texts():
    places = range(at, at + ids.shape[1])
    labels = torch.tensor([[(t * 5 + 2) % V if t % 3 == 1 else -100 for t in places]])
    at += ids.shape[1]
    if (labels >= 0).any():   # of the text with one token none is
        n = int((labels >= 0).sum())
        loss = loss + n * model(input_ids=ids, token_type_ids=types, labels=labels).loss
        count += n
loss = loss / count
loss.backward()
with open(sys.argv[1], "wb") as f:
    for v in [loss.detach()] + [p.grad for _, p in found]:
        f.write(v.numpy().astype("<f4").tobytes())
print("torch", torch.__version__, "transformers", transformers.__version__, "loss", float(loss))
