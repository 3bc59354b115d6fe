#!/usr/bin/env python3
"""Trains assistant and student on judged pairs from all-MiniLM-L6-v2, and ranks the dev pairs with each.

usage: train.py [--rows N] [--threads 2] [--stages overlap,untrained,assistant,labels,pearson,peer] [--out build/real]

Environment: KPD_DATA, a folder with items.tsv (id, title, category), train.tsv and dev.tsv (query, item id, grade, label);
             KPD_MODELS, a folder with all-MiniLM-L6-v2. Needs numpy and scikit-learn; the stage peer torch and
             sentence-transformers.

Stages: overlap (IDF-weighted share of the keyphrase's words that stand in title or category), untrained (cosines of the start),
assistant (cross-encoder, BCE), labels (student, contrastive), pearson (student, contrastive + Pearson on the assistant's
probabilities), and peer: the same three trained by PyTorch. One epoch of N rows (0 = all), those of whole queries drawn at
random, the last of them cut; batch 32, rate 2e-5, warm-up .1, linear decay, clipping at 1, dropout .1, texts cut at 64 tokens,
Matryoshka 384 and 64, seed 0. Interrupted, it goes on from its checkpoints when started again; what is done is not done twice.
Scores are those of dev pairs: AUC, AP, best F1, Spearman with the grade, rho = Spearman with the assistant's score, and AUC
inside queries that have both labels.
Categories in the data are mostly mined from the titles, and add little.
"""
import argparse, math, os, re, subprocess, sys, time
import numpy as np
from scipy.stats import spearmanr
from sklearn.metrics import average_precision_score, precision_recall_curve, roc_auc_score

ap = argparse.ArgumentParser(formatter_class=argparse.RawDescriptionHelpFormatter, description=__doc__)
ap.add_argument('--rows', type=int, default=0)
ap.add_argument('--threads', type=int, default=2)
ap.add_argument('--stages', default='overlap,untrained,assistant,labels,pearson')
ap.add_argument('--out', default='build/real')
ap.add_argument('--kpd', default='build/kpd')
a = ap.parse_args()
DATA = os.environ.get('KPD_DATA') or sys.exit('set KPD_DATA (see the top of this file)')
FOLDER = os.path.join(os.environ.get('KPD_MODELS') or sys.exit('set KPD_MODELS (see the top of this file)'), 'all-MiniLM-L6-v2')
WORD = re.compile(r'[a-z0-9]+')
os.makedirs(a.out, exist_ok=True)


def read(name):
    with open(os.path.join(DATA, name), encoding='utf-8', newline='\n') as f:
        return [line.rstrip('\n').split('\t') for line in f]


ITEMS = {r[0]: (r[1], r[2] if len(r) > 2 else '') for r in read('items.tsv')}
TRAIN = [r for r in read('train.tsv') if r[1] in ITEMS]
DEV = [r for r in read('dev.tsv') if r[1] in ITEMS]
LABEL, GRADE = np.array([int(r[3]) for r in DEV]), np.array([float(r[2]) for r in DEV])


def draw(rows, n):
    """Rows of queries at random, n in all, in the order of the file."""
    queries = sorted({r[0] for r in rows})
    rank = dict(zip(queries, np.random.default_rng(0).permutation(len(queries))))
    return [rows[i] for i in sorted(sorted(range(len(rows)), key=lambda i: (rank[rows[i][0]], i))[:n])]


if a.rows:
    TRAIN = draw(TRAIN, a.rows)


def write(name, lines):
    path = os.path.join(a.out, name)
    with open(path, 'w', encoding='utf-8', newline='\n') as f:
        f.writelines('\t'.join(x) + '\n' for x in lines)
    return path


# What the columns of pairs.tsv are: keyphrase, title, category, label.
def pairs_of(rows):
    return [(r[0], *ITEMS[r[1]], r[3]) for r in rows]


def report(name, score, seconds=None):
    """score: of the dev pairs"""
    score = np.asarray(score, dtype=np.float64)
    by_query = {}
    for r, y, s in zip(DEV, LABEL, score):
        by_query.setdefault(r[0], []).append((y, s))
    inside = [roc_auc_score(*zip(*g)) for g in by_query.values() if len({y for y, _ in g}) == 2]
    p, r, _ = precision_recall_curve(LABEL, score)
    assistant = os.path.join(a.out, ('peer-' if name.startswith('peer') else '') + 'assistant.npy')
    rho = spearmanr(score, np.load(assistant))[0] if os.path.exists(assistant) else float('nan')
    print('%-22s AUC %.4f  AP %.4f  F1 %.4f  Spearman %.4f  rho %.4f  in queries %.4f%s' % (
        name, roc_auc_score(LABEL, score), average_precision_score(LABEL, score), (2 * p * r / np.maximum(p + r, 1e-9)).max(),
        spearmanr(score, GRADE)[0], rho, np.mean(inside), '' if seconds is None else '  trained in %.0f s' % seconds), flush=True)


