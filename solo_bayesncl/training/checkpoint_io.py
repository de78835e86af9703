"""How Lightning reads the checkpoint that a run resumes from."""

from pathlib import Path
from typing import Any

from solo_bayesncl import runs
from solo_bayesncl.adapters import adapter


class CheckpointIO(adapter().pl.plugins.io.TorchCheckpointIO):
    """Lightning's, which never runs code from a checkpoint.

    Lightning leaves that to torch's default, which TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD changes.
    """

    def load_checkpoint(self, path: str | Path, *unused: Any, **also_unused: Any) -> dict[str, Any]:
        return runs.load_checkpoint(Path(path))
