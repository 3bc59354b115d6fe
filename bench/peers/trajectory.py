#!/usr/bin/env python3
"""Trains with kpd and with PyTorch from the same start on the same batches, and compares every step's loss and the end's weights.

usage: trajectory.py [--model FOLDER] [--steps 100] [--threads 1] [--kpd build/kpd]

Without --model the start is a random 3 x 96 BERT on invented words; with it, a folder such as all-MiniLM-L6-v2 (its vocabulary
gives the words). AdamW with decay groups, warm-up, linear decay, clipping at 1, no dropout; rows in the file's order, 32 a
batch. Four runs: MNR; contrastive on labels + Pearson on a teacher's scores; SBERT's softmax, whose head begins as kpd's; a
cross-encoder's BCE. Needs a Python with torch and transformers, and a built kpd. Prints for each run the largest relative
difference of a loss, the cosine of all weights at the end, and that of what training added to them. Exit status 1 when one is
over its bound: 1e-4, .99999.
"""
import argparse, array, os, random, subprocess, sys, tempfile
import torch
import torch.nn.functional as F
import transformers
from transformers import BertConfig, BertForSequenceClassification, BertModel, BertTokenizer, get_linear_schedule_with_warmup

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), '../../tests'))
import read_format

ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
ap.add_argument('--model', default='')
ap.add_argument('--steps', type=int, default=100)
ap.add_argument('--threads', type=int, default=1)
ap.add_argument('--kpd', default='build/kpd')
a = ap.parse_args()
BATCH, RATE, WARMUP, DECAY, LENGTH = 32, 2e-4 if not a.model else 2e-5, 0.1, 0.01, 48
torch.set_num_threads(a.threads)
torch.manual_seed(1)
random.seed(1)
DIR = tempfile.mkdtemp(prefix='kpd-trajectory-')


def make_start():
    """Folders DIR/bi and DIR/cross that transformers and kpd both read; returns words to make texts of."""
    if a.model:
        tokenizer = BertTokenizer.from_pretrained(a.model)
        words = [w for w in tokenizer.get_vocab() if w.isalpha() and len(w) > 3]
        config = BertConfig.from_pretrained(a.model)
        bi = BertModel.from_pretrained(a.model, add_pooling_layer=False)
    else:
        words = [c + v + d for c in 'bdfgklmnprstvz' for v in 'aeiou' for d in 'lmnrst']
        with open(DIR + '/vocab.txt', 'w') as f:
            f.write('\n'.join(['[PAD]', '[UNK]', '[CLS]', '[SEP]', '[MASK]'] + words) + '\n')
        tokenizer = BertTokenizer(DIR + '/vocab.txt')
        config = BertConfig(vocab_size=len(words) + 5, hidden_size=96, num_hidden_layers=3, num_attention_heads=4,
                            intermediate_size=384, max_position_embeddings=64)
        bi = BertModel(config, add_pooling_layer=False)
    config.num_labels = 1
    cross = BertForSequenceClassification(config)
    cross.bert.load_state_dict(bi.state_dict(), strict=False)
    for name, m in (('bi', bi), ('cross', cross)):
        m.save_pretrained('%s/%s' % (DIR, name))
        tokenizer.save_pretrained('%s/%s' % (DIR, name))
    return sorted(words), tokenizer


def make_rows(words):
    rows = []
    for _ in range(a.steps * BATCH):
        title = random.sample(words, random.randint(3, 14))
        yes = random.random() < .5
        phrase = random.sample(title if yes else words, random.randint(1, 3))
        rows.append((' '.join(phrase), ' '.join(title), ' '.join(random.sample(words, 2)), int(yes),
                     round(min(1, max(0, .2 + .6 * yes + random.gauss(0, .1))), 4)))
    with open(DIR + '/rows.tsv', 'w') as f:
        for r in rows:
            f.write('\t'.join(map(str, r)) + '\n')
    return rows


RUNS = {'mnr': ('bi', 'mnr', 'keyphrase title category - -'),
        'contrastive + pearson': ('bi', 'contrastive, pearson teacher=score', 'keyphrase title category label score'),
        'softmax': ('bi', 'softmax', 'keyphrase title category label -'),
        'assistant, bce': ('cross', 'bce', 'keyphrase title category label -')}


