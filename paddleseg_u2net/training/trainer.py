"""Step, log, save, evaluate, keep the best, stop."""

from __future__ import annotations

import contextlib
import copy
import logging
import math
import os
import signal
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import paddle
import paddle.distributed as dist
from paddle import Tensor

from paddleseg_u2net.config.loader import class_count, differences, load_config, preprocessing_of
from paddleseg_u2net.data.dataset import Dataset, ErrorReturningDataset, collate
from paddleseg_u2net.data.sampler import BatchStream
from paddleseg_u2net.data.spec import DatasetSpec
from paddleseg_u2net.engines.base import PaddleEngine
from paddleseg_u2net.environment.distributed import this_rank
from paddleseg_u2net.evaluation.model import EvaluationSettings, Scores, evaluate, is_better
from paddleseg_u2net.inference.predictor import Predictor, TestTimeAugmentation
from paddleseg_u2net.losses import deep_supervision
from paddleseg_u2net.metrics.protocol import MapProtocol
from paddleseg_u2net.models import checkpoint
from paddleseg_u2net.models.checkpoint import Progress
from paddleseg_u2net.training.batch_norm import folded_norms, restore_batch_norm
from paddleseg_u2net.training.ema import average_into, average_statistics
from paddleseg_u2net.training.meter import Meter
from paddleseg_u2net.training.settings import Settings, amp_options

log = logging.getLogger(__name__)

CALIBRATION_IMAGES = 16
DIVERGED = "Earlier checkpoints are whole. Fix: a lower --learning_rate, or grad_clip_cfg under optimizer"


