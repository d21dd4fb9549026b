"""Compare fab, cw, deepfool and square with reference implementations, and write docs/parity.md.

    pip install -e '.[parity]'                          (and adv-lib and autoattack as docs/parity.md says)
    python tools/parity_attacks.py --cache parity --write docs/parity.md
    python tools/parity_attacks.py --npz cifar10.npz --folder trained_models --cache parity --write docs/parity.md \
        --images 400 --threats linf:4/255,l2:0.25,l1:4 --only fab,cw,deepfool --steps 20 --searches 5

Same trained network, same images, same budget. Searches without chance are compared sample by sample: `same` where the
flags agree on all but 2 samples in 1,000, `stronger` where ours alone fools more than the reference alone does. Random
ones are compared over --seeds seeds: our mean not above the reference's by more than the reference's own range. Every
search is kept under --cache, so that a comparison that was stopped goes on where it was. A reference that is not
installed is left out and named at the end.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from page_tables import put
from parity_searches import (
    ORDER,
    ORIGINAL,
    Bench,
    Case,
    Found,
    Search,
    found,
    optional,
    prepare,
    prepare_residual,
    seeded,
    show,
)
from torch import Tensor, nn

from matx.threat import ThreatModel

HEAD = (
    "| threat | attack | ours | reference | its accuracy | flags | median distances | seconds | as strong |",
    "|---|---|---|---|---|---|---|---|---|",
)


def fab(bench: Bench, missing: set[str]) -> Iterator[Case]:
    model, x, y, norm = bench.model, bench.images, bench.labels, bench.threat.norm
    steps = bench.options.steps
    original, adv_lib = optional("autoattack.fab_pt", missing), optional("adv_lib.attacks", missing)
    for targets in (0, bench.options.targets):
        references: dict[str, Search] = {}
        if original is not None:
            references["autoattack"] = seeded(partial(_original_fab, original, bench, targets))
        if adv_lib is not None and not targets:
            references["adv-lib"] = seeded(lambda: adv_lib.fab(model, x, y, norm=ORDER[norm], n_iter=steps))
        ours = bench.ours("fab", steps=steps, targets=targets)
        yield Case(title=f"fab, {targets or 'no'} targets, {steps} steps", ours=ours, references=references)


def _original_fab(original: ModuleType, bench: Bench, targets: int) -> Tensor:
    """The closest over its single runs: its own `perturb` drops what lies outside of eps."""
    x, y, threat = bench.images, bench.labels, bench.threat
    attack = original.FABAttack_PT(
        bench.model, norm=ORIGINAL[threat.norm], n_iter=bench.options.steps, eps=threat.radius, device="cpu"
    )
    attack.targeted = targets > 0
    best, size = x.clone(), torch.full((len(x),), torch.inf, dtype=torch.float64)
    for rank in range(2, max(targets, 1) + 2):
        attack.target_class = rank
        images = attack.attack_single_run(x, y, is_targeted=targets > 0)
        distance = bench.distances(images)
        closer = distance < size
        best[closer], size[closer] = images[closer], distance[closer]
    return best


def square(bench: Bench, missing: set[str]) -> Iterator[Case]:
    threat, queries = bench.threat, bench.options.queries
    references: dict[str, Search] = {}
    for module, name in (("autoattack.square", "SquareAttack"), ("torchattacks", "Square")):
        library = optional(module, missing)
        if library is not None and (module != "torchattacks" or threat.norm != "l1"):
            references[module.partition(".")[0]] = partial(_square, getattr(library, name), bench)
    ours = bench.ours("square", queries=queries)
    yield Case(title=f"square, {queries} queries", ours=ours, references=references, random=True)


def _square(make: Any, bench: Bench, seed: int) -> Tensor:
    norm, eps, queries = ORIGINAL[bench.threat.norm], bench.threat.radius, bench.options.queries
    attack = make(bench.model, norm=norm, eps=eps, n_queries=queries, resc_schedule=False, seed=seed)
    if hasattr(attack, "perturb"):
        attack.device = "cpu"
    run: Callable[[Tensor, Tensor], Tensor] = attack.perturb if hasattr(attack, "perturb") else attack
    return run(bench.images, bench.labels)


def cw(bench: Bench, missing: set[str]) -> Iterator[Case]:
    if bench.threat.norm != "l2":
        return
    model, x, y, steps, searches = bench.model, bench.images, bench.labels, bench.options.steps, bench.options.searches
    references: dict[str, Search] = {}
    adv_lib, foolbox = optional("adv_lib.attacks", missing), optional("foolbox", missing)
    if adv_lib is not None:
        options = {"binary_search_steps": searches, "max_iterations": steps, "initial_const": 0.01}
        references["adv-lib"] = seeded(lambda: adv_lib.carlini_wagner_l2(model, x, y, **options))
    if foolbox is not None:
        attack = foolbox.attacks.L2CarliniWagnerAttack(binary_search_steps=searches, steps=steps, initial_const=0.01)
        references["foolbox"] = seeded(lambda: _foolbox(foolbox, attack, bench))
    ours = bench.ours("cw", steps=steps, constant=0.01, searches=searches)
    yield Case(title=f"cw, {searches} x {steps} steps", ours=ours, references=references)
    torchattacks = optional("torchattacks", missing)
    if torchattacks is not None:
        single = {"torchattacks": seeded(lambda: torchattacks.CW(model, c=1, steps=steps, lr=0.01)(x, y))}
        ours = bench.ours("cw", steps=steps, constant=1.0, searches=1)
        yield Case(title=f"cw, c = 1, {steps} steps", ours=ours, references=single)


def _foolbox(foolbox: ModuleType, attack: Any, bench: Bench) -> Tensor:
    model = foolbox.PyTorchModel(bench.model, bounds=(0, 1), device="cpu")
    images: Tensor = attack(model, bench.images, bench.labels, epsilons=None)[0]
    return images


def deepfool(bench: Bench, missing: set[str]) -> Iterator[Case]:
    model, x, y, norm = bench.model, bench.images, bench.labels, bench.threat.norm
    references: dict[str, Search] = {}
    adv_lib, foolbox = optional("adv_lib.attacks", missing), optional("foolbox", missing)
    if foolbox is not None and norm != "l1":
        make = foolbox.attacks.L2DeepFoolAttack if norm == "l2" else foolbox.attacks.LinfDeepFoolAttack
        references["foolbox"] = seeded(lambda: _foolbox(foolbox, make(steps=50), bench))
    if adv_lib is not None and norm != "l1":
        references["adv-lib"] = seeded(lambda: adv_lib.df(model, x, y, steps=50, norm=ORDER[norm]))
    torchattacks, art = optional("torchattacks", missing), optional("art.attacks.evasion", missing)
    if torchattacks is not None and norm == "l2":
        references["torchattacks"] = seeded(lambda: torchattacks.DeepFool(model, steps=50)(x, y))
    if art is not None and norm == "l2":
        shape, classes = tuple(x.shape[1:]), int(model(x[:1]).shape[1])
        wrapped = import_module("art.estimators.classification").PyTorchClassifier(
            model, nn.CrossEntropyLoss(), shape, classes, clip_values=(0.0, 1.0), device_type="cpu"
        )
        attack = art.DeepFool(wrapped, max_iter=50, epsilon=0.02, batch_size=len(x), verbose=False)
        references["art"] = seeded(lambda: attack.generate(x.numpy()))
    if references:
        yield Case(title="deepfool, 50 steps", ours=bench.ours("deepfool"), references=references)


CASES: dict[str, Callable[[Bench, set[str]], Iterator[Case]]] = {
    "fab": fab,
    "cw": cw,
    "deepfool": deepfool,
    "square": square,
}


def verdict(threat: ThreatModel, mine: list[Found], its: list[Found], *, random: bool) -> tuple[str, str]:
    """The flags that differ, and whether ours is as strong as asked."""
    if not random:
        ours, theirs = mine[0].fooled(threat), its[0].fooled(threat)
        gained, lost = int((ours & ~theirs).sum()), int((theirs & ~ours).sum())
        few = math.ceil(0.002 * len(ours))
        word = "same" if gained + lost <= few else "stronger" if lost <= few or gained > lost else "NO"
        return f"+{gained} -{lost}", word
    own, shares = accuracies(threat, mine), accuracies(threat, its)
    within = np.mean(own) <= np.mean(shares) + max(shares) - min(shares) + 1e-9
    return "", "stronger" if np.mean(own) < min(shares) else "same" if within else "NO"


def accuracies(threat: ThreatModel, runs: list[Found]) -> list[float]:
    return [1.0 - float(run.fooled(threat).double().mean()) for run in runs]


def row(bench: Bench, case: Case, other: str) -> str:
    seeds, threat = range(bench.options.seeds if case.random else 1), bench.threat
    mine = [found(bench, case.ours, seed, f"{case.title} ours") for seed in seeds]
    its = [found(bench, case.references[other], seed, f"{case.title} {other}") for seed in seeds]
    flags, word = verdict(threat, mine, its, random=case.random)
    near, far = (float(run[0].distances.median()) for run in (mine, its))
    spent, took = (float(np.mean([one.seconds for one in runs])) for runs in (mine, its))
    cells = (threat.key, case.title, show(accuracies(threat, mine)), other, show(accuracies(threat, its)), flags)
    return f"| {' | '.join(cells)} | {near:.4f}, {far:.4f} | {spent:.1f}, {took:.1f} | {word} |"


def merged(page: Path, data: str, fresh: list[str]) -> list[str]:
    """The rows of the page's table and the fresh ones; one measured anew takes the place of its predecessor."""
    table = page.read_text(encoding="utf-8").partition(f"<!-- parity {data} -->")[2].partition("<!-- end")[0]
    rows = [line for line in [*table.splitlines(), *fresh] if line.startswith("| l")]
    return [*{tuple(line.split("|")[column].strip() for column in (1, 2, 4)): line for line in rows}.values()]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default=",".join(CASES))
    parser.add_argument("--threats", default="linf:0.1,l2:0.6,l1:2.0")
    parser.add_argument("--images", type=int, default=600)
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=100)
    parser.add_argument("--searches", type=int, default=9, help="of cw's binary search")
    parser.add_argument("--targets", type=int, default=9, help="of fab's second case")
    parser.add_argument("--queries", type=int, default=5000)
    parser.add_argument("--epochs", type=int, default=8)
    parser.add_argument("--npz", type=Path, default=None)
    parser.add_argument("--pool", type=int, default=1)
    parser.add_argument("--folder", type=Path, default=None, help="of trained_models.py: attack its union network")
    parser.add_argument("--cache", type=Path, default=None, help="keep every search here")
    parser.add_argument("--write", type=Path, default=None, help="put the table between this page's markers")
    options = parser.parse_args()
    options.data = "digits" if options.npz is None else options.npz.stem
    missing: set[str] = set()
    lines = list(HEAD)
    print("\n".join(lines), flush=True)
    for key in options.threats.split(","):
        threat = ThreatModel.parse(key)
        bench = prepare(threat, options) if options.folder is None else prepare_residual(threat, options)
        for case in (case for name in options.only.split(",") for case in CASES[name](bench, missing)):
            for other in case.references:
                lines.append(row(bench, case, other))
                print(lines[-1], flush=True)
    closing = f"{len(bench.labels)} images. Not installed: {', '.join(sorted(missing)) or 'none of the references'}."
    print(f"\n{closing}")
    if options.write is not None:
        put(options.write, f"parity {options.data}", [*HEAD, *merged(options.write, options.data, lines), "", closing])


if __name__ == "__main__":
    main()
