"""Vectors with 64-bit ids: exact (flat), or a tree that finds most, with the names and shapes of faiss where they fit."""
from __future__ import annotations

import ctypes
import os
import threading
import weakref
from contextlib import contextmanager
from ctypes import byref, c_size_t, c_void_p
from typing import Any, Iterable, Iterator, Literal, NamedTuple, Optional, Union

import numpy as np
import numpy.typing as npt

from ._library import (ABI, Allowed, Handle, IndexDesc, IndexInfo, Listener, OpenDesc, SearchDesc, Session, SessionDesc,
                       Sessions, Text, TuningResult, Watch, call, file_name, lib, name_of, number_of, progress_to, run)
from ._text import Texts, FloatArray, IdArray, id_array, matrix

Path = Union[str, "os.PathLike[str]"]
HIT = np.dtype([("id", np.int64), ("score", np.float32)], align=True)
KINDS = {"flat": 0, "tree": 1}
MAX_K = 1 << 20     # hits a query: KPD_MAX_K
WORK = 2e9          # multiply-adds between two chances for Ctrl-C


class Tuned(NamedTuple):
    """What Index.tune found for a recall, the recall as measured with that, and its work beside that of gamma alone."""
    gamma: float
    breadth: float
    candidates: float
    recall: float
    work: int
    plain: int


class _Lock:
    """One writer, or any number of readers. A child that was forked while a writer was at it says so for ever."""

    def __init__(self) -> None:
        self.torn = False
        self.reset()
        LOCKS.add(self)

    def reset(self) -> None:
        self.changed = threading.Condition()
        self.readers = 0
        self.writing = False

    def child(self) -> None:
        self.torn = self.torn or self.writing
        self.reset()

    def enter(self, write: bool) -> None:
        with self.changed:
            while self.writing or (write and self.readers):
                self.changed.wait()
            self.writing = write
            self.readers += not write
        if self.torn:
            self.leave(write)
            raise RuntimeError("index: another thread was writing to it when this process was forked; open it again")

    def leave(self, write: bool) -> None:
        with self.changed:
            if write:
                self.writing = False
            else:
                self.readers -= 1
            self.changed.notify_all()

    @contextmanager
    def held(self, write: bool = False) -> Iterator[None]:
        self.enter(write)
        try:
            yield
        finally:
            self.leave(write)


LOCKS: "weakref.WeakSet[_Lock]" = weakref.WeakSet()


def _after_fork() -> None:
    for lock in list(LOCKS):
        lock.child()


os.register_at_fork(after_in_child=_after_fork)


