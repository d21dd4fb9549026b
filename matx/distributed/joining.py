"""How processes that torchrun (or SLURM) has started find each other, and what is said when one of them is lost."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from queue import Empty, Queue

import torch
import torch.distributed as dist
from torch.distributed import PrefixStore, Store  # type: ignore[attr-defined]  # torch's stubs omit them
from torch.distributed.rendezvous import rendezvous

from matx.distributed.collectives import SINGLE, World
from matx.errors import LostProcessError, OptionError, RunError

__all__ = ["LAUNCHED", "again", "device_of_process", "joined", "refuse_within_torchrun"]

LAUNCHED = "MATX_LAUNCHED"
"""The environment variable with the file that tells `launch` how to continue."""
TIMEOUT = "MATX_TIMEOUT"
"""The environment variable that says how many seconds a process is waited for."""
_DEFAULT_TIMEOUT = 3600.0
_GRACE = 5.0
"""Seconds in which the others say that they are there, once a process is lost."""
_HERE = "here"


def again(command: str) -> str:
    """The shell command that starts a command of matx in as many processes as this one was started with.

    `launch` knows it from here, should rank 0 be killed and not say it.
    """
    if not _in_world():
        return command
    if LAUNCHED not in os.environ:
        return f"torchrun --nproc-per-node {os.environ.get('LOCAL_WORLD_SIZE', '1')} -m {command}"
    found = f"{command} --processes {os.environ['WORLD_SIZE']}"
    if os.environ["RANK"] == "0":
        Path(os.environ[LAUNCHED]).write_text(f"continue with: {found}", encoding="utf-8")
    return found


def refuse_within_torchrun() -> None:
    """OptionError in a process that torchrun has started, which cannot start others."""
    if "WORLD_SIZE" in os.environ:
        raise OptionError("--processes: got it in a process that torchrun has started, allowed: one of the two")


def device_of_process(name: str) -> str:
    """The device that this process uses where a name stands for any GPU: the one of its number on this machine."""
    if not _in_world() or name not in ("auto", "cuda") or not torch.cuda.is_available():
        return name
    own = f"cuda:{os.environ.get('LOCAL_RANK', '0')}"
    if torch.cuda.device_count() < int(os.environ.get("LOCAL_WORLD_SIZE", "1")):
        raise OptionError(
            f"--device: got {os.environ['LOCAL_WORLD_SIZE']} processes for {torch.cuda.device_count()} GPUs on this "
            "machine, allowed: one process a GPU, or --device cpu"
        )
    torch.cuda.set_device(own)
    return own


def _in_world() -> bool:
    """Whether this process was started as one of several."""
    return int(os.environ.get("WORLD_SIZE", "1")) > 1


@contextmanager
def joined(device: str = "auto") -> Iterator[World]:
    """The world that the environment describes (RANK, WORLD_SIZE, MASTER_ADDR, MASTER_PORT); SINGLE without it.

    An error inside is told to the other ranks. Where one is lost, rank 0 raises a LostProcessError that names it.
    """
    if not _in_world():
        yield SINGLE
        return
    meeting = _meet(_backend(device))
    try:
        yield meeting.world
        meeting.say("done")
        meeting.wait_for_all("done")  # none closes its connections while another still reads from them
    except (LostProcessError, KeyboardInterrupt) as stop:
        with _termination_ignored():  # rank 0 says who is lost before the launcher ends it
            sentence = meeting.who_is_lost()
        if not sentence or (isinstance(stop, KeyboardInterrupt) and not meeting.world.writes):
            raise
        found = LostProcessError(sentence)
        for note in getattr(stop, "__notes__", [str(stop)] if isinstance(stop, KeyboardInterrupt) else []):
            found.add_note(note)
        raise found from stop
    except BaseException as error:
        meeting.say("failed", f"{error}" or type(error).__name__)
        raise
    finally:
        if dist.is_initialized():
            dist.destroy_process_group()
    meeting.say("closed")
    if meeting.world.writes:
        meeting.wait_for_all("closed")  # the store may be this process's, and the others still ask it


@dataclass(frozen=True, eq=False)
class _Meeting:
    """The joined processes, and the store through which they speak when collectives no longer work."""

    world: World
    store: Store
    timeout: float

    def say(self, what: str, sentence: str = "1") -> None:
        """Leave a word of this rank for the others."""
        with suppress(RuntimeError):  # the store is gone with the process that kept it
            self.store.set(f"{what}/{self.world.rank}", sentence)

    def wait_for_all(self, what: str) -> None:
        """Go on when every rank has left this word, when one has failed, or when the store is gone."""
        ranks, end = range(self.world.size), time.monotonic() + self.timeout
        with suppress(RuntimeError):
            while time.monotonic() < end and not self.store.check([f"{what}/{rank}" for rank in ranks]):
                if any(self.store.check([f"failed/{rank}"]) for rank in ranks):
                    return
                time.sleep(0.02)

    def who_is_lost(self) -> str:
        """One sentence of which rank failed and why, or which does not answer; '' where all are there."""
        self.say("here")
        if not self.world.writes:
            return f"rank {self.world.rank} stops, as another rank is lost"
        end = time.monotonic() + _GRACE
        others = dict.fromkeys(range(1, self.world.size), "")
        while "" in others.values() and time.monotonic() < end:
            others = {other: known or self._said(other) for other, known in others.items()}
            time.sleep(0.05)
        failed = [f"rank {other}: {said}" for other, said in others.items() if said not in ("", _HERE)]
        silent = [str(other) for other, said in others.items() if not said]
        if failed or not silent:
            return next(iter(failed), "")
        names = f"rank{'s' if len(silent) > 1 else ''} {', '.join(silent)}"
        return f"{names} of {self.world.size} was killed, or did not answer within {self.timeout:g} s ({TIMEOUT})"

    def _said(self, other: int) -> str:
        """The sentence with which a rank failed, that it is there, '' where nothing is known."""
        with suppress(RuntimeError):
            if self.store.check([f"failed/{other}"]):
                return str(self.store.get(f"failed/{other}"), "utf-8")
            if self.store.check([f"here/{other}"]):
                return _HERE
        return ""


def _meet(backend: str) -> _Meeting:
    """Wait for all processes; RunError in one sentence where they cannot meet."""
    timeout = _timeout()
    try:
        store, rank, size = _store(timeout)
        own = PrefixStore("matx", store)
        dist.init_process_group(backend, store=own, rank=rank, world_size=size, timeout=timedelta(seconds=timeout))
    except (RuntimeError, ValueError, TimeoutError) as error:
        where = (
            f"{os.environ.get('MASTER_ADDR', '(no MASTER_ADDR)')}:{os.environ.get('MASTER_PORT', '(no MASTER_PORT)')}"
        )
        why = " ".join(str(error).split())[:200]
        raise RunError(
            f"the {os.environ['WORLD_SIZE']} processes cannot meet at {where}: {why}; allowed: a port that is free on "
            "the first node and reached from the others, and as many processes as WORLD_SIZE says"
        ) from error
    return _Meeting(World(rank, size), PrefixStore("matx/said", store), timeout)


def _store(timeout: float) -> tuple[Store, int, int]:
    """torch's store at MASTER_ADDR and MASTER_PORT, this rank, and how many there are; TimeoutError where none answers.

    In a thread, since torch waits without end for a program that listens at that port and says nothing.
    """
    found: Queue[tuple[Store, int, int] | RuntimeError | ValueError] = Queue()

    def ask() -> None:
        try:
            found.put(next(rendezvous("env://", timeout=timedelta(seconds=timeout))))
        except (RuntimeError, ValueError) as error:
            found.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        answer = found.get(timeout=timeout + _GRACE)
    except Empty:
        raise TimeoutError(f"what listens there did not answer within {timeout:g} s ({TIMEOUT})") from None
    if isinstance(answer, Exception):
        raise answer
    return answer


def _timeout() -> float:
    text = os.environ.get(TIMEOUT, str(_DEFAULT_TIMEOUT))
    with suppress(ValueError):
        if float(text) > 0:
            return float(text)
    raise OptionError(f"{TIMEOUT}: got {text!r}, allowed: seconds, more than 0")


def _backend(device: str) -> str:
    """gloo for tensors on CPUs, NCCL beside it for those on GPUs."""
    if not dist.is_available() or not dist.is_gloo_available():
        raise RunError("several processes: this torch was built without gloo, allowed: a torch with it")
    wants_cuda = device.startswith("cuda") or (device == "auto" and torch.cuda.is_available())
    if not wants_cuda:
        return "gloo"
    if not dist.is_nccl_available():
        raise RunError(
            "several processes on GPUs: this torch was built without NCCL, allowed: a torch with it, or --device cpu"
        )
    if not torch.cuda.is_available():  # whoever asks for the device says which there are
        return "gloo"
    return "cpu:gloo,cuda:nccl"


@contextmanager
def _termination_ignored() -> Iterator[None]:
    """The launcher sends SIGTERM to all as soon as one process is gone."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
