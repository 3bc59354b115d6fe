#!/usr/bin/env python3
"""Embedding throughput of kpd and its peers in one run: the same texts, one core, in turn, round by round.

usage: embed.py [--sets queries,titles,long,pairs] [--kpd f32,bf16,int8,int8-wide] [--peers st,ort,...] [--rounds 5] [--core 0]
                [--simd LEVEL] [--plot FILE.png] [--model synth-12L] [--one | --threads N]

Peers, by class of precision: f32 st ort ct2 ov llama; bf16 st_bf16 ov_bf16; int8 ort_int8 ct2_int8 ov_int8 llama_q8 (q8_0).
Without --peers those of the classes that --kpd names (bf16's only where the processor multiplies bf16: elsewhere they take
minutes); one that does not start, as its library or its export is missing, is named with the reason and left out. With --peers
that is an error.

--model synth-12L: fasttextembed runs nothing but the shape of bge-small-en-v1.5, 12 layers of 384, so it gets that shape with
MiniLM's layers twice, CLS pooling and GELU by tanh. Peers: f32 st fte (its weights are fp16, it computes in f32), bf16 st_bf16.

Environment: PEERS, a folder with
    models/all-MiniLM-L6-v2, models/synth-12L   as sentence-transformers keeps them
    models/export/onnx/     model.onnx and model_int8.onnx, dynamically quantised, for onnxruntime
    models/export/ov/       fp32.xml and int8.xml, for OpenVINO
    models/export/ct2/      for CTranslate2
    models/export/gguf/     minilm-f32.gguf and minilm-q8_0.gguf, by llama.cpp's convert_hf_to_gguf.py
    models/export/fte/      model.fte and vocab.tsv of synth-12L
    llama/lib/libllama_embed.so, llama.cpp behind two C functions:
        void *le_open(const char *gguf, int threads, int tokens_of_a_batch, int texts_of_a_batch, int flash_attention);
        int le_embed(void *, const char **texts, int n, int batch, float *mean_pooled);   0, or an error
    data/{queries,titles,long}.txt, a text a line
Run it with a Python that has the peers installed.

Texts a second include tokenizing, pooling and normalising; opening the model is left out. Peers get their texts sorted by
length and their best batch size of 8, 16, 32 and 128, llama.cpp of 1, 4, 8 and 32: it masks a batch as one long text, so that
long texts are slower together. fasttextembed takes one text at a time. kpd gets the file as it is. Prints, per set, the median
texts a second, the median over rounds of kpd / peer for peers of the same class, and the mean and least cosine to
sentence-transformers in f32.

The set pairs is what an assistant scores, a query and a title, all of 48 tokens, so that nothing is padded. kpd runs a
cross-encoder of the same encoder with a random head, which reads the first token only, so that kpd leaves out the others in the
last layer; the peers run their encoder on the same tokens, and pool (to llama.cpp all 48 are of the first segment).
fasttextembed takes no pairs.

--one: milliseconds of one text at a time, the first 200 of a set (queries, if --sets does not say otherwise), which is what a
program that answers queries waits for: the medians over rounds of p50 and p99, and of the ratio of p50, kpd / peer.

--threads N: kpd alone, texts a second with 1 thread and with N in turn, each pinned to as many cores from --core on, and the
median ratio. Exit status 1 if a vector differs in a bit.
"""
import argparse, functools, json, os, platform, statistics, subprocess, sys, time

PEERS = os.environ.get('PEERS') or sys.exit('set PEERS to the folder of the peers (see the top of this file)')
EXPORT = PEERS + '/models/export'
N = {'queries': 600, 'titles': 300, 'long': 64, 'pairs': 200}
PAIR = 48                                                # tokens of a pair
ONE = 200                                                # texts of a set with --one
TARGET = {'f32': .75, 'bf16': .4, 'int8': .6}            # kpd / the best peer of the class, --one
BATCHES = {'llama': (1, 4, 8, 32), 'llama_q8': (1, 4, 8, 32), 'fte': (1,)}   # others (8, 16, 32, 128)
MINILM = 'all-MiniLM-L6-v2'
MODELS = {                                               # the peers that have it, by class
    MINILM: {'f32': ['st', 'ort', 'ct2', 'ov', 'llama'], 'bf16': ['st_bf16', 'ov_bf16'],
             'int8': ['ort_int8', 'ct2_int8', 'ov_int8', 'llama_q8']},
    'synth-12L': {'f32': ['st', 'fte'], 'bf16': ['st_bf16'], 'int8': []}}
