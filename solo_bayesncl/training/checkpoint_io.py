"""Checkpoint files of Lightning's trainer: written whole, read once."""

import io
from pathlib import Path
from typing import Any

import torch

from solo_bayesncl import files, runs
from solo_bayesncl.adapters import adapter

PARTIAL = ".partial"  # suffix while a checkpoint is being written


class CheckpointIO(adapter().pl.plugins.TorchCheckpointIO):
    """Lightning's plugin. What `read` has returned is not read again when training starts."""

    def __init__(self):
        super().__init__()
        self._content: dict[Path, dict] = {}

    def read(self, path: Path) -> dict:
        """A checkpoint's content, kept for Lightning; raises `InputError` for a damaged one."""
        if path not in self._content:
            self._content = {path: runs.load_checkpoint(path)}
        return self._content[path]

    def load_checkpoint(self, path: Path | str, *unused: Any, **options: Any) -> dict:
        """A checkpoint's content; Lightning changes it."""
        content = self._content.pop(Path(path), None)
        return runs.load_checkpoint(Path(path)) if content is None else content

    def save_checkpoint(
        self, checkpoint: dict, path: Path | str, storage_options: Any = None
    ) -> None:
        """Writes a checkpoint whole or not at all.

        Raises:
            WriteError: if it cannot be written.
        """
        path = Path(path)
        content = io.BytesIO()  # torch's own writer aborts the process where the disk is full
        torch.save(checkpoint, content)
        with files.writing(f"The checkpoint {path}"):
            files.write_bytes(path, content.getbuffer(), temporary=path.with_suffix(PARTIAL))


def size_on_disk(model: torch.nn.Module, optimizer: str) -> int:
    """Bytes of a checkpoint, at least: weights, and the optimizer's values of the trained ones."""
    weights = sum(value.nbytes for value in model.state_dict().values())
    trained = sum(value.nbytes for value in model.parameters() if value.requires_grad)
    return weights + trained * (2 if optimizer.startswith("adam") else 1)
