"""bench's own models: ResNets for small images, and two that are built for one size of images."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from bench.errors import ScenarioError


class Shortcut(nn.Module):
    """A 1 x 1 convolution at every `stride`-th pixel, and batch normalization.

    Equivalent to a strided convolution, whose backward pass is slower on a CPU. channels_last: see CifarResNet.
    """

    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.stride = stride
        self.channels_last = True
        self.conv = nn.Conv2d(entering, leaving, 1, bias=False)
        self.bn = nn.BatchNorm2d(leaving)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, entering, height, width) to (batch, leaving, height / stride, width / stride)."""
        if self.channels_last:
            thinned = x.permute(0, 2, 3, 1)[:, :: self.stride, :: self.stride].permute(0, 3, 1, 2)
        else:
            thinned = x[:, :, :: self.stride, :: self.stride]
        return self.bn(self.conv(thinned))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions with a shortcut; a 1 x 1 convolution on it where the shape changes (He et al. 2016, B)."""

    def __init__(self, entering: int, leaving: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(entering, leaving, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(leaving)
        self.conv2 = nn.Conv2d(leaving, leaving, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(leaving)
        same = stride == 1 and entering == leaving
        self.shortcut = nn.Identity() if same else Shortcut(entering, leaving, stride)

    def forward(self, x: Tensor) -> Tensor:
        """(batch, entering, height, width) to (batch, leaving, height / stride, width / stride)."""
        # In place: batch normalization's backward needs its input, not its output.
        out = F.relu(self.bn1(self.conv1(x)), inplace=True)
        return F.relu(self.bn2(self.conv2(out)).add_(self.shortcut(x)), inplace=True)


class CifarResNet(nn.Module):
    """A ResNet for small images: a 3 x 3 stem without pooling, groups of basic blocks, the first at full resolution.

    channels: of the images. blocks, widths: per group. classes: width of the head.
    channels_last: in which order activations lie in memory, see lay. The gradients of a slice and of a mean lie in the order of
    the dimensions that it was given. Where activations lie in the other one, all that follows goes number by number: at 32 x 32
    pixels that was a sixth of a ResNet-8's step on a CPU. No result depends on it.
    """

    def __init__(self, channels: int, classes: int, blocks: tuple[int, ...], widths: tuple[int, ...]) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, widths[0], 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(widths[0])
        groups = []
        for number, (entering, leaving) in enumerate(pairwise((widths[0], *widths))):
            stride = 1 if number == 0 else 2
            group = [BasicBlock(entering, leaving, stride)]
            group += [BasicBlock(leaving, leaving, 1) for _ in range(blocks[number] - 1)]
            groups.append(nn.Sequential(*group))
        self.groups = nn.Sequential(*groups)
        self.head = nn.Linear(widths[-1], classes)
        self.channels_last = True
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    def forward(self, x: Tensor) -> Tensor:
        """(batch, channels, height, width) to logits (batch, classes)."""
        x = self.groups(F.relu(self.bn1(self.conv1(x)), inplace=True))
        return self.head(x.permute(0, 2, 3, 1).mean((1, 2)) if self.channels_last else x.mean((2, 3)))


def lay(model: nn.Module, memory_format: torch.memory_format) -> nn.Module:
    """Put a model's weights, and so what its layers pass on, in this order, and return it."""
    for module in model.modules():
        if isinstance(module, (CifarResNet, Shortcut)):
            module.channels_last = memory_format is torch.channels_last
    return model.to(memory_format=memory_format)


def _resnet8(channels: int, classes: int) -> nn.Module:
    return CifarResNet(channels, classes, (1, 1, 1), (16, 32, 64))


def _resnet8_narrow(channels: int, classes: int) -> nn.Module:
    return CifarResNet(channels, classes, (1, 1, 1), (8, 16, 32))


def _resnet18_cifar(channels: int, classes: int) -> nn.Module:
    return CifarResNet(channels, classes, (2, 2, 2, 2), (64, 128, 256, 512))


ZOO: dict[str, Callable[[int, int], nn.Module]] = {
    "resnet8": _resnet8,
    "resnet8-narrow": _resnet8_narrow,
    "resnet18-cifar": _resnet18_cifar,
}


def _mlp(channels: int, classes: int, pixels: int) -> nn.Module:
    """One hidden layer of 512: 784-512-10 for the digits of MNIST."""
    hidden = nn.Sequential(nn.Flatten(), nn.Linear(channels * pixels * pixels, 512), nn.ReLU(inplace=True))
    return nn.Sequential(hidden, nn.Linear(512, classes))


def _vit_tiny(channels: int, classes: int, pixels: int) -> nn.Module:
    """ViT-Tiny on patches of 4 x 4 pixels: 12 layers of width 192 with 3 heads (Touvron et al. 2021, DeiT-Ti)."""
    from torchvision.models import VisionTransformer

    if channels != 3 or pixels % 4:
        raise ScenarioError(
            f"model.name 'vit-tiny': found images of {channels} x {pixels} x {pixels}, expected 3 channels and a multiple of 4 "
            "pixels. Choose another model."
        )
    return VisionTransformer(pixels, 4, num_layers=12, num_heads=3, hidden_dim=192, mlp_dim=768, num_classes=classes)


# Name -> (channels, classes, pixels of a side) -> a model for images of that size alone.
SIZED: dict[str, Callable[[int, int, int], nn.Module]] = {"mlp": _mlp, "vit-tiny": _vit_tiny}
OWN = (*ZOO, *SIZED)
