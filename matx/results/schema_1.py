"""results.json of schema 1, nested by checkpoint and peer, as schema 2 holds it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from matx.errors import RunError
from matx.results.score import ENSEMBLE, NOT_CHECKED, UNION

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
    blocks = {str(old["checkpoint"]): old} | ({"last": old["last"]} if "last" in old else {})
    epochs = {name: block.get("best_epoch" if block is old else "epoch") for name, block in blocks.items()}
    rows = [row for name, block in blocks.items() for row in _block(block, name, str(old.get("weights", "raw")))]
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
        "reasons": [],
    }
    return {"schema": 2, "experiment": old["experiment"], "how": how, "scores": rows}


def _block(block: Mapping[str, Any], checkpoint: str, weights: str) -> Iterator[dict[str, Any]]:
    for kind, one in ((weights, block), ("ema", block.get("ema"))):
        if one is None:
            continue
        peers = {**one["peers"], **({ENSEMBLE: one[ENSEMBLE]} if ENSEMBLE in one else {})}
        for model, peer in peers.items():
            sanity = peer.get("sanity", {})
            words, verdict = sanity.get("threats", {}), sanity.get("verdict", NOT_CHECKED)
            at = {"checkpoint": checkpoint, "weights": kind, "model": model, "source": None}
            yield _row(at, "clean", "clean", peer["clean"], verdict)
            for key, rate in peer["threats"].items():
                yield _row(at, "robust", key, rate, words.get(key, verdict))
            yield _row(at, "robust", UNION, peer["union"], verdict)
            if "eight_bit" in peer:
                yield _row(at, "eight_bit", "8-bit", peer["eight_bit"][UNION], verdict)
            for norm, points in one.get("grid", {}).get(model, {}).items():
                for point in points:
                    yield _row(at, "radii", f"{norm}:{point['eps']}", point, verdict)


def _row(at: Mapping[str, Any], metric: str, column: str, rate: Mapping[str, Any], sanity: str) -> dict[str, Any]:
    n = int(rate["n"])
    return {
        **at, "metric": metric, "column": column, "correct": round(rate["accuracy"] * n), "n": n,
        "accuracy": rate["accuracy"], "low": rate["low"], "high": rate["high"], "sanity": sanity,
    }  # fmt: skip
