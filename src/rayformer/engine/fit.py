"""The one training loop.

    fit         train one task by one plan, into one run folder; resume where a checkpoint is
    Outcome     what came of it
    Trainer     the loop's parts, in the order in which a step uses them:
                  take_step    batches in pieces, forward and backward piece by piece, one optimiser step
                  log          numbers into metrics.jsonl, a note beside the progress bar
                  evaluate     the val split, under the averaged weights where there are any
                  save         a checkpoint; the last two and the best are kept
                  let_look     whoever watches the model while it trains
                  restore      the newest whole checkpoint

Exactness: a batch, its randomness and the learning rate are pure functions of (seed, step), so 100 steps
equal 50 steps, a kill, and 50 more, bit for bit on one machine in float32. (By the clock, `plan.minutes`,
the rate follows the time, and no two runs are equal.)
"""

import math
import signal
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from rayformer.core.errors import ConfigError, Diverged
from rayformer.core.seeds import generator, seeded
from rayformer.engine.checkpoint import (
    Checkpoint,
    State,
    put_model,
    read_checkpoint,
    remove_old,
    save_checkpoint,
)
from rayformer.engine.ema import Ema
from rayformer.engine.launch import Launch, Spread
from rayformer.engine.optim import (
    build_optimiser,
    carry_over,
    clip_units,
    load_state_by_name,
    set_rate,
    state_by_name,
)
from rayformer.engine.precision import choose_precision
from rayformer.engine.progress import Watch
from rayformer.engine.schedule import rate_factor
from rayformer.engine.task import Batch, Onlooker, Piece, Stage, Task
from rayformer.metrics.direction import higher_is_better
from rayformer.runs.run import Run


@dataclass(frozen=True)
class Outcome:
    steps: int
    result: Mapping[str, Any]
    """The final numbers on the test split, the steps and the seconds they took; empty if interrupted."""
    interrupted: bool = False


def fit(
    stage: Stage, task: Task, run: Run, seed: int, launch: Launch, onlooker: Onlooker | None = None
) -> Outcome:
    """Train `task` by `stage.plan` into `run`, from its newest whole checkpoint if it has one, under the eyes
    of `onlooker`.

    Raises Diverged (a NaN or an infinity), RunError (the disk refuses), and whatever the task raises; the
    last good checkpoint is there in each case. Ctrl-C finishes the step, saves, and returns an Outcome that
    says so; twice, it raises KeyboardInterrupt.
    """
    trainer = Trainer(stage, task, run, seed, launch, onlooker)
    with Watch(stage.name, stage.plan.steps, trainer.state.step, shown=launch.leads) as watch:
        trainer.watch = watch
        for text in trainer.remarks:
            watch.say(text)
        with _asked_to_stop() as stop:
            interrupted = trainer.train(stop)
            trainer.save()
        try:
            return trainer.finish(interrupted)
        except KeyboardInterrupt:  # measuring may take as long as training did, and all is saved
            return trainer.finish(interrupted=True)


