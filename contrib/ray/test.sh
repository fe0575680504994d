#!/usr/bin/env bash
# Ray with 4 workers on this machine: the joined files have the bytes of one process.
#
#   contrib/ray/test.sh MODEL DIRECTORY
#
# IMATRIX names an importance matrix, without which some of the 22 files cannot be made. QUANTSMITH names the program, PYTHON an interpreter that has ray.
set -euo pipefail
model=$(realpath "$1"); mkdir -p "$2"; dir=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
program=$(realpath "${QUANTSMITH:-$(command -v quantsmith)}")
python=${PYTHON:-python3}
seconds() { date +%s.%N; }
start=$(seconds)
[ -d "$dir/whole" ] || "$program" table "$model" --no-eval --imatrix "${IMATRIX:-none}" --out "$dir/whole" --threads 2 > "$dir/table.log" 2>&1
one=$(echo "$(seconds) - $start" | bc)
"$program" plan "$model" ${IMATRIX:+--imatrix "$IMATRIX"} --out "$dir/ray-out" -o "$dir/ray-plan.json" --parts 4
start=$(seconds)
"$python" "$here/quantsmith_ray.py" "$dir/ray-plan.json" --parts 4 --cpus 0.5 --command "$program"
four=$(echo "$(seconds) - $start" | bc)
for file in "$dir"/whole/*.gguf; do cmp "$file" "$dir/ray-out/$(basename "$file")"; done
cmp <(grep "\.gguf$" "$dir/whole/SHA256SUMS") "$dir/ray-out/SHA256SUMS"
echo "$(ls "$dir"/whole/*.gguf | wc -l) files equal; one process $one s, 4 workers and join $four s (Ray's start included)"
