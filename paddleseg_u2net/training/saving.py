"""Preparing the folder of a run, resuming it, and refusing to save weights that are not finite."""

from __future__ import annotations

import json
import logging
import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from paddleseg_u2net.config.loader import differences, load_config
from paddleseg_u2net.config.yaml_text import dump_config
from paddleseg_u2net.data.section import without_decisions
from paddleseg_u2net.io.exchange import restore
from paddleseg_u2net.io.files import atomic_write, remove_partial_files
from paddleseg_u2net.models import checkpoint
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.training.history import HISTORY, continue_history

if TYPE_CHECKING:
    import paddle

    from paddleseg_u2net.training.settings import TrainingSettings

log = logging.getLogger(__name__)

SETTINGS, PROVENANCE, CURVES = "settings.json", "run.json", "curves.png"
# what else a run leaves in its folder: moved when a new run starts there, and when the run is resumed
RECORDS = (checkpoint.CONFIG, SETTINGS, PROVENANCE, HISTORY, CURVES)
# what a resumed run reads or adds to
CONTINUED = (checkpoint.START, "vdlrecords.*.log", "mlruns", "wandb")
PREVIEWS = "previews"  # folder of `iter_N.png`
# what this run alone writes: other commands may use other sub-folders of `save_dir` at the same time
OWN = (*RECORDS, checkpoint.START, *checkpoint.BEST.values(), PREVIEWS, "iter_*")

DIVERGED = (
    "The checkpoints saved before are intact. Fix: a lower --learning_rate, or grad_clip_cfg under optimizer"
)


def prepare_run_folder(config: Mapping[str, Any], settings: TrainingSettings, progress: Progress) -> None:
    """Make `save_dir` ready for a run.

    Files of an earlier run are moved to `earlier_N`, except those that the run resumes from. The history is
    continued, and the best model of a run that is resumed from another folder is copied. The config and the
    settings are written.
    """
    remove_partial_files(settings.save_dir, OWN)
    source = settings.resume_model.parent if settings.resume_model else None
    same_folder = source is not None and source == settings.save_dir.resolve()
    earlier = keep_earlier_run(settings.save_dir, progress if same_folder else None)
    if earlier:
        log.info("Moved the earlier files in %s to %s", settings.save_dir, earlier)
    if source and not same_folder:
        checkpoint.copy_best(source, settings.save_dir, progress)
        continue_history(source, settings.save_dir)
    write_run_record(settings.save_dir, config, replace(settings, seed=progress.seed))


def keep_earlier_run(save_dir: Path, resumed: Progress | None = None) -> Path | None:
    """Move an earlier run into a folder of its own, so that a new one overwrites nothing.

    Args:
        save_dir: folder of the run.
        resumed: progress of the earlier run if it is continued; its checkpoints and previews up to there and
            the best models it names stay where they are, and its history is copied.

    Returns:
        The folder inside `save_dir` that holds the earlier run now, or None if there was none.
    """

    def newer(path: Path) -> bool:
        step = path.stem.removeprefix("iter_")
        return not (resumed and step.isdigit() and int(step) <= resumed.iter)

    best = checkpoint.BEST.items()
    found = [save_dir / name for name in RECORDS]
    found += [restore(save_dir / folder) for name, folder in best if not (resumed and name in resumed.best)]
    found += filter(newer, checkpoint.numbered(save_dir))
    found += filter(newer, (save_dir / PREVIEWS).glob("*"))
    found += [] if resumed else [path for pattern in CONTINUED for path in save_dir.glob(pattern)]
    found = [path for path in found if path.exists()]
    if not found:
        return None
    number = 1
    while (save_dir / f"earlier_{number}").exists():
        number += 1
    target = save_dir / f"earlier_{number}"
    for path in found:
        moved = target / path.relative_to(save_dir)
        moved.parent.mkdir(parents=True, exist_ok=True)
        if resumed and path.name == HISTORY:  # goes on in its place, also after a kill right here
            shutil.copyfile(path, moved)
        else:
            path.rename(moved)
    return target


def write_run_record(save_dir: Path, config: Mapping[str, Any], settings: Any) -> None:
    """Write the merged config and the flags of a run into its folder."""
    flags = {key: str(value) if isinstance(value, Path) else value for key, value in vars(settings).items()}
    texts = {checkpoint.CONFIG: dump_config(config), SETTINGS: json.dumps(flags, indent=1) + "\n"}
    for name, text in texts.items():
        with atomic_write(save_dir / name) as partial:
            partial.write_text(text, encoding="utf-8")


def config_changes(folder: Path, config: Mapping[str, Any]) -> list[str]:
    """Differences between the config of a checkpoint and the current one, `key: old -> new`; logs them."""
    if not (folder / checkpoint.CONFIG).is_file():
        return []
    saved, current = (without_decisions(cfg) for cfg in (load_config(folder / checkpoint.CONFIG), config))
    changes = differences(saved, current)
    if changes:
        log.warning("The config differs from the checkpoint's: %s", "; ".join(changes))
    return changes


def require_finite(network: paddle.nn.Layer, step: int) -> None:
    """Raise FloatingPointError if a weight is NaN or infinite, so that it is not saved."""
    import paddle

    for name, value in network.state_dict().items():
        if paddle.is_floating_point(value) and not bool(paddle.isfinite(value).all()):
            raise FloatingPointError(f"iter {step}: {name} is not finite. {DIVERGED}")


def leave_finished_run(settings: TrainingSettings, step: int) -> None:
    """Say that nothing is to do, and remove the old checkpoints of a run that was killed just before that.

    Args:
        settings: of the run; `resume_model` is its last checkpoint.
        step: of this checkpoint.
    """
    run, resumed = settings.save_dir, Path(settings.resume_model or "")
    if any(path.resolve() == resumed.resolve() for path in checkpoint.numbered(run)[-1:]):
        checkpoint.prune_checkpoints(run, settings.keep_checkpoint_max)
    log.info("Nothing to do: %s is at iter %d of %d", resumed, step, settings.iters)
