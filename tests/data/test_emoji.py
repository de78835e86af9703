"""The emoji of four vendors: one vendor held out, and what is missing is named."""

import csv
import json

import pytest
from PIL import Image

from solo_bayesncl.__main__ import main
from solo_bayesncl.data import make_emoji
from solo_bayesncl.data.emoji import BACKGROUND, VENDORS
from solo_bayesncl.errors import InputError

KINDS = {"face-smiling": "Smileys & Emotion", "sky & weather": "Travel & Places"}


@pytest.fixture
def packages(tmp_path):
    """Two emoji of each kind; apple has not drawn the last one. Top half red, the rest clear."""
    folder = tmp_path / "node_modules"
    drawing = Image.new("RGBA", (64, 64))
    drawing.paste("red", (0, 0, 64, 32))
    for vendor in VENDORS:
        images = folder / f"emoji-datasource-{vendor}/img/{vendor}/64"
        images.mkdir(parents=True)
        entries = [
            {
                "image": f"{number}.png",
                "name": f"NUMBER {number}",
                "category": KINDS[kind],
                "subcategory": kind,
                **{f"has_img_{name}": (name, number) != ("apple", 3) for name in VENDORS},
            }
            for number, kind in enumerate([*KINDS, *KINDS])
        ]
        (images.parents[2] / "emoji.json").write_text(json.dumps(entries))
        (images.parents[2] / "package.json").write_text('{"version": "16.0.0"}')
        for entry in entries:
            if entry[f"has_img_{vendor}"]:
                drawing.save(images / entry["image"])
    return folder


def rows(made):
    with (made.path / "metadata.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_validation_shows_the_held_out_vendor_only(packages, tmp_path):
    made = make_emoji(tmp_path / "out", packages=packages, held_out="google")
    assert {row["vendor"] for row in rows(made) if row["split"] == "val"} == {"google"}
    assert {row["vendor"] for row in rows(made) if row["split"] == "train"} == (
        {*VENDORS} - {"google"}
    )


def test_an_emoji_that_a_vendor_has_not_drawn_is_left_out(packages, tmp_path):
    made = make_emoji(tmp_path / "out", packages=packages)
    assert (made.train_images, made.val_images) == (4 + 4 + 3, 4)
    assert len(list(made.train_path.rglob("*.png"))) == 11


def test_classes_are_subcategories_under_safe_names(packages, tmp_path):
    made = make_emoji(tmp_path / "out", packages=packages)
    assert made.classes == ("face-smiling", "sky-weather")
    of_class = {row["class"]: row["category"] for row in rows(made)}
    assert of_class == {"face-smiling": "Smileys & Emotion", "sky-weather": "Travel & Places"}


def test_transparent_parts_show_the_background(packages, tmp_path):
    made = make_emoji(tmp_path / "out", packages=packages, size=24)
    with Image.open(made.val_path / "sky-weather/twitter-1.png") as image:
        assert (image.mode, image.size) == ("RGB", (24, 24))
        assert image.getpixel((12, 2)) == (255, 0, 0)
        assert image.getpixel((12, 22)) == BACKGROUND


def test_equal_packages_are_reused_and_others_refused(packages, tmp_path):
    make_emoji(tmp_path / "out", packages=packages)
    assert make_emoji(tmp_path / "out", packages=packages).reused
    (packages / "emoji-datasource-apple/package.json").write_text('{"version": "17.0.0"}')
    with pytest.raises(InputError, match=r"other settings \(versions"):
        make_emoji(tmp_path / "out", packages=packages)


def test_missing_packages_are_named_with_how_to_get_them(packages, tmp_path, capsys):
    for vendor in ("apple", "twitter"):
        (packages / f"emoji-datasource-{vendor}/emoji.json").unlink()
    out = tmp_path / "out"
    assert main(["data", "emoji", "--packages", str(packages), "--out", str(out)]) == 2
    message = capsys.readouterr().err
    assert f"--packages {packages} lacks" in message
    assert "`npm install emoji-datasource-apple emoji-datasource-twitter`" in message
    assert not out.exists()


@pytest.mark.parametrize("broken", ["img/google/64/2.png", "package.json", "emoji.json", "names"])
def test_an_incomplete_package_is_named(packages, tmp_path, broken):
    path = packages / "emoji-datasource-google" / broken
    if broken == "emoji.json":
        path.write_text('[{"image": "0.png"}]')
    elif broken == "names":
        path = path.with_name("emoji.json")
        path.write_text(path.read_text().replace('"subcategory"', '"kind"'))
    else:
        path.unlink()
    with pytest.raises(InputError, match="emoji-datasource-google is incomplete"):
        make_emoji(tmp_path / "out", packages=packages)


@pytest.mark.parametrize(
    "content", [b"", b"\x89PNG\r\n\x1a\n" + bytes(20)], ids=["empty", "only a header"]
)
def test_a_damaged_image_is_named(packages, tmp_path, content):
    path = packages / "emoji-datasource-google/img/google/64/2.png"
    path.write_bytes(content)
    with pytest.raises(InputError, match=r"google/64/2\.png cannot be read"):
        make_emoji(tmp_path / "out", packages=packages)
    assert [p.name for p in tmp_path.iterdir()] == ["node_modules"]


def test_an_unknown_vendor_is_refused(packages, tmp_path):
    with pytest.raises(InputError, match="held_out=nokia is not one of apple, facebook"):
        make_emoji(tmp_path / "out", packages=packages, held_out="nokia")


def test_options_of_another_data_set_are_refused(tmp_path, capsys):
    command = ["data", "emoji", "--textures", "--out", str(tmp_path / "out")]
    assert main(command) == 2
    assert "--textures is not an option of emoji. Leave it out." in capsys.readouterr().err
