"""The searches of parity_first_order.py: each of our first-order attacks beside those of others at the same budget."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

from parity_libraries import (
    Others,
    by_adv_lib,
    by_art,
    by_foolbox,
    by_original,
    by_seeded_torchattacks,
    by_torchattacks,
)
from parity_searches import ORDER, ORIGINAL, Bench, Case, Search


def fgsm(bench: Bench, others: Others) -> Iterator[Case]:
    eps, norm = bench.threat.radius, bench.threat.norm
    references = by_art(others, bench, "FastGradientMethod", norm=ORDER[norm], eps=eps)
    if norm == "linf":
        references |= by_torchattacks(others, bench, "FGSM", eps=eps)
        references |= by_foolbox(others, bench, "LinfFastGradientAttack", random_start=False)
    if norm == "l2":
        references |= by_foolbox(others, bench, "L2FastGradientAttack", random_start=False)
    if norm == "l1":
        references |= by_foolbox(others, bench, "L1FastGradientAttack", random_start=False)
    yield Case(title="fgsm", ours=bench.ours("fgsm"), references=references)


def pgd(bench: Bench, others: Others) -> Iterator[Case]:
    eps, norm, steps = bench.threat.radius, bench.threat.norm, bench.options.steps
    size = 2.5 * eps / steps
    for start in (False, True):
        linf = norm == "linf"
        references = by_foolbox(
            others, bench, {"linf": "LinfPGD", "l2": "L2PGD", "l1": "L1PGD"}[norm],
            steps=steps, abs_stepsize=size, random_start=start,
        )  # fmt: skip
        if norm != "l1":
            name = "PGD" if linf else "PGDL2"
            references |= by_torchattacks(others, bench, name, eps=eps, alpha=size, steps=steps, random_start=start)
        if linf:
            options = {"absolute_step_size": size, "random_init": start, "steps": steps}
            references |= by_adv_lib(others, bench, "pgd_linf", ε=eps, **options)
        references |= by_art(
            others, bench, "ProjectedGradientDescent", norm=ORDER[norm], eps=eps, eps_step=size, max_iter=steps,
            num_random_init=int(start), verbose=False,
        )  # fmt: skip
        options = {"steps": steps, "step_size": size, "random_start": start}
        if start:
            ours = bench.ours("pgd", early_exit=True, **options)
            yield Case(title=f"pgd, {steps} steps", ours=ours, references=references, random=True)
        else:
            ours = bench.ours("pgd", keep="last", **options)
            yield Case(title=f"pgd, {steps} steps, last", ours=ours, references=references)


def mim(bench: Bench, others: Others) -> Iterator[Case]:
    if bench.threat.norm != "linf":
        return
    eps, steps = bench.threat.radius, 10
    references = by_torchattacks(others, bench, "MIFGSM", eps=eps, alpha=eps / steps, steps=steps, decay=1.0)
    references |= by_foolbox(
        others, bench, "LinfMomentumIterativeFastGradientMethod",
        steps=steps, abs_stepsize=eps / steps, random_start=False,
    )  # fmt: skip
    references |= by_art(
        others,
        bench,
        "MomentumIterativeMethod",
        eps=eps,
        eps_step=eps / steps,
        max_iter=steps,
        decay=1.0,
        verbose=False,
    )
    ours = bench.ours("mim", keep="last", steps=steps)
    yield Case(title=f"mim, {steps} steps, last", ours=ours, references=references)


def sparse(bench: Bench, others: Others) -> Iterator[Case]:
    """The l1 attacks beside foolbox's sparse l1 descent (the same idea as SLIDE)."""
    if bench.threat.norm != "l1":
        return
    steps, eps = bench.options.steps, bench.threat.radius
    references = by_foolbox(
        others, bench, "SparseL1DescentAttack", steps=steps, abs_stepsize=eps / 4, random_start=True, quantile=0.99
    )
    for name in ("slide", "pgd_topk"):
        options: dict[str, Any] = {"steps": steps, "random_start": True, "early_exit": True}
        yield Case(title=f"{name}, {steps} steps", ours=bench.ours(name, **options), references=references, random=True)


def apgd(bench: Bench, others: Others) -> Iterator[Case]:
    """At random starts, from the clean image, and beside the original from the same random starts."""
    eps, norm, steps, targets = bench.threat.radius, bench.threat.norm, bench.options.steps, bench.options.targets
    schedule = {"epsilon_schedule": True} if norm == "l1" else {}
    common = {"eps": eps, "norm": ORDER[norm], "n_iter": steps, "use_large_reps": norm == "l1"}
    for loss, objective in (("ce", "cross_entropy"), ("dlr", "dlr")):
        keys = {"norm": ORIGINAL[norm], "eps": eps, "steps": steps, "loss": loss}
        yield from _apgd_rows(
            bench, others, objective, {"objective": objective, **schedule}, loss, {},
            by_adv_lib(others, bench, "apgd", loss_function=loss, **common)
            | by_seeded_torchattacks(others, bench, "APGD", **keys),
        )  # fmt: skip
    still = {**common, "use_large_reps": False, "use_rs": False, "loss_function": "ce"}
    references = by_adv_lib(others, bench, "apgd", **still) | by_original(others, bench, "ce", "clean")
    ours = bench.ours("apgd", steps=steps, random_start=False, early_exit=True)
    yield Case(title="apgd, cross_entropy, no random start", ours=ours, references=references)
    keys = {"norm": ORIGINAL[norm], "eps": eps, "steps": steps, "n_classes": targets + 1}
    yield from _apgd_rows(
        bench, others, f"{targets} targets", {"objective": "targeted_dlr", "targets": targets, **schedule},
        "targeted", {"n_target_classes": targets},
        by_adv_lib(others, bench, "apgd_targeted", num_targets=targets, **common)
        | by_seeded_torchattacks(others, bench, "APGDT", **keys),
    )  # fmt: skip


def _apgd_rows(
    bench: Bench, others: Others, title: str, options: dict[str, Any], loss: str, its: dict[str, Any],
    references: dict[str, Search],
) -> Iterator[Case]:  # fmt: skip
    options = {"steps": bench.options.steps, "early_exit": True, **options}
    its = {"use_largereps": bench.threat.norm == "l1", **its}
    ours = bench.ours("apgd", **options)
    references = references | by_original(others, bench, loss, "random", **its)
    yield Case(title=f"apgd, {title}", ours=ours, references=references, random=True)
    same = by_original(others, bench, loss, "ours", **its)
    yield Case(title=f"apgd, {title}, same starts", ours=ours, references=same)
    if bench.threat.norm != "linf":
        exact = bench.ours("apgd", exact=True, **options)
        yield Case(title=f"apgd, {title}, same starts, exact", ours=exact, references=same)


CASES: dict[str, Callable[[Bench, Others], Iterator[Case]]] = {
    "fgsm": fgsm,
    "pgd": pgd,
    "mim": mim,
    "sparse": sparse,
    "apgd": apgd,
}
