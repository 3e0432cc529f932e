"""The finding in a few lines of text, from `results/<dataset>_headline.json`.

They fit a screen, and each accuracy, difference and p-value is followed by the group that it is of, or by "all".
"""

from __future__ import annotations

import textwrap
from collections.abc import Iterator, Mapping
from typing import Any

from clipsteer.report.markdown import left_out_text, p_text, source_label

WIDTH = 110
_BOUND = "\N{NO-BREAK SPACE}"  # while lines are cut; a plain space in the text
_AGAINST = {
    "sae_over_neurons": "targeted neurons",
    "sae_over_random": "as many random features of the same SAE",
}


def render(headline: Mapping[str, Any], *, left_out: Mapping[str, int] | None = None) -> str:
    """Plain text, one statement a paragraph; `left_out`: split -> images that are listed but were not there.

    `headline` is what make_table writes (docs/configuration.md, "What is written to results/"), groups by name.
    """
    h, whole = headline, headline["unmodified"]
    said = [
        f"{h['dataset']} ({source_label(h['source'])}), {h['n_images']} test images; worst group on validation: "
        f"{h['worst_group_validation']}",
        f"unmodified model, on test: {_accuracies(whole['overall'], whole['groups'])}",
    ]
    for condition in ("strict", "relaxed"):
        said += _condition(h[condition], condition, h)
    said += _comparisons(h["relaxed"], h["worst_group_validation"])
    most = max(h["resumed_changes"].values(), default=0)
    said.append(
        f"predictions that change by resuming from stored activations without an edit: at most {most} of "
        f"{h['n_images']} at any layer"
    )
    if left_out:
        text = left_out_text(left_out)
        said.append(f"{text[0].lower()}{text[1:]}")
    return "".join(f"{line}\n" for paragraph in said for line in _wrapped(paragraph))


def _condition(found: Mapping[str, Any], condition: str, headline: Mapping[str, Any]) -> list[str]:
    """What one condition chose, what it gains and loses on validation, and on test."""
    hardest = headline["worst_group_validation"]
    if found["layer"] is None:
        reason = f" ({_strict(headline)})" if condition == "strict" else ""
        return [
            f"{condition}{reason}: nothing is ablated, as no set gains on validation at any of "
            f"{headline['n_places']} places"
        ]
    features = "feature" if found["n_features"] == 1 else "features"
    seen = found["validation"]
    before, after = seen["groups_before"], seen["groups_after"]
    whole = _pair(seen["overall_before"], seen["overall_after"], "all")
    own = _pair(before[hardest], after[hardest], hardest)
    both = headline["unmodified"]["overall"], found["overall"]
    groups = found["groups_after"]
    moved = [_pair(found["groups_before"][g], groups[g], g) for g in groups]
    worst = found["worst_group"]
    to = "" if worst == hardest else f" to {worst}, now the worst"
    return [
        f"{condition}, chosen on validation: layer {found['layer']}, {found['dictionary']}, "
        f"{found['n_features']:,} {features}",
        f"  on validation: {whole}; {own}; {_fall(seen['largest_fall'])}",
        f"  on test: {'; '.join([_pair(*both, 'all'), *moved])}",
        f"  loss on test: {_fall(found['largest_fall'])}",
        f"  gain on test: {_gap(found['gain'])} {hardest}{to}; one-sided {_p(found['p_gain'], 'all groups')}; McNemar "
        f"{_p(found['p_worst_group'], hardest)}, {_p(found['p_overall'], 'all')}",
    ]


def _strict(headline: Mapping[str, Any]) -> str:
    """What the strict rule asks, in words."""
    if headline["strict_rule"] == "largest_sum":
        return "neither overall nor worst-group accuracy falls on validation"
    slack = headline["strict_slack"]
    if not slack:
        return "no group falls on validation"
    return f"no group loses more than {slack:,} {'image' if slack == 1 else 'images'} on validation"


def _comparisons(found: Mapping[str, Any], hardest: str) -> Iterator[str]:
    """The chosen dictionary against the controls, on average over layers."""
    number = len(found["layers"])
    layers = f"{number} layer" if number == 1 else f"{number} layers"
    for key, control in _AGAINST.items():
        if "chosen" in found[key]:
            yield (
                f"relaxed, mean over {layers} of {found['dictionary']}: targeted SAE minus {control} "
                f"{_gap(found[key]['chosen'])} {hardest}"
            )


def _accuracies(overall: float, groups: Mapping[str, float]) -> str:
    shares = {"all": overall, **groups}
    return "; ".join(_whole(f"{value:.1f} % {name}") for name, value in shares.items())


def _pair(before: float, after: float, name: str) -> str:
    return _whole(f"{before:.1f} -> {after:.1f} % {name}")


def _fall(fall: Mapping[str, Any] | None) -> str:
    if fall is None:
        return "no group falls"
    return "largest fall " + _whole(f"{fall['points']:+.1f} points {fall['group']}")


def _gap(gap: Mapping[str, float]) -> str:
    return _whole(f"{gap['points']:+.1f} points (95 %: {gap['low']:+.1f} to {gap['high']:+.1f})")


def _p(p: float, name: str) -> str:
    return _whole(f"{p_text(p)} {name}")


def _whole(text: str) -> str:
    """Text that is not to be broken between two lines."""
    return text.replace(" ", _BOUND)


def _wrapped(paragraph: str) -> list[str]:
    indent = " " * (len(paragraph) - len(paragraph.lstrip()) + 4)
    lines = textwrap.wrap(
        paragraph, WIDTH, subsequent_indent=indent, break_long_words=False, break_on_hyphens=False
    )
    return [line.replace(_BOUND, " ") for line in lines]
