#!/bin/sh
# Everything about CUDA that needs a card, on a machine that has one: the specs of the ops in f32 and bf16, capture, the
# checks of compute-sanitizer, and a short run of training beside the CPU's. Run from the root of the repository.
set -eu
build=${1:-build}
[ -f "$build/libdatamux_cuda.so" ] || { echo "gpu.sh: no $build/libdatamux_cuda.so; build where nvcc is found" >&2; exit 1; }
"$build/datamux" --devices
export DATAMUX_DEVICE=cuda
"$build/datamux" -e 'print(require("datamux").scope.about())'
busted --lua="$build/datamux" -m './?.lua' -o plainTerminal tests/ops tests/models tests/unit/capture_spec.lua
DATAMUX_SYNC=1 busted --lua="$build/datamux" -m './?.lua' -o plainTerminal tests/ops
if command -v compute-sanitizer > /dev/null; then
  runner=$(mktemp)
  trap 'rm -f "$runner"' EXIT
  for tool in memcheck racecheck synccheck initcheck; do
    printf '#!/bin/sh\nexec compute-sanitizer --tool %s --error-exitcode 99 %s "$@"\n' "$tool" "$PWD/$build/datamux" > "$runner"
    chmod +x "$runner"
    busted --lua="$runner" -m './?.lua' -o plainTerminal tests/ops
  done
else
  echo 'gpu.sh: compute-sanitizer is not on the PATH: its four checks were not run'
fi
