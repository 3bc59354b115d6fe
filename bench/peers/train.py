#!/usr/bin/env python3
"""A training step of kpd and of PyTorch in one run, in turn, round by round, on one core.

usage: train.py [--size 6x384x12] [--task bi|ce] [--rounds 5] [--core 0]      after: make build/bench_train

bi: 32 pairs of two texts of 24 tokens, MNR; ce: 32 pairs of 48 tokens, BCE. Random weights and ids, f32, dropout .1, AdamW,
clipping at 1. kpd's time includes tokenizing. Needs a Python with torch and transformers. Prints the medians and the median
over rounds of torch / kpd.
"""
import argparse, os, re, statistics, subprocess, time

ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
ap.add_argument('--size', default='6x384x12')
ap.add_argument('--task', choices=('bi', 'ce'), default='bi')
ap.add_argument('--rounds', type=int, default=5)
ap.add_argument('--core', type=int, default=0)
a = ap.parse_args()
os.sched_setaffinity(0, {a.core})
import torch
import torch.nn.functional as F
from transformers import BertConfig, BertModel

torch.set_num_threads(1)
torch.manual_seed(0)
LAYERS, WIDTH, HEADS = map(int, a.size.split('x'))
CE, PAIRS, STEPS = a.task == 'ce', 32, 3
model = BertModel(BertConfig(vocab_size=30522, hidden_size=WIDTH, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                             intermediate_size=4 * WIDTH), add_pooling_layer=CE).train()
head = torch.nn.Linear(WIDTH, 1)
parameters = list(model.parameters()) + (list(head.parameters()) if CE else [])
optimizer = torch.optim.AdamW(parameters, lr=5e-5, fused=True)


def loss():
    n, length = (PAIRS, 48) if CE else (2 * PAIRS, 24)
    x = torch.randint(1000, 30000, (n, length))
    out = model(input_ids=x, attention_mask=torch.ones_like(x))
    if CE:
        return F.binary_cross_entropy_with_logits(head(out.pooler_output)[:, 0], torch.rand(n).round())
    v = F.normalize(out.last_hidden_state.mean(1), dim=1)
    return F.cross_entropy(20 * v[:PAIRS] @ v[PAIRS:].T, torch.arange(PAIRS))


def torch_ms():
    times = []
    for _ in range(STEPS):
        begin = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        loss().backward()
        torch.nn.utils.clip_grad_norm_(parameters, 1)
        optimizer.step()
        times.append(1e3 * (time.perf_counter() - begin))
    return statistics.median(times)


def kpd_ms():
    out = subprocess.run(['build/bench_train', a.size, a.task, str(STEPS)], check=True, capture_output=True, text=True).stdout
    return float(re.search(r'step_ms ([\d.]+)', out).group(1))


torch_ms()
rounds = [(kpd_ms(), torch_ms()) for _ in range(a.rounds)]
print('%s %s, one core, %d rounds, torch %s: kpd %.0f ms, torch %.0f ms a step; torch / kpd %.2f' % (
    a.size, a.task, a.rounds, torch.__version__, *map(statistics.median, zip(*rounds)), statistics.median(t / k for k, t in rounds)))