MODEL = CLASSES = None                                   # folder and peers of the one that --model names


def read(name):
    with open('%s/data/%s.txt' % (PEERS, name), encoding='utf-8') as f:
        return f.read().splitlines()


def pairs():
    """Queries, each with words of titles, and then as many of one token as are needed."""
    t, words, out = tokenizer(False), iter(' '.join(read('titles')).split()), []
    tokens = lambda q, title: len(t.encode(q, ' '.join(title)).ids)
    for q in read('queries')[:N['pairs']]:
        title = []
        while tokens(q, title) < PAIR:
            title.append(next(words))
        if tokens(q, title) > PAIR:
            title.pop()
        out.append((q, ' '.join(title + ['new'] * (PAIR - tokens(q, title)))))
    return out


@functools.lru_cache(None)
def texts(name):
    return pairs() if name == 'pairs' else read(name)[:N[name]]


def pooled(np, hidden, mask):
    m = mask[..., None].astype(np.float32)
    v = (hidden * m).sum(1) / m.sum(1)
    return v / np.linalg.norm(v, axis=1, keepdims=True)


def tokenizer(pad):
    from tokenizers import Tokenizer
    t = Tokenizer.from_file(MODEL + '/tokenizer.json')
    t.enable_truncation(256)
    t.enable_padding() if pad else t.no_padding()
    return t


def make_st(dtype='float32'):
    import torch
    from sentence_transformers import SentenceTransformer
    torch.set_num_threads(1)
    m = SentenceTransformer(MODEL, device='cpu', model_kwargs={'dtype': getattr(torch, dtype)})
    return lambda x, batch: m.encode(x, batch_size=batch, show_progress_bar=False, normalize_embeddings=True)


def in_batches(x, batch, one):
    import numpy as np
    return np.concatenate([one(x[i:i + batch]) for i in range(0, len(x), batch)])


def padded_ids(t, x, dtype):
    import numpy as np
    e = t.encode_batch(x)
    return (np.array([getattr(z, k) for z in e], dtype) for k in ('ids', 'attention_mask'))


def make_ort(file='model.onnx'):
    import numpy as np, onnxruntime as ort
    o = ort.SessionOptions()
    o.intra_op_num_threads = o.inter_op_num_threads = 1
    s, t = ort.InferenceSession(EXPORT + '/onnx/' + file, o, providers=['CPUExecutionProvider']), tokenizer(True)

    def one(x):
        ids, mask = padded_ids(t, x, np.int32)
        return pooled(np, s.run(None, {'input_ids': ids, 'attention_mask': mask, 'token_type_ids': np.zeros_like(ids)})[0], mask)
    return lambda x, batch: in_batches(x, batch, one)


def make_ov(file='fp32.xml', precision='f32'):
    import numpy as np, openvino as ov
    c = ov.Core().compile_model(EXPORT + '/ov/' + file, 'CPU', {'INFERENCE_PRECISION_HINT': precision, 'INFERENCE_NUM_THREADS': 1,
                                                              'NUM_STREAMS': 1, 'PERFORMANCE_HINT': 'LATENCY'})
    r, t = c.create_infer_request(), tokenizer(True)

    def one(x):
        ids, mask = padded_ids(t, x, np.int64)
        return pooled(np, r.infer({'input_ids': ids, 'attention_mask': mask, 'token_type_ids': np.zeros_like(ids)})[0], mask)
    return lambda x, batch: in_batches(x, batch, one)


def make_ct2(compute='float32'):
    import numpy as np, ctranslate2
    m = ctranslate2.Encoder(EXPORT + '/ct2', device='cpu', compute_type=compute, intra_threads=1, inter_threads=1)
    t = tokenizer(False)

    def one(x):
        ids = [z.ids for z in t.encode_batch(x)]
        h = np.array(m.forward_batch(ids).last_hidden_state).astype(np.float32)
        return pooled(np, h, np.arange(h.shape[1])[None] < np.array([len(z) for z in ids])[:, None])
    return lambda x, batch: in_batches(x, batch, one)


