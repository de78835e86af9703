"""A narrow, short ResNet under the name resnet18, so that a checkpoint takes less than 100 KB.

solo-learn 1.0.2 has no small backbone, and its settings cannot shrink one below 7 MB. Run as a
program, this is `solo-bayesncl` with that backbone.
"""

import sys

import torchvision
from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

STEM = 8


class NarrowResNet(ResNet):
    """torchvision's ResNet with one block per stage, of 2, 4, 8 and 16 channels."""

    def __init__(self):
        super().__init__(BasicBlock, [1, 1, 1, 1])
        self.conv1 = nn.Conv2d(3, STEM, kernel_size=7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(STEM)
        self.fc = nn.Identity()

    def _make_layer(self, block, planes, *args, **kwargs):
        if planes == 64:  # the first stage, which the stem feeds
            self.inplanes = STEM
        return super()._make_layer(block, planes // 32, *args, **kwargs)


def narrow_resnet18(*_, **__) -> NarrowResNet:
    """Takes the arguments of the builder that it replaces, and ignores them."""
    return NarrowResNet()


if __name__ == "__main__":
    torchvision.models.resnet18 = narrow_resnet18  # before solo-learn imports it

    from solo_bayesncl.__main__ import main

    sys.exit(main())