class Trainer:
    watch: Watch

    def __init__(
        self,
        stage: Stage,
        task: Task,
        run: Run,
        seed: int,
        launch: Launch,
        onlooker: Onlooker | None = None,
    ):
        self.stage, self.plan, self.task, self.run = stage, stage.plan, task, run
        self.seed, self.launch, self.onlooker = seed, launch, onlooker
        self.precision = choose_precision(launch.device, self.plan.precision)
        task.model.to(launch.device).train()
        checkpoint, self.remarks = read_checkpoint(run)
        if checkpoint is not None:
            put_model(task.model, checkpoint.tensors["model"])  # before spreading: parameters may have grown
        self.spread = Spread(task, launch, self.plan.shard, stage.shards(task.model))
        self.parameters = self._identities()
        self.optimiser = build_optimiser(task.model, stage.groups(task.model), self.plan.optim)
        self.ema = Ema(task.model, self.plan.ema) if self.plan.ema else None
        self.state = State(step=0, elapsed_s=0.0, seed=seed)
        if checkpoint is not None:
            self._restore(checkpoint)
        self.began = time.monotonic() - self.state.elapsed_s
        self.saved = self.state.step if checkpoint is not None else None
        self._since_log = _Since()

    def _restore(self, checkpoint: Checkpoint) -> None:
        load_state_by_name(self.optimiser, self.task.model, checkpoint.tensors["optimizer"])
        if self.ema and "ema" in checkpoint.tensors:
            self.ema.load(self.task.model, checkpoint.tensors["ema"])
        self.state = checkpoint.state
        if self.launch.leads:
            self.run.truncate_metrics(after_step=self.state.step)
        self.remarks.append(f"resuming from step {self.state.step} of {self.plan.steps}")

    # ------------------------------------------------------------------ the loop

    def train(self, stop: threading.Event) -> bool:
        """Steps until the plan is over; whether it was interrupted before."""
        plan = self.plan
        with _batches_ahead(
            self.task, plan.accumulate, self._ahead, self.launch, self.state.step, plan.steps
        ) as batches:
            while self.state.step < plan.steps:
                stopped, elapsed = self._agree(stop.is_set(), time.monotonic() - self.began)
                share = self._share(self.state.step, elapsed)
                if stopped:
                    return True
                if share >= 1:  # by the clock
                    self.state = replace(self.state, elapsed_s=elapsed)
                    return False
                step = self.state.step
                terms = self.take_step(step, share, next(batches))
                elapsed = time.monotonic() - self.began
                self.state = replace(self.state, step=step + 1, elapsed_s=elapsed)
                done = self.state.step
                self._since_log.steps += 1
                if done % plan.log_every == 0 or done == plan.steps or done == 1:
                    self.log(terms)
                else:
                    self.watch.moved(done, self._share(done, elapsed))
                improved = (
                    plan.evaluate_every
                    and done % plan.evaluate_every == 0
                    and done < plan.steps
                    and self.evaluate()
                )
                if improved or (plan.save_every and done % plan.save_every == 0):
                    self.save()
                self.let_look()
        return self.launch.any(stop.is_set())  # asked for in the last step, or with nothing left to do

    @property
    def _ahead(self) -> int:
        if self.plan.prefetch is not None:
            return self.plan.prefetch
        # On a processor the thread that makes batches would take a core from the threads of the step, which
        # wait for each other at every product: measured, the step is slower by a third.
        return 0 if self.launch.device.type == "cpu" else 2

    def take_step(self, step: int, share: float, batches: Sequence[Batch]) -> dict[str, float]:
        """One optimiser step; the loss terms, the gradient norm and the rate, for the log."""
        plan, launch = self.plan, self.launch
        self.task.before_step(step, generator(self.seed, "before", step))
        self._follow_replaced_parameters()
        pieces = _numbered(batches, launch)
        (weight,) = launch.sum([sum(piece.weight for _, piece in pieces)])
        noted: dict[str, Tensor] = {}
        for number, piece in pieces:
            randomness = generator(self.seed, "loss", step, number, device=launch.device)
            portion = piece.weight / weight
            # What layers draw by themselves, as dropout does, begins anew with every piece: it belongs to the
            # step, and not to how long the process has been running.
            with seeded(self.seed, "layers", step, number):
                with self.precision.autocast():
                    losses = self.spread.loss(
                        piece.to(launch.device), step, randomness, last=piece is pieces[-1][1]
                    )
                # DDP and FSDP2 average over the processes; the portions already add up to 1 over all of them.
                (losses.total * (portion * launch.world)).backward()
            for name, term in {"loss": losses.total, **losses.terms}.items():
                part = term.detach().float() * portion
                noted[name] = noted[name] + part if name in noted else part
        norm = self._gradient_norm()
        terms = self._guarded(noted, norm, step)
        factor = rate_factor(plan.schedule, step, share, plan.steps)
        set_rate(self.optimiser, factor)
        self.optimiser.step()
        self.optimiser.zero_grad(set_to_none=True)
        if self.ema:
            self.ema.update(self.task.model, step)
        self._since_log.count(batches)
        return terms | {"gradient_norm": float(norm), "rate": plan.optim.rate * factor}

    def _gradient_norm(self) -> Tensor:
        """The norm of the whole gradient, after its units were clipped and before it is as a whole, where the
        plan has bounds."""
        if self.plan.clip_units:
            clip_units(self.optimiser, self.plan.clip_units)
        parameters = [value for value in self.task.model.parameters() if value.grad is not None]
        norm = nn.utils.get_total_norm([value.grad for value in parameters if value.grad is not None])
        if self.plan.clip:
            nn.utils.clip_grads_with_norm_(parameters, self.plan.clip, norm)
        if not self.spread.sharded:
            return norm
        from torch.distributed.tensor import DTensor  # a second of importing, which few runs need

        return norm.full_tensor() if isinstance(norm, DTensor) else norm

    def _guarded(self, noted: Mapping[str, Tensor], norm: Tensor, step: int) -> dict[str, float]:
        """The noted terms, summed over processes, as numbers; Diverged, before the weights are touched, if
        one is not finite."""
        values = torch.stack(
            [*(term.reshape(()) for term in noted.values()), norm.detach().float().reshape(())]
        )
        *numbers, norm_value = values.tolist()  # the one wait for the device in a step
        terms = dict(zip(noted, self.launch.sum(numbers), strict=True))
        bad = [name for name, value in terms.items() if not math.isfinite(value)]
        # A term says more than the sum it made infinite, and the sum more than its gradient.
        named = next((name for name in bad if name != "loss"), bad[0] if bad else None)
        if named is None and math.isfinite(norm_value):
            return terms
        what = (
            f"the loss term {named!r} became {terms[named]}"
            if named
            else f"the gradient's norm became {norm_value}"
        )
        good = self.run.checkpoints()
        where = (
            f"the last good checkpoint is of step {good[-1][0]}, {good[-1][1]}"
            if good
            else "no checkpoint had been written yet"
        )
        raise Diverged(
            f"stage {self.stage.name!r}, step {step}: {what}; nothing was saved after it\n{where}\n"
            f"try a lower --plan.optim.rate (now {self.plan.optim.rate:g}), --plan.clip 1, or "
            "--plan.precision 32 "
            f"(now {self.precision.name})"
        )

    def _identities(self) -> dict[str, int]:
        return {name: id(value) for name, value in self.task.model.named_parameters()}

    def _follow_replaced_parameters(self) -> None:
        before, now = self.parameters, self._identities()
        if now == before:
            return
        if self.spread.sharded:
            raise ConfigError(
                "this system replaces parameters while it trains, which plan.shard cannot follow; "
                "leave it out"
            )
        self.task.model.to(self.launch.device)
        self.spread = Spread(self.task, self.launch, self.plan.shard)
        new = build_optimiser(self.task.model, self.stage.groups(self.task.model), self.plan.optim)
        self.optimiser = carry_over(self.optimiser, new)
        if self.ema:
            self.ema.follow(self.task.model, {name for name in now if now[name] != before.get(name)})
        self.parameters = self._identities()

    def _agree(self, stopped: bool, elapsed: float) -> tuple[bool, float]:
        """Whether any process was asked to stop, and the mean clock: the same answer everywhere."""
        stops, total = self.launch.sum([float(stopped), elapsed])
        return stops > 0, total / self.launch.world

    def _share(self, step: int, elapsed: float) -> float:
        by_clock = elapsed / (60 * self.plan.minutes) if self.plan.minutes else 0.0
        return max(step / self.plan.steps, by_clock)

    # ------------------------------------------------------------------ looking and keeping

    def log(self, terms: Mapping[str, float]) -> None:
        rates = self._since_log.rates(self.launch)
        elapsed = time.monotonic() - self.began
        if self.launch.leads:
            self.run.log(
                self.state.step,
                **{f"train/{name}": value for name, value in terms.items()},
                **{f"{name}_per_s": value for name, value in rates.items()},
                elapsed_s=elapsed,
                peak_memory_gib=peak_memory_gib(self.launch.device),
            )
        note = f"loss {terms['loss']:.4g}" + "".join(
            f"  {value:,.0f} {name}/s" for name, value in rates.items()
        )
        self.watch.moved(self.state.step, self._share(self.state.step, elapsed), note)

    @contextmanager
    def _model_to_look_at(self) -> Iterator[None]:
        """The averaged weights where there are any, whole on every process, in evaluation mode, without
        gradients."""
        model = self.task.model
        with (
            self.ema.worn(model) if self.ema else nullcontext(),
            self.spread.gathered(),
            torch.no_grad(),
            self.precision.autocast(),
        ):
            model.eval()
            try:
                yield
            finally:
                model.train()

    def let_look(self) -> None:
        """Let the onlooker look, if it wants to. The clock of the run stands still meanwhile."""
        step = self.state.step
        if self.onlooker is None or not self.onlooker.wants(self.task, step):
            return
        began = time.monotonic()
        with self._model_to_look_at():
            self.onlooker.look(self.task, step)
        passed = time.monotonic() - began
        self.began += passed
        self._since_log.began += passed

    def evaluate(self) -> bool:
        """Log the numbers on the val split; whether the first of them is the best so far."""
        with self._model_to_look_at():
            numbers = self.task.evaluate("val", generator(self.seed, "evaluate", "val"))
        if not numbers:
            return False
        if self.launch.leads:
            self.run.log(self.state.step, **{f"val/{name}": value for name, value in numbers.items()})
        name = next(iter(numbers))
        # The leading process decides for all: where the last bits differ, one would save and the others not.
        (value,) = self.launch.sum([numbers[name] if self.launch.leads else 0.0])
        self.watch.say(
            f"step {self.state.step}: held out "
            + "  ".join(f"{key} {number:.4g}" for key, number in numbers.items())
        )
        best = self.state.best
        if math.isnan(value):
            return False
        if best is not None and (value <= best if higher_is_better(name) else value >= best):
            return False
        self.state = replace(self.state, best=value, best_step=self.state.step, headline=name)
        return True

    def save(self) -> None:
        if self.saved == self.state.step:
            return
        tensors: dict[str, Mapping[str, Tensor]] = {
            "model": self.task.model.state_dict(),
            "optimizer": state_by_name(self.optimiser, self.task.model),
        }
        if self.ema:
            tensors["ema"] = self.ema.average
        save_checkpoint(self.run, self.state, tensors, self.launch)
        self.saved = self.state.step
        if self.launch.leads:
            last_two = [step for step, _ in self.run.checkpoints()][-2:]
            remove_old(self.run, {*last_two, *([self.state.best_step] if self.state.best_step else [])})
        self.launch.wait()

    def finish(self, interrupted: bool) -> Outcome:
        """What came of it: unless interrupted, numbers and pictures of the test split, kept in the run."""
        if interrupted:
            self.watch.say(
                f"interrupted; step {self.state.step} is saved, go on with --resume {self.run.root.path}"
            )
            return Outcome(self.state.step, {}, interrupted=True)
        self.watch.say("evaluating on the held-out split")
        with self._model_to_look_at():
            numbers = self.task.evaluate("test", generator(self.seed, "evaluate", "test"))
            pictures = self.task.pictures()
        result = {**numbers, "steps": self.state.step, "train_s": round(self.state.elapsed_s, 1)}
        if self.launch.leads:
            for name, picture in pictures.items():
                self.run.save_picture(name, picture)
            self.run.write_result(result)
        self.launch.wait()
        return Outcome(self.state.step, result)


