"""The model card of an export: what the model is, on what it was scored, how it is loaded, and what it is not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from matx.report import markdown
from matx.results import Results

__all__ = ["card"]


def card(
    results: Results,
    peers: Sequence[str],
    checkpoint: str,
    weights: str,
    loading: Mapping[str, str],
    about: Sequence[str],
) -> str:
    """Markdown. `loading` is {peer: Python that gives it}, `about` what is known of data, network and recipe."""
    which = results.checkpoint_of(checkpoint)
    scores = [s for s in results.scores if (s.checkpoint, s.weights) == (which, weights) and s.model in peers]
    reasons = [r for r in results.reasons if (r.checkpoint, r.weights) == (which, weights) and r.model in peers]
    report = markdown(replace(results, scores=scores, reasons=reasons, scored=[]))
    code = [line for text in loading.values() for line in ("```python", text, "```", "")]
    return "\n".join(
        [
            f"# {', '.join(peers)} of {results.experiment}",
            "",
            *(f"- {line}" for line in about),
            "",
            "## Loading",
            "",
            "`model` takes images (N, C, H, W) fp32 in [0,1], normalises them itself, and gives logits.",
            "",
            *code,
            "## Figures",
            "",
            _lowered(report),
            "## Limits",
            "",
            "Robust accuracy is an upper bound: a stronger attack may find more. It was measured for the threat models "
            "above, on the images above, and says nothing of other perturbations, other data or natural shifts. "
            "`config.gin` is the whole recipe; `matx eval` on this folder measures anew.",
            "",
        ]
    )


def _lowered(text: str) -> str:
    """A report as a part of the card: each heading two levels down, the first line, its title, left away."""
    lines = text.splitlines()[1:]
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in lines).strip() + "\n"
