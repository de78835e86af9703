"""The keys that recipes pass on to Lightning's Trainer, of version 1 and of version 2."""

from typing import Annotated, Any, Literal

from pydantic import Field

from solo_bayesncl.recipes.validation import Section, accepts
from solo_bayesncl.recipes.values import Amount, Count, PathName, Positive, WholeNumber

_SHARE = "a share above 0 up to 1.0, or a number of batches"
_Share = Annotated[float, Field(gt=0, le=1)]
Batches = Annotated[Count | _Share, accepts(_SHARE)]
BatchesOrNone = Annotated[
    WholeNumber | Annotated[float, Field(ge=0, le=1)],
    accepts("a share from 0 to 1.0, or a number of batches"),
]
UpToAll = Annotated[int, Field(ge=-1)]
_DDP = tuple(
    f"ddp{start}{unused}"
    for start in ("", "_spawn", "_fork", "_notebook")
    for unused in ("", "_find_unused_parameters_false", "_find_unused_parameters_true")
)
_SHARDED = ("fsdp", "deepspeed", *(f"deepspeed_stage_{stage}" for stage in (1, 2, 3)))
Strategy = Annotated[
    Literal[("auto", *_DDP, *_SHARDED)],
    accepts("auto, ddp, or another one of Lightning's, such as ddp_spawn or fsdp"),
]


class TrainerSettings(Section):
    accelerator: Literal["auto", "gpu", "cuda", "cpu"] | None = None
    devices: Any = None  # checked in recipes.machine
    num_nodes: Count | None = None
    strategy: Strategy | None = None
    precision: Literal[
        "16-mixed", "bf16-mixed", "32-true", "64-true", 16, 32, 64, "16", "32", "64", "bf16"
    ] = "32-true"
    sync_batchnorm: bool | None = None
    max_epochs: Count
    min_epochs: Count | None = None
    max_steps: (
        Annotated[Count | Literal[-1], accepts("a number of steps, or -1 for max_epochs alone")]
        | None
    ) = None
    min_steps: Count | None = None
    max_time: (
        Annotated[
            Annotated[str, Field(pattern=r"^\d\d:\d\d:\d\d:\d\d$")] | dict[str, float],
            accepts("DD:HH:MM:SS in quotes"),
        ]
        | None
    ) = None
    accumulate_grad_batches: Count | None = None
    gradient_clip_val: Amount | None = None
    gradient_clip_algorithm: Literal["norm", "value"] | None = None
    limit_train_batches: Batches | None = None
    limit_val_batches: BatchesOrNone | None = None
    limit_test_batches: BatchesOrNone | None = None
    limit_predict_batches: BatchesOrNone | None = None
    overfit_batches: (
        Annotated[Literal[0], accepts("0: for fewer images, data.fraction or limit_train_batches")]
        | None
    ) = None
    fast_dev_run: bool | WholeNumber | None = None
    val_check_interval: Batches | None = None
    check_val_every_n_epoch: Count | None = None
    num_sanity_val_steps: UpToAll | None = None
    log_every_n_steps: Count | None = None
    enable_progress_bar: bool | None = None
    enable_model_summary: bool | None = None
    deterministic: bool | Literal["warn"] | None = None
    benchmark: bool | None = None
    inference_mode: bool | None = None
    detect_anomaly: bool | None = None
    barebones: bool | None = None
    profiler: Literal["simple", "advanced", "pytorch", "xla"] | None = None
    reload_dataloaders_every_n_epochs: WholeNumber | None = None
    default_root_dir: PathName | None = None
    move_metrics_to_cpu: bool | None = None
    track_grad_norm: Positive | Literal[-1, "inf"] | None = None
