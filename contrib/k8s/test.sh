#!/usr/bin/env bash
# The manifests are Kubernetes' by its schema, and their commands make the bytes of one process.
#
#   contrib/k8s/test.sh MODEL DIRECTORY
#
# IMATRIX names an importance matrix, without which some of the 22 files cannot be made. QUANTSMITH names the program, PYTHON an interpreter that has kubernetes-validate.
set -euo pipefail
model=$(realpath "$1"); mkdir -p "$2"; dir=$(realpath "$2")
here=$(dirname "$(realpath "$0")")
program=$(realpath "${QUANTSMITH:-$(command -v quantsmith)}")
python=${PYTHON:-python3}
[ -d "$dir/whole" ] || "$program" table "$model" --no-eval --imatrix "${IMATRIX:-none}" --out "$dir/whole" --threads 2 > "$dir/table.log" 2>&1
"$program" plan "$model" ${IMATRIX:+--imatrix "$IMATRIX"} --out "$dir/k8s-out" -o "$dir/plan.json"
"$python" - "$here" "$program" "$dir" <<'PY'
import os, subprocess, sys
import kubernetes_validate
import yaml

here, program, work = sys.argv[1:]
def manifest(name):
    with open(os.path.join(here, name)) as file:
        found = yaml.safe_load(file)
    for version in ("1.29", kubernetes_validate.latest_version()):
        kubernetes_validate.validate(found, version, strict=True)
    print(f"{name}: valid, Kubernetes 1.29 and {kubernetes_validate.latest_version()}")
    return found["spec"]

def container(spec):
    found = spec["template"]["spec"]["containers"][0]
    return found, [program] + [word.replace("/data/", work + "/") for word in found["args"]]

spec = manifest("parts.yaml")
part, command = container(spec)
given = {item["name"]: item["value"] for item in part["env"]}
assert given["JOB_COMPLETIONS"] == str(spec["completions"]) and spec["completionMode"] == "Indexed"
other = ("SLURM_ARRAY_TASK_ID", "RANK", "WORLD_SIZE")
clean = {name: value for name, value in os.environ.items() if name not in other}
running = [
    subprocess.Popen(command, env={**clean, **given, "JOB_COMPLETION_INDEX": str(index)})
    for index in range(spec["completions"])
]
assert all(child.wait() == 0 for child in running)
subprocess.run(container(manifest("join.yaml"))[1], check=True)
PY
for file in "$dir"/whole/*.gguf; do cmp "$file" "$dir/k8s-out/$(basename "$file")"; done
cmp <(grep "\.gguf$" "$dir/whole/SHA256SUMS") "$dir/k8s-out/SHA256SUMS"
echo "$(ls "$dir"/whole/*.gguf | wc -l) files equal"
