"""Trains what real.ini trains by sentence-transformers, for as many seconds, and scores the dev pairs.

    python3 real_peer.py FOLDER MODEL [--assistant SECONDS] [--labels SECONDS] [--seed N] [--threads N]

FOLDER: that of real.ini, with train.tsv and dev.tsv; MODEL: the folder that start.kpd was imported from. Writes
FOLDER/peer/assistant.N.tsv, labels.384.N.tsv and labels.64.N.tsv (score, label, keyphrase), for kpd eval pairs. Its own
trainers, with the same start, losses, batch, rate, warm-up, decay, clipping, dropout and cut at 64 tokens. A first training
of a few steps says how many there is time for. Needs sentence-transformers, datasets and accelerate."""
import argparse
import os
import tempfile
import time

import numpy as np
import torch
from datasets import Dataset
from sentence_transformers import CrossEncoder, CrossEncoderTrainer, CrossEncoderTrainingArguments
from sentence_transformers import SentenceTransformer, SentenceTransformerTrainer, SentenceTransformerTrainingArguments, losses
from sentence_transformers.cross_encoder.losses import BinaryCrossEntropyLoss
from transformers import set_seed

PROBE = 20   # steps, of which it says how many there is time for


def read(path):
    with open(path, encoding="utf-8", newline="\n") as f:
        return [line.rstrip("\n").split("\t") for line in f]


def joined(*texts):
    return " [SEP] ".join(text for text in texts if text)


def timed(trainer):
    begin = time.monotonic()
    trainer.train()
    return time.monotonic() - begin


def arguments(kind, steps, rate, seed):
    return kind(output_dir=tempfile.gettempdir(), max_steps=steps, per_device_train_batch_size=32, learning_rate=rate,
                warmup_steps=round(.1 * steps), weight_decay=0, max_grad_norm=1, seed=seed, save_strategy="no",
                report_to=[], logging_strategy="no", use_cpu=True, disable_tqdm=True)


def assistant(model, rows, seed):
    """A function that trains for so many steps, and returns the cross-encoder and the seconds"""
    data = Dataset.from_dict({"keyphrase": [r[0] for r in rows], "item": [joined(r[2], r[1]) for r in rows],
                              "label": [float(r[4]) for r in rows]})

    def train(steps):
        set_seed(seed)                  # of the head, which is new
        cross = CrossEncoder(model, num_labels=1, max_length=64, device="cpu")
        return cross, timed(CrossEncoderTrainer(model=cross, train_dataset=data, loss=BinaryCrossEntropyLoss(cross),
                                                args=arguments(CrossEncoderTrainingArguments, steps, 5e-5, seed)))
    return train


def student(model, rows, seed):
    data = Dataset.from_dict({"keyphrase": [r[0] for r in rows], "item": [joined(r[1], r[2]) for r in rows],
                              "label": [int(r[4]) for r in rows]})

    def train(steps):
        bi = SentenceTransformer(model, device="cpu")
        bi.max_seq_length = 64
        loss = losses.MatryoshkaLoss(bi, losses.ContrastiveLoss(bi), [384, 64])
        return bi, timed(SentenceTransformerTrainer(model=bi, train_dataset=data, loss=loss,
                                                    args=arguments(SentenceTransformerTrainingArguments, steps, 5e-5, seed)))
    return train


def write(path, scores, rows):
    with open(path, "w", encoding="utf-8", newline="\n") as f:
        f.writelines(f"{score:.6f}\t{row[4]}\t{row[0]}\n" for score, row in zip(scores, rows))


def cosines(u, v, dim):
    u, v = u[:, :dim], v[:, :dim]
    return (u * v).sum(1) / np.linalg.norm(u, axis=1) / np.linalg.norm(v, axis=1)


def main():
    p = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
    p.add_argument("folder")
    p.add_argument("model")
    p.add_argument("--assistant", type=float, default=0)
    p.add_argument("--labels", type=float, default=0)
    p.add_argument("--seed", type=int, default=1)
    p.add_argument("--threads", type=int, default=1)
    a = p.parse_args()
    torch.set_num_threads(a.threads)
    rows, dev = read(a.folder + "/train.tsv"), read(a.folder + "/dev.tsv")
    os.makedirs(a.folder + "/peer", exist_ok=True)
    for name, make, seconds in (("assistant", assistant, a.assistant), ("labels", student, a.labels)):
        if not seconds:
            continue
        train = make(a.model, rows, a.seed)
        steps = max(PROBE, round(seconds * PROBE / train(PROBE)[1]))
        trained, took = train(steps)
        print(f"{name}: {steps} steps in {took:.0f} s", flush=True)
        if name == "assistant":
            write(f"{a.folder}/peer/assistant.{a.seed}.tsv", trained.predict([(r[0], joined(r[2], r[1])) for r in dev]), dev)
            continue
        u, v = trained.encode([joined(r[1], r[2]) for r in dev]), trained.encode([r[0] for r in dev])
        for dim in (384, 64):
            write(f"{a.folder}/peer/labels.{dim}.{a.seed}.tsv", cosines(u, v, dim), dev)


if __name__ == "__main__":
    main()
