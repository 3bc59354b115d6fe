"""Bi-encoders and cross-encoders, with the names and shapes of sentence-transformers."""
from __future__ import annotations

import os
import sys
from ctypes import byref, c_void_p, sizeof
from typing import Any, Iterable, Literal, Optional, Sequence, Union

import numpy as np
import numpy.typing as npt

from . import _text
from ._library import (ABI, ArgumentError, Handle, Input, Listener, ModelDesc, OpenDesc, Session, SessionDesc, Sessions,
                       Tokens, call, file_name, lib, name_of, number_of)
from ._text import FloatArray, Text

Path = Union[str, "os.PathLike[str]"]
Tower = Literal["item", "keyphrase"]
TOWERS: dict[str, int] = {"item": 0, "keyphrase": 1}


def number_of_tower(tower: str) -> int:
    if tower not in TOWERS:
        raise ValueError(f"tower: {tower!r}, expected 'item' or 'keyphrase'")
    return TOWERS[tower]


SLICE = 12e9        # multiply-adds between two looks whether to stop: a quarter of a second of one slow core
INPUT_SIZE = sizeof(Input)
SHORT = 16          # texts that are embedded at once, without a thread for the sake of Ctrl-C


def bar(what: str) -> Listener:
    """A line on stderr that says how far it is."""
    def show(done: int, of: int) -> None:
        sys.stderr.write(f"\r{what} {done}/{of}" + ("\n" if done == of else ""))
        sys.stderr.flush()
    return show


class _Model:
    """A model file and the sessions that run it."""
    kind = ""

    def __init__(self, path: Path, *, threads: Optional[int] = None, simd: str = "auto", verify: bool = False) -> None:
        made = c_void_p()
        call("kpd_model_open", file_name(path), byref(OpenDesc(abi=ABI, verify=verify)), byref(made))
        self._handle = Handle(made, lib.kpd_model_destroy)
        self._desc = ModelDesc.from_address(lib.kpd_model_get_desc(self._handle))
        self.path = os.fspath(path)
        found = name_of("kind", self._desc.kind)
        if found != self.kind:
            raise ValueError(f"{self.path}: is a {found}, expected a {self.kind}")
        self._simd = number_of("simd", simd)
        self._sessions = Sessions(threads, self._session_desc, self._handle)

    def _session_desc(self) -> SessionDesc:
        d = self._desc
        work = d.n_layers * (4 * d.width * d.width + 2 * d.width * d.ffn_width)
        tokens = min(max(SLICE / work, 512), 4096) * min(self._sessions.threads, 64)
        return SessionDesc(student=self._handle._as_parameter_ if self.kind == "bi-encoder" else None,
                           assistant=self._handle._as_parameter_ if self.kind == "cross-encoder" else None,
                           max_tokens=int(tokens), simd=self._simd)

    @property
    def dtype(self) -> str:
        """Of the weights: "f32", "bf16" or "int8"."""
        return name_of("dtype", self._desc.dtype)

    @property
    def max_seq_length(self) -> int:
        """Tokens to which a text is cut."""
        return int(self._desc.max_tokens)

    def save(self, path: Path) -> None:
        """Writes the model file: the old one or the whole new one is there at any time."""
        call("kpd_model_save", self._handle, file_name(path))

    def _tokens(self, inputs: _text.Inputs, tower: int, n: int) -> list[npt.NDArray[np.int32]]:
        ids = np.zeros(self.max_seq_length + 8, np.int32)
        out = []
        for i in range(n):
            t = Tokens(ids=ids.ctypes.data, capacity=ids.size)
            call("kpd_model_tokenize", self._handle, tower, inputs.array.ctypes.data + i * INPUT_SIZE, 0, byref(t))
            out.append(ids[:t.count].copy())
        return out


