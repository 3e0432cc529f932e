#!/usr/bin/env bash
# Debian's Slurm, where it is missing. Nothing is started: tests/slurm/cluster.py does that. Says why, and fails,
# where this machine cannot have a Slurm of ours.
set -euo pipefail
export PATH="$PATH:/usr/sbin:/sbin"

refuse() {
  echo "make test-slurm: $*" >&2
  exit 1
}

[ "$(id -u)" -eq 0 ] || refuse "found no root, expected it: Slurm's daemons run jobs as their users. In a container:" \
  'docker run --rm -v "$PWD":/repo -w /repo python:3.11-bookworm make test-slurm'
[ ! -e /etc/slurm/slurm.conf ] || refuse "found $(readlink -f /etc/slurm/slurm.conf), expected none: this machine" \
  "has a Slurm, which is left alone (if tests were killed: python -m tests.slurm.cluster down FOLDER)"

missing() {
  local pair
  for pair in slurmctld:slurmctld slurmd:slurmd sbatch:slurm-client munged:munge slurmdbd:slurmdbd mariadbd:mariadb-server; do
    command -v "${pair%%:*}" >/dev/null || echo "${pair##*:}"
  done
}

[ -n "$(missing)" ] || exit 0
command -v apt-get >/dev/null || refuse "found no $(missing | xargs), and no apt-get to install them (Debian, Ubuntu)"
# No daemon may start by itself while packages are set up.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
  printf '#!/bin/sh\nexit 101\n' >"$policy"
  chmod +x "$policy"
  trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq || refuse "apt-get update failed: is there a network?"
apt-get install -y -qq --no-install-recommends slurm-wlm munge slurmdbd mariadb-server >/dev/null ||
  refuse "apt-get could not install $(missing | xargs)"
[ -z "$(missing)" ] || refuse "$(missing | xargs) still missing after apt-get install"
