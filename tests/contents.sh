#!/bin/sh
# The contents on page one of each header: every section that the file has, in its order, with about as many lines as it says.
for header in kpd.h kpd_train.h; do
    if awk -v header=$header '
        function close_section() { if (name) lines[name] = NR - from; name = "" }
        /^\/\/     >>/ { listed[++n] = $2; says[n] = $3 }
        /^\/\/ >>[a-z_]+( |$)/ { close_section(); name = $2; from = NR; order[++found] = name }
        /^\/\/ (IMPLEMENTATION|HISTORY)/ { close_section() }
        END {
            bad = n != found
            for (i = 1; i <= n; i++) {
                off = says[i] - lines[order[i]]
                if (listed[i] != order[i] || off * off > (30 + says[i] / 10) ^ 2) {
                    printf "%s: listed %s, %d lines; found %s, %d lines\n", header, listed[i], says[i], order[i], lines[order[i]]
                    bad = 1
                }
            }
            exit bad
        }' $header; then echo "ok   contents.$header"; else echo "FAIL contents.$header"; fi
done
# The first versions that the list of changes names are those of the code.
define() { sed -n "s/^#define $1 \"*\([0-9.]*\).*/\1/p" kpd.h; }
if [ "$(sed -n 's/^## \([0-9.]*\).*/\1/p' CHANGELOG.md | head -1)" = "$(define KPD_VERSION)" ] &&
    [ "$(sed -n 's/^| `KPD_ABI` | \([0-9]*\) .*/\1/p' CHANGELOG.md | head -1)" = "$(define KPD_ABI)" ] &&
    [ "$(sed -n 's/^| format of .* | \([0-9]*\) |.*/\1/p' CHANGELOG.md | head -1)" = "$(define KPD__FORMAT)" ]
then echo "ok   contents.changes"; else echo "FAIL contents.changes"; fi
