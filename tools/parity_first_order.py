"""Compare fgsm, pgd, mim, slide, pgd_topk and apgd with reference implementations, and write docs/parity.md.

    pip install torchattacks foolbox adversarial-robustness-toolbox adv-lib
    git clone https://github.com/fra31/auto-attack
    PYTHONPATH=auto-attack python tools/parity_first_order.py --images 1000 --out docs/parity.md
    PYTHONPATH=auto-attack python tools/parity_first_order.py --images 1000 --npz cifar10.npz --pool 2 \\
        --threats linf:2/255,l2:0.15,l1:1.5 --out docs/parity.md

The networks and images are those of parity_bench.py: up to so many test images that the network gets right. Searches
that leave nothing to chance (no random start, or the original's APGD from the starts that ours draws) are compared
image by image: 'yes' for the same flags on all but 2 in 1,000, 'stronger' where ours fools more. Random ones are
compared over the seeds: our mean not above the reference's by more than the reference's own range. A row is written as
soon as it is measured and replaces its predecessor: a table can be made in parts (--only, --match, --still, --threats).
References that are not installed are named at the end; those that do not offer a case are left out of it.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import parity_original
import torch
from parity_bench import ORDER, ORIGINAL, Bench, Case, Search, optional, prepare, seeded, show
from torch import Tensor, nn

from matx.randomness import SampleGenerator
from matx.threat import ThreatModel

BEGIN = "<!-- first-order {}: written by tools/parity_first_order.py -->"
END = "<!-- end of first-order {} -->"
HEAD = (
    "| threat | attack | ours | reference | its accuracy | flags | images | seconds | as strong |",
    "|---|---|---|---|---|---|---|---|---|",
)


@dataclass(frozen=True, kw_only=True, eq=False)
class Others:
    """The reference libraries that are installed."""

    torchattacks: ModuleType | None
    foolbox: ModuleType | None
    art: ModuleType | None
    adv_lib: ModuleType | None
    original: ModuleType | None

    @classmethod
    def installed(cls, missing: set[str]) -> Others:
        return cls(
            torchattacks=optional("torchattacks", missing),
            foolbox=optional("foolbox", missing),
            art=optional("art.attacks.evasion", missing),
            adv_lib=optional("adv_lib.attacks", missing),
            original=optional("autoattack", missing),
        )


def by_torchattacks(others: Others, bench: Bench, name: str, **options: Any) -> dict[str, Search]:
    if others.torchattacks is None or not hasattr(others.torchattacks, name):
        return {}
    attack = getattr(others.torchattacks, name)(bench.model, **options)
    return {"torchattacks": seeded(lambda: attack(bench.images, bench.labels))}


def by_foolbox(others: Others, bench: Bench, name: str, **options: Any) -> dict[str, Search]:
    if others.foolbox is None or not hasattr(others.foolbox.attacks, name):
        return {}
    attack = getattr(others.foolbox.attacks, name)(**options)
    model = others.foolbox.PyTorchModel(bench.model, bounds=(0, 1), device="cpu")
    eps = bench.threat.radius
    return {"foolbox": seeded(lambda: attack(model, bench.images, bench.labels, epsilons=eps)[1])}


def by_art(others: Others, bench: Bench, name: str, **options: Any) -> dict[str, Search]:
    if others.art is None:
        return {}
    estimators = import_module("art.estimators.classification")
    shape, classes = tuple(bench.images.shape[1:]), int(bench.model(bench.images[:1]).shape[1])
    wrapped = estimators.PyTorchClassifier(
        bench.model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type="cpu"
    )
    attack = getattr(others.art, name)(wrapped, batch_size=len(bench.images), **options)
    return {"art": seeded(lambda: attack.generate(bench.images.numpy(), y=bench.labels.numpy()))}


def by_adv_lib(others: Others, bench: Bench, name: str, **options: Any) -> dict[str, Search]:
    if others.adv_lib is None or not hasattr(others.adv_lib, name):
        return {}
    attack = getattr(others.adv_lib, name)
    return {"adv-lib": seeded(lambda: attack(bench.model, bench.images, bench.labels, **options))}


def by_original(others: Others, bench: Bench, loss: str, start: str, **options: Any) -> dict[str, Search]:
    """The original's APGD; its start is 'random', 'clean', or 'ours'."""
    if others.original is None:
        return {}

    def search(seed: int) -> Tensor:
        attack = parity_original.apgd(bench.model, bench.threat, bench.options.steps, loss, seed=seed, **options)
        if start == "clean":
            parity_original.start_at_clean(attack)
        if start == "ours":
            names = parity_original.of_target if loss == "targeted" else parity_original.of_restart
            draws = SampleGenerator(seed, torch.arange(len(bench.images)))
            parity_original.start_like_ours(attack, bench.images, draws, names)
        found: Tensor = attack.perturb(bench.images, bench.labels)
        return found

    return {"autoattack": search}


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
            | _seeded_torchattacks(others, bench, "APGD", **keys),
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
        | _seeded_torchattacks(others, bench, "APGDT", **keys),
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


