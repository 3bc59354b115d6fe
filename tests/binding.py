#!/usr/bin/env python3
"""kpd.h as a shared library, called by ctypes without a line of C: python3 tests/binding.py libkpd.so STUDENT.kpd"""
import ctypes as c
import sys


def struct(name, **fields):
    return type(name, (c.Structure,), {"_fields_": list(fields.items())})


Report = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.c_int64, c.c_int64)
Text = struct("Text", data=c.c_char_p, size=c.c_size_t)
Lookup = c.CFUNCTYPE(c.c_bool, c.c_void_p, c.c_int64, c.POINTER(Text))
Error = struct("Error", status=c.c_int, where=c.c_int64, message=c.c_char * 240)
Input = struct("Input", part=Text * 3, n_parts=c.c_int32)
Host = struct("Host", a=c.c_void_p, b=c.c_void_p, c=c.c_void_p)             # an allocator or a parallel, left zero
Session = struct("Session", abi=c.c_uint32, student=c.c_void_p, assistant=c.c_void_p, max_tokens=c.c_int32, max_k=c.c_int32,
                 max_dim=c.c_int32, simd=c.c_int, clock=c.c_void_p, clock_user=c.c_void_p, report=Report, report_user=c.c_void_p,
                 parallel=Host, allocator=Host, reserved=c.c_int32 * 4)
Index = struct("Index", abi=c.c_uint32, dim=c.c_int32, metric=c.c_int, kind=c.c_int, storage=c.c_int, lists=c.c_int32,
               recall=c.c_float, fingerprint=c.c_uint64, partition=c.c_int32, simd=c.c_int, progress=c.c_void_p * 2, allocator=Host, reserved=c.c_int32 * 4)
Search = struct("Search", abi=c.c_uint32, k=c.c_int32, threshold=c.c_bool, min_score=c.c_float,
                only_ids=c.c_bool, ids=c.c_void_p, n_ids=c.c_size_t,
                only_bits=c.c_bool, bits=c.c_void_p, first_bit=c.c_int64, n_bits=c.c_size_t,
                only_partitions=c.c_bool, partitions=c.c_void_p, n_partitions=c.c_size_t,
                filter=c.c_void_p, filter_user=c.c_void_p, recall=c.c_float, gamma=c.c_float, breadth=c.c_float,
                candidates=c.c_float, reserved=c.c_int32 * 4)
Recommend = struct("Recommend", abi=c.c_uint32, student=c.c_void_p, index=c.c_void_p, assistant=c.c_void_p, search=Search,
                   lookup=Lookup, lookup_user=c.c_void_p, relevance=c.c_void_p, relevance_user=c.c_void_p,
                   min_relevance=c.c_float, by_relevance=c.c_bool, same_words=c.c_bool,
                   reserved=c.c_int32 * 4)
Found = struct("Found", id=c.c_int64, similarity=c.c_float, relevance=c.c_float)

kpd = c.CDLL(sys.argv[1])
ABI, OK, ARGUMENT, IO = 6, 0, 1, 3
error = Error()


def call(name, *args, want=OK):
    status = getattr(kpd, name)(*args, c.byref(error))
    assert status == want == error.status, (name, status, error.message.decode("utf-8"))
    return error.message.decode("utf-8")


def inputs(texts):
    made = (Input * len(texts))()
    for one, text in zip(made, texts):
        raw = text.encode("utf-8")
        one.part[0], one.n_parts = Text(raw, len(raw)), 1
    return made


assert kpd.kpd_abi() == ABI
says = call("kpd_model_open", "nö/such\x1b.kpd".encode("utf-8"), None, c.byref(c.c_void_p()), want=IO)
assert says.startswith("nö/such\\x1B.kpd: cannot be opened"), says

model, session, index = c.c_void_p(), c.c_void_p(), c.c_void_p()
call("kpd_model_open", sys.argv[2].encode(), None, c.byref(model))
stop_at = [0]
report = Report(lambda user, done, of: done != stop_at[0])
desc = Session(abi=ABI + 1, student=model, max_tokens=64, report=report)
says = call("kpd_session_create", c.byref(desc), c.byref(session), want=ARGUMENT)
assert f"abi is {ABI + 1}" in says, says
desc.abi = ABI
call("kpd_session_create", c.byref(desc), c.byref(session))

phrases = ["surface pro charger", "laptop sleeve", "yellow iphone case", "étui"] * 8
vectors = (c.c_float * (64 * len(phrases)))()
embed = (session, model, 1, inputs(phrases), c.c_size_t(len(phrases)), 64, vectors)
call("kpd_embed", *embed)
cancelled = c.c_int()
assert kpd.kpd_status_from_name(b"KPD_ERR_CANCELLED", c.byref(cancelled))
stop_at[0] = len(phrases)
assert "stopped by the host" in call("kpd_embed", *embed, want=cancelled.value) and not any(vectors)
stop_at[0] = 0
call("kpd_embed", *embed)

call("kpd_index_create", c.byref(Index(abi=ABI, dim=64)), c.byref(index))
call("kpd_index_upsert", index, (c.c_int64 * 4)(*range(4)), vectors, c.c_size_t(4))
kept = [phrase.encode() for phrase in phrases]


@Lookup
def lookup(user, id, out):
    out[0] = Text(kept[id], len(kept[id]))
    return id != 1


found, counts = (Found * 20)(), (c.c_int32 * 2)()
call("kpd_recommend", session, c.byref(Recommend(abi=ABI, student=model, index=index, lookup=lookup)),
     inputs(["laptop sleeve", "étui"]), c.c_size_t(2), found, counts)
assert list(counts) == [3, 3] and 1 not in [f.id for f in found[:3]], list(counts)
print("ok: opened, embedded, cancelled, indexed, recommended")
