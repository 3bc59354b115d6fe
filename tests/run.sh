#!/bin/sh
# Runs everything that `make test` built in the folder $1, and ends with "N passed, N failed".
build=$1
mkdir -p "$build/tmp" build/tmp
log=$build/tmp/test.log
"$build/tests" > "$log.tests" 2>&1 &        # these two take minutes of one processor each
sh tests/cli.sh "$build/kpd" > "$log.cli" 2>&1 &
{
    sh tests/contents.sh
    sh tests/install.sh "$build"
    sh tests/python.sh "$build"
    for example in "$build"/[0-9]*_*; do
        case $example in *.*) continue;; esac
        if "$example" > "$build/tmp/example.out" 2>&1 && [ -s "$build/tmp/example.out" ]; then echo "ok   example.${example##*/}"
        else echo "FAIL example.${example##*/}"; cat "$build/tmp/example.out"; fi
    done
} > "$log.others" 2>&1
wait
cat "$log.tests" "$log.cli" "$log.others" > "$log"
grep -v '^ok ' "$log" | grep -v '^[0-9]* passed, '
passed=$(grep -c '^ok ' "$log")
failed=$(grep -c '^FAIL ' "$log")
# Each of the two programs says how many it ran: one that died half-way must not pass.
if [ "$(grep -c '^[0-9]* passed, [0-9]* failed$' "$log")" -ne 2 ]; then echo "a test program ended early: see $log"; failed=$((failed + 1)); fi
echo "$passed passed, $failed failed"
[ "$failed" -eq 0 ]
