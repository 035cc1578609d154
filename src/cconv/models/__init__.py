"""Networks ready to train, and a builder for the classic pattern. Each file reads as an example."""

from .builder import cnn
from .lenet import lenet5
from .mobilenet import mobilenet, mobilenet_v2
from .resnet import resnet18, resnet20
from .unet import unet
from .vgg import vgg

__all__ = ["cnn", "lenet5", "mobilenet", "mobilenet_v2", "resnet18", "resnet20", "unet", "vgg"]
