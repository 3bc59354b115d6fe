#!/bin/sh
# The Python package's tests on the library that make built in the folder $1; PYTHON names an interpreter with numpy and pytest.
# One without these still loads the library, which compares the structs.
python=${PYTHON:-python3}
"$python" -c 'import ctypes' 2> /dev/null || { echo "skipped python: no $python here"; exit; }
log=$1/tmp/python.log
mkdir -p "$1/tmp"
export PYTHONPATH=examples/python PYTHONDONTWRITEBYTECODE=1 KPD_PYTHON_LIBRARY="$1/python/_kpd.so" KPD_CATALOGUE="$1/catalogue"
if "$python" -X dev -W error -c 'import kpd' > "$log" 2>&1; then echo "ok   python.import"
else echo "FAIL python.import"; cat "$log"; exit; fi
"$python" -c 'import numpy, pytest' 2> /dev/null || { echo "skipped python: no $python with numpy and pytest here"; exit; }
"$python" -X dev -W error -m pytest -p no:cacheprovider -rfEs --tb=short -v examples/python/tests > "$log" 2>&1
status=$?
sed -n 's/^.*::test_\([^ ]*\) PASSED.*/ok   python.\1/p; s/^.*::test_\([^ ]*\) \(FAILED\|ERROR\).*/FAIL python.\1/p' "$log"
sed -n 's/^SKIPPED/skipped python:/p' "$log"
if [ $status -ne 0 ]; then
    grep -q '\(FAILED\|ERROR\) *\[' "$log" || echo "FAIL python.pytest"
    cat "$log"
fi