# ---------------------------------------------------------------------- what the loop stands on


def _numbered(batches: Sequence[Batch], launch: Launch) -> list[tuple[int, Piece]]:
    """This process' pieces of a step, each with the number it would have if one process did all of them, so
    that its randomness does not depend on how many there are."""
    pieces: list[tuple[int, Piece]] = []
    first = 0
    for batch in batches:
        cut = batch.split()
        pieces += enumerate(cut, first + launch.rank * len(cut))
        first += launch.world * len(cut)
    return pieces


class _Since:
    """What went through since the last log line, for the rates."""

    def __init__(self) -> None:
        self.began, self.steps, self.counts = time.monotonic(), 0, dict[str, int]()

    def count(self, batches: Sequence[Batch]) -> None:
        for batch in batches:
            for name, value in batch.counts.items():
                self.counts[name] = self.counts.get(name, 0) + value

    def rates(self, launch: Launch) -> dict[str, float]:
        passed = max(time.monotonic() - self.began, 1e-9)  # Windows' clock may not have moved
        totals = launch.sum(list(self.counts.values()))
        rates = {"steps": self.steps / passed} | {
            name: total / passed for name, total in zip(self.counts, totals, strict=True)
        }
        self.__init__()
        return rates


@contextmanager
def _batches_ahead(
    task: Task, accumulate: int, ahead: int, launch: Launch, start: int, end: int
) -> Iterator[Iterator[list[Batch]]]:
    """The batches of each step from `start`, up to `ahead` steps of them made in a thread before they are
    asked for."""

    def of_step(step: int) -> list[Batch]:
        return [
            task.batch("train", step * accumulate + part, launch.rank, launch.world)
            for part in range(accumulate)
        ]

    def in_turn(pool: ThreadPoolExecutor | None) -> Iterator[list[Batch]]:
        waiting: list[Future[list[Batch]]] = []
        for step in range(start, end):
            if pool is None:
                yield of_step(step)
                continue
            while len(waiting) <= ahead and step + len(waiting) < end:
                waiting.append(pool.submit(of_step, step + len(waiting)))
            yield waiting.pop(0).result()

    if ahead == 0:
        yield in_turn(None)
        return
    pool = ThreadPoolExecutor(1, thread_name_prefix="batches")
    try:
        yield in_turn(pool)
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _asked_to_stop() -> Iterator[threading.Event]:
    """Set by Ctrl-C or a polite kill, so that the step under way is finished and saved; a second one
    interrupts at once."""
    stop = threading.Event()
    if threading.current_thread() is not threading.main_thread():
        yield stop
        return

    def note(number: int, frame: object) -> None:
        if stop.is_set():
            raise KeyboardInterrupt
        stop.set()

    before = {number: signal.signal(number, note) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        yield stop
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def peak_memory_gib(device: torch.device) -> float:
    """The most memory this process has held so far, on the device that trains, in GiB."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    try:
        import resource
    except ImportError:  # Windows does not tell
        return math.nan
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**30 if sys.platform == "darwin" else 2**20)  # macOS counts bytes, Linux KiB
