"""Classes of ImageNet's validation images where these lie in one flat folder, as in the download.

Their names, `ILSVRC2012_val_00000001.JPEG` and so on, do not tell the class. Either of these does:

    LOC_val_solution.csv                        of Kaggle: the class of each image
    ILSVRC2012_validation_ground_truth.txt      of the development kit: an ILSVRC2012_ID in line n
    with meta.mat beside it                     for image n, and the class of each ID
    ILSVRC2012_devkit_t12.tar.gz                the development kit, packed; holds both

An ILSVRC2012_ID is not the position of the class in alphabetical order.
"""

import csv
import io
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path

from solo_bayesncl.errors import InputError

SOLUTION = "LOC_val_solution.csv"
GROUND_TRUTH = "ILSVRC2012_validation_ground_truth.txt"
META = "meta.mat"
DEVKITS = ("ILSVRC2012_devkit_t12.tar.gz", "ILSVRC2012_devkit_t12.tar")
# where the development kit has its two files, from the folder that it was unpacked in
_UNPACKED = ("", "data", "ILSVRC2012_devkit_t12/data", "devkit/data")

NEEDED = f"{SOLUTION} (Kaggle), {GROUND_TRUTH} with {META}, or {DEVKITS[0]} (image-net.org)"


def validation_classes(folders: Iterable[Path]) -> dict[str, str] | None:
    """The class of each validation image, from the first file that has them.

    Args:
        folders: where to look.

    Returns:
        Name of the image without its suffix -> WordNet ID, such as n01440764; None where there is
        no such file.

    Raises:
        InputError: for a file that does not hold what its name says.
    """
    for folder in folders:
        if (path := folder / SOLUTION).is_file():
            return _read(path, _of_solution)
        for place in _UNPACKED:
            if (path := folder / place / GROUND_TRUTH).is_file():
                return _read(path, _of_ground_truth)
        for name in DEVKITS:
            if (path := folder / name).is_file():
                return _read(path, _of_devkit)
    return None


def _read(path: Path, read: Callable[[Path], dict[str, str]]) -> dict[str, str]:
    try:
        if classes := read(path):
            return classes
        raise ValueError("it names no image")
    except InputError:
        raise
    except Exception as error:  # scipy, tarfile and csv have many
        raise InputError(
            f"{path} does not hold the classes of ImageNet's validation images "
            f"({type(error).__name__}: {error}). Get it again: {NEEDED}."
        ) from error


def _of_solution(path: Path) -> dict[str, str]:
    with path.open(newline="", encoding="utf-8-sig") as file:
        # the class is followed by boxes, and by itself for each further box
        return {row["ImageId"]: row["PredictionString"].split()[0] for row in csv.DictReader(file)}


def _of_ground_truth(path: Path) -> dict[str, str]:
    meta = path.with_name(META)
    if not meta.is_file():
        raise InputError(
            f"{path} numbers the classes by ILSVRC2012_ID, and {META} of the same development kit, "
            "which says what the numbers mean, is not beside it. Copy it there."
        )
    return _classes(path.read_bytes(), meta.read_bytes())


def _of_devkit(path: Path) -> dict[str, str]:
    with tarfile.open(path) as archive:
        content = {
            Path(member.name).name: archive.extractfile(member).read()
            for member in archive
            if member.isfile() and Path(member.name).name in (GROUND_TRUTH, META)
        }
    return _classes(content[GROUND_TRUTH], content[META])


def _classes(ground_truth: bytes, meta: bytes) -> dict[str, str]:
    import numpy as np
    from scipy.io import loadmat  # slow to import

    synsets = np.atleast_1d(loadmat(io.BytesIO(meta), squeeze_me=True)["synsets"])
    wordnet_ids = {
        int(number): str(wordnet_id)
        for number, wordnet_id in zip(synsets["ILSVRC2012_ID"], synsets["WNID"], strict=True)
    }
    return {
        f"ILSVRC2012_val_{image:08d}": wordnet_ids[int(number)]
        for image, number in enumerate(ground_truth.split(), start=1)
    }
