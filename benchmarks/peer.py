"""PyTorch's side of the benchmarks, in a process of its own: the two libraries' thread pools do not meet, and either
has the settings it comes with. Reads pickled requests from standard input; see `measure.Peer`.
"""

from __future__ import annotations

import pickle
import sys
import time
from collections.abc import Callable

import numpy as np
import torch


class Residual(torch.nn.Module):
    """``relu(body(x) + shortcut(x))``."""

    def __init__(self, body: list[tuple], shortcut: list[tuple] | None):
        super().__init__()
        self.body = network(body)
        self.shortcut = network(shortcut or [])

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.relu(self.body(x) + self.shortcut(x))


def network(layers: list[tuple]) -> torch.nn.Sequential:
    """Layers given as (name, arguments, options)."""
    kinds = {"Residual": Residual}
    return torch.nn.Sequential(
        *((kinds.get(name) or getattr(torch.nn, name))(*args, **options) for name, args, options in layers)
    )


def training(
    layers: list[tuple], weights: list[np.ndarray], x: np.ndarray, y: np.ndarray, sgd: dict
) -> Callable[[], None]:
    """A training step, from the weights given."""
    model = network(layers)
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(value))
    inputs, labels = torch.from_numpy(x), torch.from_numpy(y)
    criterion, optimizer = torch.nn.CrossEntropyLoss(), torch.optim.SGD(model.parameters(), **sgd)

    def step() -> None:
        criterion(model(inputs), labels).backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def prediction(layers: list[tuple], weights: list[np.ndarray], x: np.ndarray) -> Callable[[], object]:
    """What the network says of x."""
    model = network(layers).eval()
    with torch.no_grad():
        for parameter, value in zip(model.parameters(), weights, strict=True):
            parameter.copy_(torch.from_numpy(value))
    inputs = torch.from_numpy(x)

    def predict() -> object:
        with torch.inference_mode():
            return model(inputs)

    return predict


def conv(which: str, x, weight, bias, grad_y, stride: int, padding, dilation: int, groups: int) -> Callable[[], object]:
    """One pass of a convolution: "forward", "input" or "weight"."""
    x, weight, bias, grad_y = map(torch.from_numpy, (x, weight, bias, grad_y))
    height, width = x.shape[2:]
    (top, bottom), (left, right) = padding
    unequal = top != bottom or left != right
    pads = [0, 0] if unequal else [top, left]

    def source():
        return torch.nn.functional.pad(x, (left, right, top, bottom)) if unequal else x

    def backward(mask):
        return torch.ops.aten.convolution_backward(
            grad_y, source(), weight, [len(weight)], [stride] * 2, pads, [dilation] * 2, False, [0, 0], groups, mask
        )

    def to_input():
        grad = backward([True, False, False])[0]
        return grad[:, :, top : top + height, left : left + width].contiguous() if unequal else grad

    return {
        "forward": lambda: torch.nn.functional.conv2d(source(), weight, bias, stride, pads, dilation, groups),
        "input": to_input,
        "weight": lambda: backward([False, True, True]),
    }[which]


def copying(size: int) -> Callable[[], None]:
    """A copy of `size` numbers of float32."""
    source, target = torch.ones(size), torch.empty(size)
    return lambda: target.copy_(source)


def elementwise(name: str, options: dict, x: np.ndarray, backward: bool) -> Callable[[], object]:
    """An operation of torch.nn.functional on x, forward, or backward from a gradient of ones."""
    inputs = torch.from_numpy(x).requires_grad_(backward)
    operation = getattr(torch.nn.functional, name)
    if not backward:
        return lambda: operation(inputs, **options)
    y = operation(inputs, **options)
    grad = torch.ones_like(y)
    return lambda: torch.autograd.grad(y, inputs, grad, retain_graph=True)


def augmentation(name: str, x: np.ndarray) -> Callable[[], object]:
    """Augmentation of a batch whose images differ each, drawn anew in each call."""
    images, (n, _, height, width) = torch.from_numpy(x), x.shape

    def crop(images: torch.Tensor) -> torch.Tensor:
        padded = torch.nn.functional.pad(images, (4, 4, 4, 4))
        rows = torch.randint(0, 9, (n, 1)) + torch.arange(height)
        columns = torch.randint(0, 9, (n, 1)) + torch.arange(width)
        columns = torch.where(torch.rand(n, 1) < 0.5, columns.flip(1), columns)
        return (
            padded[torch.arange(n)[:, None, None], :, rows[:, :, None], columns[:, None]]
            .permute(0, 3, 1, 2)
            .contiguous()
        )

    def affine(images: torch.Tensor) -> torch.Tensor:
        angle, scale = (torch.rand(n) - 0.5) * 0.35, torch.empty(n).uniform_(0.9, 1.1)
        cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
        x, y = torch.empty(2, n).uniform_(-0.2, 0.2)
        theta = torch.stack([torch.stack([cos, -sin, x], 1), torch.stack([sin, cos, y], 1)], 1)
        grid = torch.nn.functional.affine_grid(theta, list(images.shape), align_corners=False)
        return torch.nn.functional.grid_sample(images, grid, align_corners=False)

    place = torch.arange(-16, 17)
    weights = torch.exp(-0.5 * (place / 4) ** 2)
    weights /= weights.sum()
    still = torch.nn.functional.affine_grid(torch.eye(2, 3).expand(n, 2, 3), list(x.shape), align_corners=False)

    def elastic(images: torch.Tensor) -> torch.Tensor:
        noise = torch.nn.functional.pad(torch.rand(2 * n, 1, height, width) * 2 - 1, (16,) * 4, mode="reflect")
        noise = torch.nn.functional.conv2d(noise, weights.view(1, 1, 1, -1))
        noise = torch.nn.functional.conv2d(noise, weights.view(1, 1, -1, 1))
        moved = still + noise.view(n, 2, height, width).permute(0, 2, 3, 1) * (30 / height)
        return torch.nn.functional.grid_sample(images, moved, align_corners=False)

    return {
        "crop": lambda: crop(images),
        "affine": lambda: affine(images),
        "crop and affine": lambda: affine(crop(images)),
        "elastic": lambda: elastic(images),
    }[name]


def serve() -> None:
    """Answer requests until standard input ends."""
    function: Callable[[], object] = lambda: None  # noqa: E731
    while True:
        try:
            name, arguments = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        answer: object
        if name == "run":
            start = time.perf_counter()
            for _ in range(arguments):
                function()
            answer = time.perf_counter() - start
        elif name == "about":
            answer = f"{torch.get_num_threads()} threads of PyTorch {torch.__version__}"
        else:
            function = globals()[name](*arguments)
            answer = None
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    serve()
