"""`peers`: crafting time and peak memory by the number of peers. `memory`: peak memory beside the plain loop's."""

from __future__ import annotations

import re
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from statistics import median

import torch

from benchmarks.measuring import Row, Settings, Tables, rounds
from benchmarks.step import plain
from benchmarks.worlds import NETWORKS, first_batch, one_step, training
from matx.engine.crafting import craft_all


def measure(settings: Settings) -> Tables:
    counts = (1,) if settings.brief else (1, 2, 4, 8)
    size = 8 if settings.brief else 64
    rows: list[Row] = []
    for count in counts:
        live = training("small_resnet", precision="auto", peers=count, batch_size=size)
        given = first_batch(live)
        spent = rounds(settings, {"crafting": partial(craft_all, live, given)})["crafting"]
        grown = _in_a_process(_matx, "small_resnet", size, "auto", count)
        rows.append({"peers": count, "crafting s": median(spent), "s a peer": median(spent) / count, "MiB": grown})
    for row in rows:
        row["MiB a peer"] = row["MiB"] / row["peers"]
    return {"peers": rows}


def measure_memory(settings: Settings) -> Tables:
    cases = [("tiny", 8)] if settings.brief else [(NETWORKS[0], 128), (NETWORKS[2], 128), (NETWORKS[3], 16)]
    rows: list[Row] = []
    for network, size in cases:
        row: Row = {"network": network, "batch": size, "plain MiB": _in_a_process(_plain, network, size, "fp32", 2)}
        row |= {f"matx {p} MiB": _in_a_process(_matx, network, size, p, 2) for p in ("fp32", "auto")}
        live = training(network, batch_size=size)
        one = next(iter(live.learners.values())).module
        row["a copy MiB"] = sum(p.nbytes for p in one.parameters()) / 2**20
        row["fp32 over plain + copy"] = row["matx fp32 MiB"] / (row["plain MiB"] + row["a copy MiB"])
        row["auto over plain + copy"] = row["matx auto MiB"] / (row["plain MiB"] + row["a copy MiB"])
        rows.append(row)
    return {"memory": rows}


def _in_a_process(run: Callable[..., float], *options: object) -> float:
    """What it returns in a process of its own, with the threads of this one."""
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        return pool.submit(run, *options, torch.get_num_threads()).result()


def _matx(network: str, size: int, precision: str, peers: int, threads: int) -> float:
    torch.set_num_threads(threads)
    _warm_up()
    before = _resident("VmRSS")
    live = training(network, precision=precision, peers=peers, batch_size=size)
    given = first_batch(live)
    return _grown(before, lambda: one_step(live, given))


def _plain(network: str, size: int, precision: str, peers: int, threads: int) -> float:
    torch.set_num_threads(threads)
    _warm_up()
    before = _resident("VmRSS")
    live = training(network, precision=precision, peers=peers, batch_size=size)
    given, loop = first_batch(live), plain(live)
    del live
    return _grown(before, lambda: loop.step(given.images, given.labels))


def _warm_up() -> None:
    """Load what both loops load."""
    live = training("tiny", batch_size=4)
    given = first_batch(live)
    plain(live).step(given.images, given.labels)
    one_step(live, given)


def _grown(before: float, step: Callable[[], None]) -> float:
    """MiB by which the resident set grew at its peak, over two steps."""
    Path("/proc/self/clear_refs").write_text("5", encoding="utf-8")  # the peak begins anew
    for _ in range(2):
        step()
    return _resident("VmHWM") - before


def _resident(what: str) -> float:
    found = re.search(rf"{what}:\s+(\d+) kB", Path("/proc/self/status").read_text(encoding="utf-8"))
    assert found is not None, "Linux says how much memory a process has"
    return int(found[1]) / 1024
