"""Writes tests/golden/mlm.bin and mlm_kl.bin: losses and gradients of masked-language modelling by transformers in double
precision, as float32.

Weights and texts are those of golden_layers.py; every third token is masked, with labels as tests/test_layers.c makes them. In
the second file a teacher of another shape is followed at temperature 2 by torch's KLDivLoss. The loss, then the gradient of
every parameter in the order of kpd_train.h's flat buffer.   usage: golden_mlm.py mlm.bin mlm_kl.bin
"""
import sys
import torch
import transformers
from transformers import BertConfig, BertForMaskedLM
from golden_layers import F, H, HEADS, LAYERS, P, V, names, texts, values

HEAD = {"mlm.transform.weight": "transform.dense.weight", "mlm.transform.bias": "transform.dense.bias",
        "mlm.norm.weight": "transform.LayerNorm.weight", "mlm.norm.bias": "transform.LayerNorm.bias", "mlm.bias": "bias"}


def model_of(width, heads, ffn, layers):
    c = BertConfig(vocab_size=V, hidden_size=width, num_hidden_layers=layers, num_attention_heads=heads, intermediate_size=ffn,
                   max_position_embeddings=P, attn_implementation="eager")
    model = BertForMaskedLM(c).double().eval()
    model.bert.embeddings.word_embeddings.padding_idx = None   # texts here use every id; packed batches have no padding
    assert model.cls.predictions.decoder.weight is model.bert.embeddings.word_embeddings.weight
    bert, head = dict(model.bert.named_parameters()), dict(model.cls.predictions.named_parameters())
    found = [(n, bert[n]) for n in names(False, False) if n in bert] + [(n, head[theirs]) for n, theirs in HEAD.items()]
    for name, p in found:
        p.data = values(name, tuple(p.shape))
    model.cls.predictions.decoder.bias = model.cls.predictions.bias
    return model, found


def write(path, loss, found):
    with open(path, "wb") as f:
        for v in [loss.detach()] + [p.grad for _, p in found]:
            f.write(v.numpy().astype("<f4").tobytes())
    print(path, "torch", torch.__version__, "transformers", transformers.__version__, "loss", loss.item())


def guesses(model):
    """The logits of the masked tokens, and what stood there."""
    logits, labels, at = [], [], 0
    for ids, types in texts():
        masked = [t for t in range(ids.shape[1]) if (at + t) % 3 == 1]
        logits.append(model(input_ids=ids, token_type_ids=types).logits[0, masked])
        labels += [((at + t) * 5 + 2) % V for t in masked]
        at += ids.shape[1]
    return torch.cat(logits), torch.tensor(labels)


student, found = model_of(H, HEADS, F, LAYERS)
logits, labels = guesses(student)
loss = torch.nn.functional.cross_entropy(logits, labels)
loss.backward()
write(sys.argv[1], loss, found)

student, found = model_of(H, HEADS, F, LAYERS)
teacher, _ = model_of(20, 2, 24, 1)
with torch.no_grad():
    target = guesses(teacher)[0]
loss = 4 * torch.nn.KLDivLoss(reduction="batchmean")((guesses(student)[0] / 2).log_softmax(-1), (target / 2).softmax(-1))
loss.backward()
write(sys.argv[2], loss, found)
