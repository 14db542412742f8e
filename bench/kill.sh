#!/usr/bin/env bash
# kill.sh -- kills a run at random moments with SIGKILL, continues it, compares its last weights with those of a run that
# was left alone, and says what a kill cost.  usage: bench/kill.sh TIMES COMMAND ARGS...   (a run; --out and --resume are
# added)
# A line for each time, then "K of TIMES", and the seconds that one kill added on average: all the time in which killed
# and continuing processes were alive, less that of as many undisturbed runs, divided by the kills. That is the start of
# a process up to its first new step, and the steps since the last checkpoint, done twice. Wall time, and processor time,
# which other work on the machine hardly disturbs. Exits with 1 unless all weights agree. Each run is killed one to four
# times.
set -u
TIMEFORMAT='%R %U %S'
times=$1
shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

weights() { sha256sum "$work/$1"/*/latest/checkpoints/last/model.safetensors 2> /dev/null | cut -d' ' -f1; }

# Adds the ms that a command took to `wall` and `cpu`; its exit code is in `code`. seconds: it is killed after so many.
spend() {
  local seconds=$1 took
  shift
  took=$( { time timeout --foreground -s KILL "$seconds" "$@" > "$work/said" 2>&1; echo $? > "$work/code"; } 2>&1)
  code=$(cat "$work/code")
  read -r took_wall took_cpu < <(tail -n 1 <<< "$took" | awk '{ printf "%d %d\n", 1000 * $1, 1000 * ($2 + $3) }')
  wall=$((wall + took_wall)) cpu=$((cpu + took_cpu))
}

# What the undisturbed run takes: the mean of three.
wall=0 cpu=0
for i in 1 2 3; do
  spend 3600 "$@" --out "$work/whole$i"
  [ "$code" = 0 ] || { echo 'the undisturbed run failed:'; cat "$work/said"; exit 1; }
done
length=$((wall / 3)) busy=$((cpu / 3))
want=$(weights whole1)
echo "undisturbed: $length ms, $busy ms of processor time (mean of 3)"

same=0 all=0 wall=0 cpu=0 runs=0 latest=$length
for i in $(seq "$times"); do
  kills=0 code=137 resume=
  until [ "$code" = 0 ]; do
    seconds=3600
    [ "$kills" -lt 4 ] && seconds=$(awk -v n="$latest" -v r="$RANDOM" 'BEGIN { printf "%.3f", 0.05 + n / 1e3 * r / 32768 }')
    spend "$seconds" "$@" --out "$work/$i" $resume
    if [ "$code" = 137 ]; then
      kills=$((kills + 1)) resume=--resume
    elif grep -q 'no unfinished run' "$work/said"; then            # killed before its folder was made: from the start
      resume=
    elif [ "$code" != 0 ]; then
      cat "$work/said"
      break
    else
      runs=$((runs + 1))
      [ "$kills" -gt 0 ] && break
      code=137 latest=$((latest * 3 / 4))                          # it ended first: begin again, kill it sooner
      rm -rf "${work:?}/$i"
    fi
  done
  all=$((all + kills))
  if [ "$(weights "$i")" = "$want" ]; then
    same=$((same + 1))
    echo "$i: killed $kills times, the same weights"
  else
    echo "$i: killed $kills times, OTHER weights"
  fi
done
echo "$same of $times"
awk -v n="$all" -v w="$((wall - runs * length))" -v c="$((cpu - runs * busy))" 'BEGIN {
  if (n) printf "a kill cost %.2f s on average, %.2f s of processor time (%d kills)\n", w / n / 1e3, c / n / 1e3, n }'
[ "$same" = "$times" ]
