#!/bin/sh
# A day's change of a shop, by the student that `make paper` left: one of a hundred items and of a hundred keyphrases is another.
#     sh bench/paper/day.sh build/kpd build/paper [ITEMS [KEYPHRASES]] [-- OPTIONS OF kpd run]
set -e
kpd=$(realpath "$1"); paper=$(realpath "$2"); shift 2
items=100000; phrases=20000
[ $# -eq 0 ] || [ "$1" = -- ] || { items=$1; shift; }
[ $# -eq 0 ] || [ "$1" = -- ] || { phrases=$1; shift; }
[ "$1" != -- ] || shift
mkdir -p "$paper/day"; cd "$paper/day"
cat > made.ini << END
[stage shop]
run = simulate shop.ini -o shop
write shop.ini =
    n_items = $items
    n_queries = $phrases
    n_test_items = 1000
END
"$kpd" run made.ini --quiet; shop=made/shop
cat > day.ini << 'END'
[stage index]
run = index build ../../llm+ctr+kd.1/last.kpd keyphrases.tsv --dim 64 --kind tree -o now.kpi
[stage recommend]
run = recommend ../../llm+ctr+kd.1/last.kpd - now.kpi items.tsv -k 20 -o lists.tsv
END
rm -rf day; mkdir day; cp $shop/items.tsv $shop/keyphrases.tsv day
"$kpd" run day.ini --delta "$@"
awk 'NR % 100 == 7 { print "new " $0; next } { print }' $shop/items.tsv > day/items.tsv
awk -F '\t' -v OFS='\t' 'NR % 100 == 3 { $1 += 1000000; $2 = $2 " more" } { print }' $shop/keyphrases.tsv > day/keyphrases.tsv
"$kpd" run day.ini --delta "$@"
