"""kpd for Python: BERT bi-encoders and cross-encoders, a vector index, recommendation and training, from one C library.

    import kpd
    model = kpd.Model("minilm.kpd")
    vectors = model.encode(["surface pro charger", "laptop sleeve"])        # float32 [2, 384]
    index = kpd.Index(model.dim)
    index.add(vectors)
    scores, ids = index.search(model.encode(["charger for surface"]), k=2)

Names and shapes are those of sentence-transformers and faiss where they fit. Importing this package loads the library and
checks it; numpy is loaded with the first name that needs it.
"""
from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from ._library import ArgumentError, Cancelled, Error, FileError, FormatError, MissingError, OutOfMemory

if TYPE_CHECKING:
    from .index import Index as Index, Tuned as Tuned, read_index as read_index, write_index as write_index
    from .model import CrossEncoder as CrossEncoder, Model as Model, similarity as similarity
    from .recommendation import Recommendation as Recommendation, Recommender as Recommender, recommend as recommend
    from .training import Report as Report, Trained as Trained, Trainer as Trainer, train as train

__version__ = "0.1"

_WHERE = {
    "Index": "index", "Tuned": "index", "read_index": "index", "write_index": "index",
    "CrossEncoder": "model", "Model": "model", "similarity": "model",
    "Recommendation": "recommendation", "Recommender": "recommendation", "recommend": "recommendation",
    "Report": "training", "Trained": "training", "Trainer": "training", "train": "training",
}

__all__ = ["ArgumentError", "Cancelled", "CrossEncoder", "Error", "FileError", "FormatError", "Index", "MissingError", "Model",
           "OutOfMemory", "Recommendation", "Recommender", "Report", "Trained", "Trainer", "Tuned", "read_index", "recommend",
           "similarity", "train", "write_index"]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'kpd' has no attribute {name!r}")
    value = getattr(importlib.import_module(f".{_WHERE[name]}", __name__), name)
    globals()[name] = value
    return value
