"""What optimisers share: parameters in groups, the state of each, and both as arrays.

An update works in place, in one pass over a parameter, its gradient and its state; after a parameter's first step it
allocates nothing.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from .._checks import number, real
from .._threads import threads_for

State = dict[str, np.ndarray]
Options = dict[str, Any]

# Multiply-adds' worth of work a number.
_WORK = 4


class Optimizer:
    """What optimisers share: groups of parameters, each with its options, and the state of each parameter.

    Attributes
    ----------
    param_groups : list of dict
        "params", a list of Parameter, and the group's options: "lr", "weight_decay", ... They may be set between steps.
    parameters : list of Parameter
        Those of all groups.
    defaults : dict
        The options of groups that do not name their own.
    lr : float
        The learning rate of the first group; it may be set between steps.
    """

    def __init__(self, parameters: Iterable[Any], defaults: Options):
        name = type(self).__name__
        self.defaults = self._options(defaults)
        self.param_groups: list[dict[str, Any]] = []
        self.parameters: list[Any] = []
        self._states: list[list[State]] = []
        groups = listed(name, parameters, groups=True)
        if not groups:
            raise ValueError(f"{name}: parameters is empty")
        if not isinstance(groups[0], Mapping):
            groups = [{"params": groups}]
        for group in groups:
            self.add_param_group(group)

    def add_param_group(self, group: Mapping[str, Any]) -> None:
        """Add parameters with options of their own.

        Parameters
        ----------
        group : dict
            "params", a Parameter or several, and what differs from `defaults`.

        Raises
        ------
        ValueError
            If a parameter is in a group already, or an option is unknown or out of its range.
        """
        name = type(self).__name__
        if not isinstance(group, Mapping) or "params" not in group:
            raise TypeError(f"{name}: a group of parameters must be a dict with 'params', got {group!r}")
        unknown = set(group) - {"params", "initial_lr"} - set(self.defaults)
        if unknown:
            raise ValueError(f"{name}: a group has the option {min(unknown)!r}, known are {', '.join(self.defaults)}")
        given = group["params"]
        given = [given] if hasattr(given, "value") and hasattr(given, "grad") else listed(name, given)
        if not given:
            raise ValueError(f"{name}: a group of parameters is empty")
        for parameter in given:
            check_arrays(name, parameter)
        if {id(parameter) for parameter in given} & {id(parameter) for parameter in self.parameters}:
            raise ValueError(f"{name}: a parameter is in two groups")
        options = self._options(self.defaults | {key: value for key, value in group.items() if key != "params"})
        self.param_groups.append({"params": given} | options)
        self.parameters += given
        self._states.append([{} for _ in given])

    @property
    def lr(self) -> float:
        return self.param_groups[0]["lr"]

    @lr.setter
    def lr(self, value: float) -> None:
        group = self.param_groups[0]
        group["lr"] = number(type(self).__name__, "lr", value, 0)
        group.pop("initial_lr", None)  # a schedule made from now on starts here

    def step(self) -> None:
        """Update each trainable parameter from its gradient."""
        for group, states_of_group in zip(self.param_groups, self._states, strict=True):
            # Kernels take parameters of one dtype together; SGD's first step of a parameter is unlike those after it.
            together: dict[tuple, tuple[list[np.ndarray], list[np.ndarray], list[State]]] = {}
            for parameter, state in zip(group["params"], states_of_group, strict=True):
                if parameter.trainable:
                    value = parameter.value
                    values, grads, states = together.setdefault((value.dtype, not state), ([], [], []))
                    values.append(value)
                    grads.append(parameter.grad)
                    states.append(state)
            for values, grads, states in together.values():
                self._update(values, grads, states, group)

    def zero_grad(self) -> None:
        """Set each gradient to zero."""
        for parameter in self.parameters:
            if hasattr(parameter, "zero_grad"):
                parameter.zero_grad()
            else:
                parameter.grad.fill(0)

    def state_dict(self) -> dict[str, np.ndarray]:
        """Copies of what a continued run needs, as arrays.

        ``param_groups.0.lr`` and so on are the options of each group, ``param_groups.0.params`` the places of its
        parameters among all; ``3.exp_avg`` and so on the state of each parameter that has been stepped.
        """
        entries, place = {}, 0
        for i, group in enumerate(self.param_groups):
            for name, value in group.items():
                if name != "params":
                    entries[f"param_groups.{i}.{name}"] = np.array(value)
            entries[f"param_groups.{i}.params"] = np.arange(place, place + len(group["params"]))
            place += len(group["params"])
        for i, state in enumerate(state for states in self._states for state in states):
            entries |= {f"{i}.{name}": array.copy() for name, array in state.items()}
        return entries

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Take over what `state_dict` of an optimiser of the same kind gave, for parameters of the same shapes.

        Raises
        ------
        ValueError
            If a name, shape or dtype does not fit; then nothing has changed.
        """
        where = f"{type(self).__name__}.load_state_dict"
        left = set(state)
        options = [self._load_options(where, i, state, left) for i in range(len(self.param_groups))]
        loaded: list[list[State]] = []
        place = 0
        for group, loaded_options in zip(self.param_groups, options, strict=True):
            loaded.append([])
            for parameter in group["params"]:
                loaded[-1].append(self._load_slots(where, place, parameter.value, loaded_options, state, left))
                place += 1
        if left:
            raise ValueError(f"{where}: {min(left)!r} is not an entry of {len(self.parameters)} parameters")
        self._states = loaded
        for group, loaded_options in zip(self.param_groups, options, strict=True):
            group.pop("initial_lr", None)
            group.update(loaded_options)

    def renewed(self, parameters: Iterable[Any]) -> Optimizer:
        """An optimiser of this kind, with these options, for other parameters: for a network that has got new layers.

        Parameters that it holds already stay in their group, further ones come into the first; none has a state yet.
        """
        given = listed(type(self).__name__, parameters)
        wanted, held = {id(parameter) for parameter in given}, {id(parameter) for parameter in self.parameters}
        groups = [[p for p in group["params"] if id(p) in wanted] for group in self.param_groups]
        groups[0] += [parameter for parameter in given if id(parameter) not in held]
        made = copy.copy(self)
        made.param_groups, made.parameters, made._states = [], [], []
        for group, params in zip(self.param_groups, groups, strict=True):
            if params:
                made.add_param_group(group | {"params": params})
        if not made.parameters:
            raise ValueError(f"{type(self).__name__}: parameters is empty")
        return made

    def _load_options(self, where: str, index: int, state: Mapping[str, Any], left: set[str]) -> Options:
        group, prefix = self.param_groups[index], f"param_groups.{index}."
        loaded = {}
        for name in (*self.defaults, "params", "initial_lr"):
            key = prefix + name
            if key in state:
                value = np.asarray(state[key]).tolist()
                loaded[name] = tuple(value) if isinstance(value, list) else value
                left.discard(key)
            elif name != "initial_lr":
                raise ValueError(f"{where}: {key!r} is missing")
        if len(loaded.pop("params")) != len(group["params"]):
            raise ValueError(f"{where}: {prefix + 'params'!r} must list the group's {len(group['params'])} parameters")
        return self._options(loaded)

    def _load_slots(
        self, where: str, place: int, value: np.ndarray, options: Options, state: Mapping[str, Any], left: set[str]
    ) -> State:
        loaded: State = {}
        present = [key for key in left if key.startswith(f"{place}.")]
        # A parameter that has not been stepped yet has no state; one whose options changed may have more than now.
        for name in dict.fromkeys((*self._slots(options), *self._slots(self._most()))) if present else ():
            key = f"{place}.{name}"
            if key not in state:
                if name in self._slots(options):
                    raise ValueError(f"{where}: {key!r} is missing")
                continue
            array, like = np.asarray(state[key]), _slot(name, value)
            if array.shape != like.shape or array.dtype != like.dtype:
                raise ValueError(f"{where}: {key!r} is {array.dtype} {array.shape}, expected {like.dtype} {like.shape}")
            loaded[name] = array.copy()
            left.discard(key)
        return loaded

    def _most(self) -> Options:
        """Options with which a parameter has all the state that it can have."""
        return {name: 0.5 if isinstance(value, float) else True for name, value in self.defaults.items()}

    def _options(self, options: Options) -> Options:
        """Checked options of a group."""
        checked = {"lr": number(type(self).__name__, "lr", options["lr"], 0), **self._checked(options)}
        if "initial_lr" in options:
            checked["initial_lr"] = number(type(self).__name__, "initial_lr", options["initial_lr"], 0)
        return checked

    def _fill(self, values: list[np.ndarray], states: list[State], options: Options) -> None:
        """Zeros for whatever the states do not hold yet."""
        names = self._slots(options)
        for value, state in zip(values, states, strict=True):
            if len(state) < len(names) or not all(name in state for name in names):
                for name in names:
                    if name not in state:
                        state[name] = np.zeros_like(_slot(name, value))

    def _checked(self, options: Options) -> Options:
        """The options beside the learning rate, checked."""
        raise NotImplementedError

    def _slots(self, options: Options) -> tuple[str, ...]:
        """The names of the state that a parameter has once it was stepped: arrays like it, but for a number "step"."""
        raise NotImplementedError

    def _update(self, values: list[np.ndarray], grads: list[np.ndarray], states: list[State], options: Options) -> None:
        """Update `values` and `states` of parameters of one dtype in place, and leave `grads` as they are.

        Either all states are empty, as at first, or none is; without momentum SGD's stay so.
        """
        raise NotImplementedError


