"""Resuming a run, preparing its folder, and refusing to save weights that are not finite."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddleseg_u2net.config.loader import differences, load_config
from paddleseg_u2net.io.files import remove_partial_files
from paddleseg_u2net.models import checkpoint
from paddleseg_u2net.models.checkpoint import Progress

if TYPE_CHECKING:
    import paddle

    from paddleseg_u2net.training.settings import TrainingSettings

log = logging.getLogger(__name__)

DIVERGED = (
    "The checkpoints saved before are intact. Fix: a lower --learning_rate, or grad_clip_cfg under optimizer"
)


def prepare_run_folder(config: Mapping[str, Any], settings: TrainingSettings, progress: Progress) -> None:
    """Make `save_dir` ready for a run.

    Files of an earlier run are moved to `earlier_N`, except those that the run resumes from. The best model
    of a run that is resumed from another folder is copied. The config and the settings are written.
    """
    remove_partial_files(settings.save_dir)
    source = settings.resume_model.parent if settings.resume_model else None
    same_folder = source is not None and source == settings.save_dir.resolve()
    earlier = checkpoint.keep_earlier_run(settings.save_dir, progress if same_folder else None)
    if earlier:
        log.info("Moved the earlier files in %s to %s", settings.save_dir, earlier)
    if source and not same_folder:
        checkpoint.bring_best(source, settings.save_dir, progress)
    checkpoint.write_run_record(settings.save_dir, config, replace(settings, seed=progress.seed))


def config_changes(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """Differences between the config of a checkpoint and the current one, `key: old -> new`; logs them."""
    if not (folder / checkpoint.CONFIG).is_file():
        return []
    changes = differences(load_config(folder / checkpoint.CONFIG), config)
    if changes:
        log.warning("The config differs from the checkpoint's: %s", "; ".join(changes))
    return changes


def require_finite(network: paddle.nn.Layer, step: int) -> None:
    """Raise FloatingPointError if a weight is NaN or infinite, so that it is not saved."""
    import paddle

    for name, value in network.state_dict().items():
        if paddle.is_floating_point(value) and not bool(paddle.isfinite(value).all()):
            raise FloatingPointError(f"iter {step}: {name} is not finite. {DIVERGED}")
