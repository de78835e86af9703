"""Sets of files: of processes that write one at once, the whole set of one is left."""

import multiprocessing

import pytest

from solo_bayesncl import files
from solo_bayesncl.locks import locked
from solo_bayesncl.outputs import write_together

NAMES = ("record.json", "figures/a.json", "b.json")


def write_often(folder, number: int) -> None:
    for _ in range(40):
        with write_together(folder, "record.json") as together:
            for name in NAMES:
                files.write_json(together / name, {"by": number})
        with locked(folder, timeout=-1, name=".solo-bayesncl.record.json.lock"):
            assert len({files.read_json(folder / name)["by"] for name in NAMES}) == 1


def test_sets_of_several_processes_are_not_mixed(tmp_path):
    fork = multiprocessing.get_context("fork")
    processes = [fork.Process(target=write_often, args=(tmp_path, n)) for n in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0
    assert {path.name for path in tmp_path.iterdir()} == {"record.json", "b.json", "figures"}


def test_set_that_cannot_be_written_leaves_the_old_one(tmp_path):
    with write_together(tmp_path, "record.json") as together:
        (together / "record.json").write_text("old")
    with pytest.raises(OSError, match="full"), write_together(tmp_path, "record.json") as together:
        (together / "record.json").write_text("new")
        raise OSError(28, "full")
    assert [path.name for path in tmp_path.iterdir()] == ["record.json"]
    assert (tmp_path / "record.json").read_text() == "old"
