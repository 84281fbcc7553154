#!/bin/sh
# Downloads SmolLM2-135M-Instruct (Q4_1, 98 MB) to models/ or $MERLION_MODEL_DIR. The last line
# printed is the file's path. Another model: tools/download_model.sh NAME.
set -eu
cd "$(dirname "$0")/.."
tools/setup.sh --packages
exec .venv/bin/merlion model get "${1:-smollm2-135m}"
