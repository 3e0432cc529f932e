#!/usr/bin/env bash
# Remake tests/dictionaries/goldens from SAELens, in an environment of its own.
#   benchmarks/goldens/make_goldens.sh [ENVIRONMENT_FOLDER]
# The environment (about 2 GB, a few minutes) is kept for the next time. torch is named, so that the
# CPU build of our own pin is taken where one is offered.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd)
environment=${1:-"$here/.venv"}
if [ ! -x "$environment/bin/python" ]; then
    python3.11 -m venv "$environment"
fi
"$environment/bin/pip" install --quiet "torch==2.13.0" "sae-lens==6.54.12"
"$environment/bin/python" "$here/saelens.py" "$here/../../tests/dictionaries/goldens"
