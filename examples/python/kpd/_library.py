"""The shared library by ctypes: its structs, its functions, and calls that can be stopped by Ctrl-C.

Each struct is compared with the library's own table of offsets and sizes when this module is imported, and so is KPD_ABI: a
struct that has changed in C but not here is an ImportError, never a wrong read.
"""
from __future__ import annotations

import ctypes
import operator
import os
import threading
import weakref
from ctypes import (POINTER, Structure, byref, c_bool, c_char, c_char_p, c_float, c_int, c_int32, c_int64, c_size_t, c_uint32,
                    c_uint64, c_void_p)
from typing import Any, Callable, Optional, Union

ABI = 6                         # of kpd.h, for which the structs below are written

Reserved = c_int32 * 4


class Struct(Structure):
    """A struct whose integers fit: ctypes alone would cut them."""

    def __init__(self, *args: Any, **fields: Any) -> None:
        super().__init__(*args, **fields)
        for name, value in fields.items():
            kept = getattr(self, name)
            if hasattr(value, "__index__") and isinstance(kept, int) and kept != operator.index(value):
                raise ValueError(f"{name}: {value} does not fit")


class Allocator(Struct):
    _fields_ = [("alloc", c_void_p), ("free", c_void_p), ("user", c_void_p)]


class Parallel(Struct):
    _fields_ = [("run", c_void_p), ("user", c_void_p), ("n_threads", c_int32)]


class Progress(Struct):
    _fields_ = [("report", c_void_p), ("user", c_void_p)]


class CError(Struct):
    _fields_ = [("status", c_int), ("where", c_int64), ("message", c_char * 240)]


class Text(Struct):
    _fields_ = [("data", c_void_p), ("size", c_size_t)]


class Input(Struct):
    _fields_ = [("part", Text * 3), ("n_parts", c_int32)]


class Row(Struct):
    _fields_ = [("keyphrase", Text), ("category", Text), ("title", Text)]


class Tokens(Struct):
    _fields_ = [("ids", c_void_p), ("types", c_void_p), ("spans", c_void_p), ("capacity", c_int32), ("count", c_int32),
                ("truncated", c_bool)]


class OpenDesc(Struct):
    _fields_ = [("abi", c_uint32), ("data", c_void_p), ("size", c_size_t), ("copy", c_bool), ("verify", c_bool),
                ("allocator", Allocator), ("reserved", Reserved)]


class Module(Struct):
    _fields_ = [("kind", c_int), ("width", c_int32), ("activation", c_int), ("no_bias", c_bool)]


class ModelDesc(Struct):
    _fields_ = [("abi", c_uint32), ("architecture", c_int), ("kind", c_int), ("dtype", c_int), ("separate_towers", c_bool),
                ("no_normalize", c_bool), ("mlm_head", c_bool), ("truncate_dim", c_int32), ("similarity", c_int), ("arithmetic", c_int32),
                ("n_layers", c_int32), ("width", c_int32), ("n_heads", c_int32), ("ffn_width", c_int32),
                ("vocab_size", c_int32), ("n_positions", c_int32), ("max_tokens", c_int32), ("n_types", c_int32), ("n_labels", c_int32),
                ("activation", c_int), ("pooling", c_int), ("layer_norm_eps", c_float), ("modules", Module * 4),
                ("n_modules", c_int32), ("converted_from", c_uint64), ("template_item", c_char_p),
                ("template_keyphrase", c_char_p), ("template_pair", c_char_p), ("tokenizer", c_void_p),
                ("allocator", Allocator), ("reserved", Reserved)]


class SessionDesc(Struct):
    _fields_ = [("abi", c_uint32), ("student", c_void_p), ("assistant", c_void_p), ("max_tokens", c_int32), ("max_k", c_int32),
                ("max_dim", c_int32), ("simd", c_int), ("clock", c_void_p), ("clock_user", c_void_p), ("progress", Progress),
                ("parallel", Parallel), ("allocator", Allocator), ("reserved", Reserved)]