def _seeded_torchattacks(others: Others, bench: Bench, name: str, **options: Any) -> dict[str, Search]:
    """torchattacks' APGD, which has no l1, seeds itself with an option."""
    if others.torchattacks is None or bench.threat.norm == "l1":
        return {}
    make = getattr(others.torchattacks, name)

    def search(seed: int) -> Tensor:
        found: Tensor = make(bench.model, seed=seed, **options)(bench.images, bench.labels)
        return found

    return {"torchattacks": search}


CASES: dict[str, Callable[[Bench, Others], Iterator[Case]]] = {
    "fgsm": fgsm,
    "pgd": pgd,
    "mim": mim,
    "sparse": sparse,
    "apgd": apgd,
}


def flags(bench: Bench, search: Search, seed: int) -> Tensor:
    """(N,) bool: fooled, by an image that lies inside."""
    with torch.enable_grad():
        images = search(seed).float()
    inside = bench.threat.size(images - bench.images) <= bench.threat.radius * (1 + 1e-4) + 1e-6
    return torch.logical_and(bench.model(images).argmax(1) != bench.labels, inside)


def verdict(mine: list[Tensor], theirs: list[Tensor], *, random: bool) -> tuple[str, str]:
    """Which flags differ, and whether ours is as strong as asked."""
    if not random:
        gained, lost = int((mine[0] & ~theirs[0]).sum()), int((theirs[0] & ~mine[0]).sum())
        same = gained + lost <= math.ceil(0.002 * len(mine[0]))
        return f"+{gained} -{lost}", "yes" if same else "stronger" if gained > lost else "NO"
    ours, its = ([1 - float(found.float().mean()) for found in each] for each in (mine, theirs))
    spread = max(its) - min(its)
    return "", "yes" if sum(ours) / len(ours) <= sum(its) / len(its) + spread + 1e-9 else "NO"


def rows(bench: Bench, others: Others, names: list[str]) -> Iterator[str]:
    for name in names:
        for case in CASES[name](bench, others):
            if bench.options.match not in case.title or (bench.options.still and case.random):
                continue
            seeds = range(bench.options.seeds if case.random else 1)
            begin = time.process_time()
            mine = [flags(bench, case.ours, seed) for seed in seeds if case.references]
            spent = (time.process_time() - begin) / len(seeds)
            for other, search in case.references.items():
                begin = time.process_time()
                theirs = [flags(bench, search, seed) for seed in seeds]
                took = (time.process_time() - begin) / len(seeds)
                change, strong = verdict(mine, theirs, random=case.random)
                ours, its = (show([1 - float(found.float().mean()) for found in each]) for each in (mine, theirs))
                yield (
                    f"| {bench.threat.key} | {case.title} | {ours} | {other} | {its} | {change} "
                    f"| {len(bench.images)} | {spent:.1f}, {took:.1f} | {strong} |"
                )


def write(path: Path, data: str, title: str, fresh: list[str], closing: str) -> None:
    """Put the rows into the file's section of this data; a row measured anew replaces its predecessor (`key_of`)."""
    old = path.read_text() if path.exists() else "# Parity with reference implementations\n\n"
    begin, end = BEGIN.format(data), END.format(data)
    head, _, rest = old.partition(begin)
    section, _, tail = rest.partition(end)
    known = {key_of(line): line for line in section.splitlines() if line.startswith("| l")}
    table = [*({**known, **{key_of(line): line for line in fresh}}).values()]
    text = "\n".join([title, "", *HEAD, *table, "", closing])
    path.write_text(f"{head}{begin}\n{text}\n{end}{tail or chr(10)}")


def key_of(row: str) -> tuple[str, str, str]:
    """(threat, attack, reference) of a row."""
    cells = [cell.strip() for cell in row.split("|")]
    return cells[1], cells[2], cells[4]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--match", default="", help="only the searches whose title has this in it")
    parser.add_argument("--still", action="store_true", help="only the searches that leave nothing to chance")
    parser.add_argument("--threats", default="linf:0.1,l2:0.6,l1:2.0")
    parser.add_argument("--images", type=int, default=1000)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--targets", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--npz", type=Path, default=None)
    parser.add_argument("--pool", type=int, default=1)
    parser.add_argument("--out", type=Path, default=None)
    options = parser.parse_args()
    missing: set[str] = set()
    others = Others.installed(missing)
    data = "digits" if options.npz is None else options.npz.stem
    title = f"### {data}: {options.seeds} seeds, APGD with {options.steps} steps"
    closing = f"Not installed: {', '.join(sorted(missing)) or 'none of the references'}."
    print("\n".join([title, "", *HEAD]), flush=True)
    for key in options.threats.split(","):
        for line in rows(prepare(ThreatModel.parse(key), options), others, options.only.split(",")):
            print(line, flush=True)
            if options.out is not None:
                write(options.out, data, title, [line], closing)
    print(closing)


if __name__ == "__main__":
    main()
