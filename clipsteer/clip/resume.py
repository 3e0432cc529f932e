"""Run only the part of the vision tower above a layer."""

from __future__ import annotations

from torch import Tensor

from clipsteer.clip.device import check_layer, exact_inference
from clipsteer.clip.model import Clip


def resume(clip: Clip, resid_post: Tensor, layer: int, *, key: str = "layer") -> Tensor:
    """Embed images from the residual stream behind one layer.

    Runs encoder layers `layer + 1` onwards, the final layer norm on the CLS token and the visual
    projection. Given what `forward_with_taps` returned for the same batch in float32, the result
    equals the full forward pass bit for bit. An edit of `mlp_out` is the same edit of `resid_post`:
    the MLP's output is only ever added to the stream, so add its change there.

    For jobs that need nothing else of the model, `clipsteer.clip.tail` does the same without
    importing transformers.

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
