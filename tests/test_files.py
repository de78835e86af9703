"""Files are written whole, flushed, or not at all."""

import os
import resource
from pathlib import Path

import pytest

from solo_bayesncl import files


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_file_and_folder_are_flushed_before_and_after_the_renaming(tmp_path, monkeypatch):
    """So that a power cut leaves the old file or the new one."""
    events = []
    fsync, replace = os.fsync, Path.replace

    def flushed(descriptor):
        events.append(Path(f"/proc/self/fd/{descriptor}").is_dir())
        fsync(descriptor)

    def renamed(self, target):
        events.append("renamed")
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", flushed)
    monkeypatch.setattr(Path, "replace", renamed)
    files.write_text(tmp_path / "a.txt", "new")
    assert events == [False, "renamed", True]


def test_old_file_stays_where_the_new_one_is_too_large(tmp_path):
    files.write_text(tmp_path / "a.txt", "old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with (
            pytest.raises(files.WriteError, match=r"The table cannot be written: File too large"),
            files.writing("The table"),
        ):
            files.write_bytes(tmp_path / "a.txt", bytes(2000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (tmp_path / "a.txt").read_text() == "old"
    assert names(tmp_path) == ["a.txt"]


def test_only_what_a_killed_process_left_is_removed(tmp_path):
    kept = ["a.txt", ".0123abcd.b.txt", ".notes.a.txt", ".0123abcd.a.txt.old", "x.0123abcd.a.txt"]
    for name in (*kept, ".0123abcd.a.txt"):
        (tmp_path / name).touch()
    files.remove_temporaries(tmp_path, "a.txt")
    assert names(tmp_path) == sorted(kept)
