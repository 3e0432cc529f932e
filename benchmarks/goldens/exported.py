"""Does SAELens read what `clipsteer export-dictionary` writes, and make the same codes of it?

python exported.py write FOLDER     # in our environment: dictionaries of every kind, and their codes
python exported.py read FOLDER      # in SAELens's own: the largest deviations
"""

from __future__ import annotations

import sys
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file

RELEASES = Path(__file__).parents[2] / "tests/dictionaries/goldens/releases"
KINDS = ("standard", "topk", "topk_by_norm", "jumprelu", "gated")


def write(folder: Path) -> None:
    """The goldens of SAELens, imported and exported again."""
    from clipsteer.dictionaries.claimed import Expected
    from clipsteer.dictionaries.export import export
    from clipsteer.dictionaries.files import save
    from clipsteer.dictionaries.importing import import_dictionary

    for kind in KINDS:
        place = folder / kind
        place.mkdir(parents=True)
        path = RELEASES / f"saelens_{kind}" / "sae_weights.safetensors"
        found = import_dictionary(path, Expected(3, "resid_post"), "dictionaries.x", place)
        save(found.dictionary, place / "ours", {"hook_point": "resid_post", "layer": 3})
        export(place / "ours", place / "theirs", "saelens", "openai/some-clip")
        x = torch.randn(50, found.dictionary.d, generator=torch.Generator().manual_seed(3))
        codes = found.dictionary.encode(x)
        expected = {"x": x, "codes": codes, "output": found.dictionary.decode(codes)}
        save_file(expected, place / "expected.safetensors")


def read(folder: Path) -> None:
    """One line a kind; fails where SAELens makes something else of it."""
    from sae_lens.saes.sae import SAE

    for kind in KINDS:
        sae = SAE.load_from_disk(folder / kind / "theirs")
        expected = load_file(folder / kind / "expected.safetensors")
        with torch.no_grad():
            codes = sae.encode(expected["x"])
            output = sae.decode(codes)
            # ours are of unit rows, theirs times the norms of the rows in the file
            codes = codes * sae.W_dec.norm(dim=1)
        worst = [
            float((found - expected[name]).abs().max())
            for name, found in (("codes", codes), ("output", output))
        ]
        print(f"{kind}: codes {worst[0]:.1e}, reconstructions {worst[1]:.1e}")
        if max(worst) > 1e-5:
            sys.exit(f"{kind}: SAELens makes something else of it")


if __name__ == "__main__":
    if len(sys.argv) != 3 or sys.argv[1] not in ("write", "read"):
        sys.exit(__doc__)
    {"write": write, "read": read}[sys.argv[1]](Path(sys.argv[2]))
