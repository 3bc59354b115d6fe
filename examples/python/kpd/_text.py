"""Texts as the library takes them: arrays of pointers and sizes, filled by numpy."""
from __future__ import annotations

from ctypes import c_char_p, c_void_p, cast, sizeof
from typing import Iterable, Optional, Sequence, Union

import numpy as np
import numpy.typing as npt

from ._library import ArgumentError, Handle, Input, Row, lib

Text = Union[str, Sequence[str]]

# Where the parts of a text stand in a kpd_row: keyphrase, category, title.
ITEM = (2, 1)
KEYPHRASE = (0,)
PAIRS = {2: (0, 2), 3: (0, 1, 2)}

MAX_TEXT = 0xFFFFFF             # bytes of a text in an index: KPD_MAX_TEXT


def laid_out(texts: list[bytes]) -> tuple[npt.NDArray[np.uintp], bytes]:
    """Address and size of each text [n, 2], and the bytes behind them, to be kept as long."""
    joined = b"".join(texts) or b"\0"
    out = np.empty((len(texts), 2), np.uintp)
    out[:, 1] = np.fromiter(map(len, texts), np.uintp, len(texts))
    out[:, 0] = np.cumsum(out[:, 1]) - out[:, 1] + np.uintp(np.frombuffer(joined, np.uint8).ctypes.data)
    return out, joined


class Inputs:
    """kpd_inputs of n rows for a model and tower, and the bytes that they point to. Without a model: items to recommend for."""

    def __init__(self, model: Optional[Handle], tower: int, n: int, columns: dict[int, list[bytes]]) -> None:
        rows = np.zeros((n, 3, 2), np.uintp)
        assert rows.nbytes == n * sizeof(Row)
        self.bytes: list[bytes] = []
        for column, texts in columns.items():
            rows[:, column], kept = laid_out(texts)
            self.bytes.append(kept)
        self.array = np.zeros(n * sizeof(Input), np.uint8)
        lib.kpd_python_inputs(model, tower, rows.ctypes.data, n, self.array.ctypes.data)


def encoded(text: object, i: int, what: str) -> bytes:
    if not isinstance(text, str):
        raise TypeError(f"{what} {i}: expected str, found {type(text).__name__}")
    return text.encode("utf-8", "surrogatepass")


def of_texts(model: Optional[Handle], tower: int, texts: Sequence[Text], places: Sequence[int]) -> Inputs:
    """Texts of a bi-encoder: each is a str, or as many of them as there are places or fewer."""
    if all(type(t) is str for t in texts):
        first = [t.encode("utf-8", "surrogatepass") for t in texts if isinstance(t, str)]
        return Inputs(model, tower, len(texts), {places[0]: first})
    columns: dict[int, list[bytes]] = {p: [] for p in places}
    for i, text in enumerate(texts):
        parts = [text] if isinstance(text, str) else list(text)
        if not 1 <= len(parts) <= len(places):
            raise ValueError(f"text {i}: {len(parts)} parts, expected 1 to {len(places)}")
        for p, place in enumerate(places):
            columns[place].append(encoded(parts[p] if p < len(parts) else "", i, "text"))
    return Inputs(model, tower, len(texts), columns)


def of_pairs(model: Handle, pairs: Sequence[Sequence[str]]) -> Inputs:
    """Pairs of a cross-encoder: (keyphrase, title) or (keyphrase, category, title)."""
    columns: dict[int, list[bytes]] = {0: [], 1: [], 2: []}
    for i, pair in enumerate(pairs):
        if isinstance(pair, str) or len(pair) not in PAIRS:
            raise ValueError(f"pair {i}: expected (keyphrase, title) or (keyphrase, category, title)")
        given = dict(zip(PAIRS[len(pair)], pair))
        for column, texts in columns.items():
            texts.append(encoded(given.get(column, ""), i, "pair"))
    return Inputs(model, 0, len(pairs), columns)


class Texts:
    """n kpd_texts for an index, and the bytes that they point to. What the index would refuse of them is refused here, before
    anything has changed."""

    def __init__(self, texts: Iterable[str], n: int) -> None:
        if isinstance(texts, str):
            raise TypeError("texts: expected a list of texts, found a str")
        given = [encoded(t, i, "text") for i, t in enumerate(texts)]
        if len(given) != n:
            raise ValueError(f"texts: {len(given)} for {n} ids")
        for i, text in enumerate(given):
            if len(text) > MAX_TEXT:
                e = ArgumentError(f"text {i}: {len(text)} bytes, expected at most {MAX_TEXT}")
                e.status, e.where = "KPD_ERR_LIMIT", i
                raise e
        self.array, self.bytes = laid_out(given)


def pointer(text: bytes) -> Optional[int]:
    return cast(c_char_p(text), c_void_p).value


def as_list(texts: Iterable[Text]) -> list[Text]:
    if isinstance(texts, str):
        raise TypeError("expected a list of texts, found a str")
    return texts if isinstance(texts, list) else list(texts)


FloatArray = npt.NDArray[np.float32]
IdArray = npt.NDArray[np.int64]


def matrix(what: str, x: npt.ArrayLike, dim: int) -> FloatArray:
    """x as rows of dim floats: itself, where it is that already."""
    a: FloatArray = np.ascontiguousarray(x, np.float32)
    if a.ndim == 1 and a.size == dim:
        a = a.reshape(1, dim)
    if a.ndim != 2 or a.shape[1] != dim:
        raise ValueError(f"{what}: shape {a.shape}, expected (n, {dim})")
    return a


def id_array(ids: npt.ArrayLike) -> IdArray:
    """Ids as int64: itself, where it is that already."""
    a = np.asarray(ids)
    if a.size and a.dtype.kind not in "iu":
        raise TypeError(f"ids: {a.dtype}, expected integers")
    if a.dtype.kind == "u" and a.size and int(a.max()) > np.iinfo(np.int64).max:
        raise ValueError("ids: over 2^63 - 1")
    return np.ascontiguousarray(a, np.int64).reshape(-1)
