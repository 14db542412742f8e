#!/bin/sh
# Everything about CUDA that needs a card, on a machine that has one: builds, runs the op cases in f32 and bf16, memcheck
# and racecheck of compute-sanitizer on them, the specs of capture, copies and training, then bench/gpu. One table at the
# end, the rest in files. Ends within 8 minutes: a step that has no time left says so.
#   tests/gpu.sh [--dry-run] [--packed FILE] [--out DIR] [--build DIR]
#   --packed: what tests/gpu_pack.sh packed, for a machine without package access; --out (gpu-results): logs, table.txt,
#   bench.json; --dry-run: prints the commands. Exit: 0 all passed, 1 something did not, 2 usage, 4 no card.
set -u
cd "$(dirname "$0")/.." || exit 1
dry="" packed="" out=gpu-results build=build-gpu
while [ $# -gt 0 ]; do
  case $1 in
    --dry-run) dry=1 ;;
    --packed|--out|--build)
      [ $# -gt 1 ] || { echo "gpu.sh: $1 is the last word, expected a value after it" >&2; exit 2; }
      case $1 in --packed) packed=$2 ;; --out) out=$2 ;; --build) build=$2 ;; esac
      shift ;;
    *) echo "gpu.sh: '$1' is no option, expected --dry-run, --packed FILE, --out DIR or --build DIR" >&2; exit 2 ;;
  esac
  shift
done
if [ -z "$dry" ]; then
  card=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader 2> /dev/null | head -n 1 | tr -d ' .')
  [ -n "$card" ] || { echo 'gpu.sh: no card here: nvidia-smi names none' >&2; exit 4; }
  mkdir -p "$out"
  out=$(cd "$out" && pwd)
  : > "$out/table.txt"
else
  card=90
fi

# -- packed dependencies ------------------------------------------------------------------------------------------------
busted=$(command -v busted || echo /usr/bin/busted)
options=""
if [ -n "$packed" ]; then
  [ -n "$dry" ] || [ -f "$packed" ] || { echo "gpu.sh: --packed is $packed, which is no file" >&2; exit 2; }
  deps=$PWD/$build/deps lib=$PWD/$build/deps/usr/lib/x86_64-linux-gnu
  [ -n "$dry" ] || { mkdir -p "$deps" && tar -C "$deps" -xzf "$packed"; } || exit 1
  export LD_LIBRARY_PATH="$lib${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}"
  export CMAKE_INCLUDE_PATH="$deps/usr/include" CMAKE_LIBRARY_PATH="$lib"
  export PKG_CONFIG_LIBDIR="$lib/pkgconfig:$deps/usr/share/pkgconfig" PKG_CONFIG_SYSROOT_DIR="$deps"
  export LUA_PATH="$deps/usr/share/lua/5.1/?.lua;$deps/usr/share/lua/5.1/?/init.lua;;"
  export LUA_CPATH="$lib/lua/5.1/?.so;;"
  busted=$deps/usr/bin/busted
  command -v pkg-config > /dev/null || options="-DPKG_CONFIG_EXECUTABLE=$deps/usr/bin/pkgconf"
fi
command -v make > /dev/null || options="$options -G Ninja"
PATH=$PATH:/usr/local/cuda/bin
PYTHON=${PYTHON:-python3}
export PYTHON
if [ -z "${CUBLASLT_ROOT:-}" ]; then     # for a toolkit without cuBLASLt: that of PyTorch
  CUBLASLT_ROOT=$("$PYTHON" -c 'import glob, nvidia
for f in nvidia.__path__:
    print("\n".join(h[:-len("/include/cublasLt.h")] for h in glob.glob(f + "/*/include/cublasLt.h")))' 2> /dev/null | head -n 1)
  export CUBLASLT_ROOT
fi

# -- steps --------------------------------------------------------------------------------------------------------------
started=$(date +%s) limit=480 failed=0

# step NAME SECONDS COMMAND..: runs it with what time it may have, its output in NAME.log; a line of the table.
step() {
  name=$1 most=$2
  shift 2
  if [ -n "$dry" ]; then
    echo "$name ($most s): $*"
    return 0
  fi
  left=$((started + limit - $(date +%s)))
  [ "$left" -lt "$most" ] && most=$left
  from=$(date +%s) result=passed
  if [ "$most" -lt 5 ]; then
    result='no time left'
  else
    timeout -k 10 "$most" "$@" > "$out/$name.log" 2>&1
    case $? in 0) ;; 124|137) result="stopped after $most s" ;; *) result=FAILED ;; esac
  fi
  [ "$result" = passed ] || failed=1
  count=$(awk '/^[0-9]+ success.* pending/ { ok += $1; bad += $4 + $7; later += $10; n++ }
    END { if (n) printf "%d passed, %d failed, %d pending", ok, bad, later }' "$out/$name.log" 2> /dev/null)
  printf '%-12s %-20s %4d s  %s\n' "$name" "$result" $(($(date +%s) - from)) "$count" >> "$out/table.txt"
  [ "$result" = passed ]
}

# skip NAME WHY: a line of the table for what could not be run.
skip() {
  if [ -n "$dry" ]; then echo "$1: $2"; else printf '%-12s %s\n' "$1" "$2" >> "$out/table.txt"; fi
}

finish() {
  [ -n "$dry" ] && exit 0
  "$build/datamux" -e 'print(require("datamux").scope.about())' 2> /dev/null
  cat "$out/table.txt"
  echo "logs: $out"
  exit $failed
}

specs="$build/datamux $busted -m ./?.lua -o plainTerminal"
shared=""                                # whose kernels use shared memory
for name in attn embed embed_mux linear loss mux norm optim; do shared="$shared tests/ops/${name}_spec.lua"; done
export DATAMUX_DEVICE=cuda
step configure 30 cmake -S . -B "$build" -DCMAKE_BUILD_TYPE=Release -DDATAMUX_CUDA_ARCHS="$card" -DDATAMUX_WERROR=OFF $options &&
  step build 200 cmake --build "$build" --target command -j "$(nproc)" || finish
# A process for each file, and a wait after each op: a kernel that breaks the device is named, and ends only its file.
step ops 120 sh -c 'bad=0; for f in tests/ops/*_spec.lua; do "$@" "$f" || bad=1; done; exit $bad' ops \
  env DATAMUX_SYNC=1 $specs
step recorded 60 $specs tests/unit/capture_spec.lua tests/unit/moments_spec.lua tests/unit/ahead_spec.lua tests/train/capture_spec.lua
step training 90 $specs tests/train/recompute_spec.lua tests/train/memory_spec.lua tests/train/session_spec.lua tests/models
peers=eager,compiled
export DATAMUX="$build/datamux"
[ -n "$dry" ] || "$PYTHON" -c 'import torch' 2> /dev/null || peers=
step bench 200 bench/gpu/run quick=1 peers=$peers json="$out/bench.json"
if [ -n "$dry" ] || command -v compute-sanitizer > /dev/null; then
  step memcheck 100 compute-sanitizer --tool memcheck --error-exitcode 99 $specs tests/ops
  step racecheck 100 compute-sanitizer --tool racecheck --error-exitcode 99 $specs $shared
else
  skip sanitizer 'not run: compute-sanitizer is not on the PATH'
fi
if [ -z "$dry" ] && [ -f "$out/bench.log" ]; then cat "$out/bench.log" >> "$out/table.txt"; fi
finish
