#!/usr/bin/env bash
# SageMaker at home: an address that takes the place of AWS until Ctrl-C. Arguments go to it:
#
#   local_test/platform/start.sh                       # containers of an image that is here
#   local_test/platform/start.sh --runner process      # no Docker: the command onepass
#
# What it needs is kept in local_test/platform/.venv.
set -euo pipefail
cd "$(dirname "$0")"
if [ ! -f .venv/ready ] || ! cmp -s requirements.txt .venv/ready; then
    python3 -m venv .venv
    .venv/bin/pip install --quiet --requirement requirements.txt
    cp requirements.txt .venv/ready
fi
exec .venv/bin/python -m control_plane "$@"
