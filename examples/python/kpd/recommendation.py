"""Keyphrases for items: embed, search, drop duplicates, filter by an assistant, rank."""
from __future__ import annotations

from ctypes import byref
from typing import Any, Iterable, Mapping, NamedTuple, Optional, Sequence, Union

import numpy as np

from . import _text
from ._library import ABI, Listener, Lookup, RecommendDesc, SearchDesc, Session, SessionDesc, Sessions, call, lib
from .index import Index
from .model import CrossEncoder, Model

FOUND = np.dtype([("id", np.int64), ("similarity", np.float32), ("relevance", np.float32)], align=True)


Keyphrases = Union[Sequence[str], Mapping[int, str]]


class Recommendation(NamedTuple):
    """A keyphrase for an item. relevance: the assistant's probability, NaN without one."""
    id: int
    keyphrase: str
    similarity: float
    relevance: float


class Recommender:
    """A student, an index of keyphrases by it, their texts, and perhaps an assistant.

    keyphrases: the text of each id, a sequence or a mapping, None = those that the index
    keeps; ids without one are left out. k: candidates an item, before
    duplicates and filter. min_relevance: keep what the assistant finds at least so relevant. by_relevance: rank by it, not by
    similarity. same_words: "case iphone" and "iphone case" are duplicates. threads: as Model's.
    """

    def __init__(self, student: Model, index: Index, keyphrases: Optional[Keyphrases] = None, *, k: int = 10,
                 assistant: Optional[CrossEncoder] = None, min_relevance: float = 0, by_relevance: bool = False,
                 same_words: bool = False, recall: Optional[float] = None, min_score: Optional[float] = None,
                 threads: Optional[int] = None) -> None:
        self.student, self.index, self.assistant, self.k = student, index, assistant, k
        self._texts: Optional[dict[int, bytes]] = None
        if keyphrases is not None:
            pairs: Iterable[tuple[int, str]] = keyphrases.items() if isinstance(keyphrases, Mapping) else enumerate(keyphrases)
            self._texts = {i: _text.encoded(t, i, "keyphrase") for i, t in pairs}
        if k < 1:
            raise ValueError(f"k: {k} is not 1 or more")
        search = SearchDesc(abi=ABI, k=k, recall=recall or 0, threshold=min_score is not None, min_score=min_score or 0)
        self._lookup = Lookup(("kpd_python_lookup", lib)) if self._texts is None else Lookup(self._look)
        self._desc = RecommendDesc(abi=ABI, student=student._handle._as_parameter_, index=index._handle._as_parameter_,
                                   assistant=assistant and assistant._handle._as_parameter_, search=search, lookup=self._lookup,
                                   lookup_user=index._handle._as_parameter_,
                                   min_relevance=min_relevance, rank_by_relevance=by_relevance,
                                   same_words_are_duplicates=same_words)
        self._sessions = Sessions(threads, self._session_desc, student, assistant)

    def _session_desc(self) -> SessionDesc:
        desc = self.student._session_desc()
        if self.assistant:
            desc.assistant = self.assistant._handle._as_parameter_
        desc.max_k = max(self.k, 1024)
        desc.max_dim = self.index.d
        return desc

    def _look(self, user: Any, id: int, out: Any) -> bool:
        text = self._texts.get(id) if self._texts else None
        if text is None:
            return False
        out[0].data, out[0].size = _text.pointer(text), len(text)
        return True

    def __call__(self, items: Iterable[_text.Text], *, progress: Optional[Listener] = None) -> list[list[Recommendation]]:
        """For each item, a title or (title, category), its keyphrases, the best first. progress and Ctrl-C as Model.encode."""
        rows = _text.as_list(items)
        inputs = _text.of_texts(None, 0, rows, _text.ITEM)
        found, counts = np.empty((len(rows), self.k), FOUND), np.zeros(len(rows), np.int32)

        def work(s: Session) -> None:
            with self.index._lock.held():
                call("kpd_recommend", s.handle, byref(self._desc), inputs.array.ctypes.data, len(rows), found.ctypes.data,
                     counts.ctypes.data)

        self._sessions.run(work, progress)
        return [[Recommendation(int(f["id"]), self._phrase(int(f["id"])), float(f["similarity"]), float(f["relevance"]))
                 for f in found[i, :counts[i]]] for i in range(len(rows))]

    def _phrase(self, id: int) -> str:
        return self.index.text(id) if self._texts is None else self._texts[id].decode("utf-8", "replace")


def recommend(student: Model, index: Index, keyphrases: Optional[Keyphrases], items: Iterable[_text.Text],
              **options: Any) -> list[list[Recommendation]]:
    """Recommender(student, index, keyphrases, **options)(items)."""
    return Recommender(student, index, keyphrases, **options)(items)
