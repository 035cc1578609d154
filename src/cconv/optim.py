"""Optimisers, a learning-rate schedule, and gradient clipping. Their numbers are PyTorch's.

An update works in place, in one pass over a parameter, its gradient and its state; after a parameter's first step it
allocates nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from . import _dispatch
from ._checks import number, real
from ._shapes import whole
from ._threads import threads_for

_State = dict[str, np.ndarray]

# Multiply-adds' worth of work a number.
_WORK = 4


class Optimizer:
    """What optimisers share: the parameters, the learning rate, and the state of each parameter.

    Attributes
    ----------
    lr : float
        The learning rate; it may be set between steps.
    parameters : list of Parameter
    """

    def __init__(self, parameters: Iterable[Any], lr: float):
        self.parameters = _parameters(type(self).__name__, parameters)
        if not self.parameters:
            raise ValueError(f"{type(self).__name__}: parameters is empty")
        for parameter in self.parameters:
            _check_arrays(type(self).__name__, parameter)
        self.lr = lr
        self._state: list[_State] = [{} for _ in self.parameters]

    @property
    def lr(self) -> float:
        return self._lr

    @lr.setter
    def lr(self, value: float) -> None:
        self._lr = number(type(self).__name__, "lr", value, 0)

    def step(self) -> None:
        """Update each trainable parameter from its gradient."""
        # Kernels take parameters of one dtype together; SGD's first step of a parameter is unlike those after it.
        together: dict[tuple, tuple[list[np.ndarray], list[np.ndarray], list[_State]]] = {}
        for parameter, state in zip(self.parameters, self._state, strict=True):
            if parameter.trainable:
                value = parameter.value
                values, grads, states = together.setdefault((value.dtype, not state), ([], [], []))
                values.append(value)
                grads.append(parameter.grad)
                states.append(state)
        for values, grads, states in together.values():
            self._update(values, grads, states)

    def zero_grad(self) -> None:
        """Set each gradient to zero."""
        for parameter in self.parameters:
            if hasattr(parameter, "zero_grad"):
                parameter.zero_grad()
            else:
                parameter.grad.fill(0)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of what a continued run needs: the learning rate and, by the parameter's place in the list, its state.

        The other hyperparameters are arguments, and not in it.
        """
        entries = {f"{i}.{name}": array.copy() for i, state in enumerate(self._state) for name, array in state.items()}
        return {"lr": np.array(self.lr)} | entries

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` of an optimiser of the same kind gave, for parameters of the same shapes.

        Raises
        ------
        ValueError
            If a name, shape or dtype does not fit; then nothing has changed.
        """
        where = f"{type(self).__name__}.load_state_dict"
        if "lr" not in state:
            raise ValueError(f"{where}: 'lr' is missing")
        lr = number(where, "lr", state["lr"], 0)
        loaded: list[_State] = [{} for _ in self.parameters]
        left = set(state) - {"lr"}
        for i, parameter in enumerate(self.parameters):
            expected = self._layout(parameter.value)
            names = {f"{i}.{name}": name for name in expected}
            # A parameter that has not been stepped yet has no state.
            if left.isdisjoint(names):
                continue
            for key, name in names.items():
                if key not in state:
                    raise ValueError(f"{where}: {key!r} is missing")
                array, like = np.asarray(state[key]), expected[name]
                if array.shape != like.shape or array.dtype != like.dtype:
                    raise ValueError(
                        f"{where}: {key!r} is {array.dtype} {array.shape}, expected {like.dtype} {like.shape}"
                    )
                loaded[i][name] = array.copy()
            left -= set(names)
        if left:
            raise ValueError(f"{where}: {min(left)!r} is not an entry of {len(self.parameters)} parameters")
        self._state = loaded
        self.lr = lr

    def _layout(self, value: np.ndarray) -> _State:
        """Arrays of the names, shapes and dtypes that the state of a parameter has once it was stepped."""
        raise NotImplementedError

    def _update(self, values: list[np.ndarray], grads: list[np.ndarray], states: list[_State]) -> None:
        """Update `values` and `states` of parameters of one dtype in place, and leave `grads` as they are.

        Either all states are empty, as at first, or none is; without momentum SGD's stay so.
        """
        raise NotImplementedError


class SGD(Optimizer):
    """Stochastic gradient descent, with momentum (Polyak 1964) or Nesterov's momentum (Sutskever et al. 2013).

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
        Learning rate, at least 0.
    momentum : float
        At least 0.
    dampening : float
        The momentum takes in ``1 - dampening`` of each gradient after the first.
    weight_decay : float
        ``weight_decay * value`` is added to the gradient.
    nesterov : bool
        Needs momentum and no dampening.

    Raises
    ------
    ValueError
        If `parameters` is empty or lists one twice, or a number is out of its range.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float,
        momentum: float = 0.0,
        dampening: float = 0.0,
        weight_decay: float = 0.0,
        nesterov: bool = False,
    ):
        super().__init__(parameters, lr)
        self.momentum = number("SGD", "momentum", momentum, 0)
        self.dampening = number("SGD", "dampening", dampening)
        self.weight_decay = number("SGD", "weight_decay", weight_decay, 0)
        self.nesterov = bool(nesterov)
        if self.nesterov and (self.momentum == 0 or self.dampening != 0):
            raise ValueError(
                f"SGD: nesterov needs momentum and no dampening, got momentum={momentum!r}, dampening={dampening!r}"
            )

    def _layout(self, value: np.ndarray) -> _State:
        return {"momentum_buffer": value} if self.momentum else {}

    def _update(self, values: list[np.ndarray], grads: list[np.ndarray], states: list[_State]) -> None:
        first = bool(self.momentum) and not states[0]
        if first:
            for value, state in zip(values, states, strict=True):
                state["momentum_buffer"] = np.empty_like(value)
        _dispatch.optimizer.sgd(
            values, grads, [state["momentum_buffer"] for state in states] if self.momentum else None,
            self._lr, self.momentum, self.dampening, self.weight_decay, self.nesterov, first,
            threads_for(sum([value.size for value in values]) * _WORK),
        )  # fmt: skip


class Adam(Optimizer):
    """Adam (Kingma and Ba 2015, arXiv 1412.6980).

    Parameters
    ----------
    parameters : iterable of Parameter
    lr : float
        Learning rate, at least 0.
    betas : (float, float)
        Decay of the running means of the gradient and of its square, each in [0, 1).
    eps : float
        Added to the root of the mean square, at least 0.
    weight_decay : float
        ``weight_decay * value`` is added to the gradient, as in ``torch.optim.Adam`` (and not as in AdamW).

    Raises
    ------
    ValueError
        If `parameters` is empty or lists one twice, or a number is out of its range.
    """

    def __init__(
        self,
        parameters: Iterable[Any],
        lr: float = 1e-3,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.0,
    ):
        super().__init__(parameters, lr)
        if not isinstance(betas, (tuple, list)) or len(betas) != 2:
            raise ValueError(f"Adam: betas must be two numbers, got {betas!r}")
        self.betas = number("Adam", "betas[0]", betas[0], 0), number("Adam", "betas[1]", betas[1], 0)
        if max(self.betas) >= 1:
            raise ValueError(f"Adam: betas must be less than 1, got {betas!r}")
        self.eps = number("Adam", "eps", eps, 0)
        self.weight_decay = number("Adam", "weight_decay", weight_decay, 0)

    def _layout(self, value: np.ndarray) -> _State:
        return {"exp_avg": value, "exp_avg_sq": value, "step": np.zeros((), np.int64)}

    def _update(self, values: list[np.ndarray], grads: list[np.ndarray], states: list[_State]) -> None:
        beta1, beta2 = self.betas
        for value, grad, state in zip(values, grads, states, strict=True):
            if not state:
                state.update({name: np.zeros_like(array) for name, array in self._layout(value).items()})
            state["step"] += 1
            count = int(state["step"])
            _dispatch.optimizer.adam(
                value, grad, state["exp_avg"], state["exp_avg_sq"], self._lr / (1 - beta1**count), beta1, beta2,
                1 / math.sqrt(1 - beta2**count), self.eps, self.weight_decay, threads_for(value.size * _WORK),
            )  # fmt: skip


class CosineAnnealingLR:
    """Lower an optimiser's learning rate along half a cosine (Loshchilov and Hutter 2017, arXiv 1608.03983).

    After t steps it is ``eta_min + (base - eta_min) * (1 + cos(pi * t / T_max)) / 2``, `base` being the rate that the
    optimiser has when the schedule is made.

    Parameters
    ----------
    optimizer : Optimizer
    T_max : int
        Steps from `base` to `eta_min`, at least 1. `Trainer` takes one step an epoch.
    eta_min : float
        The lowest learning rate.
    """

    def __init__(self, optimizer: Any, T_max: int, eta_min: float = 0.0):
        if not hasattr(optimizer, "lr"):
            raise TypeError(f"CosineAnnealingLR: optimizer must have a learning rate, got {type(optimizer).__name__}")
        self.optimizer = optimizer
        self.T_max = whole("CosineAnnealingLR", "T_max", T_max, 1)
        self.eta_min = number("CosineAnnealingLR", "eta_min", eta_min, 0)
        self.base_lr = optimizer.lr
        self.last_epoch = 0

    def step(self) -> None:
        """Set the learning rate of the next epoch."""
        self.last_epoch += 1
        fraction = (1 + math.cos(math.pi * self.last_epoch / self.T_max)) / 2
        self.optimizer.lr = self.eta_min + (self.base_lr - self.eta_min) * fraction

    def state_dict(self) -> dict[str, np.ndarray]:
        """What a continued run needs."""
        return {"last_epoch": np.array(self.last_epoch), "base_lr": np.array(self.base_lr)}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` gave. The learning rate itself is in the optimiser's."""
        where = "CosineAnnealingLR.load_state_dict"
        for name in ("last_epoch", "base_lr"):
            if name not in state:
                raise ValueError(f"{where}: {name!r} is missing")
        last_epoch = whole(where, "last_epoch", state["last_epoch"])
        self.base_lr = number(where, "base_lr", state["base_lr"], 0)
        self.last_epoch = last_epoch