def make_llama(kind):
    import ctypes, numpy as np
    if 'amx_int8' in machine():
        os.environ['LE_NO_EXTRA'] = '1'   # for le_open: q8_0 in llama.cpp's layout for AMX ends in a fault
    lib, file = ctypes.CDLL(PEERS + '/llama/lib/libllama_embed.so'), '%s/gguf/minilm-%s.gguf' % (EXPORT, kind)
    lib.le_open.restype = ctypes.c_void_p
    lib.le_embed.argtypes = [ctypes.c_void_p, ctypes.POINTER(ctypes.c_char_p), ctypes.c_int, ctypes.c_int, ctypes.c_void_p]
    model = lib.le_open(file.encode(), 1, 2048, 64, 1) or sys.exit('llama.cpp does not open ' + file)

    def embed(x, batch):
        utf8 = [(t if isinstance(t, str) else ' [SEP] '.join(t)).encode() for t in x]
        v = np.empty((len(x), 384), np.float32)
        status = lib.le_embed(model, (ctypes.c_char_p * len(x))(*utf8), len(x), batch, v.ctypes.data)
        return v / np.linalg.norm(v, axis=1, keepdims=True) if status == 0 else sys.exit('le_embed: error %d' % status)
    return embed


def make_fte():
    import fasttextembed, numpy as np
    os.environ['FTE_THREADS'] = '1'
    m = fasttextembed.TextEmbedding(EXPORT + '/fte/model.fte', EXPORT + '/fte/vocab.tsv')
    return lambda x, batch: np.array([m.embed_one(t) for t in x])


MAKE = {
    'st': make_st, 'st_bf16': lambda: make_st('bfloat16'),
    'ort': make_ort, 'ort_int8': lambda: make_ort('model_int8.onnx'),
    'ov': make_ov, 'ov_bf16': lambda: make_ov(precision='bf16'), 'ov_int8': lambda: make_ov('int8.xml'),
    'ct2': make_ct2, 'ct2_int8': lambda: make_ct2('int8_float32'),
    'llama': lambda: make_llama('f32'), 'llama_q8': lambda: make_llama('q8_0'), 'fte': make_fte,
}


def serve(answer):
    """Answers each line "SET" on stdin with numbers."""
    print('ready', flush=True)
    for line in sys.stdin:
        print(*answer(line.strip()), flush=True)


def milliseconds(f, x):
    import numpy as np
    each = []
    for text in x:
        t = time.perf_counter()
        f([text], 1)
        each.append(1e3 * (time.perf_counter() - t))
    return np.percentile(each, [50, 99])


