#!/usr/bin/env bash
# Debian's Chromium and what drives it, where they are missing. Says why, and fails, where this machine cannot have them.
set -euo pipefail
cd "$(dirname "$0")/../.."

refuse() {
  echo "make test-browser: $*" >&2
  exit 1
}

if ! command -v chromium >/dev/null; then
  command -v apt-get >/dev/null || refuse "found no chromium, and no apt-get to install it (Debian)"
  [ "$(id -u)" -eq 0 ] || refuse "found no chromium, and no root to install it"
  export DEBIAN_FRONTEND=noninteractive
  apt-get update -qq || refuse "apt-get update failed: is there a network?"
  apt-get install -y -qq --no-install-recommends chromium >/dev/null || refuse "apt-get could not install chromium"
fi
# Playwright drives the browser that is there; its own are not downloaded.
python -c 'import axe_playwright_python, playwright' 2>/dev/null ||
  python -m pip install --quiet --editable '.[browser]' || refuse "pip could not install clipsteer[browser]"
