#!/usr/bin/env bash
# Starts a SLURM on the loopback, runs the tests on it and stops it: tests/slurm/run.sh .venv/bin/python
set -euo pipefail
here=$(dirname "$0")
folder=$(mktemp -d)
trap '"$here"/cluster.sh stop "$folder"' EXIT
"$here"/cluster.sh start "$folder"
SLURM_CONF=$folder/slurm.conf PATH=$folder/bin:$PATH "$@" -m pytest -m slow "$here"/../test_slurm.py