def worker(name, sets, one):
    """Child process: makes the peer, then answers with the seconds of one pass, or p50 and p99; its vectors go to a file."""
    import numpy as np
    f = MAKE[name]()
    if one:
        return serve(lambda s: milliseconds(f, texts(s)[:ONE]))
    data, batch, sizes = {}, {}, BATCHES.get(name, (8, 16, 32, 128))
    for s in sets:
        order = sorted(range(len(texts(s))), key=lambda i: -len(texts(s)[i]))
        data[s] = [texts(s)[i] for i in order]
        speed = {}
        f(data[s][:128], sizes[len(sizes) // 2])   # warms up
        for b in sizes:
            t = time.perf_counter()
            f(data[s], b)
            speed[b] = time.perf_counter() - t
        batch[s] = min(speed, key=speed.get)
        np.save('build/bench_%s_%s.npy' % (name, s), np.asarray(f(data[s], batch[s]), np.float32)[np.argsort(order)])

    def seconds(s):
        t = time.perf_counter()
        f(data[s], batch[s])
        return [time.perf_counter() - t]
    serve(seconds)


def kpd_run(kind, name, a, *more, cores=None):
    """What --stats of kpd says, and the bytes of its vectors or logits."""
    path, out, pair = 'build/bench_%s.txt' % name, 'build/bench_kpd_%s_%s.npy' % (kind, name), name == 'pairs'
    with open(path, 'w', encoding='utf-8') as f:
        f.writelines(('\t'.join(x) if pair else x) + '\n' for x in texts(name)[:ONE if a.one else None])
    command = ['score', model_file(kind, pair), path] if pair else ['embed', model_file(kind, pair), path, '-o', out]
    r = subprocess.run(['taskset', '-c', cores or a.core, 'build/kpd', *command, '--stats', '--simd', a.simd, *more],
                       capture_output=True)
    if r.returncode:
        sys.exit(r.stderr.decode())
    stats = {k: float(v) for k, v in (x.split('=') for x in r.stderr.decode().splitlines()[-1].split())}
    if pair and stats['tokens'] != N['pairs'] * PAIR:
        sys.exit('kpd made %d tokens of %d pairs of %d' % (stats['tokens'], N['pairs'], PAIR))
    if pair:
        return stats, r.stdout
    with open(out, 'rb') as f:
        return stats, f.read()


def kpd_numbers(kind, name, a):
    r, _ = kpd_run(kind, name, a, *(['--one'] if a.one else []))
    return [r['p50_ms'], r['p99_ms']] if a.one else [r['seconds']]


def threads(sets, kinds, a):
    """Exit status: 1 if the vectors depend on the number of threads."""
    cores, differ = '%s-%d' % (a.core, int(a.core) + a.threads - 1), False
    for s in sets:
        for k in kinds:
            one, more = [], []
            for r in range(a.rounds):
                x, vectors = kpd_run(k, s, a)
                y, same = kpd_run(k, s, a, '--threads', str(a.threads), cores=cores)
                one.append(N[s] / x['seconds'])
                more.append(N[s] / y['seconds'])
                differ |= vectors != same
            med = statistics.median
            print('%-8s kpd %-9s %8.1f texts/s, with %d threads %8.1f  %.2f x' % (
                s, k, med(one), a.threads, med(more), med(y / x for x, y in zip(one, more))))
    print('the vectors differ' if differ else 'the vectors are the same')
    return int(differ)


def model_file(kind, pair):
    return 'build/bench_%s%s.kpd' % ('pairs_' if pair else '', kind)


def make_cross():
    """A folder of the model with a random head."""
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer
    torch.manual_seed(4)
    folder = 'build/bench_pairs'
    AutoModelForSequenceClassification.from_pretrained(MODEL, num_labels=1, dtype=torch.float32).save_pretrained(folder)
    AutoTokenizer.from_pretrained(MODEL).save_pretrained(folder)
    return folder


def make_kpd(kind, folder, pair):
    args = ['--dtype', kind.split('-')[0]] + (['--wide-qkv'] if kind.endswith('-wide') else [])
    subprocess.run(['build/kpd', 'import', folder, '-o', model_file(kind, pair)] + args, check=True,
                   stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def cosines(np, file, set_, reference):
    v = np.load('build/bench_%s_%s.npy' % (file, set_)).astype(np.float64)
    c = (v * reference).sum(1) / np.linalg.norm(v, axis=1) / np.linalg.norm(reference, axis=1)
    return 'cosine mean %.5f least %.5f' % (c.mean(), c.min())


def report(sets, kinds, peers, seconds):
    import numpy as np
    med = statistics.median
    for s in sets:
        reference = np.load('build/bench_st_%s.npy' % s).astype(np.float64) if 'st' in peers and s != 'pairs' else None
        accuracy = lambda file: cosines(np, file, s, reference) if reference is not None else ''
        for k in kinds:
            mine = seconds[s, 'kpd ' + k]
            same = [p for p in peers if p in CLASSES[k.split('-')[0]]]
            print('%-8s kpd %-9s %8.1f texts/s  %s ' % (s, k, N[s] / med(mine), accuracy('kpd_' + k)),
                  *(' %.2f x %s' % (med(y / x for x, y in zip(mine, seconds[s, p])), p) for p in same))
        for p in peers:
            print('%-8s %-13s %8.1f texts/s  %s' % (s, p, N[s] / med(seconds[s, p]), accuracy(p)))


def report_one(sets, kinds, peers, numbers):
    med = statistics.median
    line = lambda s, k: '%-8s %-13s p50 %7.3f ms  p99 %7.3f ms' % (s, k, *(med(x) for x in zip(*numbers[s, k])))
    for s in sets:
        for k in kinds:
            mine, c = numbers[s, 'kpd ' + k], k.split('-')[0]
            ratio = {p: med(x[0] / y[0] for x, y in zip(mine, numbers[s, p])) for p in peers if p in CLASSES[c]}
            print(line(s, 'kpd ' + k), *(' %.2f of %s' % (r, p) for p, r in ratio.items()),
                  '  of the best %.2f, target %.2f' % (max(ratio.values()), TARGET[c]) if ratio else '')
        for p in peers:
            print(line(s, p))


def plot(file, sets, names, seconds):
    import matplotlib
    matplotlib.use('Agg')
    import matplotlib.pyplot as plt
    figure, axes = plt.subplots(1, len(sets), figsize=(4.5 * len(sets), .35 * len(names) + 1.5), squeeze=False)
    for s, a in zip(sets, axes[0]):
        a.barh(names, [N[s] / statistics.median(seconds[s, n]) for n in names],
               color=['tab:blue' if n.startswith('kpd') else 'tab:gray' for n in names])
        a.set_title(s)
        a.set_xlabel('texts a second, one core')
        a.invert_yaxis()
    figure.tight_layout()
    figure.savefig(file)


def machine():
    model = next((l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), platform.processor())
    flags = next((l for l in open('/proc/cpuinfo') if l.startswith('flags')), '')
    return '%s (%s)' % (model, ', '.join(x for x in ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_int8') if x in flags))


def start(command, env, log):
    """The child when it is ready, or None and why it is not. One by one, for each measures its batch sizes as it starts."""
    with open(log, 'w') as f:
        c = subprocess.Popen(command, env=env, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=f)
    while line := c.stdout.readline():
        if line.strip() == 'ready':
            return c, None
    with open(log) as f:
        return None, '%s (exit status %d, more in %s)' % ((f.read().strip().splitlines() or ['no word'])[-1], c.wait(), log)


def main():
    global MODEL, CLASSES
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--sets')
    a.add_argument('--kpd', default='f32,bf16,int8,int8-wide')
    a.add_argument('--peers')
    a.add_argument('--rounds', type=int, default=5)
    a.add_argument('--core', default='0')
    a.add_argument('--simd', default='auto')
    a.add_argument('--plot')
    a.add_argument('--model', default=MINILM, choices=MODELS)
    a.add_argument('--one', action='store_true')
    a.add_argument('--threads', type=int)
    a.add_argument('--worker')
    a = a.parse_args()
    a.sets = a.sets or ('queries' if a.one else 'queries,titles,long')
    sets, kinds = a.sets.split(','), a.kpd.split(',')
    MODEL, CLASSES = PEERS + '/models/' + a.model, MODELS[a.model]
    if 'pairs' in sets and (a.one or a.model != MINILM):
        sys.exit('pairs: not with --one, and of %s only' % MINILM)
    if a.worker:
        return worker(a.worker, sets, a.one)
    classes = dict.fromkeys(k.split('-')[0] for k in kinds)
    peers = a.peers.split(',') if a.peers else [p for c in classes for p in CLASSES[c] if c != 'bf16' or 'bf16' in machine()]
    known = sum(CLASSES.values(), [])
    if other := [p for p in peers if p not in known]:
        sys.exit('--peers: %s is not a peer of %s; these are: %s' % (other[0], a.model, ' '.join(known)))
    print('model:', a.model, ' machine:', machine(), ' rounds:', a.rounds, ' simd:', a.simd)
    cross = make_cross() if 'pairs' in sets else None
    for k in kinds:
        make_kpd(k, MODEL, False)
        if cross:
            make_kpd(k, cross, True)
    if a.threads:
        return threads(sets, kinds, a)
    env = dict(os.environ, OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    command = ['taskset', '-c', a.core, sys.executable, __file__, '--model', a.model, '--sets', a.sets]
    command += ['--one'] if a.one else []
    children = {}
    for p in peers:
        c, why = start(command + ['--worker', p], env, 'build/bench_%s.log' % p)
        if c:
            children[p] = c
        elif a.peers:
            sys.exit('peer %s did not start: %s' % (p, why))
        else:
            print('peer %s is left out: %s' % (p, why))
    peers = list(children)
    numbers = {}
    for s in sets:
        for r in range(a.rounds + 1):   # the first round warms up
            row = {'kpd ' + k: kpd_numbers(k, s, a) for k in kinds}
            for p, c in children.items():
                c.stdin.write(s + '\n')
                c.stdin.flush()
                row[p] = [float(x) for x in c.stdout.readline().split()]
            if r:
                for k, v in row.items():
                    numbers.setdefault((s, k), []).append(v)
            print('%s round %d of %d' % (s, r, a.rounds), file=sys.stderr)
    if a.one:
        return report_one(sets, kinds, peers, numbers)
    seconds = {k: [x for x, in v] for k, v in numbers.items()}
    report(sets, kinds, peers, seconds)
    with open('build/bench_embed.json', 'w') as f:
        named = {'%s %s' % k: v for k, v in seconds.items()}
        json.dump({'model': a.model, 'machine': machine(), 'texts': N, 'seconds': named}, f, indent=1)
    if a.plot:
        plot(a.plot, sets, ['kpd ' + k for k in kinds] + peers, seconds)


sys.exit(main())
