"""Dictionaries of frozen features: sparse autoencoders by SAELens, NMF by scikit-learn.

Each function fits a dictionary to the rows of a matrix, without labels. A row is then approximated
by a non-negative combination of the dictionary's atoms, of unit length; the weights are the code.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import Tensor

from solo_bayesncl.console import progress
from solo_bayesncl.errors import InputError

if TYPE_CHECKING:
    from sae_lens import TrainingSAE

# rows (M, F) -> (codes (M, D), reconstruction of the rows (M, F))
Encoder = Callable[[Tensor], tuple[Tensor, Tensor]]

# of an autoencoder's training step, drawn with replacement
BATCH_ROWS = 256
# Steps without activation after which a dimension of a TopK autoencoder is revived.
DEAD_AFTER = 100


def fit_topk_sae(rows: Tensor, dims: int, seed: int, *, k: int, steps: int, lr: float) -> Encoder:
    """TopK sparse autoencoder, whose auxiliary loss revives dead dimensions (Gao et al. 2024).

    Args:
        rows: (R, F) float32, finite.
        dims: D, number of dimensions of the code.
        seed: of the initial weights and the batches.
        k: largest number of active dimensions.
        steps: of Adam, with 256 rows each.
        lr: learning rate, which falls to zero over the last fifth of the steps.
    """
    from sae_lens import TopKTrainingSAE, TopKTrainingSAEConfig  # optional, and slow to import

    config = TopKTrainingSAEConfig(d_in=rows.size(1), d_sae=dims, k=min(k, dims))
    return _fit_sae(lambda: TopKTrainingSAE(config), rows, seed, steps, lr)


def fit_l1_sae(rows: Tensor, dims: int, seed: int, *, l1: float, steps: int, lr: float) -> Encoder:
    """Sparse autoencoder with ReLU and an L1 penalty (Bricken et al. 2023).

    Args:
        rows, dims, seed, steps, lr: as above.
        l1: weight of the penalty. Rows are centred and scaled to a mean squared norm of F, whose
            reconstruction error is summed over features.
    """
    from sae_lens import StandardTrainingSAE, StandardTrainingSAEConfig

    config = StandardTrainingSAEConfig(d_in=rows.size(1), d_sae=dims, l1_coefficient=l1)
    return _fit_sae(lambda: StandardTrainingSAE(config), rows, seed, steps, lr)


def _fit_sae(
    build: Callable[[], TrainingSAE], rows: Tensor, seed: int, steps: int, lr: float
) -> Encoder:
    from sae_lens.config import LoggingConfig, SAETrainerConfig
    from sae_lens.training.sae_trainer import SAETrainer

    mean = rows.mean(dim=0)
    scale = (rows - mean).square().mean().sqrt().clamp(min=torch.finfo(rows.dtype).tiny)
    inputs = (rows - mean) / scale
    device = rows.device
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        sae = build().to(device)
        trainer = SAETrainer(
            SAETrainerConfig(
                total_training_samples=steps * BATCH_ROWS,
                train_batch_size_samples=BATCH_ROWS,
                lr=lr,
                lr_end=lr,
                lr_decay_steps=steps // 5,
                device=str(device),
                dead_feature_window=DEAD_AFTER,
                logger=LoggingConfig(log_to_wandb=False),
            ),
            sae,
            data_provider=iter(()),  # batches are given to `step`, as `fit` has a bar of its own
        )
        for _ in progress(range(steps), "sparse autoencoder"):
            trainer.step(inputs[torch.randint(len(inputs), (BATCH_ROWS,), device=device)])
            trainer.n_training_steps += 1
    sae.eval()
    sae.fold_W_dec_norm()

    @torch.no_grad()
    def encode(rows: Tensor) -> tuple[Tensor, Tensor]:
        codes = sae.encode((rows - mean) / scale)
        return codes, sae.decode(codes) * scale + mean

    return encode


def fit_nmf(rows: Tensor, dims: int, seed: int) -> Encoder:
    """Non-negative matrix factorisation of the rectified rows.

    Args:
        rows, dims, seed: as above. With as many dimensions as features, the rows themselves are an
            exact solution.
    """
    from sklearn.decomposition import NMF  # slow to import

    if not (rows > 0).any():  # as of a closed gate; scikit-learn has no factors of zeros
        return lambda rows: (rows.new_zeros(len(rows), dims), torch.zeros_like(rows))
    init = "nndsvda" if dims <= min(rows.shape) else "random"
    nmf = NMF(dims, init=init, random_state=seed)

    def encode(rows: Tensor) -> tuple[Tensor, Tensor]:
        with _without_convergence():
            weights = torch.from_numpy(nmf.transform(_rectified(rows))).to(rows)
        atoms = torch.from_numpy(nmf.components_).to(rows)
        return weights * atoms.norm(dim=1), weights @ atoms

    with _without_convergence():
        nmf.fit(_rectified(rows))
    return encode


@contextmanager
def _without_convergence() -> Iterator[None]:
    """Accepts the result of scikit-learn's 200 iterations: the error hardly falls any more."""
    from sklearn.exceptions import ConvergenceWarning

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        yield


def _rectified(rows: Tensor) -> np.ndarray:
    return rows.relu().cpu().numpy()


# by the name of the kind
FITS = {"topk_sae": fit_topk_sae, "l1_sae": fit_l1_sae, "nmf": fit_nmf}


def library_of(kind: str) -> str:
    """Name and version of the library that fits a kind."""
    name = "scikit-learn" if kind == "nmf" else "sae-lens"
    return f"{name} {version(name)}"


def require_library(kind: str, key: str) -> None:
    """Raises `InputError`, naming the setting `key`, where a kind's optional library is missing."""
    if kind != "nmf" and importlib.util.find_spec("sae_lens") is None:
        raise InputError(
            f'{key}={kind} needs SAELens: pip install "solo-bayesncl[controls]". Without it, only '
            "kind=nmf is possible."
        )
