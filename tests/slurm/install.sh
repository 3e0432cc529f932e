#!/usr/bin/env bash
# Debian's Slurm, where it is missing. Nothing is started: tests/slurm/cluster.py does that.
set -euo pipefail

missing=()
for pair in slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client munged:munge slurmdbd:slurmdbd mariadbd:mariadb-server; do
  PATH="$PATH:/usr/sbin:/sbin" command -v "${pair%%:*}" >/dev/null || missing+=("${pair##*:}")
done
[ ${#missing[@]} -eq 0 ] && exit 0

if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
  echo "make test-slurm: ${missing[*]} missing; expected them installed, or Debian (or Ubuntu) and root to" \
    "install them. In a container: docker run --rm -v \"\$PWD\":/repo -w /repo python:3.11-bookworm make test-slurm" >&2
  exit 1
fi
# No daemon may start by itself while packages are set up.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
apt-get install -y -qq --no-install-recommends slurm-wlm munge slurmdbd mariadb-server >/dev/null