class Model(_Model):
    """A bi-encoder (student). Its sessions and threads are its own: any number of Python threads may call it.

    path: a .kpd file. threads: processors to use, None = all that the process may use. simd: a level such as "avx2", or
    "auto". verify: check every byte at opening; else the file is mapped and opens in milliseconds.
    """
    kind = "bi-encoder"

    def encode(self, sentences: Union[str, Iterable[Text]], *, tower: Tower = "item", truncate_dim: Optional[int] = None,
               show_progress_bar: bool = False, progress: Optional[Listener] = None,
               out: Optional[FloatArray] = None) -> FloatArray:
        """The vectors [n, dim] of n texts; of one str, its vector [dim].

        A text is a str, or for items (title, category). tower: whose template is filled, "item" or "keyphrase". truncate_dim:
        the first columns, normalised again. out: an array [n, dim], of one str [dim], to write to, which is returned.
        progress(done, of) is called about ten times a second and stops by returning False, which raises kpd.Cancelled. Ctrl-C
        is heard within a second. The same text gives the same bits, alone or among others, with any number of threads.
        """
        if isinstance(sentences, str):
            row = None if out is None else out[None]
            vector: FloatArray = self.encode([sentences], tower=tower, truncate_dim=truncate_dim, progress=progress,
                                             show_progress_bar=show_progress_bar, out=row)[0]
            return vector if out is None else out
        texts = _text.as_list(sentences)
        which = number_of_tower(tower)
        inputs = _text.of_texts(self._handle, which, texts, _text.KEYPHRASE if which else _text.ITEM)
        dim = self.dim if truncate_dim is None else truncate_dim
        if not 1 <= dim <= self.dim:
            raise ArgumentError(f"truncate_dim: {truncate_dim}, expected 1 to {self.dim}")
        if out is None:
            out = np.empty((len(texts), dim), np.float32)
        elif out.shape != (len(texts), dim) or out.dtype != np.float32 or not out.flags.c_contiguous or not out.flags.writeable:
            raise ValueError(f"out: expected float32 of shape {(len(texts), dim)}, contiguous and writeable")
        result = out

        def work(s: Session) -> None:
            call("kpd_embed", s.handle, self._handle, which, inputs.array.ctypes.data, len(texts), dim, result.ctypes.data)

        if progress is None and show_progress_bar:
            progress = bar("texts")
        self._sessions.run(work, progress, len(texts) > SHORT or progress is not None)
        return result

    @property
    def dim(self) -> int:
        """Columns of a vector."""
        return int(lib.kpd_model_dim(self._handle))

    def get_sentence_embedding_dimension(self) -> int:
        """dim, by sentence-transformers' name."""
        return self.dim

    @property
    def similarity_fn_name(self) -> str:
        """By what its vectors are to be compared: "cosine", "dot" or "l2"."""
        return name_of("metric", self._desc.similarity)

    def fingerprint(self, tower: Tower = "item") -> int:
        """A number of all that decides its vectors, as an index keeps it."""
        return int(lib.kpd_model_fingerprint(self._handle, number_of_tower(tower)))

    def similarity(self, a: npt.ArrayLike, b: npt.ArrayLike) -> FloatArray:
        """Scores [n, m] of vectors a [n, dim] with b [m, dim], larger when nearer: cosine, dot, or minus the distance."""
        return similarity(a, b, self.similarity_fn_name)

    def tokenize(self, texts: Iterable[Text], *, tower: Tower = "item") -> list[npt.NDArray[np.int32]]:
        """The token ids that the model sees for each text."""
        given = _text.as_list(texts)
        which = number_of_tower(tower)
        return self._tokens(_text.of_texts(self._handle, which, given, _text.KEYPHRASE if which else _text.ITEM), which,
                            len(given))


