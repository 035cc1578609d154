"""Cures are lines of code: run here as they are printed, on copies."""

from __future__ import annotations

import ast
import itertools
import warnings
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np

from ..data.rows import as_arrays, joined, same_length, size_of, take
from ..nn.layer import Layer

_NAMES = {"model", "x", "y", "loss", "optimizer", "trainer"}
# Calls that look and change nothing.
_LOOKS = ("print", "cconv.check", "cconv.gradcheck", "model", "model.forward", "loss")


class NotTried(ValueError):
    """A cure that cannot be tried, and why."""


@dataclass
class Setting:
    """All that a cure may change: the start of a training. A cure's line has these names, and nn, optim, np, cconv.

    Attributes
    ----------
    model, loss, optimizer
        Copies, whose parameters belong together.
    batches : list of (x, y) or (x, y, sample_weight)
    clip_norm : float or None
        ``trainer.clip_norm`` in a cure.
    """

    model: Any
    loss: Any
    optimizer: Any
    batches: list[tuple]
    clip_norm: float | None = None

    def apply(self, cure: str) -> None:
        """Run a cure.

        Raises
        ------
        NotTried
            If it is no code, raises, or leaves what cannot be trained.
        """
        names_used, code = compiled(cure)
        names = self._names(names_used)
        parameters = self.model.parameters()
        trained = {id(parameter) for parameter in parameters if parameter.trainable}
        before = self.optimizer
        try:
            with warnings.catch_warnings(), np.errstate(all="ignore"):
                warnings.simplefilter("ignore")
                exec(code, names)
        except (Exception, SystemExit) as error:
            raise NotTried(told(error)) from error
        self.model, self.loss, self.optimizer = (names.get(name) for name in ("model", "loss", "optimizer"))
        if not isinstance(self.model, Layer) or not hasattr(self.loss, "forward"):
            raise NotTried("it leaves no model or no loss")
        trainer = names.get("trainer")
        self.clip_norm = getattr(trainer, "clip_norm", None)
        if self.optimizer is before and getattr(trainer, "optimizer", before) is not before:
            self.optimizer = getattr(trainer, "optimizer", None)
        if not hasattr(self.optimizer, "step") or not hasattr(self.optimizer, "parameters"):
            raise NotTried("it leaves no optimizer")
        if self.optimizer is before:
            self._hand_over(trained, {id(parameter) for parameter in parameters})
        if {"x", "y"} & names_used:
            self._split(names.get("x"), names.get("y"))

    def _names(self, used: set[str]) -> dict[str, Any]:
        import cconv

        names = {"model": self.model, "loss": self.loss, "optimizer": self.optimizer}
        names["trainer"] = SimpleNamespace(**names, clip_norm=self.clip_norm)
        names |= {"nn": cconv.nn, "optim": cconv.optim, "np": np, "cconv": cconv}
        if {"x", "y"} & used:
            # Of all batches together, so that means and classes are those of more than a few examples.
            names["x"], names["y"] = (joined([batch[i] for batch in self.batches]) for i in (0, 1))
        return names

    def _hand_over(self, trained: set[int], known: set[int]) -> None:
        """An optimiser for the parameters that the model has now."""
        held = {id(parameter) for parameter in self.optimizer.parameters}
        now = self.model.parameters()
        new = [p for p in now if id(p) not in held and (id(p) not in known or (p.trainable and id(p) not in trained))]
        gone = known - {id(parameter) for parameter in now}
        if not new and not gone & held:
            return
        parameters = [p for p in self.optimizer.parameters if id(p) not in gone] + new
        try:
            if hasattr(self.optimizer, "renewed"):
                self.optimizer = self.optimizer.renewed(parameters)
            else:
                self.optimizer = type(self.optimizer)(parameters, lr=self.optimizer.lr)
        except Exception as error:
            raise NotTried(f"the optimizer cannot be made anew for it: {told(error)}") from error

    def _split(self, x: Any, y: Any) -> None:
        """Batches of the sizes that they had."""
        sizes = [size_of(batch[1]) for batch in self.batches]
        weighted = len(self.batches[0]) > 2
        x, y = as_arrays(x), as_arrays(y)
        try:
            count = same_length("cure", x=x, y=y)
        except ValueError as error:
            raise NotTried(f"it leaves no examples: {error}") from error
        if not count:
            raise NotTried("it leaves no examples")
        if weighted and count != sum(sizes):
            raise NotTried("examples have weights, and it leaves some out")
        batches, start = [], 0
        for (_, _, *weight), size in zip(self.batches, sizes, strict=True):
            if start >= count:
                break
            rows = slice(start, min(start + size, count))
            batches.append((take(x, rows), take(y, rows), *weight))
            start = rows.stop
        # More examples than before are not looked at; of fewer the batches come again.
        self.batches = list(itertools.islice(itertools.cycle(batches), len(sizes)))


def compiled(cure: str) -> tuple[set[str], Any]:
    """The names that a cure's line speaks of, and its code.

    Raises
    ------
    NotTried
        If it is no code, has gaps to fill in, or only looks.
    """
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            tree = ast.parse(cure.strip())
            code = compile(tree, "<cure>", "exec")
    except (SyntaxError, ValueError) as error:
        raise NotTried("advice, no code") from error
    if not tree.body:
        raise NotTried("advice, no code")
    nodes = list(ast.walk(tree))
    if all(isinstance(line, ast.Expr) and _looks(line.value) for line in tree.body):
        raise NotTried("it only looks")
    if any(isinstance(node, ast.Constant) and node.value is Ellipsis for node in nodes):
        raise NotTried("there is a gap to fill in")
    return {node.id for node in nodes if isinstance(node, ast.Name)}, code


def changes(cure: str) -> bool:
    """Whether it is more than expressions, whose values nobody keeps, and variables that training does not know."""
    return not all(
        isinstance(line, ast.Expr)
        or (isinstance(line, ast.Assign) and not _NAMES & {name.id for name in _stored(line.targets)})
        for line in ast.parse(cure.strip()).body
    )


def _stored(targets: list[ast.expr]) -> list[ast.Name]:
    """The names that are assigned, and those whose items or attributes are."""
    return [node for target in targets for node in ast.walk(target) if isinstance(node, ast.Name)]


def told(error: BaseException) -> str:
    """An error in a line."""
    message = str(error).splitlines()[0] if str(error) else ""
    return f"{type(error).__name__}: {message}" if message else type(error).__name__


def _looks(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and ast.unparse(node.func) in _LOOKS
