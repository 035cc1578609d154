"""VGG, MobileNet and U-Net, and blocks of Inception, DenseNet and U-Net made of containers; numbers against PyTorch."""

from __future__ import annotations

import numpy as np
import pytest
from cases import distance

from cconv import gradcheck, models, nn, optim

NETWORKS = {
    "vgg": (lambda **o: models.vgg(3, 2, ((4,), (6, 8)), dropout=0.1, **o), (2, 4, 4), (3,)),
    "mobilenet": (lambda **o: models.mobilenet(3, 2, **o), (2, 9, 7), (3,)),
    "unet": (lambda **o: models.unet(3, 2, (4, 6, 8), **o), (2, 9, 7), (3, 9, 7)),
}


def images(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


@pytest.mark.parametrize("name", NETWORKS)
def test_shapes_and_gradients(name):
    make, x_shape, y_shape = NETWORKS[name]
    model = make(rng=0)
    assert model(images(2, *x_shape)).shape == (2, *y_shape)
    rng = np.random.default_rng(1)
    for _, layer in model.named_layers():
        if isinstance(layer, nn.BatchNorm2d):  # away from the kinks at 0, where all is at first
            layer.weight.value = 3 * rng.normal(size=layer.num_features)
            layer.bias.value = rng.normal(size=layer.num_features)
    report = gradcheck(model, images(2, *x_shape, dtype=np.float64), samples=2, tolerance=1e-5)
    assert report, str(report)


@pytest.mark.parametrize("name", NETWORKS)
def test_seeds_dtypes_and_files(name, tmp_path):
    make, x_shape, _ = NETWORKS[name]
    model, other = make(rng=0), make(rng=1)
    model.forward(images(3, *x_shape))
    model.save(tmp_path / "model.safetensors")
    x = images(2, *x_shape, seed=1)
    assert not np.array_equal(model(x), other(x))
    np.testing.assert_array_equal(other.load(tmp_path / "model.safetensors")(x), model(x))
    assert make(rng=0, dtype=np.float64)(x).dtype == np.float64
    for first, second in zip(make(rng=0).parameters(), make(rng=0).parameters(), strict=True):
        np.testing.assert_array_equal(first.value, second.value)


@pytest.mark.parametrize("name", ["vgg", "mobilenet"])
def test_sixteen_images_are_learnt_by_heart(name):
    model = models.vgg(4, 1, ((8,), (16,)), rng=0) if name == "vgg" else models.mobilenet(4, 1, rng=0)
    x, y = images(16, 1, 12, 12), np.arange(16) % 4
    loss = fitted(model, x, y, 40)
    assert loss < 0.2


def test_unet_learns_sixteen_images_pixel_by_pixel():
    x = images(16, 1, 10, 9)
    y = (x[:, 0] + np.roll(x[:, 0], 1, 2) > 0).astype(np.int64)
    model = models.unet(2, 1, (8, 16), rng=0)
    assert fitted(model, x, y, 40) < 0.2
    assert (model(x).argmax(1) == y).mean() > 0.9


def fitted(model, x, y, steps):
    criterion, optimizer = nn.CrossEntropyLoss(), optim.Adam(model.parameters(), 0.01)
    for _ in range(steps):
        logits, backward = model.forward(x)
        loss, loss_backward = criterion.forward(logits, y)
        backward(loss_backward(), need_x=False)
        optimizer.step()
        optimizer.zero_grad()
    return loss


def test_parameters_are_as_many_as_the_docstrings_say():
    for model, count in (
        (models.vgg(rng=0), 288_746),
        (models.mobilenet(rng=0), 134_538),
        (models.mobilenet_v2(rng=0), 3_504_872),
        (models.unet(rng=0), 536_338),
    ):
        assert sum(p.value.size for p in model.parameters()) == count


def test_mobilenet_v2_has_torchvisions_names():
    state = models.mobilenet_v2(rng=0).state_dict()
    assert len(state) == 314
    for name, shape in (
        ("features.0.0.weight", (32, 3, 3, 3)),
        ("features.1.conv.0.0.weight", (32, 1, 3, 3)),
        ("features.1.conv.1.weight", (16, 32, 1, 1)),
        ("features.2.conv.0.1.running_var", (96,)),
        ("features.2.conv.3.bias", (24,)),
        ("features.17.conv.2.weight", (320, 960, 1, 1)),
        ("features.18.0.weight", (1280, 320, 1, 1)),
        ("classifier.1.weight", (1000, 1280)),
    ):
        assert state[name].shape == shape, name


@pytest.mark.parametrize("size", [(1, 1), (1, 6), (5, 7), (16, 16), (17, 30)])
def test_unet_takes_images_of_any_size(size):
    model = models.unet(3, 2, (4, 4, 4), rng=0)
    y, backward = model.forward(images(2, 2, *size))
    assert y.shape == (2, 3, *size) and backward(np.ones_like(y)).shape == (2, 2, *size)


def test_errors():
    with pytest.raises(ValueError, match="vgg: in_channels must be at least 1, got 0"):
        models.vgg(10, 0)
    with pytest.raises(TypeError, match="mobilenet: num_classes must be an integer"):
        models.mobilenet("10")
    with pytest.raises(ValueError, match="unet: channels must name at least one resolution"):
        models.unet(channels=())


# Blocks, and the same in PyTorch --------------------------------------------------------------------------------------


def inception(**o):
    """Szegedy et al. 2015, figure 2b, narrow."""
    return nn.Parallel(
        nn.Sequential(nn.Conv2d(6, 4, 1, **o), nn.ReLU()),
        nn.Sequential(nn.Conv2d(6, 3, 1, **o), nn.ReLU(), nn.Conv2d(3, 5, 3, padding=1, **o), nn.ReLU()),
        nn.Sequential(nn.Conv2d(6, 2, 1, **o), nn.ReLU(), nn.Conv2d(2, 3, 5, padding=2, **o), nn.ReLU()),
        nn.Sequential(nn.MaxPool2d(3, 1, padding=1), nn.Conv2d(6, 2, 1, **o), nn.ReLU()),
    )


def inception_twin(torch, x, p):
    T = torch.nn.functional

    def conv(name, x, padding=0):
        return torch.relu(T.conv2d(x, p[f"{name}.weight"], p[f"{name}.bias"], padding=padding))

    third = conv("2.2", conv("2.0", x), 2)
    last = conv("3.1", T.max_pool2d(x, 3, 1, 1))
    return torch.cat([conv("0.0", x), conv("1.2", conv("1.0", x), 1), third, last], 1)


def dense_block(**o):
    """Huang et al. 2017: each step sees the outputs of all before it."""
    steps = [
        nn.Sequential(
            nn.BatchNorm2d(6 + 3 * i, dtype=o["dtype"]), nn.ReLU(), nn.Conv2d(6 + 3 * i, 3, 3, padding=1, **o)
        )
        for i in range(3)
    ]
    return nn.Sequential(*(nn.Parallel(nn.Identity(), step) for step in steps))


def dense_twin(torch, x, p):
    T = torch.nn.functional
    for i in range(3):
        n = f"{i}.1"
        y = T.batch_norm(x, None, None, p[f"{n}.0.weight"], p[f"{n}.0.bias"], True)
        y = T.conv2d(torch.relu(y), p[f"{n}.2.weight"], p[f"{n}.2.bias"], padding=1)
        x = torch.cat([x, y], 1)
    return x


def u_block(**o):
    """A step down, something there, a step up, and both side by side."""
    below = nn.Sequential(
        nn.MaxPool2d(2), nn.Conv2d(6, 8, 3, padding=1, **o), nn.ReLU(), nn.ConvTranspose2d(8, 6, 2, 2, **o)
    )
    return nn.Sequential(nn.Parallel(nn.Identity(), below), nn.Conv2d(12, 5, 3, padding=1, **o))


def u_twin(torch, x, p):
    T = torch.nn.functional
    below = torch.relu(T.conv2d(T.max_pool2d(x, 2), p["0.1.1.weight"], p["0.1.1.bias"], padding=1))
    below = T.conv_transpose2d(below, p["0.1.3.weight"], p["0.1.3.bias"], 2)
    return T.conv2d(torch.cat([x, below], 1), p["1.weight"], p["1.bias"], padding=1)


def unet_block(**o):
    return models.unet(2, 6, (4, 8), **o)


def unet_twin(torch, x, p):
    T = torch.nn.functional

    def convolutions(name, x, count):
        for i in range(0, 3 * count, 3):
            x = T.conv2d(x, p[f"{name}.{i}.weight"], padding=1)
            x = torch.relu(T.batch_norm(x, None, None, p[f"{name}.{i + 1}.weight"], p[f"{name}.{i + 1}.bias"], True))
        return x

    across = convolutions("0.encoder", x, 2)
    below = convolutions("0.below.encoder", T.max_pool2d(across, 2, ceil_mode=True), 2)
    below = convolutions("0.up", T.interpolate(below, size=x.shape[2:], mode="bilinear"), 1)
    both = convolutions("0.decoder", torch.cat([across, below], 1), 2)
    return T.conv2d(both, p["1.weight"], p["1.bias"])


BLOCKS = {
    "inception": (inception, inception_twin, (8, 8)),
    "dense": (dense_block, dense_twin, (7, 5)),
    "u": (u_block, u_twin, (8, 6)),
    "unet": (unet_block, unet_twin, (7, 9)),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", BLOCKS)
def test_blocks_have_pytorchs_numbers(name):
    torch = pytest.importorskip("torch")
    make, twin, size = BLOCKS[name]
    block, x = make(rng=np.random.default_rng(0), dtype=np.float64), images(3, 6, *size, dtype=np.float64)
    p = {key: torch.tensor(value, requires_grad=value.dtype.kind == "f") for key, value in block.state_dict().items()}
    tensor = torch.tensor(x, requires_grad=True)
    expected = twin(torch, tensor, p)
    y, backward = block.forward(x)
    assert distance(y, expected.detach().numpy()) < 1e-12
    grad_y = images(*y.shape, dtype=np.float64, seed=1)
    expected.backward(torch.tensor(grad_y))
    assert distance(backward(grad_y), tensor.grad.numpy()) < 1e-10
    for key, parameter in block.named_parameters():
        assert distance(parameter.grad, p[key].grad.numpy()) < 1e-10 or not abs(parameter.grad).max() > 1e-12, key


@pytest.mark.torch
def test_vgg_has_pytorchs_numbers():
    torch = pytest.importorskip("torch")
    T, layers, before = torch.nn, [], 3
    for block in ((32, 32), (64, 64), (128, 128)):
        for width in block:
            layers += [T.Conv2d(before, width, 3, padding=1, bias=False), T.BatchNorm2d(width), T.ReLU(inplace=True)]
            before = width
        layers.append(T.MaxPool2d(2))
    torch.manual_seed(0)
    twin = T.Sequential(*layers, T.AdaptiveAvgPool2d(1), T.Flatten(), T.Linear(128, 10))
    twin(torch.tensor(images(4, 3, 16, 16)))  # statistics
    twin.eval()
    model, x = models.vgg(rng=0), images(3, 3, 19, 16, seed=1)
    model.load_state_dict({name: value.numpy() for name, value in twin.state_dict().items()})
    assert distance(model(x), twin(torch.tensor(x)).detach().numpy()) < 2e-5


@pytest.mark.torch
def test_mobilenet_has_pytorchs_numbers():
    """A state dict of the same network in PyTorch, named as torchvision names it."""
    torch = pytest.importorskip("torch")
    T = torch.nn

    def unit(before, after, kernel, stride=1, groups=1):
        conv = T.Conv2d(before, after, kernel, stride, kernel // 2, groups=groups, bias=False)
        return T.Sequential(conv, T.BatchNorm2d(after), T.ReLU6())

    class Inverted(T.Module):
        def __init__(self, before, after, stride, expansion):
            super().__init__()
            hidden = before * expansion
            expand = [unit(before, hidden, 1)] if expansion != 1 else []
            last = T.Conv2d(hidden, after, 1, bias=False), T.BatchNorm2d(after)
            self.conv = T.Sequential(*expand, unit(hidden, hidden, 3, stride, hidden), *last)
            self.adds = stride == 1 and before == after

        def forward(self, x):
            return x + self.conv(x) if self.adds else self.conv(x)

    class Twin(T.Module):
        def __init__(self):
            super().__init__()
            blocks, before = [unit(3, 16, 3)], 16
            for expansion, after, count, stride in ((1, 16, 1, 1), (6, 24, 2, 1), (6, 32, 2, 2), (6, 64, 2, 2)):
                for i in range(count):
                    blocks.append(Inverted(before, after, stride if i == 0 else 1, expansion))
                    before = after
            self.features = T.Sequential(*blocks, unit(64, 256, 1))
            self.classifier = T.Sequential(T.Dropout(0.2), T.Linear(256, 10))

        def forward(self, x):
            return self.classifier(self.features(x).mean((2, 3)))

    torch.manual_seed(0)
    twin, model = Twin(), models.mobilenet(rng=0)
    x = images(4, 3, 16, 16)
    twin(torch.tensor(x))  # statistics
    twin.eval()
    assert [*twin.state_dict()] == [*model.state_dict()]
    model.load_state_dict({name: value.numpy() for name, value in twin.state_dict().items()})
    assert distance(model(x), twin(torch.tensor(x)).detach().numpy()) < 2e-5