class Index:
    """An index of vectors of `dim` columns. Any number of Python threads may call it: writers wait for readers.

    metric: "cosine" (vectors are kept at unit length), "dot" or "l2"; a score is larger when nearer, under l2 minus the square
    of the distance. fingerprint: Model.fingerprint of the model that makes the vectors, which `recommend` compares; 0 =
    unknown. threads: processors to use, None = all that the process may use. A new index is flat; Index.build makes trees.
    """

    def __init__(self, dim: int, metric: str = "cosine", *, fingerprint: int = 0, threads: Optional[int] = None,
                 simd: str = "auto") -> None:
        made = c_void_p()
        desc = IndexDesc(abi=ABI, dim=dim, metric=number_of("metric", metric), fingerprint=fingerprint)
        call("kpd_index_create", byref(desc), byref(made))
        self._own(made, threads, simd)

    def _own(self, made: c_void_p, threads: Optional[int], simd: str) -> None:
        self._handle = Handle(made, lib.kpd_index_destroy)
        self._lock = _Lock()
        self._simd = number_of("simd", simd)
        self._next: Optional[int] = None
        self.d = int(self._info().dim)
        self._room = self._room_for(1024, threads)

    def _room_for(self, max_k: int, threads: Optional[int]) -> tuple[int, Sessions]:
        return max_k, Sessions(threads, lambda: SessionDesc(max_dim=self.d, max_k=max_k, simd=self._simd), self._handle)

    @classmethod
    def open(cls, path: Path, *, writable: bool = False, verify: bool = False, threads: Optional[int] = None,
             simd: str = "auto") -> "Index":
        """An index file (.kpi): mapped and read-only, or, if writable, read into memory. verify: check every byte."""
        made = c_void_p()
        call("kpd_index_open", file_name(path), byref(OpenDesc(abi=ABI, copy=writable, verify=verify)), byref(made))
        index = cls.__new__(cls)
        index._own(made, threads, simd)
        return index

    @classmethod
    def build(cls, x: npt.ArrayLike, ids: Optional[npt.ArrayLike] = None, *, metric: str = "cosine",
              kind: Literal["flat", "tree"] = "tree", storage: str = "default", lists: int = 0, recall: float = 0,
              fingerprint: int = 0, threads: Optional[int] = None, simd: str = "auto",
              progress: Optional[Listener] = None) -> "Index":
        """The index of vectors x [n, dim] with ids [n], None = 0 to n - 1; of equal ids the last wins.

        kind: "tree" or "flat". Of a tree: storage "f32" (default), "int16", "int8" or "int4", nothing but its codes; lists of
        its k-means, 0 = one for 160 vectors; recall of searches that name none, 0 = 0.95. progress and Ctrl-C as Model.encode.
        """
        a = np.ascontiguousarray(x, np.float32)
        if a.ndim != 2:
            raise ValueError(f"x: shape {a.shape}, expected (n, dim)")
        numbers = np.arange(len(a), dtype=np.int64) if ids is None else _ids_of(ids, len(a))
        if kind not in KINDS:
            raise ValueError(f"kind: {kind!r}, expected 'tree' or 'flat'")
        watch = Watch()
        desc = IndexDesc(abi=ABI, dim=a.shape[1], metric=number_of("metric", metric), kind=KINDS[kind],
                         storage=number_of("dtype", storage), lists=lists, recall=recall, fingerprint=fingerprint,
                         progress=progress_to(watch))
        sessions = Sessions(threads, SessionDesc)
        made = c_void_p()

        def work(watch: Watch = watch) -> None:         # which lives as long: the library has its address alone
            call("kpd_index_build", byref(desc), byref(sessions.pool.parallel), numbers.ctypes.data, a.ctypes.data, len(a),
                 byref(made))

        try:
            run(work, watch, progress)
        except BaseException:
            if made:                            # it was done when it was to stop
                lib.kpd_index_destroy(made)
            raise
        index = cls.__new__(cls)
        index._own(made, threads, simd)
        return index

    def _info(self) -> IndexInfo:
        info = IndexInfo()
        lib.kpd_index_get_info(self._handle, byref(info))
        return info

    def info(self) -> dict[str, Any]:
        """What it is: kind, metric, storage, dim, count, bytes, lists, recall, read_only, fingerprint, text_bytes, ..."""
        with self._lock.held():
            i = self._info()
        return {"kind": list(KINDS)[i.kind], "metric": name_of("metric", i.metric), "storage": name_of("dtype", i.storage),
                "dim": i.dim, "count": i.count, "bytes": i.bytes, "lists": i.lists, "blocks": i.blocks, "tuned": i.tuned,
                "recall": i.recall, "read_only": bool(i.read_only), "fingerprint": i.fingerprint,
                "text_bytes": i.text_bytes}

    @property
    def ntotal(self) -> int:
        """Vectors."""
        with self._lock.held():
            return int(self._info().count)

    def __len__(self) -> int:
        return self.ntotal

    def ids(self) -> IdArray:
        """All ids, in no particular order."""
        with self._lock.held():
            return self._ids()

    def _ids(self) -> IdArray:
        info = self._info()
        out = np.empty(info.count, np.int64)
        return out[:lib.kpd_python_ids(self._handle, info.slots, out.ctypes.data, out.size)]

    def add(self, x: npt.ArrayLike, ids: Optional[npt.ArrayLike] = None, *, texts: Optional[Iterable[str]] = None) -> IdArray:
        """Adds vectors x [n, dim], or replaces those whose id is there, and returns the ids. None: the ids that follow the
        largest so far, from 0 on. All or nothing: where a value is not finite, nothing changes. -1 cannot be an id. texts [n]
        are kept with the ids, in the file too; one of more than 16777215 bytes is refused before anything changes. Where there
        is no memory for the texts (OutOfMemory), the vectors are there, with the texts that they had: set_texts can follow."""
        a = matrix("x", x, self.d)
        kept = None if texts is None else Texts(texts, len(a))
        with self._lock.held(write=True):
            if ids is None:
                numbers = self._new_ids(len(a))
            else:
                numbers = _ids_of(ids, len(a))
            call("kpd_index_upsert", self._handle, numbers.ctypes.data, a.ctypes.data, len(a))
            if self._next is not None and len(numbers):
                self._next = max(self._next, int(numbers.max()) + 1)
            if kept is not None:
                call("kpd_index_set_text", self._handle, numbers.ctypes.data, kept.array.ctypes.data, len(a))
        return numbers

    def set_texts(self, ids: npt.ArrayLike, texts: Iterable[str]) -> None:
        """Keeps a text for each id, in place of what it had; an empty one is none. LookupError for an id that is not there."""
        numbers = id_array(ids)
        kept = Texts(texts, numbers.size)
        with self._lock.held(write=True):
            call("kpd_index_set_text", self._handle, numbers.ctypes.data, kept.array.ctypes.data, numbers.size)

    def text(self, id: int) -> str:
        """The text of an id, empty where it has none; LookupError without the id."""
        out = Text()
        with self._lock.held():
            call("kpd_index_text", self._handle, id, byref(out))
            return ctypes.string_at(out.data, out.size).decode("utf-8", "replace") if out.size else ""

    def add_with_ids(self, x: npt.ArrayLike, ids: npt.ArrayLike) -> None:
        """add, by faiss' name."""
        self.add(x, ids)

    def _after_all_ids(self) -> int:
        ids = self._ids()
        return max(0, int(ids.max()) + 1) if ids.size else 0

    def _new_ids(self, n: int) -> IdArray:
        if self._next is None:
            self._next = self._after_all_ids()
        if self._next + n > 1 << 63:
            raise ValueError(f"ids: {(1 << 63) - self._next} are left behind {self._next - 1}, expected {n}; name them")
        return self._next + np.arange(n, dtype=np.int64) if n else np.empty(0, np.int64)

    def remove(self, ids: npt.ArrayLike) -> int:
        """Removes those that are there, and says how many these were."""
        numbers, removed = id_array(ids), c_size_t()
        with self._lock.held(write=True):
            call("kpd_index_remove", self._handle, numbers.ctypes.data, numbers.size, byref(removed))
        return removed.value

    def remove_ids(self, ids: npt.ArrayLike) -> int:
        """remove, by faiss' name."""
        return self.remove(ids)

    def reconstruct(self, id: int) -> FloatArray:
        """The vector [dim] of an id, as it is kept; LookupError without one."""
        out = np.empty(self.d, np.float32)
        with self._lock.held():
            call("kpd_index_get", self._handle, id, out.ctypes.data)
        return out

    def search(self, x: npt.ArrayLike, k: int = 10, *, recall: Optional[float] = None, min_score: Optional[float] = None,
               among: Optional[npt.ArrayLike] = None) -> tuple[FloatArray, IdArray]:
        """(scores [n, k], ids [n, k]) of the k best of each query x [n, dim], by falling score, then rising id. Where there are
        fewer, ids are -1 and scores minus infinity; by these they are told from an id -1 that another program gave. The two
        are views of one array.

        recall: of a tree, about what share of the true k best is to be found, 1 = all; None = the index's. min_score: leaves
        out scores below. among: only these ids may be found.
        """
        q = matrix("x", x, self.d)
        sessions = self._sessions_for(k)
        allowed = None if among is None else np.unique(id_array(among))
        desc = SearchDesc(abi=ABI, k=k, recall=recall or 0, threshold=min_score is not None, min_score=min_score or 0)
        keep = Allowed(allowed.ctypes.data, allowed.size) if allowed is not None else None
        if keep is not None:
            desc.filter, desc.filter_user = _address("kpd_python_filter"), _address_of(keep)
        hits, counts = np.empty((len(q), k), HIT), np.empty(len(q), np.int32)
        with self._lock.held(), _taken(sessions) as session:
            step = max(16, int(WORK / (self.d * max(1, self._info().count))))
            for i in range(0, len(q), step):
                n = min(step, len(q) - i)
                call("kpd_index_search", session.handle, self._handle, q[i:].ctypes.data, n, byref(desc), hits[i:].ctypes.data,
                     counts[i:].ctypes.data)
        missing = np.arange(k) >= counts[:, None]
        if missing.any():
            hits["id"][missing], hits["score"][missing] = -1, -np.inf
        return hits["score"], hits["id"]

    def _sessions_for(self, k: int) -> Sessions:
        if not 0 < k <= MAX_K:
            raise ValueError(f"k: {k} is not from 1 to {MAX_K}")
        room = self._room
        if k > room[0]:                     # all later sessions have room for as many, once one could be made
            room = self._room_for(k, room[1].threads)
            room[1].give(room[1].take())
            self._room = room
        return room[1]

    def tune(self, x: npt.ArrayLike, k: int = 10, recall: float = 0.95, *, progress: Optional[Listener] = None) -> Tuned:
        """Finds, with sample queries x [n, dim], how far a tree must look to find `recall` of the k best, and keeps it for
        searches of this recall and about k (unless it is read-only). Cost: all vectors for each query, and 50 to 80 searches.
        progress and Ctrl-C as Model.encode."""
        q, out = matrix("x", x, self.d), TuningResult()
        sessions = self._sessions_for(k)
        session = sessions.take()
        self._lock.enter(write=True)

        def work() -> None:
            call("kpd_index_tune", session.handle, self._handle, q.ctypes.data, len(q), k, recall, byref(out))

        def always() -> None:
            self._lock.leave(write=True)
            sessions.give(session)

        run(work, session.watch, progress, always)
        return Tuned(out.gamma, out.breadth, out.candidates, out.recall, out.work, out.plain)

    def compact(self, *, progress: Optional[Listener] = None) -> None:
        """Makes the index anew of what it holds, as Index.build would: after many changes it is smaller and faster. progress
        and Ctrl-C as Model.encode; stopped, nothing has changed, unless it was done already."""
        self.merge(progress=progress)

    def merge(self, *others: "Index", progress: Optional[Listener] = None) -> None:
        """compact, with the vectors and texts of others of the same dim and metric; of equal ids the last wins."""
        handles = (c_void_p * len(others))(*(other._handle._as_parameter_ for other in others))
        sessions = self._room[1]
        session = sessions.take()
        held: list[Index] = []

        def always() -> None:
            for index in held:
                index._lock.leave(write=index is self)
            sessions.give(session)

        def work() -> None:
            call("kpd_index_merge", self._handle, handles, len(others), byref(sessions.pool.parallel),
                 byref(progress_to(session.watch)))
            if self._next is not None:
                self._next = max(self._next, self._after_all_ids())

        try:
            for index in sorted({self, *others}, key=id):       # in one order everywhere, so that no two wait for each other
                index._lock.enter(write=index is self)
                held.append(index)
        except BaseException:
            always()
            raise
        run(work, session.watch, progress, always)

    def save(self, path: Path) -> None:
        """Writes the index file: the old one or the whole new one is there at any time."""
        with self._lock.held():
            call("kpd_index_save", self._handle, file_name(path))


@contextmanager
def _taken(sessions: Sessions) -> Iterator[Session]:
    session = sessions.take()
    try:
        yield session
    finally:
        sessions.give(session)


def _ids_of(ids: npt.ArrayLike, n: int) -> IdArray:
    numbers = id_array(ids)
    if numbers.size != n:
        raise ValueError(f"ids: {numbers.size} for {n} vectors")
    if (numbers == -1).any():
        raise ValueError("ids: -1 is what search returns for none")
    return numbers


def _address(function: str) -> Optional[int]:
    return ctypes.cast(getattr(lib, function), c_void_p).value


def _address_of(x: Any) -> int:
    return ctypes.addressof(x)


def read_index(path: Path) -> Index:
    """Index.open, by faiss' name."""
    return Index.open(path)


def write_index(index: Index, path: Path) -> None:
    """Index.save, by faiss' name."""
    index.save(path)

