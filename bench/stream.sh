#!/usr/bin/env bash
# stream.sh -- a long stream through predict: one answer for each record, in order, in flat memory.
# usage: bench/stream.sh MODEL TEXTS [RECORDS [PREDICT OPTIONS..]]      TEXTS: a file, a text a line, read over and over
# Numbered JSONL records go in by a pipe, with a faulty one each 9,973; what comes out must carry the same numbers from 1
# to the last, and no label exactly where a record was faulty. Prints ten lines: records so far, records a second, the
# process's resident size; exits with 1 at the first number out of turn.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
model=$1 texts=$2 records=${3:-10000000}
shift 2
[ $# = 0 ] || shift
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
mkfifo "$work/in" "$work/out"

awk -v records="$records" '
  { gsub(/[\\"]/, "\\\\&"); gsub(/[\t\r]/, " "); text[NR] = $0 }
  END {
    for (i = 1; i <= records; i++) {
      if (i % 9973 == 0) print "{\"id\":" i "}"
      else print "{\"id\":" i ",\"text\":\"" text[i % NR + 1] "\"}"
    }
  }' "$texts" > "$work/in" &
"${DATAMUX:-$here/build/datamux}" predict "$model" --in jsonl --text text --keep none --id id --out tsv "$@" \
  < "$work/in" > "$work/out" 2> "$work/said" &
predict=$!

awk -v records="$records" -v status="/proc/$predict/status" -v start="$(date +%s)" '
  function resident(  line, mib) {
    while ((getline line < status) > 0) if (line ~ /^VmRSS/) { split(line, f); mib = f[2] / 1024 }
    close(status)
    return mib
  }
  NR == 1 { next }                                               # the names of the columns
  {
    n++
    faulty = $2 == ""
    if ($1 != n || faulty != (n % 9973 == 0)) { print "record " n " came as: " $0; wrong = 1; exit 1 }
  }
  n % int(records / 10) == 0 {
    "date +%s" | getline now
    close("date +%s")
    size = resident()                                            # 0: the process is done
    printf "%d records, %.0f a second%s\n", n, n / (now > start ? now - start : 1), size ? sprintf(", %.1f MiB", size) : ""
    fflush()
  }
  END { if (!wrong && n != records) { print n " of " records " records came"; exit 1 } }' FS='\t' < "$work/out"

code=0
wait "$predict" || code=$?
cat "$work/said" >&2
[ "$code" = 3 ] || { echo "predict ended with $code, expected 3: some records were faulty"; exit 1; }