class Trainer:
    """One run.

    Args:
        network: what learns.
        optimizer: of its parameters.
        losses: `types` and `coef`, one of each per output.
        train_spec: training data, not inspected yet.
        val_spec: validation data, not inspected yet; needed for do_eval.
        config: what built all of these; written beside each checkpoint.
        settings: the flags.
        augmentation: of evaluation.
    """

    def __init__(
        self,
        network: paddle.nn.Layer,
        optimizer: Any,
        losses: dict[str, list],
        train_spec: DatasetSpec,
        val_spec: DatasetSpec | None,
        config: Mapping[str, Any],
        settings: Settings,
        augmentation: TestTimeAugmentation | None = None,
    ):
        self.network, self.optimizer, self.losses = network, optimizer, losses
        self.train_spec, self.val_spec, self.config, self.settings = train_spec, val_spec, config, settings
        self.augmentation = augmentation or TestTimeAugmentation()
        self.map_protocol = MapProtocol.from_options(config.get("test_config", {}))
        self.evaluation = EvaluationSettings.from_config(config, settings.metric)
        rank = this_rank()
        self.rank, self.ranks = rank.index, rank.count
        self.amp = amp_options(
            settings.precision, settings.amp_level, paddle.device.get_device().split(":")[0]
        )
        self.ema = self._frozen_copy() if settings.use_ema else None
        self.scaler = paddle.amp.GradScaler(init_loss_scaling=1024) if settings.precision == "fp16" else None
        self.progress = Progress(seed=settings.seed, metric=settings.metric)
        if settings.do_eval and val_spec:
            self._check_evaluation(val_spec)
        self.interrupted = False
        if settings.resume_model:
            self._resume(settings.resume_model)

    @property
    def finished(self) -> bool:
        """Whether a resumed run has nothing left to do."""
        return self._done() and not (self.progress.pending and self.settings.do_eval)

    def run(self, data: Dataset, val_data: Dataset | None = None) -> Progress:
        """Train to the end, an early stop, or an interruption (which leaves a checkpoint); see `Settings`.

        Args:
            data: the inspected training data.
            val_data: the inspected validation data; needed for do_eval.
        """
        with self._writer() as write, self._interruptible():
            self.prepare(data)
            meter = Meter(self.settings.batch_size * self.ranks)
            if self.progress.pending and self.settings.do_eval:
                if not self._folder().is_dir():  # the checkpoint lies in another folder
                    self._save(pending=True)
                if self._evaluate(write, val_data) or self.interrupted:
                    return self.progress
            for batch in meter.read(self._loader(data)):
                loss, parts, rate = self.step(batch)
                meter.add(loss, parts)
                if self.progress.iter % self.settings.log_iters == 0 or self._done() or meter.silent():
                    self._log(meter, rate, write)
                due = self._due()
                if due or self.interrupted:
                    self._save(pending=due and self.settings.do_eval)
                    pending = self.progress.pending and not self.interrupted
                    if pending and self._evaluate(write, val_data):
                        break
                    if self.interrupted:
                        break
                    meter.restart()
        return self.progress

    def prepare(self, data: Dataset) -> None:
        """Bring the network to where the first `step` starts."""
        self._restore_batch_norm(data)
        self._distribute()

    def step(self, batch: dict[str, Tensor]) -> tuple[Tensor, list[Tensor], float]:
        """One update; returns the loss, its parts per output, and the learning rate that was used."""
        paddle.seed((self.progress.seed + self.progress.iter) % 2**31)  # dropout, alike after resuming
        self.model.train()
        with paddle.amp.auto_cast(**self.amp):
            outputs = self.model(batch["img"])
        # half precision is too coarse for what losses subtract and sum
        outputs = [logits.astype("float32") for logits in outputs]
        loss, parts = deep_supervision(outputs, batch["label"], self.losses)
        rate = self.optimizer.get_lr()
        # fresh names, so that the optimizer's state is called alike in every process that resumes it
        with paddle.utils.unique_name.guard():
            if self.scaler:
                self.scaler.scale(loss).backward()
                self.scaler.step(self.optimizer)
                self.scaler.update()
            else:
                loss.backward()
                self.optimizer.step()
        self.optimizer.clear_grad()
        schedule = self.optimizer._learning_rate
        if is_of_steps(schedule):
            schedule.step()
        elif isinstance(schedule, paddle.optimizer.lr.LRScheduler):
            metric: Any = self._mean_over_ranks(loss.detach())
            schedule.step(metric)
        self.progress.iter += 1
        self.progress.samples += self.settings.batch_size * self.ranks
        if self.ema is not None:
            average_into(self.ema, self.network, self.progress.iter)
        return loss.detach(), [part.detach() for part in parts], rate

    def evaluate(self, network: paddle.nn.Layer, data: Dataset) -> Scores:
        """Measure a network on validation data; every rank takes a share."""
        scores = evaluate(
            Predictor(
                PaddleEngine(network, self.amp),
                self.config,
                augmentation=self.augmentation,
                map_protocol=self.map_protocol,
            ),
            data,
            self.evaluation,
            batch_size=self.settings.batch_size,
            workers=self.settings.num_workers,
            shard=(self.rank, self.ranks),
        )
        if self.ranks == 1:
            return scores
        shares: list[Scores] = []
        dist.all_gather_object(shares, scores)
        for share in shares[1:]:
            shares[0].merge(share)
        return shares[0]

    def _check_evaluation(self, data: DatasetSpec) -> None:
        """Refuse before training what evaluation would refuse after it."""
        preprocessing_of(self.config)  # val transforms that cannot be undone
        self.map_protocol.check_classes(class_count(self.config))
        self.evaluation.check(data)

    # -- setting up -------------------------------------------------------------------------------------

    def _frozen_copy(self) -> paddle.nn.Layer:
        ema = copy.deepcopy(self.network)
        ema.eval()
        for parameter in ema.parameters():
            parameter.stop_gradient = True
        return ema

    def _resume(self, folder: Path) -> None:
        self.progress = checkpoint.load_checkpoint(
            folder, self.network, self.optimizer, self.ema, self.scaler, self.settings.metric
        )
        log.info("Resumed %s at iter %d, seed %d", folder, self.progress.iter, self.progress.seed)
        if (folder / checkpoint.CONFIG).is_file():
            changed = differences(load_config(folder / checkpoint.CONFIG), self.config)
            if changed:
                log.warning("The config is not that of the checkpoint: %s", "; ".join(changed))
            schedule = self.optimizer._learning_rate
            if any(line.startswith(("lr_scheduler", "iters")) for line in changed) and is_of_steps(schedule):
                schedule.step(schedule.last_epoch)  # the checkpoint's rate is that of the old schedule

    def _restore_batch_norm(self, data: Dataset) -> None:
        if not folded_norms(self.network):
            return
        count = min(CALIBRATION_IMAGES, len(data))
        log.info("The weights come without BatchNorm statistics; measuring them on %d images", count)
        keys = next(iter(BatchStream(len(data), count, self.progress.seed)))  # alike on every rank
        images = (paddle.to_tensor(data[key]["img"][None]) for key in keys)
        restored = restore_batch_norm(self.network, images)
        if self.ema is not None:
            self.ema.set_state_dict(self.network.state_dict())
        log.info("Measured BatchNorm statistics of %d layers", restored)

    def _distribute(self) -> None:
        self.model = self.network
        if self.settings.amp_level == "O2" and self.amp["enable"]:
            self.model, self.optimizer = paddle.amp.decorate(
                self.network, self.optimizer, level="O2", dtype=self.amp["dtype"], save_dtype="float32"
            )
        if self.ranks > 1:
            self.model = paddle.DataParallel(self.model)

    def _loader(self, data: Dataset) -> paddle.io.DataLoader:
        settings, progress = self.settings, self.progress
        stream = BatchStream(
            len(data),
            settings.batch_size,
            progress.seed,
            progress.samples,
            max(settings.iters - progress.iter, 0),
            self.rank,
            self.ranks,
        )
        samples: Any = ErrorReturningDataset(
            data
        )  # Paddle takes anything that can be indexed, and any function
        order: Any = stream
        stack: Any = collate
        return paddle.io.DataLoader(
            samples, batch_sampler=order, collate_fn=stack, num_workers=settings.num_workers
        )

    @contextlib.contextmanager
    def _interruptible(self) -> Iterator[None]:
        """Let Ctrl-C and a polite kill end the current step first; ranks would wait for each other."""
        if self.ranks > 1:
            yield
            return

        process = os.getpid()

        def stop(number: int, _: Any) -> None:
            if os.getpid() != process:  # a loader's worker, which ends with us
                return
            self.interrupted = True
            log.warning("Interrupted: finishing this step and saving. Once more ends at once")
            signal.signal(number, signal.default_int_handler)

        previous = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM)}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    @contextlib.contextmanager
    def _writer(self) -> Iterator[Callable[[str, float], None]]:
        """A function that records (tag, value) for VisualDL at the current iteration, if asked for."""
        if not (self.settings.use_vdl and self.rank == 0):
            yield lambda tag, value: None
            return
        from visualdl import LogWriter

        with LogWriter(str(self.settings.save_dir)) as writer:
            yield lambda tag, value: writer.add_scalar(tag, float(value), self.progress.iter)

    # -- now and then -----------------------------------------------------------------------------------

    def _due(self) -> bool:
        return self.progress.iter % self.settings.save_interval == 0 or self._done()

    def _done(self) -> bool:
        return self.progress.iter >= self.settings.iters

    def _log(self, meter: Meter, rate: float, write: Callable[[str, float], None]) -> None:
        step, settings = self.progress.iter, self.settings
        losses = meter.losses()
        if not np.isfinite(losses).all():
            raise FloatingPointError(f"iter {step}: the loss is {losses[0]}. {DIVERGED}")
        epoch = (self.progress.samples - 1) // len(self.train_spec) + 1
        eta = time.strftime("%H:%M:%S", time.gmtime((settings.iters - step) * meter.batch_cost))
        hours = int((settings.iters - step) * meter.batch_cost // 3600)
        log.info(
            "[TRAIN] epoch: %d, iter: %d/%d, loss: %.4f, lr: %.6f, batch_cost: %.4f, reader_cost: %.5f, "
            "ips: %.4f samples/sec | ETA %02d:%s",
            *(epoch, step, settings.iters, losses[0], rate, meter.batch_cost, meter.reader_cost),
            *(meter.samples_per_second, hours, eta[3:]),
        )
        write("Train/loss", losses[0])
        for index, value in enumerate(losses[1:]):
            write(f"Train/loss_{index}", value)
        write("Train/lr", rate)
        write("Train/batch_cost", meter.batch_cost)
        write("Train/reader_cost", meter.reader_cost)
        meter.reset()

    def _save(self, pending: bool) -> None:
        """Write a checkpoint; `pending` where its evaluation is still to come."""
        for network in (self.network, self.ema):
            if network is not None and self.ranks > 1:
                average_statistics(network, self.ranks)
        _require_finite(self.network, self.progress.iter)
        self.progress.pending = pending
        folder = self._folder()
        if self.rank == 0:
            checkpoint.save_checkpoint(
                folder, self.network, self.optimizer, self.ema, self.scaler, self.progress, self.config
            )
            checkpoint.prune_checkpoints(self.settings.save_dir, self.settings.keep_checkpoint_max)

    def _evaluate(self, write: Callable[[str, float], None], data: Dataset | None) -> bool:
        """Measure the checkpoint just saved, keep the best; returns whether to stop early."""
        assert data is not None, "do_eval needs validation data"
        won = [
            self._measure(name, network, write, data)
            for name, network in (("model", self.network), ("ema_model", self.ema))
            if network is not None
        ]
        self.progress.stale = 0 if any(won) else self.progress.stale + 1
        self.progress.pending = False
        if self.rank == 0:
            checkpoint.save_progress(self._folder(), self.progress)
        if self.ranks > 1:
            dist.barrier()
        patience, step = self.settings.early_stop_intervals, self.progress.iter
        stop = bool(patience) and self.progress.stale >= patience
        if stop:
            metric = self.settings.metric
            log.info("Stopped early at iter %d: no better %s in %d evaluations", step, metric, patience)
        return stop

    def _folder(self) -> Path:
        return self.settings.save_dir / f"iter_{self.progress.iter}"

    def _mean_over_ranks(self, loss: Tensor) -> Tensor:
        """So that a schedule that follows the loss is the same in every process."""
        if self.ranks > 1:
            dist.all_reduce(loss)
        return loss / self.ranks

    def _measure(
        self, name: str, network: paddle.nn.Layer, write: Callable[[str, float], None], data: Dataset
    ) -> bool:
        """Evaluate one network and keep it if it is the best so far; returns whether it is."""
        metric, step = self.settings.metric, self.progress.iter
        scores = self.evaluate(network, data)
        values = scores.compute()
        for line in scores.report():
            log.info(line)
        prefix = "Ema_" if name == "ema_model" else ""
        for key, value in values.items():
            if np.ndim(value) == 0:
                write(f"Evaluate/{prefix}{key}", value)
        score = values[metric]
        best = self.progress.best.get(name)
        won = math.isfinite(score) and is_better(metric, score, best[0] if best else None)
        if won:
            self.progress.best[name] = (score, step)
            if self.rank == 0:
                checkpoint.save_best(self.settings.save_dir, name, network, self.config, self.progress)
        called = "EMA model" if prefix else "model"
        if name in self.progress.best:
            log.info(
                "[EVAL] The %s with the best validation %s (%.4f) was saved at iter %d.",
                *(called, metric, *self.progress.best[name]),
            )
        return won


def is_of_steps(schedule: Any) -> bool:
    """Whether a learning rate depends on the step alone; ReduceOnPlateau looks at the loss."""
    lr = paddle.optimizer.lr
    return isinstance(schedule, lr.LRScheduler) and not isinstance(schedule, lr.ReduceOnPlateau)


def _require_finite(network: paddle.nn.Layer, step: int) -> None:
    """Raise rather than save weights that hold no numbers."""
    for name, value in network.state_dict().items():
        if paddle.is_floating_point(value) and not bool(paddle.isfinite(value).all()):
            raise FloatingPointError(f"iter {step}: {name} is not finite. {DIVERGED}")
