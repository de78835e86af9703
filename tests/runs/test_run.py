"""Which checkpoint of a run is opened."""

import os
import zipfile

import pytest
import torch

from solo_bayesncl import runs
from solo_bayesncl.errors import InputError


@pytest.fixture
def run(tmp_path):
    """A run's folder with checkpoints of three epochs."""
    (tmp_path / "args.json").write_text("{}")
    for epoch in range(3):
        state = {"state_dict": {"weight": torch.full((1000,), float(epoch))}}
        torch.save(state, tmp_path / f"x-ep={epoch}.ckpt")
    return tmp_path


def truncate(path):
    os.truncate(path, path.stat().st_size // 2)


def empty(path):
    os.truncate(path, 0)


def zero(path):
    """As after a power cut: the length is there, the content is not."""
    path.write_bytes(bytes(path.stat().st_size))


def flip(path):
    """One bit of a weight, which torch does not notice."""
    content = bytearray(path.read_bytes())
    content[content.index(torch.full((1000,), 2.0).numpy().tobytes()) + 2] ^= 1
    path.write_bytes(content)


DAMAGES = (truncate, empty, zero, flip)


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_passed_over_with_a_warning(run, damage, caplog):
    caplog.set_level("WARNING", "solo_bayesncl")
    damage(run / "x-ep=2.ckpt")
    assert runs.Run.open(run).checkpoint == run / "x-ep=1.ckpt"
    assert f"{run / 'x-ep=2.ckpt'} cannot be read as a checkpoint: it is damaged" in caplog.text
    assert f"Using the checkpoint before it: {run / 'x-ep=1.ckpt'}" in caplog.text


@pytest.mark.parametrize("damage", DAMAGES)
def test_damaged_checkpoint_is_refused_by_its_name(run, damage):
    damage(run / "x-ep=2.ckpt")
    with pytest.raises(InputError, match=r"x-ep=2\.ckpt cannot be read as a checkpoint"):
        runs.load_weights(runs.Run.open(run / "x-ep=2.ckpt").checkpoint)


def test_all_damaged_checkpoints_are_named(run):
    for path in run.glob("*.ckpt"):
        truncate(path)
    with pytest.raises(InputError) as error:
        runs.Run.open(run)
    assert all(f"x-ep={epoch}.ckpt cannot be read" in str(error.value) for epoch in range(3))


def test_checkpoint_that_stays_the_same_is_checked_once(run, monkeypatch):
    checked = []
    test = zipfile.ZipFile.testzip
    monkeypatch.setattr(zipfile.ZipFile, "testzip", lambda self: checked.append(1) or test(self))
    for _ in range(2):
        runs.load_weights(runs.Run.open(run).checkpoint)
    assert len(checked) == 1


def test_new_folders_are_never_shared(tmp_path, monkeypatch):
    """Though two processes draw the same name."""
    draw = runs.run.random.SystemRandom.choices
    first = []

    def repeat_once(self, letters, k):
        if len(first) == 1:
            first.append(None)
            return first[0]
        drawn = draw(self, letters, k=k)
        first.append(drawn)
        return drawn

    monkeypatch.setattr(runs.run.random.SystemRandom, "choices", repeat_once)
    folders = {runs.new_folder(tmp_path / "ncl") for _ in range(2)}
    assert len(folders) == 2
    assert all(folder.is_dir() for folder in folders)


def test_settings_that_older_records_lack_count_only_with_another_value():
    recorded = {"method": "ncl", "method_kwargs": {"topk_k": 0}, "data": {}}
    for min_norm, same in ((0.03, True), (0.0, False)):
        today = {"min_norm": min_norm, "balance_weight": 0.0}
        settings = {**recorded, "method_kwargs": {"topk_k": 0, **today}}
        assert (runs.comparable(settings) == runs.comparable(recorded)) == same