def head_of(path):
    """The softmax head of a checkpoint, weight [2, 3 dim] and bias [2]: the last of its weights, each padded to 16."""
    with open(path, 'rb') as f:
        data = f.read()
    payload = {name: payload for (name, _, _, _, payload), _ in read_format.sections(data)}
    weights = torch.tensor(array.array('f', payload['weights']))
    n = 6 * BertConfig.from_pretrained(DIR + '/bi').hidden_size
    at = len(weights) - 16 - -(-n // 16) * 16
    return weights[at:at + n].reshape(2, -1), weights[-16:-14]


def train_kpd(name):
    kind, loss, columns = RUNS[name]
    template = '{keyphrase} | {category} [SEP] {title}' if kind == 'cross' else '{title} [SEP] {category}'
    flag = '--template-pair' if kind == 'cross' else '--template-item'
    run = '%s/%s' % (DIR, name.split()[0].strip(','))
    subprocess.run([a.kpd, 'import', '%s/%s' % (DIR, kind), '-o', run + '.kpd', flag, template, '--max-tokens', str(LENGTH)], check=True)
    head = ()
    for steps, rate in ((1, 1e-30), (a.steps, RATE)) if loss == 'softmax' else ((a.steps, RATE),):
        with open(run + '.ini', 'w') as f:
            f.write('[model]\nstart = %s.kpd\n[train]\nbatch = %d\nsteps = %d\nrate = %g\nwarmup = %g\nweight_decay = %g\n'
                    'log_steps = 1\n[data rows]\nfile = rows.tsv\ncolumns = %s\nbatching = in-order\nloss = %s\n'
                    % (run, BATCH, steps, rate, WARMUP, DECAY, columns, loss))
        subprocess.run([a.kpd, 'train', run + '.ini', '--force', '--threads', str(a.threads)], check=True,
                       stderr=subprocess.DEVNULL)
        if loss == 'softmax':
            head += (head_of(run + '/checkpoint.kpc'),)
    with open(run + '/metrics.tsv') as f:
        names, *lines = [x.rstrip('\n').split('\t') for x in f]
    subprocess.run([a.kpd, 'export', run + '/last.kpd', '-o', run + '-export'], check=True)
    return [float(x[names.index('loss')]) for x in lines], run + '-export', head


def encode(tokenizer, texts, pairs=None):
    e = tokenizer(texts, pairs, truncation=True, max_length=LENGTH, padding=True, return_tensors='pt')
    return {k: e[k] for k in ('input_ids', 'token_type_ids', 'attention_mask')}


def embed(model, tokenizer, texts):
    b = encode(tokenizer, texts)
    h, m = model(**b).last_hidden_state, b['attention_mask'][..., None].float()
    return (h * m).sum(1) / m.sum(1)


def pearson(s, t):
    s, t = s - s.mean(), t - t.mean()
    n = len(s) - 1
    return 1 - (s * t).sum() / n / (((s * s).sum() / n).sqrt() * ((t * t).sum() / n).sqrt() + 1e-8)


def loss_of(name, model, tokenizer, rows, head):
    y = torch.tensor([float(r[3]) for r in rows])
    if name.startswith('assistant'):
        z = model(**encode(tokenizer, [r[0] for r in rows], ['%s [SEP] %s' % (r[2], r[1]) for r in rows])).logits[:, 0]
        return F.binary_cross_entropy_with_logits(z, y)
    u = embed(model, tokenizer, ['%s [SEP] %s' % (r[1], r[2]) for r in rows])
    v = embed(model, tokenizer, [r[0] for r in rows])
    if name == 'softmax':
        u, v = F.normalize(u, dim=1), F.normalize(v, dim=1)
        return F.cross_entropy(torch.cat([u, v, (u - v).abs()], 1) @ head[0].T + head[1], y.long())
    if name == 'mnr':
        return F.cross_entropy(20 * F.normalize(u, dim=1) @ F.normalize(v, dim=1).T, torch.arange(len(rows)))
    s = F.cosine_similarity(u, v)
    contrastive = .5 * (y * (1 - s) ** 2 + (1 - y) * F.relu(.5 - (1 - s)) ** 2)
    return contrastive.mean() + pearson(s, torch.tensor([r[4] for r in rows]))


def train_torch(name, tokenizer, rows, head):
    kind = RUNS[name][0]
    model = (BertForSequenceClassification if kind == 'cross' else BertModel).from_pretrained(
        '%s/%s' % (DIR, kind), **({} if kind == 'cross' else {'add_pooling_layer': False}))
    model.train()
    for m in model.modules():
        if isinstance(m, torch.nn.Dropout):
            m.p = 0
    head = [torch.nn.Parameter(p.clone()) for p in head]
    plain = head[1:] + [p for n, p in model.named_parameters() if n.endswith('bias') or 'LayerNorm' in n]
    decayed = head[:1] + [p for n, p in model.named_parameters() if not (n.endswith('bias') or 'LayerNorm' in n)]
    optimizer = torch.optim.AdamW([{'params': decayed, 'weight_decay': DECAY}, {'params': plain, 'weight_decay': 0}], lr=RATE)
    schedule = get_linear_schedule_with_warmup(optimizer, int(WARMUP * a.steps), a.steps)
    start, losses = {n: p.detach().clone() for n, p in model.named_parameters()}, []
    for i in range(a.steps):
        loss = loss_of(name, model, tokenizer, rows[i * BATCH:(i + 1) * BATCH], head)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(plain + decayed, 1.0)
        optimizer.step()
        schedule.step()
        losses.append(float(loss.detach()))
    return losses, model, start, head


def cosine(x, y):
    return float((x * y).sum() / (x.norm() * y.norm()))


def main():
    words, tokenizer = make_start()
    rows = make_rows(words)
    bad = False
    print('%s, %d steps of %d rows; torch %s, transformers %s' % (a.model or '3 x 96, random', a.steps, BATCH, torch.__version__,
                                                                  transformers.__version__))
    for name in RUNS:
        losses, folder, heads = train_kpd(name)
        wanted, model, start, head = train_torch(name, tokenizer, rows, heads[0] if heads else ())
        other = type(model).from_pretrained(folder, **({} if 'cross' in RUNS[name][0] else {'add_pooling_layer': False}))
        names = [n for n, _ in model.named_parameters()]
        flat = lambda m, h: torch.cat([x.detach().double().flatten() for x in [m[n] for n in names] + list(h)])
        end, ours = flat(dict(model.named_parameters()), head), flat(dict(other.named_parameters()), heads[1] if heads else ())
        begin = flat(start, heads[0] if heads else ())
        worst = max(abs(x - y) / abs(y) for x, y in zip(losses, wanted))
        same, added = cosine(end, ours), cosine(end - begin, ours - begin)
        bad |= len(losses) != a.steps or worst > 1e-4 or same < .99999
        print('%-22s loss %.5f -> %.5f (torch %.5f); largest relative difference %.2e; cosine of the weights %.8f, of what was '
              'added %.6f' % (name, losses[0], losses[-1], wanted[-1], worst, same, added), flush=True)
    return bad


sys.exit(main())
