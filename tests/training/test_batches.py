"""`data.augment=batch` through the real training loop."""

import pytest
from conftest import RECIPES, tiny

from solo_bayesncl.__main__ import main

pytestmark = pytest.mark.usefixtures("narrow_backbone")


def test_trains(images, tmp_path):
    command = ["pretrain", "--config-path", str(RECIPES / "pretrain/custom"), "--config-name"]
    assert main([*command, "bayesncl", *tiny(images, tmp_path, "++data.augment=batch")]) == 0