class IndexDesc(Struct):
    _fields_ = [("abi", c_uint32), ("dim", c_int32), ("metric", c_int), ("kind", c_int), ("storage", c_int), ("lists", c_int32),
                ("recall", c_float), ("fingerprint", c_uint64), ("partition", c_int32), ("simd", c_int), ("progress", Progress),
                ("allocator", Allocator), ("reserved", Reserved)]


class IndexInfo(Struct):
    _fields_ = [("count", c_int64), ("bytes", c_int64), ("slots", c_int64), ("text_bytes", c_int64), ("dim", c_int32),
                ("metric", c_int), ("storage", c_int), ("read_only", c_bool), ("kind", c_int), ("lists", c_int32),
                ("blocks", c_int32),
                ("tuned", c_int32), ("recall", c_float), ("fingerprint", c_uint64), ("partition", c_int32)]


class Hit(Struct):
    _fields_ = [("id", c_int64), ("score", c_float)]


class SearchDesc(Struct):
    _fields_ = [("abi", c_uint32), ("k", c_int32), ("threshold", c_bool), ("min_score", c_float),
                ("only_ids", c_bool), ("ids", c_void_p), ("n_ids", c_size_t), ("only_bits", c_bool), ("bits", c_void_p),
                ("first_bit", c_int64), ("n_bits", c_size_t), ("only_partitions", c_bool), ("partitions", c_void_p),
                ("n_partitions", c_size_t), ("filter", c_void_p),
                ("filter_user", c_void_p), ("recall", c_float), ("gamma", c_float), ("breadth", c_float),
                ("candidates", c_float), ("reserved", Reserved)]


class TuningResult(Struct):
    _fields_ = [("gamma", c_float), ("breadth", c_float), ("candidates", c_float), ("recall", c_float), ("work", c_int64),
                ("plain", c_int64)]


Lookup = ctypes.CFUNCTYPE(c_bool, c_void_p, c_int64, POINTER(Text))


class RecommendDesc(Struct):
    _fields_ = [("abi", c_uint32), ("student", c_void_p), ("index", c_void_p), ("assistant", c_void_p), ("search", SearchDesc),
                ("lookup", Lookup), ("lookup_user", c_void_p), ("relevance", c_void_p), ("relevance_user", c_void_p),
                ("min_relevance", c_float), ("rank_by_relevance", c_bool), ("same_words_are_duplicates", c_bool),
                ("reserved", Reserved)]


class FoundPhrase(Struct):
    _fields_ = [("id", c_int64), ("similarity", c_float), ("relevance", c_float)]


class MiningCounts(Struct):
    _fields_ = [(name, c_int64) for name in ("rows", "short_rows", "empty_rows", "negatives", "candidates", "textless", "own",
                                             "same", "over_max", "under_min", "over_margin", "asked", "relevant")]


class TrainReport(Struct):
    _fields_ = [("step", c_int64), ("steps", c_int64), ("source", c_int32), ("loss", c_float), ("rate", c_float),
                ("grad_norm", c_float), ("texts", c_int64), ("tokens", c_int64), ("rows_seen", c_int64),
                ("rows_repeated", c_int64), ("rows_left", c_int64), ("dev", c_float), ("best_dev", c_float), ("done", c_bool),
                ("mined", MiningCounts)]


class Watch(Struct):
    _fields_ = [("done", c_int64), ("of", c_int64), ("stop", c_int32)]


class Allowed(Struct):
    _fields_ = [("ids", c_void_p), ("n", c_size_t)]


STRUCTS: dict[str, type[Structure]] = {
    "kpd_allocator": Allocator, "kpd_parallel": Parallel, "kpd_progress": Progress, "kpd_error": CError, "kpd_text": Text,
    "kpd_input": Input, "kpd_row": Row, "kpd_tokens": Tokens, "kpd_open_desc": OpenDesc, "kpd_module": Module,
    "kpd_model_desc": ModelDesc, "kpd_session_desc": SessionDesc, "kpd_index_desc": IndexDesc, "kpd_index_info": IndexInfo,
    "kpd_hit": Hit, "kpd_search_desc": SearchDesc, "kpd_tuning": TuningResult, "kpd_recommend_desc": RecommendDesc,
    "kpd_recommendation": FoundPhrase, "kpdt_mining_counts": MiningCounts, "kpdt_report": TrainReport,
    "kpd_python_watch": Watch,
}

