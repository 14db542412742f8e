#!/usr/bin/env bash
# kill.sh -- kills a run at random moments with SIGKILL, continues it, and compares its last weights with those of a run
# that was left alone.  usage: bench/kill.sh TIMES COMMAND ARGS...   (a run; --out and --resume are added)
# A line for each time, then "K of TIMES"; exits with 1 unless all agree. Each run is killed up to three times.
set -u
times=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

weights() { sha256sum "$work/$1"/*/latest/checkpoints/last/model.safetensors 2> /dev/null | cut -d' ' -f1; }

# Continues, or begins where the run was killed before its folder was made.
go_on() {
  "$@" --resume 2> "$work/said" > /dev/null && return 0
  grep -q 'no unfinished run' "$work/said" && { "$@" > /dev/null 2>&1; return; }
  cat "$work/said"
  return 1
}

begun=$(date +%s%N)
"$@" --out "$work/whole" > /dev/null || { echo 'the undisturbed run failed'; exit 1; }
length=$(($(date +%s%N) - begun))
want=$(weights whole)
echo "undisturbed: $((length / 1000000)) ms"

same=0
for i in $(seq "$times"); do
  kills=0
  until [ "$kills" -gt 0 ]; do
    rm -rf "${work:?}/$i"
    "$@" --out "$work/$i" > /dev/null 2>&1 & pid=$!
    while [ "$kills" -lt 3 ]; do
      sleep "$(awk -v n="$length" -v r="$RANDOM" 'BEGIN { printf "%.3f", n / 1e9 * r / 32768 }')"
      kill -9 "$pid" 2> /dev/null || break
      wait "$pid" 2> /dev/null
      kills=$((kills + 1))
      "$@" --out "$work/$i" --resume > /dev/null 2>&1 & pid=$!
    done
    kill -9 "$pid" 2> /dev/null && kills=$((kills + 1))
    wait "$pid" 2> /dev/null
    [ "$kills" -gt 0 ] || length=$((length * 3 / 4))          # it ended first: begin again, kill it sooner
  done
  finished=$(grep -l '"state": "finished"' "$work/$i"/*/latest/status.json 2> /dev/null)
  [ -n "$finished" ] || go_on "$@" --out "$work/$i"
  if [ "$(weights "$i")" = "$want" ]; then
    same=$((same + 1))
    echo "$i: killed $kills times, the same weights"
  else
    echo "$i: killed $kills times, OTHER weights"
  fi
done
echo "$same of $times"
[ "$same" = "$times" ]
