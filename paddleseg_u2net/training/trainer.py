"""The training loop: step, log, save, evaluate, stop."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import paddle
from paddle import Tensor

from paddleseg_u2net.data.dataset import Dataset
from paddleseg_u2net.data.sampler import BatchStream
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.environment.distributed import this_rank
from paddleseg_u2net.errors import counted
from paddleseg_u2net.inference.augmentation import TestTimeAugmentation
from paddleseg_u2net.models import checkpoint
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.training.accumulation import grouped, mean_gradients
from paddleseg_u2net.training.batch_norm import folded_norms, restore_batch_norm
from paddleseg_u2net.training.cpu_engine import choose_cpu_engine, plan_batches, training_network
from paddleseg_u2net.training.distributed import average_statistics, barrier, distribute
from paddleseg_u2net.training.ema import MovingAverage, frozen_copy
from paddleseg_u2net.training.finetuning import prepare_finetuning, starting_weights
from paddleseg_u2net.training.gradients import PaddleGradients
from paddleseg_u2net.training.loader import load_batches, saved_when_a_worker_dies
from paddleseg_u2net.training.log import TrainingLog
from paddleseg_u2net.training.loss_check import LossCheck
from paddleseg_u2net.training.meter import Meter
from paddleseg_u2net.training.precision import amp_options
from paddleseg_u2net.training.records import finish_records, run_recorders
from paddleseg_u2net.training.saving import config_changes, require_finite
from paddleseg_u2net.training.schedule import advance, depends_on_step, schedule_of
from paddleseg_u2net.training.settings import TrainingSettings
from paddleseg_u2net.training.signals import StopSignals
from paddleseg_u2net.training.validation import Validation

log = logging.getLogger(__name__)

CALIBRATION_IMAGES = 16  # from which folded BatchNorm statistics are restored


class StepResult(NamedTuple):
    """Result of one training step: the loss, its parts per output (scalars), and the learning rate used."""

    loss: Tensor
    parts: list[Tensor]
    learning_rate: float


class Trainer:
    """One training run.

    Args:
        network: network to train.
        optimizer: optimizer of its parameters.
        losses: `types` and `coef`, one of each per output.
        config: config that these were built from; written beside each checkpoint.
        settings: settings of the run.
        val_spec: validation data; needed for `do_eval`.
        augmentation: test-time augmentation for evaluation.

    Raises:
        ValueError: the settings or `finetune` do not suit the device, the network, the validation data or
            the checkpoint.
        FileNotFoundError: `resume_model` is not a checkpoint.
    """

    def __init__(
        self,
        network: paddle.nn.Layer,
        optimizer: Any,
        losses: dict[str, list],
        config: Mapping[str, Any],
        settings: TrainingSettings,
        val_spec: DatasetSpec | None = None,
        augmentation: TestTimeAugmentation | None = None,
    ):
        prepare_finetuning(network, config.get("finetune", {}), settings.resume_model)
        self.network, self.optimizer, self.losses = network, optimizer, losses
        self.config, self.settings = config, settings
        self.rank = this_rank()
        device = paddle.device.get_device().split(":")[0]
        self.cpu_engine = choose_cpu_engine(settings.cpu_engine, network, device, settings.precision)
        self.on_cpu = device == "cpu"
        self.amp = amp_options(settings.precision, settings.amp_level, device)
        self.scaler = paddle.amp.GradScaler(init_loss_scaling=1024) if settings.precision == "fp16" else None
        self.ema = frozen_copy(network) if settings.use_ema else None
        self.average = MovingAverage(self.ema, settings.ema_decay) if self.ema is not None else None
        self.engine = f"{self.cpu_engine} {settings.precision}"
        self.progress = Progress(seed=settings.seed, metric=settings.metric, engine=self.engine)
        self.signals = StopSignals(enabled=self.rank.count == 1)
        self.stopped_early = False
        self.validation = None
        if settings.do_eval:
            assert val_spec is not None
            augmentation = augmentation or TestTimeAugmentation()
            self.validation = Validation(val_spec, config, settings, self.amp, augmentation, self.rank)
        if settings.resume_model:
            self._resume(settings.resume_model)
        recorders = run_recorders(settings, config, self.progress) if self.rank.index == 0 else []
        self.log = TrainingLog(settings.iters, recorders)

    def run(self, data: Dataset, val_data: Dataset | None = None) -> Progress:
        """Train to the last step, an early stop, or a signal; each leaves a checkpoint.

        Args:
            data: training data.
            val_data: validation data; needed for `do_eval`.
        """
        with self.log, self.signals:
            self.prepare(data)
            self.train(data, val_data)
            finish_records(self.log, self.settings, self.progress)
        return self.progress

    def train(self, data: Dataset, val_data: Dataset | None) -> None:
        """The training loop; see `run`."""
        meter = Meter(self.samples_per_step)
        losses = LossCheck(data, self.settings.batch_size, self.progress, self.rank, self.on_cpu)
        self.evaluate_resumed_checkpoint(val_data)
        if self.stopping:
            return
        batches = load_batches(data, self.settings, self.progress, self.rank)
        with saved_when_a_worker_dies(lambda: self.save_interrupted(losses)):
            for group in meter.timed(grouped(batches, self.settings.accumulate)):
                loss, parts, learning_rate = self.step(*group)
                meter.add(loss, parts)
                losses.add(loss, self.progress)
                if self.progress.iter % self.settings.log_iters == 0 or self.done or meter.overdue:
                    losses.check()
                    epoch = (self.progress.samples - 1) // len(data) + 1
                    self.log.steps(meter, self.progress.iter, epoch, learning_rate)
                    meter.reset()
                due = self.progress.iter % self.settings.save_interval == 0 or self.done
                if due or self.interrupted:
                    losses.check()
                    self.save(evaluation_pending=due and self.settings.do_eval)
                    self.evaluate(val_data)
                    self.prune()
                    if self.stopping:
                        break
                    meter.restart_clock()

    @property
    def samples_per_step(self) -> int:
        """Images of one optimizer step over all processes."""
        return self.settings.batch_size * self.settings.accumulate * self.rank.count

    @property
    def done(self) -> bool:
        """Whether the last step is done."""
        return self.progress.iter >= self.settings.iters

    @property
    def finished(self) -> bool:
        """Whether nothing is left to do, neither a step nor an evaluation."""
        return self.done and not (self.progress.pending and self.settings.do_eval)

    @property
    def interrupted(self) -> bool:
        """Whether a signal asked the run to stop."""
        return self.signals.received

    @property
    def stopping(self) -> bool:
        """Whether the run ends before its last step."""
        return self.interrupted or self.stopped_early

    @property
    def checkpoint_folder(self) -> Path:
        """Folder of a checkpoint of the current step."""
        return self.settings.save_dir / f"iter_{self.progress.iter}"

    def prepare(self, data: Dataset) -> None:
        """Make the network ready for the first `step`; BatchNorm statistics may be measured on the data."""
        self._restore_batch_norm(data)
        self.model = training_network(self.network, self.cpu_engine, self.settings.precision)
        plan_batches(self.model, data, self.settings.batch_size, self.settings.cpu_engine)
        if self.amp["enable"] and self.amp["level"] == "O2":
            self.model, self.optimizer = paddle.amp.decorate(
                self.network, self.optimizer, level="O2", dtype=self.amp["dtype"], save_dtype="float32"
            )
        self.start = starting_weights(
            self.network,
            self.config.get("finetune", {}),
            self.settings.save_dir,
            self.settings.resume_model,
            self.rank.index == 0,
        )
        self.model = distribute(self.model, self.rank.count)
        self.add_gradients = PaddleGradients(self.model, self.losses, self.amp, self.scaler)

    def step(self, *batches: Mapping[str, Tensor]) -> StepResult:
        """Train on one batch, or on several whose gradients are averaged.

        Args:
            batches: `img` (N, C, h, w) float32, and `label` (N, 1, h, w) float32 or int64.
        """
        paddle.seed((self.progress.seed + self.progress.iter) % 2**31)  # dropout is the same after resuming
        self.model.train()
        loss, parts = mean_gradients(self.add_gradients, self.model, batches)
        learning_rate = self.optimizer.get_lr()
        if self.start is not None:
            self.start.pull(learning_rate)
        self._update_weights()
        advance(self.optimizer, loss, self.rank.count)
        self.progress.iter += 1
        self.progress.samples += self.samples_per_step
        if self.average is not None:
            self.average.update(self.network, self.progress.iter)
        return StepResult(loss, parts, learning_rate)

    def _update_weights(self) -> None:
        # Names start from 0, so that every process that resumes the optimizer's state finds the same ones
        with paddle.utils.unique_name.guard():
            if self.scaler:
                self.scaler.step(self.optimizer)
                self.scaler.update()
            else:
                self.optimizer.step()
        self.optimizer.clear_grad()

    def save(self, evaluation_pending: bool) -> None:
        """Save a checkpoint, and record whether it is still to be evaluated."""
        for network in (self.network, self.ema):
            if network is not None:
                average_statistics(network, self.rank.count)
        require_finite(self.network, self.progress.iter)
        self.progress.pending = evaluation_pending
        if self.rank.index == 0:
            parts = self.network, self.optimizer, self.ema, self.scaler
            checkpoint.save_checkpoint(self.checkpoint_folder, *parts, self.progress, self.config)

    def save_interrupted(self, losses: LossCheck) -> Path | None:
        """Save a checkpoint of the last step, unless other processes are needed; returns the newest one."""
        if self.rank.count == 1 and self.progress.iter and not self.checkpoint_folder.exists():
            losses.check()
            self.save(evaluation_pending=False)
        return next(reversed(checkpoint.numbered(self.settings.save_dir)), None)

    def prune(self) -> None:
        """Remove old checkpoints; after the evaluation, which may find that the newest has diverged."""
        if self.rank.index == 0:
            checkpoint.prune_checkpoints(self.settings.save_dir, self.settings.keep_checkpoint_max)

    def evaluate(self, data: Dataset | None) -> None:
        """Evaluate the current checkpoint if that is pending, keep the best model, decide on early stopping.

        After a signal the evaluation stays pending; it is done when the run is resumed.
        """
        if self.validation is None or not self.progress.pending or self.interrupted:
            return
        assert data is not None
        found = {"model": self.network, "ema_model": self.ema}
        networks = {name: network for name, network in found.items() if network is not None}
        predictors = {name: self.validation.predictor(network) for name, network in networks.items()}
        improved = [
            self.validation.keep_best(name, network, predictors[name], data, self.progress, self.log)
            for name, network in networks.items()
        ]
        self.validation.show(predictors, data, self.progress.iter, self.log)
        self.progress.stale = 0 if any(improved) else self.progress.stale + 1
        self.progress.pending = False
        if self.rank.index == 0:
            checkpoint.save_progress(self.checkpoint_folder, self.progress)
        barrier(self.rank.count)
        patience = self.settings.early_stop_intervals
        if patience is not None and self.progress.stale >= patience:
            self.stopped_early = True
            step, metric = self.progress.iter, self.settings.metric
            log.info(
                "Stopped early at iter %d: no better %s in %s", step, metric, counted(patience, "evaluation")
            )

    def evaluate_resumed_checkpoint(self, data: Dataset | None) -> None:
        """Evaluate the checkpoint that the run resumes from, if it was interrupted before."""
        if self.progress.pending and self.validation:
            if not self.checkpoint_folder.is_dir():  # resumed from another folder
                self.save(evaluation_pending=True)
            self.evaluate(data)
            self.prune()

    def _resume(self, folder: Path) -> None:
        """Restore the state of a checkpoint."""
        self.progress = checkpoint.load_checkpoint(
            folder, self.network, self.optimizer, self.ema, self.scaler, self.settings.metric
        )
        log.info("Resumed %s at iter %d, seed %d", folder, self.progress.iter, self.progress.seed)
        if self.progress.engine not in ("", self.engine):
            log.warning(
                "%s was trained by %s, and this run goes on with %s: its result will differ by rounding from "
                "that of an uninterrupted run. Fix, if that matters: the same --cpu_engine and --precision",
                folder,
                self.progress.engine,
                self.engine,
            )
        self.progress.engine = self.engine
        changes = config_changes(folder, self.config)
        schedule = schedule_of(self.optimizer)
        if any(line.startswith(("lr_scheduler", "iters")) for line in changes) and depends_on_step(schedule):
            schedule.step(schedule.last_epoch)  # else the first step would use the old schedule's rate

    def _restore_batch_norm(self, data: Dataset) -> None:
        """Measure BatchNorm statistics if the weights were published without them."""
        if not folded_norms(self.network):
            return
        count = min(CALIBRATION_IMAGES, len(data))
        log.info(
            "The weights come without BatchNorm statistics; measuring them on %s", counted(count, "image")
        )
        keys = next(iter(BatchStream(len(data), count, self.progress.seed)))  # the same in every process
        images = (data[key]["img"] for key in keys)
        restored = restore_batch_norm(self.network, images)
        if self.ema is not None:
            self.ema.set_state_dict(self.network.state_dict())
        log.info("Measured BatchNorm statistics of %s", counted(restored, "layer"))