# What functions return and take, the error last where they return a status. i, I, U, l: int32, int64, uint64,
# size_t; f: float; p: a pointer; s: a zero-terminated string; v: nothing.
FUNCTIONS = {
    "kpd_abi": "i:", "kpd_status_name": "s:i", "kpd_simd_from_name": "i:sp", "kpd_metric_name": "s:i",
    "kpd_metric_from_name": "i:sp", "kpd_kind_name": "s:i", "kpd_dtype_name": "s:i", "kpd_dtype_from_name": "i:sp",
    "kpd_pool_create": "i:ippp", "kpd_pool_destroy": "v:p", "kpd_pool_parallel": "p:p",
    "kpd_model_open": "i:sppp", "kpd_model_destroy": "v:p", "kpd_model_dim": "i:p", "kpd_model_get_desc": "p:p", "kpd_model_fingerprint": "U:pi",
    "kpd_model_save": "i:psp", "kpd_model_tokenize": "i:pipipp",
    "kpd_session_create": "i:ppp", "kpd_session_destroy": "v:p",
    "kpd_embed": "i:ppiplipp", "kpd_score": "i:ppplpp",
    "kpd_index_create": "i:ppp", "kpd_index_build": "i:pppplpp", "kpd_index_open": "i:sppp", "kpd_index_save": "i:psp",
    "kpd_index_destroy": "v:p", "kpd_index_get_info": "v:pp", "kpd_index_upsert": "i:ppplp", "kpd_index_remove": "i:pplpp", "kpd_index_get": "i:pIpp",
    "kpd_index_compact": "i:pppp", "kpd_index_merge": "i:pplppp", "kpd_index_set_text": "i:ppplp", "kpd_index_text": "i:pIpp",
    "kpd_index_search": "i:ppplpppp", "kpd_index_tune": "i:ppplifpp", "kpd_recommend": "i:ppplppp",
    "kpdt_trainer_destroy": "v:p", "kpdt_trainer_step": "i:ppp", "kpdt_trainer_model": "i:pipp", "kpdt_trainer_save": "i:psp",
    "kpdt_trainer_resume": "i:psp",
    "kpd_python_inputs": "v:piplp", "kpd_python_ids": "l:pIpl",
    "kpd_python_recipe_open": "i:sppp", "kpd_python_recipe_close": "v:p", "kpd_python_trainer_create": "i:ppp",
    "kpd_python_recipe_output": "s:p", "kpd_python_recipe_source": "s:pi",
}
RANGES = {"i": (-1 << 31, (1 << 31) - 1), "I": (-1 << 63, (1 << 63) - 1)}
LETTERS: dict[str, Any] = {"i": c_int32, "I": c_int64, "U": c_uint64, "l": c_size_t, "f": c_float, "p": c_void_p, "s": c_char_p,
                           "v": None}


def path_of_library() -> str:
    """The library of this package, or the file that the environment names in KPD_PYTHON_LIBRARY."""
    return os.environ.get("KPD_PYTHON_LIBRARY") or os.path.join(os.path.dirname(os.path.abspath(__file__)), "_kpd.so")


def check_layout(library: ctypes.CDLL, structs: dict[str, type[Structure]] = STRUCTS, abi: int = ABI) -> None:
    """ImportError unless the library's interface is the one that this module is written for."""
    class Field(Structure):
        _fields_ = [("type", c_char_p), ("name", c_char_p), ("offset", c_size_t), ("size", c_size_t)]

    if library.kpd_abi() != abi:
        raise ImportError(f"kpd: the library has interface {library.kpd_abi()}, expected {abi}")
    n = c_size_t()
    library.kpd_python_layout.restype = POINTER(Field)
    table = library.kpd_python_layout(byref(n))
    theirs = {(f.type.decode(), f.name.decode()): (f.offset, f.size) for f in table[:n.value]}
    ours: dict[tuple[str, str], tuple[int, int]] = {}
    for name, struct in structs.items():
        ours[name, ""] = 0, ctypes.sizeof(struct)
        for field in struct._fields_:
            at = getattr(struct, field[0])
            ours[name, field[0]] = at.offset, at.size
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            raise ImportError(f"kpd: {'.'.join(key).rstrip('.')}: the library has (offset, size) {theirs.get(key)}, "
                              f"expected {ours.get(key)}")


