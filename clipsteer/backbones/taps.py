"""The vision tower of `transformers` taken apart: every layer from one forward pass, and the part above a layer.

For tests and benchmarks: steps take `clipsteer.backbones.tower` and `clipsteer.backbones.tail`, which do the same
without importing transformers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from clipsteer.backbones.device import check_layer, exact_inference
from clipsteer.backbones.model import Clip
from clipsteer.errors import ClipsteerError

HOOK_POINTS = ("resid_post", "mlp_out")


def forward_with_taps(
    clip: Clip, pixels: Tensor, hook_points: Sequence[str], *, key: str = "hook_points"
) -> tuple[Tensor, dict[str, list[Tensor]]]:
    """Embed images and keep what passes the hook points on the way.

    `resid_post` of layer l is the output of encoder layer l (0-based), `mlp_out` its MLP's output
    before it is added back; neither is centred, and no layer norm is folded in. The model runs
    unchanged, so the embeddings are those of `CLIPModel.get_image_features`, bit for bit.

    Args:
        clip: a loaded model.
        pixels: (n, 3, H, W), from `Clip.pixels`.
        hook_points: any of `resid_post`, `mlp_out`.
        key: the config key to name in errors.

    Returns:
        Image embeddings (n, p), projected but not normalised, and per hook point a list with one
        tensor (n, T, d) per layer; all in the model's dtype, on its device.

    Raises:
        ClipsteerError: an unknown hook point.
    """
    for point in hook_points:
        if point not in HOOK_POINTS:
            raise ClipsteerError(
                f"{key}: found {point!r}, expected any of {', '.join(HOOK_POINTS)}. Correct {key}."
            )
    taps: dict[str, list[Tensor]] = {point: [] for point in hook_points}

    def keep(point: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        # Layers run in order, so appending makes the list's index the layer's number.
        return lambda _module, _inputs, output: taps[point].append(output)

    handles = []
    try:
        for layer in clip.model.vision_model.encoder.layers:
            for point, module in (("resid_post", layer), ("mlp_out", layer.mlp)):
                if point in taps:
                    handles.append(module.register_forward_hook(keep(point)))
        with exact_inference():
            output = clip.model.get_image_features(pixel_values=pixels.to(clip.device, clip.dtype))
    finally:
        for handle in handles:
            handle.remove()
    embeddings: Tensor = output.pooler_output
    return embeddings, taps


def resume(clip: Clip, resid_post: Tensor, layer: int, *, key: str = "layer") -> Tensor:
    """Embed images from the residual stream behind one layer.

    Runs encoder layers `layer + 1` onwards, the final layer norm on the CLS token and the visual
    projection. Given what `forward_with_taps` returned for the same batch in float32, the result
    equals the full forward pass bit for bit. An edit of `mlp_out` is the same edit of `resid_post`:
    the MLP's output is only ever added to the stream, so add its change there.

    Args:
        clip: a loaded model.
        resid_post: (n, T, d), any float dtype; converted to the model's.
        layer: 0-based; the layer whose output `resid_post` is.
        key: the config key to name in errors.

    Returns:
        Image embeddings (n, p), projected but not normalised.

    Raises:
        ClipsteerError: the model has no such layer.
    """
    check_layer(layer, clip.n_layers, key)
    vision = clip.model.vision_model
    with exact_inference():
        stream = resid_post.to(clip.device, clip.dtype)
        for block in vision.encoder.layers[layer + 1 :]:
            stream = block(stream, None)
        pooled = vision.post_layernorm(stream[:, 0, :])
        embeddings: Tensor = clip.model.visual_projection(pooled)
    return embeddings
