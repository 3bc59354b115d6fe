"""Training by a recipe, the text file of `kpd train`."""
from __future__ import annotations

import math
import os
from ctypes import byref, c_void_p
from pathlib import Path
from typing import Callable, NamedTuple, Optional, Union

from ._library import Handle, Pool, TrainReport, Watch, call, file_name, lib, run, threads_allowed


class Report(NamedTuple):
    """A step: how many are done and how many there are, its data set and loss, the rate, the length of the gradient before
    clipping, its tokens; dev where it was looked at, and the best so far, else None."""
    step: int
    steps: int
    source: str
    loss: float
    rate: float
    grad_norm: float
    tokens: int
    dev: Optional[float]
    best_dev: Optional[float]
    done: bool


Callback = Callable[[Report], Optional[bool]]


class Trained(NamedTuple):
    """The models that a training leaves: last.kpd, and best.kpd where there is a [dev]; and its last step."""
    last: Path
    best: Optional[Path]
    report: Report


class Trainer:
    """A recipe's training, a step at a time. Errors in the recipe or its data name file and line."""

    def __init__(self, recipe: Union[str, "os.PathLike[str]"], *, threads: Optional[int] = None) -> None:
        os.stat(recipe)                 # an OSError where it is not there
        self._pool = Pool(threads_allowed() if threads is None else threads)
        opened, made = c_void_p(), c_void_p()
        call("kpd_python_recipe_open", file_name(recipe), byref(self._pool.parallel), byref(opened))
        self._recipe = Handle(opened, lib.kpd_python_recipe_close, self._pool)
        call("kpd_python_trainer_create", self._recipe, byref(made))
        self._trainer = Handle(made, lib.kpdt_trainer_destroy, self._recipe)
        self.output = Path(os.fsdecode(lib.kpd_python_recipe_output(self._recipe)))

    def step(self) -> Report:
        """The next step. Ctrl-C is raised when it is done, and leaves the trainer as it is then."""
        r = TrainReport()
        run(lambda: call("kpdt_trainer_step", self._trainer, byref(r)), Watch())
        return Report(r.step, r.steps, lib.kpd_python_recipe_source(self._recipe, r.source).decode("utf-8", "replace"), r.loss,
                      r.rate, r.grad_norm, r.tokens, _or_none(r.dev), _or_none(r.best_dev), r.done)

    def save_model(self, path: Union[str, "os.PathLike[str]"], *, best: bool = False) -> None:
        """Writes the model as it is now, or as it was at its best look at dev."""
        made = c_void_p()
        call("kpdt_trainer_model", self._trainer, best, byref(made))
        model = Handle(made, lib.kpd_model_destroy)
        call("kpd_model_save", model, file_name(path))

    def save(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Writes a checkpoint (.kpc), from which a trainer of the same recipe goes on to the same bits."""
        call("kpdt_trainer_save", self._trainer, file_name(path))

    def resume(self, path: Union[str, "os.PathLike[str]"]) -> None:
        """Goes on from a checkpoint."""
        call("kpdt_trainer_resume", self._trainer, file_name(path))


def _or_none(x: float) -> Optional[float]:
    return None if math.isnan(x) else x


FILES = ("checkpoint.kpc", "last.kpd", "best.kpd", "metrics.tsv")      # of a training's folder, the command line's too


def _make_room(folder: Path, force: bool) -> None:
    for file in (folder / name for name in FILES):
        if file.exists():
            if not force:
                raise FileExistsError(f"{file}: a training is there already; force=True replaces it")
            file.unlink()


def train(recipe: Union[str, "os.PathLike[str]"], callback: Optional[Callback] = None, *,
          threads: Optional[int] = None, force: bool = False) -> Trained:
    """Trains by a recipe, and writes last.kpd, and best.kpd where there is a [dev], into its output folder, which must not hold
    a training (FileExistsError) unless force says to replace it.

    callback(report) after each step; returning False ends the training there, and what there is is written. Where it is left
    by Ctrl-C or an exception, checkpoint.kpc is written, which Trainer.resume and `kpd train --resume` go on from.
    """
    trainer = Trainer(recipe, threads=threads)
    trainer.output.mkdir(parents=True, exist_ok=True)
    _make_room(trainer.output, force)
    report: Optional[Report] = None
    try:
        while report is None or not report.done:
            report = trainer.step()
            if callback is not None and callback(report) is False:
                break
    except BaseException:
        trainer.save(trainer.output / "checkpoint.kpc")
        raise
    trained = Trained(trainer.output / "last.kpd", None if report.best_dev is None else trainer.output / "best.kpd", report)
    trainer.save_model(trained.last)
    if trained.best:
        trainer.save_model(trained.best, best=True)
    return trained
