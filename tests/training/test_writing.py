"""What fails while writing is called so, leaves nothing half-written and loses nothing.

A limit on the size of files makes writing fail as a full disk does.
"""

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from conftest import only_run
from small_runs import arguments, assert_same_training, at

from solo_bayesncl.__main__ import main
from solo_bayesncl.adapters import adapter
from solo_bayesncl.files import WriteError
from solo_bayesncl.training.loggers import name_write_errors, quiet_writers

pytestmark = pytest.mark.usefixtures("narrow_backbone")

SMALL = 20_000  # bytes: less than a checkpoint, more than the other files


@contextmanager
def limited_files(size: int) -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def refused(typed: list[str], capsys) -> str:
    assert main(typed) == 2
    message = capsys.readouterr().err
    assert "Traceback" not in message
    assert "data.train_path" not in message
    return message


def test_checkpoint_that_cannot_be_written_is_named_and_leaves_nothing(images, tmp_path, capsys):
    with limited_files(SMALL):
        message = refused(arguments(images, tmp_path), capsys)
    assert f"The checkpoint {tmp_path}/bayesncl/" in message
    assert "-ep=0.ckpt cannot be written: File too large." in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_last_good_checkpoint_stays_and_is_continued(images, tmp_path, capsys):
    undisturbed, out = tmp_path / "undisturbed", tmp_path / "out"
    assert main(arguments(images, undisturbed)) == 0
    typed = arguments(images, out)
    with limited_files(2**30), at("between epochs", lambda: limit(SMALL)):
        message = refused(typed, capsys)
    run = only_run(out, "bayesncl")
    (first,) = run.glob("*.ckpt")
    assert first.name.endswith("-ep=0.ckpt")
    assert f"The checkpoint {run}/" in message
    assert f"The checkpoint {first} stays: the same command continues from it." in message
    assert not list(run.glob("*.partial"))
    assert main(typed) == 0
    assert_same_training(run, only_run(undisturbed, "bayesncl"))


def limit(size: int) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))


@pytest.mark.parametrize(
    ("moment", "size", "expected"),
    [("at the start", 100, "args.json cannot be written"), ("in a step", 10, "metrics.csv cannot")],
)
def test_other_files_that_cannot_be_written_are_named(
    images, tmp_path, capsys, moment, size, expected
):
    typed = arguments(images, tmp_path)
    if moment == "at the start":
        with limited_files(size):
            message = refused(typed, capsys)
    else:
        with limited_files(2**30), at(moment, lambda: limit(size)):
            message = refused(typed, capsys)
    assert expected in message
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


# pytest would report the thread's exception in place of Python
@pytest.mark.filterwarnings("error::pytest.PytestUnhandledThreadExceptionWarning")
def test_tensorboard_file_that_cannot_be_written_is_named(tmp_path, capsys):
    logger = adapter().pl.loggers.TensorBoardLogger(tmp_path, name="ncl", version="run")
    name_write_errors(logger, "The TensorBoard file")
    _ = logger.experiment
    with limited_files(10), quiet_writers():
        with pytest.raises(WriteError, match="The TensorBoard file cannot be written: File too"):
            for step in range(3):
                logger.log_metrics({"loss": 1.0}, step)
                logger.save()
        logger.finalize("failed")  # of the training: not another error
    assert capsys.readouterr().err == ""  # TensorBoard writes in a thread


def test_full_device_is_no_unreadable_image(images, tmp_path):
    from omegaconf import OmegaConf

    from solo_bayesncl.recipes.checks import data_errors_as_input_errors

    cfg = OmegaConf.create({"data": {"train_path": "t", "val_path": "v", "dataset": "custom"}})
    with (
        pytest.raises(WriteError, match="No space left on device"),
        data_errors_as_input_errors(cfg),
        Path("/dev/full").open("w") as file,
    ):
        file.write("x")
        file.flush()
