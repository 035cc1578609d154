"""ResNets: names, shapes, gradients, and the numbers of the same network in PyTorch, named as torchvision names it."""

from __future__ import annotations

import numpy as np
import pytest
from cases import distance

from cconv import gradcheck, models, nn, optim


def images(*shape, dtype=np.float32, seed=0):
    return np.random.default_rng(seed).normal(size=shape).astype(dtype)


class TestResNet18:
    def test_it_has_torchvisions_names_and_shapes(self):
        model = models.resnet18(rng=0)
        state = model.state_dict()
        assert sum(p.value.size for p in model.parameters()) == 11_689_512
        assert len(state) == 122
        shapes = {name: state[name].shape for name in state}
        assert shapes["conv1.weight"] == (64, 3, 7, 7)
        assert shapes["layer1.0.conv2.weight"] == (64, 64, 3, 3)
        assert shapes["layer2.0.downsample.0.weight"] == (128, 64, 1, 1)
        assert shapes["layer2.0.downsample.1.running_var"] == (128,)
        assert shapes["layer4.1.bn2.num_batches_tracked"] == ()
        assert shapes["fc.weight"] == (1000, 512)
        assert not any("bias" in name for name in state if "conv" in name)
        assert [name for name in state if name.startswith("layer1.0")] == [
            f"layer1.0.{layer}{i}.{name}"
            for i in (1, 2)
            for layer, names in (
                ("conv", ("weight",)),
                ("bn", ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")),
            )
            for name in names
        ]

    def test_images_of_any_size(self):
        model = models.resnet18(10, 1, rng=0)
        for size in ((32, 32), (64, 64), (33, 47)):
            assert model(images(2, 1, *size)).shape == (2, 10)

    def test_summary(self):
        summary = models.resnet18(rng=0).summary((3, 224, 224))
        rows = {row.path: row for row in summary.rows}
        assert rows["layer4.1.conv2"].output_shape == ("N", 512, 7, 7)
        assert rows["layer4.1.conv2"].multiply_adds == 512 * 512 * 9 * 49
        assert summary.parameters == 11_689_512
        assert 1.8e9 < summary.multiply_adds < 1.83e9

    def test_saved_and_loaded(self, tmp_path):
        model = models.resnet18(10, rng=0)
        model.forward(images(2, 3, 64, 64))
        model.save(tmp_path / "model.safetensors")
        other = models.resnet18(10, rng=1).load(tmp_path / "model.safetensors")
        x = images(2, 3, 64, 64, seed=1)
        np.testing.assert_array_equal(other(x), model(x))

    def test_errors(self):
        with pytest.raises(ValueError, match="resnet18: num_classes must be at least 1, got 0"):
            models.resnet18(0)
        with pytest.raises(TypeError, match="resnet20: in_channels must be an integer"):
            models.resnet20(10, "3")
        with pytest.raises(ValueError, match=r"in_channels=3, but x \(2, 1, 64, 64\) has 1"):
            models.resnet18(10, rng=0)(images(2, 1, 64, 64))


class TestResNet20:
    def test_it_is_that_of_the_paper(self):
        model = models.resnet20(rng=0)
        convolutions = [layer for _, layer in model.named_layers() if isinstance(layer, nn.Conv2d)]
        # 19 of 3x3 and the two 1x1 of the shortcuts.
        assert [conv.kernel_size for conv in convolutions].count((3, 3)) == 19 and len(convolutions) == 21
        assert sum(p.value.size for p in model.parameters()) == 272_474
        rows = {row.path: row.output_shape for row in model.summary((3, 32, 32)).rows}
        assert [rows[f"layer{i}.2.conv2"][1:] for i in (1, 2, 3)] == [(16, 32, 32), (32, 16, 16), (64, 8, 8)]

    def test_gradients(self):
        x = images(2, 1, 8, 8, dtype=np.float64)
        for train in (True, False):
            report = gradcheck(models.resnet20(3, 1, rng=0), x, samples=2, train=train, tolerance=1e-5)
            assert report, str(report)

    def test_seeds(self):
        first, same, other = (models.resnet20(rng=seed).state_dict() for seed in (1, 1, 2))
        assert all(np.array_equal(first[name], same[name]) for name in first)
        assert not np.array_equal(first["fc.weight"], other["fc.weight"])

    def test_it_learns(self):
        x = images(32, 1, 12, 12)
        y = (x[:, 0, :6].mean((1, 2)) > x[:, 0, 6:].mean((1, 2))).astype(np.int64)
        model, criterion = models.resnet20(2, 1, rng=0), nn.CrossEntropyLoss()
        optimizer = optim.SGD(model.parameters(), lr=0.05, momentum=0.9)
        losses = []
        for _ in range(12):
            logits, backward = model.forward(x)
            loss, loss_backward = criterion.forward(logits, y)
            backward(loss_backward(), need_x=False)
            optimizer.step()
            optimizer.zero_grad()
            losses.append(loss)
        assert losses[-1] < 0.5 * losses[0]


def twin(blocks, channels, num_classes, in_channels, small):
    """The network in PyTorch."""
    torch = pytest.importorskip("torch")
    tnn = torch.nn

    class Block(tnn.Module):
        def __init__(self, before, width, stride):
            super().__init__()
            self.conv1 = tnn.Conv2d(before, width, 3, stride, 1, bias=False)
            self.bn1 = tnn.BatchNorm2d(width)
            self.relu = tnn.ReLU()
            self.conv2 = tnn.Conv2d(width, width, 3, 1, 1, bias=False)
            self.bn2 = tnn.BatchNorm2d(width)
            self.downsample = None
            if stride != 1 or before != width:
                self.downsample = tnn.Sequential(
                    tnn.Conv2d(before, width, 1, stride, bias=False), tnn.BatchNorm2d(width)
                )

        def forward(self, x):
            y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
            return self.relu(y + (x if self.downsample is None else self.downsample(x)))

    class Network(tnn.Module):
        def __init__(self):
            super().__init__()
            self.conv1 = tnn.Conv2d(
                in_channels, channels[0], 3 if small else 7, 1 if small else 2, 1 if small else 3, bias=False
            )
            self.bn1 = tnn.BatchNorm2d(channels[0])
            self.relu = tnn.ReLU()
            self.maxpool = tnn.Identity() if small else tnn.MaxPool2d(3, 2, 1)
            before = channels[0]
            for i, (count, width) in enumerate(zip(blocks, channels, strict=True)):
                stage = []
                for j in range(count):
                    stage.append(Block(before, width, 2 if i and not j else 1))
                    before = width
                setattr(self, f"layer{i + 1}", tnn.Sequential(*stage))
            self.avgpool = tnn.AdaptiveAvgPool2d(1)
            self.fc = tnn.Linear(before, num_classes)

        def forward(self, x):
            x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
            for i in range(len(blocks)):
                x = getattr(self, f"layer{i + 1}")(x)
            return self.fc(torch.flatten(self.avgpool(x), 1))

    torch.manual_seed(0)
    return Network()


NETWORKS = {
    "resnet18": (models.resnet18, ((2, 2, 2, 2), (64, 128, 256, 512), 10, 3, False), (2, 3, 64, 64)),
    "resnet20": (models.resnet20, ((3, 3, 3), (16, 32, 64), 10, 3, True), (4, 3, 16, 16)),
}


@pytest.mark.torch
@pytest.mark.parametrize("name", NETWORKS)
class TestAgainstPyTorch:
    def test_a_state_dict_of_theirs_loads_and_predicts_the_same(self, name):
        make, arguments, shape = NETWORKS[name]
        theirs = twin(*arguments)
        torch = pytest.importorskip("torch")
        # Statistics of some batches, so that prediction does not use 0 and 1.
        for seed in range(3):
            theirs(torch.tensor(images(*shape, seed=seed) + 0.5))
        theirs.eval()
        model = make(10)
        model.load_state_dict(theirs.state_dict())
        x = images(*shape, seed=9)
        assert distance(model(x), theirs(torch.tensor(x)).detach().numpy()) < 1e-5

    def test_a_state_dict_of_ours_loads_into_theirs(self, name):
        torch = pytest.importorskip("torch")
        make, arguments, shape = NETWORKS[name]
        model = make(10, rng=0)
        model.forward(images(*shape))
        state = model.state_dict()
        theirs = twin(*arguments)
        assert list(state) == list(theirs.state_dict())
        theirs.load_state_dict({key: torch.tensor(value) for key, value in state.items()})
        x = images(*shape, seed=9)
        assert distance(model(x), theirs.eval()(torch.tensor(x)).detach().numpy()) < 1e-5

    def test_training_steps(self, name):
        """Loss, gradients, running statistics and parameters over two steps of SGD, in float64."""
        torch = pytest.importorskip("torch")
        make, arguments, shape = NETWORKS[name]
        theirs = twin(*arguments).double()
        model = make(10, dtype=np.float64)
        model.load_state_dict(theirs.state_dict())
        settings = {"lr": 0.05, "momentum": 0.9, "weight_decay": 5e-4}
        ours_optimizer = optim.SGD(model.parameters(), **settings)
        their_optimizer = torch.optim.SGD(theirs.parameters(), **settings)
        for step in range(2):
            x, y = images(*shape, dtype=np.float64, seed=step), np.arange(shape[0]) % 10
            logits, backward = model.forward(x)
            loss, loss_backward = nn.CrossEntropyLoss().forward(logits, y)
            grad_x = backward(loss_backward())
            tensor = torch.tensor(x, requires_grad=True)
            want = torch.nn.CrossEntropyLoss()(theirs(tensor), torch.tensor(y))
            want.backward()
            assert abs(loss - want.item()) < 1e-9
            assert distance(grad_x, tensor.grad.numpy()) < 1e-9
            for (key, p), q in zip(model.named_parameters(), theirs.parameters(), strict=True):
                assert distance(p.grad, q.grad.numpy()) < 1e-9, key
            ours_optimizer.step()
            ours_optimizer.zero_grad()
            their_optimizer.step()
            their_optimizer.zero_grad()
            state = theirs.state_dict()
            for key, value in model.state_dict().items():
                assert distance(value, state[key].numpy()) < 1e-9, key
