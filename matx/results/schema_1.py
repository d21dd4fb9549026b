"""results.json of schema 1, nested by checkpoint and peer, as schema 2 holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matx.errors import RunError
from matx.results.score import CLEAN, ENSEMBLE, NOT_CHECKED, UNION

__all__ = ["convert"]

_REQUIRED = ("experiment", "checkpoint", "dataset", "peers")


def convert(old: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The content of schema 2; what schema 1 did not say (attacks, seed, versions) stays unsaid."""
    missing = [key for key in _REQUIRED if key not in old]
    if missing:
        raise RunError(f"{where}: {', '.join(missing)} missing; allowed: results as `matx eval` writes them")
    try:
        return _converted(old)
    except (KeyError, TypeError, AttributeError) as error:
        raise RunError(
            f"{where}: damaged ({type(error).__name__}: {error}); allowed: results as `matx eval` writes them"
        ) from error


def _converted(old: Mapping[str, Any]) -> dict[str, Any]:
    first = str(old["checkpoint"])
    epochs = {first: old.get("best_epoch")} | ({"last": old["last"].get("epoch")} if "last" in old else {})
    same = epochs[first] is not None and epochs.get("last") == epochs[first]
    blocks = {first: old} | ({} if same or "last" not in old else {"last": old["last"]})
    weights = str(old.get("weights", "raw"))
    rows = [row for name, block in blocks.items() for row in _block(block, name, weights)]
    evaluation = old.get("evaluation", {})
    tables = {"clean": "", "robust": "", "eight_bit": "", "radii": "Accuracy by radius, %"}
    used = dict.fromkeys(row["metric"] for row in rows)
    how = {
        "dataset": dict(old["dataset"]),
        "scored": list(old.get("scored", {}).get("peers", [])),
        "epochs": {name: epoch for name, epoch in epochs.items() if epoch is not None},
        "passes": dict(old.get("passes", {})),
        "attacks": None,
        "metrics": [{"name": name, "table": tables[name], "options": {}} for name in used],
        "seed": evaluation.get("seed"),
        "settings": {},
        "provenance": {},
        "effort": evaluation.get("sanity", ""),
        "reasons": [reason for name, block in blocks.items() for reason in _reasons(block, name, weights)],
    }
    return {"schema": 2, "experiment": old["experiment"], "how": how, "scores": rows}


def _models(block: Mapping[str, Any], weights: str) -> Iterator[tuple[str, str, Mapping[str, Any], Mapping[str, Any]]]:
    """(weights, model, what was scored, its radii) of the peers of a block and their ensemble, raw and averaged."""
    for kind, one in ((weights, block), ("ema", block.get("ema"))):
        if one is not None:
            for model, peer in {**one["peers"], **({ENSEMBLE: one[ENSEMBLE]} if ENSEMBLE in one else {})}.items():
                yield kind, model, peer, one.get("grid", {}).get(model, {})


def _block(block: Mapping[str, Any], checkpoint: str, weights: str) -> Iterator[dict[str, Any]]:
    for kind, model, peer, radii in _models(block, weights):
        sanity = peer.get("sanity", {})
        words, verdict = sanity.get("threats", {}), sanity.get("verdict", NOT_CHECKED)
        at = {"checkpoint": checkpoint, "weights": kind, "model": model, "source": None}
        yield _row(at, "clean", CLEAN, peer["clean"], verdict)
        for key, rate in peer["threats"].items():
            yield _row(at, "robust", key, rate, words.get(key, verdict))
        yield _row(at, "robust", UNION, peer["union"], verdict)
        if "eight_bit" in peer:
            yield _row(at, "eight_bit", "8-bit", peer["eight_bit"][UNION], verdict)
        for norm, points in radii.items():
            for point in points if len(points) > 1 else ():
                yield _row(at, "radii", f"{norm}:{point['eps']}", point, verdict)


def _reasons(block: Mapping[str, Any], checkpoint: str, weights: str) -> Iterator[dict[str, Any]]:
    """The sanity checks that did not pass, each told as 'status, check: sentence'."""
    for kind, model, peer, _ in _models(block, weights):
        for line in peer.get("sanity", {}).get("because", ()):
            status, _, rest = str(line).partition(", ")
            check, _, sentence = rest.partition(": ")
            at = {"checkpoint": checkpoint, "weights": kind, "model": model}
            yield {**at, "check": check, "threat": None, "status": status, "sentence": sentence, "value": None}


def _row(at: Mapping[str, Any], metric: str, column: str, rate: Mapping[str, Any], sanity: str) -> dict[str, Any]:
    n = int(rate["n"])
    return {
        **at, "metric": metric, "column": column, "correct": round(rate["accuracy"] * n), "n": n,
        "accuracy": rate["accuracy"], "low": rate["low"], "high": rate["high"], "sanity": sanity,
    }  # fmt: skip