def load() -> ctypes.CDLL:
    found = ctypes.CDLL(path_of_library())
    for name, types in FUNCTIONS.items():
        function = getattr(found, name)
        function.restype = LETTERS[types[0]]
        function.argtypes = [LETTERS[t] for t in types[2:]]
    check_layout(found)
    return found


lib = load()


# >>errors ------------------------------------------------------------------------------------------------------------

class Error(Exception):
    """What the library says is wrong. `status` is its name, as "KPD_ERR_IO"; `where` a byte offset, a line or the number of an
    input, -1 for none."""
    status = ""
    where = -1


class ArgumentError(Error, ValueError):
    """An argument that cannot be meant."""


class FileError(Error, OSError):
    """The operating system refused a file."""


class FormatError(Error, ValueError):
    """A file or text is not what it should be, or of another version."""


class MissingError(Error, LookupError):
    """There is no such name or id."""


class OutOfMemory(Error, MemoryError):
    """There is no memory for it."""


class Cancelled(Error):
    """A progress callback said stop."""


ERRORS: dict[str, type[Error]] = {
    "KPD_ERR_ARGUMENT": ArgumentError, "KPD_ERR_INPUT": ArgumentError, "KPD_ERR_LIMIT": ArgumentError, "KPD_ERR_MEMORY": OutOfMemory, "KPD_ERR_IO": FileError,
    "KPD_ERR_FORMAT": FormatError, "KPD_ERR_VERSION": FormatError, "KPD_ERR_NOT_FOUND": MissingError,
    "KPD_ERR_CANCELLED": Cancelled,
}


def failure(e: CError) -> Error:
    status = lib.kpd_status_name(e.status).decode()
    made = ERRORS.get(status, Error)(e.message.decode("utf-8"))
    made.status, made.where = status, e.where
    return made


def call(name: str, *args: Any) -> None:
    """A function that takes the error last; Error if it fails. The interpreter's lock is free meanwhile. A signed integer that
    does not fit is a ValueError: ctypes would cut it."""
    for letter, arg in zip(FUNCTIONS[name][2:], args):
        if letter in RANGES and not RANGES[letter][0] <= arg <= RANGES[letter][1]:
            raise ValueError(f"{arg}: expected {RANGES[letter][0]} to {RANGES[letter][1]}")
    e = CError()
    if getattr(lib, name)(*args, byref(e)):
        raise failure(e)


def file_name(path: Union[str, "os.PathLike[str]"]) -> bytes:
    """As C takes it; ValueError where it would end too early."""
    name = os.fsencode(path)
    if b"\0" in name:
        raise ValueError(f"{os.fspath(path)!r}: a name with a zero byte")
    return name


def number_of(enum: str, text: str) -> int:
    """The number behind a word of one of the library's enums; ValueError for none of its words."""
    out = c_int()
    if not getattr(lib, f"kpd_{enum}_from_name")(text.encode(), byref(out)) & 1:
        raise ValueError(f"{enum}: {text!r} is none of kpd's")
    return out.value


def name_of(enum: str, number: int) -> str:
    text: bytes = getattr(lib, f"kpd_{enum}_name")(number)
    return text.decode()


# >>long calls --------------------------------------------------------------------------------------------------------

Listener = Callable[[int, int], Optional[bool]]
LOOK = 0.1          # seconds between two looks at how far a call is


def progress_to(watch: Watch) -> Progress:
    return Progress(ctypes.cast(lib.kpd_python_report, c_void_p), ctypes.addressof(watch))


