"""What a dry run showed, on the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matx.cli.options import results_console, say

if TYPE_CHECKING:
    from matx.run import Cost, DryRun

__all__ = ["show_dry_run"]

_HEAD = ("phase", "forwards", "to images", "to weights", "GFLOP", "ms")
_WORTH = 0.9
"""What is within 10 % is not said."""


def show_dry_run(done: DryRun, peak: float | None, utilisation: float) -> None:
    """The cost of a training image by phases, and that of the run here and on a device of this peak."""
    from matx.cli.tables import show_table, text_table

    found = done.estimate
    for name, count in done.parameters.items():
        terms = ", ".join(f"{term} {value:.4g}" for term, value in found.record.losses.get(name, {}).items())
        say(f"  {name}: {count:,} trained weights; {terms or 'frozen'}")
    title = f"{done.name} on {done.device}: a training image"
    rows = [_row(phase, cost, found.images) for phase, cost in {**found.phases, "together": found.total}.items()]
    show_table(results_console(), text_table(title, _HEAD, rows))
    if found.varies:
        say("passes differ from step to step: means of those that were seen")
    say(
        f"the run: {found.steps:,} steps, {found.images:,} images, {found.total.passes:,} passes (one to the weights "
        f"counts two), {found.total.flops:.3g} FLOP; evaluation after training is not counted"
    )
    say(
        f"here, an estimate: {_time(found.seconds)} at {found.images_per_second:,.1f} images a second, validations "
        f"{found.validation_seconds / found.seconds:.0%} of it; peak memory {found.memory / 2**30:.2f} GiB"
    )
    faster = _two_processes(done)
    if faster:
        say(faster)
    if peak is not None:
        seconds = found.total.flops / (peak * utilisation)
        say(
            f"at {utilisation:.0%} of {peak:.3g} FLOP a second, an estimate: {_time(seconds)} of steps, "
            f"{found.images / seconds:,.1f} images a second"
        )
    say("dry run: nothing was written")


def _two_processes(done: DryRun) -> str:
    """Where two processes would be faster than this one: how much."""
    now, two = done.estimate.total.seconds / done.estimate.steps, done.seconds_in_two
    if two is None or two > _WORTH * now:
        return ""
    threads = f"{done.threads} thread{'s' if done.threads > 1 else ''}"
    return (
        f"two processes of one thread would take a step in {two:.3g} s, this one with {threads} in "
        f"{now:.3g} s: --processes 2 is {now / two:.1f} times as fast (an estimate from half of a batch, without "
        "what crosses between them)"
    )


def _row(phase: str, cost: Cost, images: int) -> tuple[str, ...]:
    counts = (cost.forward, cost.backward_input, cost.backward_weights)
    flops, milliseconds = cost.flops / images / 1e9, 1e3 * cost.seconds / images
    return (phase, *(f"{count / images:g}" for count in counts), f"{flops:.4g}", f"{milliseconds:.3g}")


def _time(seconds: float) -> str:
    return f"{seconds / 3600:,.1f} h" if seconds >= 3600 else f"{seconds:,.0f} s"
