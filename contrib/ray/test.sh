#!/usr/bin/env bash
# Ray with 4 workers on this machine: the joined files have the bytes of one process.
#
#   contrib/ray/test.sh MODEL DIRECTORY
#
# IMATRIX names an importance matrix, without which some of the 22 files cannot be made. EVALUATE has arguments of an
# evaluation, as in "-c 128 --chunks 8", whose record is compared too. PRESETS are other files than the 22. QUANTSMITH
# names the program, PYTHON an interpreter that has ray.
set -euo pipefail
model=$(realpath "$1"); mkdir -p "$2"; dir=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
program=$(realpath "${QUANTSMITH:-$(command -v quantsmith)}")
python=${PYTHON:-python3}
presets=${PRESETS:-published}
seconds() { date +%s.%N; }
read -ra evaluate <<< "${EVALUATE:-}"
if [ ${#evaluate[@]} -gt 0 ]; then measured=("${evaluate[@]}"); planned=(--evaluate "${evaluate[@]}"); else measured=(--no-eval); planned=(); fi
start=$(seconds)
[ -d "$dir/whole" ] || "$program" table "$model" --types "$presets" "${measured[@]}" --imatrix "${IMATRIX:-none}" --out "$dir/whole" \
    --threads 2 > "$dir/table.log" 2>&1
one=$(echo "$(seconds) - $start" | bc)
"$program" plan "$model" --presets "$presets" ${IMATRIX:+--imatrix "$IMATRIX"} --out "$dir/ray-out" -o "$dir/ray-plan.json" --parts 4 \
    ${planned[@]+"${planned[@]}"}
start=$(seconds)
"$python" "$here/quantsmith_ray.py" "$dir/ray-plan.json" --parts 4 --cpus 0.5 --command "$program" ${planned:+--evaluate}
four=$(echo "$(seconds) - $start" | bc)
for file in "$dir"/whole/*.gguf; do cmp "$file" "$dir/ray-out/$(basename "$file")"; done
cmp <(grep "\.gguf$" "$dir/whole/SHA256SUMS") "$dir/ray-out/SHA256SUMS"
if [ ${#planned[@]} -gt 0 ]; then
    "$python" - "$dir" <<'PY'
import json, sys
records = []
for folder in ("whole", "ray-out"):
    with open(f"{sys.argv[1]}/{folder}/table.json") as file:
        record = json.load(file)
    del record["times"]
    records.append(record)
assert records[0] == records[1], "another record"
print(f"{sum('measured' in row for row in records[0]['rows'])} rows of table.json equal")
PY
fi
echo "$(ls "$dir"/whole/*.gguf | wc -l) files equal; one process $one s, 4 workers and join $four s (Ray's start included)"