def threads_of(values: list[np.ndarray]) -> int:
    """How many threads the update of so many numbers is worth."""
    return threads_for(sum([value.size for value in values]) * _WORK)


def fraction(where: str, name: str, value: Any) -> float:
    """`value` as a float in [0, 1)."""
    result = number(where, name, value, 0)
    if result >= 1:
        raise ValueError(f"{where}: {name} must be less than 1, got {value!r}")
    return result


def _slot(name: str, value: np.ndarray) -> np.ndarray:
    """What an entry of a parameter's state looks like."""
    return np.zeros((), np.int64) if name == "step" else value


def check_arrays(where: str, parameter: Any) -> None:
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


def listed(where: str, parameters: Any, groups: bool = False) -> list[Any]:
    """Parameters as a list, none of them twice; or groups of them as they are, if these may be."""
    if hasattr(parameters, "parameters"):
        raise TypeError(f"{where}: parameters is a {type(parameters).__name__}: give its .parameters()")
    if isinstance(parameters, (set, frozenset)):
        raise TypeError(f"{where}: parameters is a set, which has no order: give a list")
    try:
        given = list(parameters)
    except TypeError:
        raise TypeError(f"{where}: parameters must be Parameters, got {type(parameters).__name__}") from None
    if groups and given and all(isinstance(group, Mapping) for group in given):
        return given
    for parameter in given:
        if not (hasattr(parameter, "value") and hasattr(parameter, "grad")):
            raise TypeError(f"{where}: parameters must be Parameters, got a {type(parameter).__name__}")
    if len({id(parameter) for parameter in given}) < len(given):
        raise ValueError(f"{where}: parameters lists a parameter twice")
    return given
