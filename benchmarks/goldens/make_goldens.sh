#!/usr/bin/env bash
# Remake tests/dictionaries/goldens from the programs whose dictionaries we compare with and import, in an environment of
# its own, and see that SAELens reads what we export.
#   benchmarks/goldens/make_goldens.sh [ENVIRONMENT_FOLDER]
# The environment (about 2 GB, a few minutes) is kept for the next time. torch is named, so that the
# CPU build of our own pin is taken where one is offered. The small ones' own pins exclude one another: without them.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
root=$(cd "$here/../.." && pwd)
goldens=$root/tests/dictionaries/goldens
environment=${1:-"$here/.venv"}
if [ ! -x "$environment/bin/python" ]; then
    python3.11 -m venv "$environment"
fi
"$environment/bin/pip" install --quiet "torch==2.13.0" "sae-lens==6.54.12" einops natsort accelerate \
    simple-parsing beartype jaxtyping
"$environment/bin/pip" install --quiet --no-deps "eai-sparsify==1.3.3" "dictionary-learning==0.1.0" "saev==0.1.0"
# of another build of torch where that is the CPU's: then nothing imports; kept from the last time, or come along
"$environment/bin/pip" uninstall --quiet --yes torchvision
"$environment/bin/python" "$here/saelens.py" "$goldens"
rm -rf "$goldens/releases"
PYTHONHASHSEED=0 "$environment/bin/python" "$here/releases.py" "$goldens/releases"  # SAELens writes keys of a set

exports=$(mktemp -d)
trap 'rm -rf "$exports"' EXIT
PYTHONPATH=$root "${PYTHON:-$root/.venv/bin/python}" "$here/exported.py" write "$exports"
"$environment/bin/python" "$here/exported.py" read "$exports"

# open_clip's own needs torchvision; last, as with it here SAELens may not import
"$environment/bin/pip" install --quiet "torchvision==0.28.0" "open_clip_torch==3.3.0"
"$environment/bin/python" "$here/open_clip_golden.py" "$root/tests/backbones/goldens/open_clip.safetensors"
