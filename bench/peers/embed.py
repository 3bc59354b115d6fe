#!/usr/bin/env python3
"""Embedding throughput of kpd and its peers in one run: the same texts, one core, in turn, round by round.

usage: embed.py [--sets queries,titles,long] [--peers st,ort,ct2,ov] [--rounds 5] [--core 0] [--simd LEVEL]

Environment: PEERS, a folder with models/all-MiniLM-L6-v2, models/export/{onnx,ct2,ov} (exports of the same model for
onnxruntime, CTranslate2 and OpenVINO) and data/{queries,titles,long}.txt, a text a line. Run it with a Python that has the
peers installed. Texts a second include tokenizing, pooling and normalising; opening the model is left out. Peers get their
texts sorted by length and their better batch size of 32 and 128; kpd gets the file as it is. Prints, per set, the median
texts a second and the median over rounds of kpd / peer.
"""
import argparse, json, os, platform, statistics, subprocess, sys, time

PEERS = os.environ.get('PEERS') or sys.exit('set PEERS to the folder of the peers (see the top of this file)')
MODEL = PEERS + '/models/all-MiniLM-L6-v2'
EXPORT = PEERS + '/models/export'
N = {'queries': 600, 'titles': 300, 'long': 64}


def texts(name):
    with open('%s/data/%s.txt' % (PEERS, name), encoding='utf-8') as f:
        return f.read().splitlines()[:N[name]]


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


def make_st():
    import torch
    from sentence_transformers import SentenceTransformer
    torch.set_num_threads(1)
    m = SentenceTransformer(MODEL, device='cpu')
    return lambda x, batch: m.encode(x, batch_size=batch, show_progress_bar=False, normalize_embeddings=True)


def in_batches(x, batch, one):
    import numpy as np
    return np.concatenate([one(x[i:i + batch]) for i in range(0, len(x), batch)])


def make_ort():
    import numpy as np, onnxruntime as ort
    o = ort.SessionOptions()
    o.intra_op_num_threads = o.inter_op_num_threads = 1
    s, t = ort.InferenceSession(EXPORT + '/onnx/model.onnx', o, providers=['CPUExecutionProvider']), tokenizer(True)

    def one(x):
        e = t.encode_batch(x)
        ids, mask = (np.array([getattr(z, k) for z in e], np.int32) for k in ('ids', 'attention_mask'))
        return pooled(np, s.run(None, {'input_ids': ids, 'attention_mask': mask, 'token_type_ids': np.zeros_like(ids)})[0], mask)
    return lambda x, batch: in_batches(x, batch, one)


def make_ov():
    import numpy as np, openvino as ov
    c = ov.Core().compile_model(EXPORT + '/ov/fp32.xml', 'CPU', {'INFERENCE_PRECISION_HINT': 'f32', 'INFERENCE_NUM_THREADS': 1,
                                                               'NUM_STREAMS': 1, 'PERFORMANCE_HINT': 'LATENCY'})
    r, t = c.create_infer_request(), tokenizer(True)

    def one(x):
        e = t.encode_batch(x)
        ids, mask = (np.array([getattr(z, k) for z in e], np.int64) for k in ('ids', 'attention_mask'))
        return pooled(np, r.infer({'input_ids': ids, 'attention_mask': mask, 'token_type_ids': np.zeros_like(ids)})[0], mask)
    return lambda x, batch: in_batches(x, batch, one)


def make_ct2():
    import numpy as np, ctranslate2
    m = ctranslate2.Encoder(EXPORT + '/ct2', device='cpu', compute_type='float32', intra_threads=1, inter_threads=1)
    t = tokenizer(False)

    def one(x):
        ids = [z.ids for z in t.encode_batch(x)]
        h = np.array(m.forward_batch(ids).last_hidden_state).astype(np.float32)
        return pooled(np, h, np.arange(h.shape[1])[None] < np.array([len(z) for z in ids])[:, None])
    return lambda x, batch: in_batches(x, batch, one)