class _Job:
    """A call in a thread of its own, while the one that wants it waits, so that it hears Ctrl-C."""

    def __init__(self, work: Callable[[], None], always: Callable[[], None]) -> None:
        self.work, self.always = work, always
        self.failed: Optional[BaseException] = None
        self.ended = threading.Event()
        try:
            threading.Thread(target=self._run, name="kpd", daemon=True).start()
        except RuntimeError:            # there are no more threads
            always()
            raise

    def _run(self) -> None:
        try:
            self.work()
        except BaseException as e:
            self.failed = e
        finally:
            self.always()
            self.ended.set()


def run(work: Callable[[], None], watch: Watch, listener: Optional[Listener] = None,
        always: Callable[[], None] = lambda: None) -> None:
    """Runs `work`, a long call. In the main thread Ctrl-C stops it by the watch, at its next piece of work. `listener` hears
    now and then how far it is, and stops it by returning False or raising. `always` is done when the work has ended,
    in whichever thread.
    """
    if threading.current_thread() is not threading.main_thread() and listener is None:
        try:
            work()
        finally:
            always()
        return
    job = _Job(work, always)
    stopped: Optional[BaseException] = None
    heard = -1
    while not job.ended.is_set():
        try:
            job.ended.wait(LOOK)
            if listener is not None and stopped is None and watch.done != heard:
                heard = watch.done
                if listener(heard, watch.of) is False:
                    watch.stop = 1
        except BaseException as e:
            stopped = stopped or e
            watch.stop = 1
    if stopped is not None:
        raise stopped.with_traceback(None)
    if job.failed is not None:
        raise job.failed
    if listener is not None and watch.done != heard:
        listener(watch.done, watch.of)


# >>threads and sessions ----------------------------------------------------------------------------------------------

def threads_allowed() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Pool:
    """Threads for the library; none for 1."""

    def __init__(self, threads: int) -> None:
        self.parallel = Parallel()
        if threads == 1:
            return
        handle = c_void_p()
        call("kpd_pool_create", threads, None, byref(handle))
        weakref.finalize(self, lib.kpd_pool_destroy, handle).atexit = False
        self.parallel = Parallel.from_address(lib.kpd_pool_parallel(handle))


class Handle:
    """Something of the library's that is closed when nothing refers to it any more. `keeps` lives as long."""

    def __init__(self, handle: c_void_p, close: Callable[[c_void_p], None], *keeps: object) -> None:
        self._as_parameter_ = handle
        self.keeps = keeps
        weakref.finalize(self, close, handle).atexit = False


class Session:
    """Working memory of one call at a time."""

    def __init__(self, desc: SessionDesc, *keeps: object) -> None:
        self.watch = Watch()
        desc.progress = progress_to(self.watch)
        made = c_void_p()
        call("kpd_session_create", byref(desc), byref(made))
        self.handle = Handle(made, lib.kpd_session_destroy, self.watch, *keeps)


class Sessions:
    """As many sessions as there are calls at the same time, kept for later calls. In a forked child all are made anew: one that
    was in use by another thread of the parent would never be free, and threads are not copied."""

    def __init__(self, threads: Optional[int], desc: Callable[[], SessionDesc], *keeps: object) -> None:
        self.threads = threads_allowed() if threads is None else threads
        if not 1 <= self.threads <= 1024:
            raise ValueError(f"threads: {threads} is not from 1 to 1024")
        self.desc, self.keeps = desc, keeps
        self._start()

    def _start(self) -> None:
        self.process = os.getpid()
        self.free: list[Session] = []
        self.pool = Pool(self.threads)

    def take(self) -> Session:
        if self.process != os.getpid():
            self._start()
        try:
            session = self.free.pop()       # one operation: no lock that a fork could find closed
        except IndexError:
            desc = self.desc()
            desc.abi, desc.parallel = ABI, self.pool.parallel
            session = Session(desc, self.pool, *self.keeps)
        session.watch.done = session.watch.of = session.watch.stop = 0
        return session

    def give(self, session: Session) -> None:
        self.free.append(session)

    def run(self, work: Callable[[Session], None], listener: Optional[Listener] = None, long: bool = True) -> None:
        """Runs work(session), which may be stopped where it is long."""
        session = self.take()
        if long:
            run(lambda: work(session), session.watch, listener, lambda: self.give(session))
            return
        try:
            work(session)
        finally:
            self.give(session)