def cosine(u, v):
    return (u * v).sum(1) / np.maximum(np.linalg.norm(u, axis=1) * np.linalg.norm(v, axis=1), 1e-12)


def overlap():
    texts = [set(WORD.findall(' '.join(x).lower())) for x in ITEMS.values()]
    count = {}
    for t in texts:
        for w in t:
            count[w] = count.get(w, 0) + 1
    weight = lambda w: math.log((len(texts) + 1) / (count.get(w, 0) + 1))
    score = []
    for r in DEV:
        item, words = set(WORD.findall(' '.join(ITEMS[r[1]]).lower())), WORD.findall(r[0].lower())
        score.append(sum(weight(w) for w in words if w in item) / max(sum(weight(w) for w in words), 1e-9))
    report('token overlap', score)


# kpd ---------------------------------------------------------------------------------------------------------------------------

def kpd(*args):
    subprocess.run([a.kpd, *args, '--threads', str(a.threads)], check=True)


def start():
    path = os.path.join(a.out, 'start.kpd')
    if not os.path.exists(path):
        kpd('import', FOLDER, '-o', path, '--template-item', '{title} [SEP] {category}', '--max-tokens', '64')
    return path


def embed(model, texts, tower, name):
    path = write(name + '.txt', [t if isinstance(t, tuple) else (t,) for t in texts])
    kpd('embed', model, path, '-o', path + '.npy', '--tower', tower)
    return np.load(path + '.npy')


def score_student(name, model, seconds=None):
    items, phrases = sorted({ITEMS[r[1]] for r in DEV}), sorted({r[0] for r in DEV})
    u, v = embed(model, items, 'item', name + '-items'), embed(model, phrases, 'keyphrase', name + '-phrases')
    at_u, at_v = {x: i for i, x in enumerate(items)}, {x: i for i, x in enumerate(phrases)}
    u, v = u[[at_u[ITEMS[r[1]]] for r in DEV]], v[[at_v[r[0]] for r in DEV]]
    for dim in (384, 64):
        report('%s, %d' % (name, dim), cosine(u[:, :dim], v[:, :dim]), seconds)


RECIPE = '''[model]
start = start.kpd
%s
[train]
batch = 32
rate = 2e-5
warmup = 0.1
dropout = 0.1
log_steps = 20
output = %s

[data pairs]
file = pairs.tsv
columns = keyphrase title category label
%s
'''
RECIPES = {
    'assistant': ('kind = cross-encoder\ntemplate_pair = {keyphrase} | {category} [SEP] {title}', 'loss = bce'),
    'labels': ('', 'loss = contrastive weight=0.5\ndims = 384 64'),
    'pearson': ('assistant = assistant/last.kpd', 'loss = contrastive weight=0.5, pearson teacher=assistant weight=0.5\ndims = 384 64'),
}


def train(name):
    """Seconds of training, as far as this run did it."""
    start()
    recipe, done = os.path.join(a.out, name + '.ini'), os.path.join(a.out, name, 'last.kpd')
    if os.path.exists(done):
        return None
    model, data = RECIPES[name]
    with open(recipe, 'w') as f:
        f.write(RECIPE % (model, name, data))
    begin = time.time()
    kpd('train', recipe, *(['--resume'] if os.path.exists(os.path.join(a.out, name, 'checkpoint.kpc')) else []))
    return time.time() - begin


def assistant():
    seconds = train('assistant')
    path = write('dev-pairs.tsv', [(r[0], *ITEMS[r[1]]) for r in DEV])
    out = subprocess.run([a.kpd, 'score', a.out + '/assistant/last.kpd', path, '--threads', str(a.threads)], check=True,
                         capture_output=True, text=True).stdout
    score = [float(x) for x in out.split()]
    np.save(os.path.join(a.out, 'assistant.npy'), score)
    report('assistant', score, seconds)


# PyTorch, the same -----------------------------------------------------------------------------------------------------------

def torch_encode(tok, texts, pairs=None):
    e = tok(texts, pairs, truncation=True, max_length=64, padding=True, return_tensors='pt')
    return {k: e[k] for k in ('input_ids', 'token_type_ids', 'attention_mask')}


def torch_embed(model, tok, texts):
    b = torch_encode(tok, texts)
    m = b['attention_mask'][..., None].float()
    return (model(**b).last_hidden_state * m).sum(1) / m.sum(1)