def similarity(a: npt.ArrayLike, b: npt.ArrayLike, metric: str = "cosine") -> FloatArray:
    """Scores [n, m] of vectors a [n, dim] with b [m, dim]: "cosine", "dot", or "l2", minus the distance."""
    x, y = np.atleast_2d(np.asarray(a, np.float32)), np.atleast_2d(np.asarray(b, np.float32))
    if metric == "cosine":
        x, y = (v / np.maximum(np.linalg.norm(v, axis=1, keepdims=True), np.float32(1e-12)) for v in (x, y))
    elif metric not in ("dot", "l2"):
        raise ValueError(f"metric: {metric!r}, expected cosine, dot or l2")
    scores: FloatArray = x @ y.T
    if metric == "l2":
        squares = (x * x).sum(1)[:, None] + (y * y).sum(1)[None, :] - 2 * scores
        scores = -np.sqrt(np.maximum(squares, np.float32(0)))
    return scores


class CrossEncoder(_Model):
    """A cross-encoder (assistant); parameters as Model's."""
    kind = "cross-encoder"

    @property
    def num_labels(self) -> int:
        """Logits of a pair."""
        return int(self._desc.n_labels)

    def predict(self, sentences: Union[Sequence[str], Iterable[Sequence[str]]], *, apply_sigmoid: Optional[bool] = None,
                apply_softmax: bool = False, show_progress_bar: bool = False,
                progress: Optional[Listener] = None) -> FloatArray:
        """Scores of n pairs, (keyphrase, title) or (keyphrase, category, title): [n], or [n, labels] for several labels; of one
        pair its score alone. apply_sigmoid: None = for one label, as sentence-transformers does; apply_softmax: over several.
        """
        pairs: Any = sentences if isinstance(sentences, (list, tuple)) else list(sentences)
        if pairs and isinstance(pairs[0], str):
            one: FloatArray = self.predict([pairs], apply_sigmoid=apply_sigmoid, apply_softmax=apply_softmax)[0]
            return one
        inputs = _text.of_pairs(self._handle, pairs)
        logits = np.empty((len(pairs), self.num_labels), np.float32)

        def work(s: Session) -> None:
            call("kpd_score", s.handle, self._handle, inputs.array.ctypes.data, len(pairs), logits.ctypes.data)

        if progress is None and show_progress_bar:
            progress = bar("pairs")
        self._sessions.run(work, progress, len(pairs) > SHORT or progress is not None)
        return self._activated(logits, self.num_labels == 1 if apply_sigmoid is None else apply_sigmoid, apply_softmax)

    def _activated(self, logits: FloatArray, sigmoid: bool, softmax: bool) -> FloatArray:
        if sigmoid:
            logits = np.float32(1) / (np.float32(1) + np.exp(-np.clip(logits, -80, 80)))
        if softmax and self.num_labels > 1:
            powers = np.exp(logits - logits.max(1, keepdims=True))
            logits = powers / powers.sum(1, keepdims=True)
        return logits[:, 0] if self.num_labels == 1 else logits

    def rank(self, query: str, documents: Sequence[Text], *, top_k: Optional[int] = None,
             return_documents: bool = False) -> list[dict[str, Any]]:
        """The documents, titles or (category, title), by falling score for a query: dicts of corpus_id, score and, if asked
        for, text. Equal scores keep their order."""
        if self.num_labels != 1:
            raise ValueError(f"rank: the model has {self.num_labels} labels, expected 1")
        pairs = [(query, d) if isinstance(d, str) else (query, *d) for d in documents]
        scores = self.predict(pairs) if pairs else np.zeros(0, np.float32)
        order = np.argsort(-scores, kind="stable")[:top_k]
        ranked: list[dict[str, Any]] = [{"corpus_id": int(i), "score": float(scores[i])} for i in order]
        if return_documents:
            for row in ranked:
                row["text"] = documents[row["corpus_id"]]
        return ranked

    def tokenize(self, pairs: Sequence[Sequence[str]]) -> list[npt.NDArray[np.int32]]:
        """The token ids that the model sees for each pair."""
        return self._tokens(_text.of_pairs(self._handle, pairs), 0, len(pairs))
