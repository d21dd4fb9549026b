"""Where the tests of this folder run: on CUDA, or on the device that MATX_TEST_DEVICE names."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

os.environ.setdefault(
    "CUBLAS_WORKSPACE_CONFIG", ":4096:8"
)  # read when CUDA starts; products repeat bit for bit with it


@pytest.fixture(scope="session")
def device() -> Any:
    """The one place that says which."""
    import torch

    return torch.device(os.environ.get("MATX_TEST_DEVICE", "cuda"))


@pytest.fixture(autouse=True)
def _exact(device: Any) -> Iterator[None]:
    """fp32 without TF32, and kernels that repeat themselves, so that a GPU can be compared with the CPU."""
    import torch

    before = torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.use_deterministic_algorithms(True, warn_only=False)
    yield
    torch.use_deterministic_algorithms(False)
    torch.backends.cuda.matmul.allow_tf32, torch.backends.cudnn.allow_tf32 = before


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
