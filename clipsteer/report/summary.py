"""The finding in a few lines of text, from the numbers of `steering.outcomes.headline`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from clipsteer.report.markdown import left_out_text, p_text, source_label

_AGAINST = {
    "sae_over_neurons": "targeted neurons",
    "sae_over_random": "random features of the same SAE",
}
_SCOPES = {
    "all": "all dictionaries",
    "chosen": "the chosen dictionary",
    "per_layer": "each layer's dictionary chosen on validation",
}


def render(
    headline: Mapping[str, Any],
    *,
    dataset: str,
    source: str,
    group_names: Mapping[int, str],
    baseline_groups: Mapping[int, float] | None = None,
    changed: Mapping[int, int] | None = None,
    left_out: Mapping[str, int] | None = None,
) -> str:
    """Plain text, one statement a line.

    `baseline_groups`: the unmodified model's accuracy in each group, in per cent.
    `changed`: layer -> how many test predictions change when the forward pass resumes from the
    stored activations without any edit.
    `left_out`: split -> images that are listed but were not there.
    """

    def group(number: int) -> str:
        return group_names.get(number, f"group {number}")

    h = headline
    features = "feature" if h["n_features"] == 1 else "features"
    lines = [
        f"{dataset} ({source_label(source)}), {h['n_images']} test images",
        f"  unmodified model: overall {h['baseline_overall']:.1f} %, worst group "
        f"{h['baseline_worst']:.1f} % ({group(h['baseline_worst_group'])})",
        *_by_group(baseline_groups or {}, group),
        f"  chosen on validation ({h['condition']}): layer {h['layer']}, {h['dictionary']}, "
        f"{h['n_features']:,} {features}",
        f"  there: overall {h['overall']:.1f} %, worst group {h['worst']:.1f} % "
        f"({group(h['worst_group'])}); worst group {_gap(h['gain'])}, {p_text(h['p_value'])}",
    ]
    for key, control in _AGAINST.items():
        for scope, gap in h[key].items():
            lines.append(
                f"  mean over {len(h['layers'])} layers, {_SCOPES[scope]}: "
                f"targeted SAE minus {control} {_gap(gap)}"
            )
    if changed is not None:
        most = max(changed.values(), default=0)
        lines.append(
            f"  predictions that change by resuming from stored activations: at most {most} of "
            f"{h['n_images']} at any layer"
        )
    if left_out:
        text = left_out_text(left_out)
        lines.append(f"  {text[0].lower()}{text[1:]}")
    return "\n".join(lines) + "\n"


def _by_group(accuracies: Mapping[int, float], name: Callable[[int], str]) -> list[str]:
    if not accuracies:
        return []
    return ["    by group: " + ", ".join(f"{name(g)} {a:.1f} %" for g, a in accuracies.items())]


def _gap(gap: Mapping[str, float]) -> str:
    return f"{gap['points']:+.1f} points (95 % {gap['low']:+.1f} to {gap['high']:+.1f})"