def worker(name, sets):
    """Child process: makes the peer, then answers each line "SET" on stdin with seconds of one pass."""
    f = globals()['make_' + name]()
    data, batch = {}, {}
    for s in sets:
        data[s] = sorted(texts(s), key=len, reverse=True)
        speed = {}
        for b in (32, 128):
            t = time.perf_counter()
            f(data[s][:128], b)
            speed[b] = time.perf_counter() - t
        batch[s] = min(speed, key=speed.get)
    print('ready', flush=True)
    for line in sys.stdin:
        s = line.strip()
        t = time.perf_counter()
        f(data[s], batch[s])
        print(time.perf_counter() - t, flush=True)


def kpd_seconds(model, name, core, simd):
    path = 'build/bench_%s.txt' % name
    with open(path, 'w', encoding='utf-8') as f:
        f.write('\n'.join(texts(name)) + '\n')
    r = subprocess.run(['taskset', '-c', core, 'build/kpd', 'embed', model, path, '-o', 'build/bench.npy', '--stats', '--simd', simd],
                       capture_output=True, text=True)
    if r.returncode:
        sys.exit(r.stderr)
    return float(r.stderr.split('seconds=')[1].split()[0])


def machine():
    model = next((l.split(':')[1].strip() for l in open('/proc/cpuinfo') if l.startswith('model name')), platform.processor())
    flags = next((l for l in open('/proc/cpuinfo') if l.startswith('flags')), '')
    return '%s (%s)' % (model, ', '.join(x for x in ('avx2', 'avx512f', 'avx512_vnni', 'avx512_bf16', 'amx_int8') if x in flags))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--sets', default='queries,titles,long')
    a.add_argument('--peers', default='st,ort,ct2,ov')
    a.add_argument('--rounds', type=int, default=5)
    a.add_argument('--core', default='0')
    a.add_argument('--simd', default='auto')
    a.add_argument('--worker')
    a = a.parse_args()
    sets, peers = a.sets.split(','), a.peers.split(',')
    if a.worker:
        return worker(a.worker, sets)
    print('machine:', machine(), ' rounds:', a.rounds, ' simd:', a.simd)
    model = 'build/minilm.kpd'
    subprocess.run(['build/kpd', 'import', MODEL, '-o', model], check=True, stderr=subprocess.DEVNULL)
    env = dict(os.environ, OMP_NUM_THREADS='1', MKL_NUM_THREADS='1')
    children = {p: subprocess.Popen(['taskset', '-c', a.core, sys.executable, __file__, '--worker', p, '--sets', a.sets], env=env, text=True,
                                    stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) for p in peers}
    for p, c in children.items():
        while (line := c.stdout.readline()).strip() != 'ready':
            if not line:
                sys.exit('peer %s did not start' % p)
    seconds = {}
    for s in sets:
        for r in range(a.rounds + 1):   # the first round warms up
            row = {'kpd': kpd_seconds(model, s, a.core, a.simd)}
            for p, c in children.items():
                c.stdin.write(s + '\n')
                c.stdin.flush()
                row[p] = float(c.stdout.readline())
            if r:
                for k, v in row.items():
                    seconds.setdefault((s, k), []).append(v)
            print('%s round %d of %d' % (s, r, a.rounds), file=sys.stderr)
    med = statistics.median
    for s in sets:
        k = seconds[s, 'kpd']
        print('%-8s kpd %7.1f texts/s' % (s, N[s] / med(k)), *('  %s %7.1f (kpd %.2f x)' % (
            p, N[s] / med(seconds[s, p]), med(y / x for x, y in zip(k, seconds[s, p]))) for p in peers))
    with open('build/bench_embed.json', 'w') as f:
        json.dump({'machine': machine(), 'texts': N, 'seconds': {'%s %s' % k: v for k, v in seconds.items()}}, f, indent=1)


main()
