"""A photo with an orientation, or of 16 bits, is the same image to everything that reads it."""

import pytest
import torch
from conftest import RECIPES, make_images, only_run, tiny
from image_kinds import COLOURS, DEEP, ORIENTATION, TURNED, picture
from PIL import Image

from solo_bayesncl import load_encoder
from solo_bayesncl.__main__ import main
from solo_bayesncl.evaluation.encoding import encode_splits
from solo_bayesncl.evaluation.explanation import THUMBNAIL_PX, describe_image, explain
from solo_bayesncl.evaluation.options import Options

pytestmark = pytest.mark.usefixtures("narrow_backbone")
DIMENSIONS = 16


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """Validation images: pictures that lie on their side, and a deep one."""
    folder = tmp_path_factory.mktemp("photos")
    make_images(folder / "train", classes=2, per_class=8)
    make_images(folder / "val", classes=2, per_class=1)
    exif = Image.Exif()
    exif[ORIENTATION] = 6
    for suffix, options in ("jpg", {"quality": 95}), ("png", {}), ("webp", {"lossless": True}):
        picture().save(folder / f"val/class_0/turned.{suffix}", exif=exif, **options)
    Image.fromarray(DEEP).save(folder / "val/class_1/deep.png")
    return folder


@pytest.fixture(scope="module")
def model(photos, tmp_path_factory):
    out = tmp_path_factory.mktemp("out")
    recipe = ["--config-path", str(RECIPES / "pretrain/custom"), "--config-name", "ncl"]
    assert main(["pretrain", *recipe, *tiny(photos, out)]) == 0
    return encode_splits(only_run(out, "ncl"), Options(device="cpu"))


def test_evaluation_description_and_encoder_give_one_code(model):
    encoder = load_encoder(model.run.folder)
    files = [file for file, _ in model.images.samples]
    assert len(files) == 6
    for row, file in enumerate(files):
        code = model.val.codes[row]
        torch.testing.assert_close(describe_image(model, file).codes[0], code, rtol=0, atol=1e-5)
        with torch.no_grad():
            own = encoder(encoder.transform(Image.open(file))[None])[0]
        torch.testing.assert_close(own, code, rtol=0, atol=1e-5)
        values = dict.fromkeys(range(DIMENSIONS), 0.0)
        values |= {one.index: one.value for one in encoder.describe(file).active}
        described = torch.tensor([values[index] for index in range(DIMENSIONS)])
        torch.testing.assert_close(described, code, rtol=0, atol=1e-5)


def test_thumbnails_are_upright(model):
    explanation = explain(model)
    tiles = explanation.table["thumbnails"]["tiles"]
    (place,) = (i for i, tile in enumerate(tiles) if tile["path"].endswith("turned.png"))
    sheet, px = explanation.thumbnails, THUMBNAIL_PX
    thumbnail = sheet.crop((px * place, 0, px * (place + 1), px))
    upright = Image.fromarray(TURNED[6](COLOURS).copy())
    side = min(upright.size)
    top = (upright.height - side) // 2
    expected = upright.crop((0, top, side, top + side)).resize((px, px), Image.Resampling.NEAREST)
    assert thumbnail.tobytes() == expected.tobytes()
