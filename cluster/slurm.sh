#!/usr/bin/env bash
# A study under Slurm, which goes on after the time limit, a preemption or a lost node:
#
#     sbatch cluster/slurm.sh studies/phase_mnist.yaml --store /shared/results/phase_mnist
#
# What stands after the script's name is handed to `sweeper run`. Activate the environment first: its PATH comes along.
# Several nodes become one Ray cluster, closed by a token; the store must then be on a file system that they share.
#
# Slurm warns this script five minutes before the limit (USR1 to the batch shell alone). The run then writes its
# checkpoints and stops, and the job puts itself back into the queue. A preempted job (TERM) does the same, and Slurm
# requeues it. docs/cluster.md has more.

#SBATCH --job-name=sweeper
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --cpus-per-task=16
##SBATCH --gpus-per-node=4
#SBATCH --time=08:00:00
#SBATCH --signal=B:USR1@300
#SBATCH --requeue
#SBATCH --open-mode=append
#SBATCH --output=sweeper-%j.log

set -euo pipefail
umask 077

nodes=${SLURM_JOB_NUM_NODES:-1}
driver='' interrupted='' address=() steps=() scratch='' token=''

# shellcheck disable=SC2329  # called by traps
pass_on() { # a signal to the driver; Ray's processes end with it
    interrupted=yes
    if [ -n "$driver" ]; then kill -s "$1" "$driver" 2> /dev/null || true; fi
}
trap 'pass_on USR1' USR1
trap 'pass_on TERM' TERM

start_ray() { # on every node of the job; sets `address`
    local head port python waiter
    head=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
    port=$((20000 + SLURM_JOB_ID % 12000)) # above the ports of Ray's workers, below those that the system hands out
    python=$(dirname "$(command -v sweeper)")/python
    token=$(mktemp "$HOME/.sweeper-token.XXXXXXXX") # in a home folder that the nodes share
    "$python" -P -c 'import secrets; print(secrets.token_hex(32), end="")' > "$token"
    export RAY_AUTH_MODE=token RAY_AUTH_TOKEN_PATH="$token" RAY_USAGE_STATS_ENABLED=0
    scratch=/tmp/sw-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}
    srun --nodes="$nodes" --ntasks="$nodes" mkdir -m 700 "$scratch"
    srun --nodes=1 --ntasks=1 --nodelist="$head" --overlap \
        ray start --head --block --port="$port" --temp-dir="$scratch/ray" --include-dashboard=false \
        --num-cpus="${SLURM_CPUS_PER_TASK:-1}" &
    steps+=($!)
    srun --nodes=$((nodes - 1)) --ntasks=$((nodes - 1)) --exclude="$head" --overlap \
        ray start --block --address="$head:$port" --num-cpus="${SLURM_CPUS_PER_TASK:-1}" &
    steps+=($!)
    address=(--address "$head:$port")
    "$python" -P - "$head:$port" "$nodes" << 'WAIT' &
import sys, time
import ray

until = time.monotonic() + 600
while time.monotonic() < until:
    try:
        ray.init(sys.argv[1], logging_level="ERROR", log_to_driver=False)
        while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[2]) and time.monotonic() < until:
            time.sleep(1)
        sys.exit(0)
    except (ConnectionError, RuntimeError):
        time.sleep(2)
sys.exit("Ray did not come up within ten minutes")
WAIT
    waiter=$!
    wait -n "$waiter" "${steps[@]}" || true # the waiter ends first, unless Ray fails somewhere or a signal comes
    steps+=("$waiter")
    if kill -0 "$waiter" 2> /dev/null; then
        if [ -z "$interrupted" ]; then echo "Ray did not start on all nodes, see above" >&2; fi
        return 1
    fi
    wait "$waiter"
}

# shellcheck disable=SC2329
end() {
    local step
    for step in "${steps[@]}"; do kill "$step" 2> /dev/null || true; done
    if [ -n "$scratch" ]; then srun --nodes="$nodes" --ntasks="$nodes" --overlap rm -rf "$scratch" || true; fi
    if [ -n "$token" ]; then rm -f "$token"; fi
}
trap end EXIT

if [ "$nodes" -gt 1 ]; then start_ray; fi
sweeper run "$@" "${address[@]}" &
driver=$!
code=127
while :; do # `wait` ends early when a signal comes
    interrupted=''
    ended=0
    wait "$driver" || ended=$?
    if [ "$ended" -ne 127 ]; then code=$ended; fi
    if [ -z "$interrupted" ] || [ "$ended" -eq 127 ]; then break; fi
done

if [ "$code" -eq $((128 + $(kill -l USR1))) ]; then
    echo "job $SLURM_JOB_ID: stopped before its limit; back into the queue"
    scontrol requeue "$SLURM_JOB_ID"
fi
exit "$code"
