"""Settings of a training run."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

EMA_DECAY = 0.999


@dataclass(frozen=True)
class TrainingSettings:
    """What the flags of `u2net train` set; written to `settings.json` of the run.

    Args:
        save_dir: folder for checkpoints and records.
        iters: optimizer steps of the whole run.
        batch_size: images per batch and process.
        metric: score that selects the best model, as log lines call it.
        accumulate: batches per optimizer step; their gradients are averaged.
        save_interval: steps between checkpoints.
        log_iters: steps between log lines.
        num_workers: processes that load data; 0 loads in the training process.
        keep_checkpoint_max: number of `iter_N` folders to keep; 0 keeps all.
        early_stop_intervals: number of evaluations without improvement after which to stop; None never stops.
        do_eval: evaluate every checkpoint and keep the best model.
        use_ema: also keep an exponential moving average of the weights.
        ema_decay: share of that average that a step keeps, in (0, 1); less early in the run.
        use_vdl: write records for VisualDL.
        use_mlflow: record to MLflow.
        use_wandb: record to Weights & Biases.
        precision: a key of `precision.PRECISIONS`.
        cpu_engine: one of `cpu_engine.CPU_ENGINES`.
        amp_level: O1 or O2, as in `paddle.amp.auto_cast`.
        resume_model: `iter_N` folder to resume from.
        seed: of initial weights, data order and augmentation.
    """

    save_dir: Path
    iters: int
    batch_size: int
    metric: str
    accumulate: int = 1
    save_interval: int = 1000
    log_iters: int = 10
    num_workers: int = 0
    keep_checkpoint_max: int = 5
    early_stop_intervals: int | None = None
    do_eval: bool = False
    use_ema: bool = False
    ema_decay: float = EMA_DECAY
    use_vdl: bool = False
    use_mlflow: bool = False
    use_wandb: bool = False
    precision: str = "fp32"
    cpu_engine: str = "auto"
    amp_level: str = "O1"
    resume_model: Path | None = None
    seed: int = 0
