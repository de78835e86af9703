"""Runs docs/tutorial.ipynb. As a program, it renews the outputs:

.venv/bin/python tests/support/tutorial.py
"""

import os
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

NOTEBOOK = Path(__file__).parents[2] / "docs/tutorial.ipynb"
# of torchmetrics and tqdm, at import
THEIR_WARNINGS = ("pkg_resources is deprecated", "IProgress not found")


def read() -> NotebookNode:
    return nbformat.read(NOTEBOOK, as_version=4)


def execute(notebook: NotebookNode, folder: Path) -> None:
    """Runs all cells in a kernel of this Python, with `folder` as its current folder."""
    env = {
        **os.environ,
        "OMP_NUM_THREADS": "1",
        "IPYTHONDIR": str(folder / "ipython"),
        "PYTHONWARNINGS": ",".join(f"ignore:{message}" for message in THEIR_WARNINGS),
    }
    resources = {"metadata": {"path": str(folder)}}
    options = {"kernel_name": "python3", "timeout": 600, "record_timing": False}
    NotebookClient(notebook, resources=resources, **options).execute(env=env)


if __name__ == "__main__":
    notebook = read()
    with tempfile.TemporaryDirectory() as folder:
        execute(notebook, Path(folder))
    nbformat.write(notebook, NOTEBOOK)
