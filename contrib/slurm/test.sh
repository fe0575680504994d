#!/usr/bin/env bash
# A Slurm array of 4 on this machine: the joined files have the bytes of one process.
#
#   contrib/slurm/test.sh MODEL DIRECTORY        (as root; needs slurmctld, slurmd and Slurm's commands)
#
# IMATRIX names an importance matrix, without which some of the 22 files cannot be made. QUANTSMITH names the program.
set -euo pipefail
model=$(realpath "$1"); dir=$2
here=$(dirname "$(realpath "$0")")
[ -z "${IMATRIX:-}" ] || IMATRIX=$(realpath "$IMATRIX")
program=$(realpath "${QUANTSMITH:-$(command -v quantsmith)}")
mkdir -p "$dir"/{state,spool,log}; dir=$(realpath "$dir")
host=$(hostname -s); cpus=$(nproc)

cat > "$dir/slurm.conf" <<CONF
ClusterName=quantsmith
SlurmctldHost=$host(127.0.0.1)
SlurmUser=root
AuthType=auth/none
CryptoType=crypto/none
CredType=cred/none
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd.pid
SlurmctldLogFile=$dir/log/slurmctld
SlurmdLogFile=$dir/log/slurmd
SlurmctldPort=16817
SlurmdPort=16818
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SwitchType=switch/none
MpiDefault=none
ReturnToService=2
SchedulerType=sched/backfill
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
NodeName=$host NodeAddr=127.0.0.1 CPUs=$cpus State=UNKNOWN
PartitionName=all Nodes=$host Default=YES MaxTime=INFINITE State=UP OverSubscribe=FORCE:4
CONF
# Only lines that this version knows.
export SLURM_CONF=$dir/slurm.conf
sed -i '/^CryptoType/d' "$SLURM_CONF"
slurmctld -D -f "$SLURM_CONF" > "$dir/log/ctld.out" 2>&1 & controller=$!
slurmd -D -f "$SLURM_CONF" > "$dir/log/d.out" 2>&1 & node=$!
trap 'kill $node $controller 2>/dev/null || true; wait 2>/dev/null || true' EXIT
for _ in $(seq 60); do sinfo -h -o %T 2>/dev/null | grep -qE 'idle|mixed' && break; sleep 1; done
sinfo

cd "$dir"
seconds() { date +%s.%N; }
start=$(seconds)
[ -d "$dir/whole" ] || "$program" table "$model" --no-eval --imatrix "${IMATRIX:-none}" --out "$dir/whole" --threads 2 > "$dir/log/table" 2>&1
one=$(echo "$(seconds) - $start" | bc)
"$program" plan "$model" ${IMATRIX:+--imatrix "$IMATRIX"} --out "$dir/out" -o plan.json --parts 4
run() { sbatch --wait --parsable --chdir "$dir" --output "$dir/log/%a.log" --export="ALL,PLAN=$dir/plan.json,PARTS=4,QUANTSMITH=$program" \
    --array="$1" "$here/quantsmith.sbatch"; }
start=$(seconds)
run 1-4
"$program" join plan.json
four=$(echo "$(seconds) - $start" | bc)
for file in whole/*.gguf; do cmp "$file" "out/$(basename "$file")"; done
cmp <(grep "\.gguf$" whole/SHA256SUMS) out/SHA256SUMS
echo "$(ls whole/*.gguf | wc -l) files equal; one process $one s, array of 4 and join $four s"

# A part that is missing is named, submitted again by its number, and the join goes through.
rm -r out
run 1,2,4
if "$program" join plan.json 2> log/join; then echo "the join should have failed"; exit 1; fi
tail -n 1 log/join | grep -q 'to be run again: 3$'
run 3
"$program" join plan.json
for file in whole/*.gguf; do cmp "$file" "out/$(basename "$file")"; done
echo "part 3 submitted again: equal"