def item_text(r):
    title, category = ITEMS[r[1]]
    return title + ' [SEP] ' + category if category else title


def torch_train(name, model, loss_of):
    import torch
    from transformers import get_linear_schedule_with_warmup
    steps = (len(TRAIN) + 31) // 32
    optimizer = torch.optim.AdamW(model.parameters(), lr=2e-5, weight_decay=0)
    schedule = get_linear_schedule_with_warmup(optimizer, round(.1 * steps), steps)
    order = torch.randperm(len(TRAIN), generator=torch.Generator().manual_seed(0)).tolist()
    model.train()
    begin = time.time()
    for i in range(steps):
        loss = loss_of(order[32 * i:32 * i + 32])
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1)
        optimizer.step()
        schedule.step()
        if i % 50 == 49:
            left = (time.time() - begin) / (i + 1) * (steps - i - 1)
            print('%s: step %d of %d, loss %.4f, %.0f s left' % (name, i + 1, steps, float(loss.detach()), left), file=sys.stderr, flush=True)
    model.eval()
    return time.time() - begin


def peer():
    import torch
    import torch.nn.functional as F
    from sentence_transformers import losses
    from transformers import AutoModel, AutoTokenizer, BertForSequenceClassification
    torch.set_num_threads(a.threads)
    torch.manual_seed(0)
    tok = AutoTokenizer.from_pretrained(FOLDER)
    label = torch.tensor([float(r[3]) for r in TRAIN])
    dropout = {'hidden_dropout_prob': .1, 'attention_probs_dropout_prob': .1}

    def second(r):
        title, category = ITEMS[r[1]]
        return category + ' [SEP] ' + title if category else title

    def logits(model, rows):
        return model(**torch_encode(tok, [r[0] for r in rows], [second(r) for r in rows])).logits[:, 0]

    def batches(f, rows):
        with torch.inference_mode():
            return torch.cat([f(rows[i:i + 64]) for i in range(0, len(rows), 64)]).numpy()

    cross = BertForSequenceClassification.from_pretrained(FOLDER, num_labels=1, **dropout)
    for layer in (cross.bert.pooler.dense, cross.classifier):
        torch.nn.init.normal_(layer.weight, 0, .02)
        torch.nn.init.zeros_(layer.bias)
    seconds = torch_train('peer assistant', cross, lambda rows: F.binary_cross_entropy_with_logits(
        logits(cross, [TRAIN[i] for i in rows]), label[rows]))
    score = batches(lambda rows: logits(cross, rows), DEV)
    np.save(os.path.join(a.out, 'peer-assistant.npy'), score)
    report('peer assistant', score, seconds)
    soft = torch.tensor(1 / (1 + np.exp(-batches(lambda rows: logits(cross, rows), TRAIN))))

    for name in ('labels', 'pearson'):
        model = AutoModel.from_pretrained(FOLDER, add_pooling_layer=False, **dropout)
        contrastive = losses.ContrastiveLoss(model=None)          # its margin, distance and mean

        def loss_of(rows):
            u = torch_embed(model, tok, [item_text(TRAIN[i]) for i in rows])
            v = torch_embed(model, tok, [TRAIN[i][0] for i in rows])
            total = 0
            for dim in (384, 64):
                d, y = contrastive.distance_metric(u[:, :dim], v[:, :dim]), label[rows]
                total = total + .5 * (.5 * (y * d ** 2 + (1 - y) * F.relu(contrastive.margin - d) ** 2)).mean()
                if name == 'pearson':
                    total = total + .5 * (1 - torch.corrcoef(torch.stack([1 - d, soft[rows]]))[0, 1])
            return total

        seconds = torch_train('peer ' + name, model, loss_of)
        u = batches(lambda rows: torch_embed(model, tok, [item_text(r) for r in rows]), DEV)
        v = batches(lambda rows: torch_embed(model, tok, [r[0] for r in rows]), DEV)
        for dim in (384, 64):
            report('peer %s, %d' % (name, dim), cosine(u[:, :dim], v[:, :dim]), seconds)


STAGES = {'overlap': overlap, 'untrained': lambda: score_student('untrained', start()), 'assistant': assistant,
          'labels': lambda: score_student('labels', a.out + '/labels/last.kpd', train('labels')),
          'pearson': lambda: score_student('pearson', a.out + '/pearson/last.kpd', train('pearson')), 'peer': peer}
write('pairs.tsv', pairs_of(TRAIN))
print('%d train pairs, %d dev pairs (%.1f %% yes), %d threads' % (len(TRAIN), len(DEV), 100 * LABEL.mean(), a.threads), flush=True)
for stage in a.stages.split(','):
    (STAGES.get(stage) or sys.exit('no stage %r' % stage))()