def clip_grad_norm(parameters: Iterable[Any], max_norm: float) -> float:
    """Scale the gradients in place so that their common Euclidean norm is at most `max_norm`.

    Parameters
    ----------
    parameters : iterable of Parameter
        Those that are not trainable are passed over.
    max_norm : float
        More than 0.

    Returns
    -------
    float
        The norm before. Where it is NaN or infinite, gradients become NaN or zero, as in PyTorch.
    """
    limit = number("clip_grad_norm", "max_norm", max_norm, 0, above=True)
    gradients = [parameter.grad for parameter in _parameters("clip_grad_norm", parameters) if parameter.trainable]
    # einsum and not dot: BLAS may sum in another order when it has other threads.
    squares = (float(np.einsum("i,i->", g.ravel(), g.ravel(), dtype=np.float64)) for g in gradients)
    norm = math.sqrt(sum(squares))
    scale = limit / (norm + 1e-6)
    if not scale >= 1:
        with np.errstate(invalid="ignore"):
            for gradient in gradients:
                gradient *= scale
    return norm


def _check_arrays(where: str, parameter: Any) -> None:
    """Kernels update in place, and read and write arrays as they lie: a parameter of one's own must have such."""
    value, grad = parameter.value, parameter.grad
    for name, array in (("value", value), ("grad", grad)):
        if not isinstance(array, np.ndarray) or real(where, name, array) is not array:
            raise TypeError(f"{where}: a parameter's {name} must be a C-contiguous, aligned array, got {array!r}")
    if not value.flags.writeable:
        raise ValueError(f"{where}: a parameter's value is read-only")
    if grad.shape != value.shape or grad.dtype != value.dtype:
        raise ValueError(
            f"{where}: a parameter's grad is {grad.dtype} {grad.shape}, its value {value.dtype} {value.shape}: "
            "they must be alike"
        )


def _parameters(where: str, parameters: Any) -> list[Any]:
    if hasattr(parameters, "parameters"):
        raise TypeError(f"{where}: parameters is a {type(parameters).__name__}: give its .parameters()")
    try:
        listed = list(parameters)
    except TypeError:
        raise TypeError(f"{where}: parameters must be Parameters, got {type(parameters).__name__}") from None
    for parameter in listed:
        if not (hasattr(parameter, "value") and hasattr(parameter, "grad")):
            raise TypeError(f"{where}: parameters must be Parameters, got a {type(parameter).__name__}")
    if len({id(parameter) for parameter in listed}) < len(listed):
        raise ValueError(f"{where}: parameters lists a parameter twice")
    return listed
