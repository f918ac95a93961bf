#!/usr/bin/env bash
# The slow sweeps: many seeds, long runs, measurements. Not part of .ci/run.
#
# Usage: scripts/sweep.sh schedules|main|soak|measure|transport|all
set -euo pipefail
cd "$(dirname "$0")/.."

# Random runs of the handover protocol with every fault there is, on virtual time.
schedules() {
    SEAMLESS_SCHEDULES=${SCHEDULES:-200000} \
        cargo test --release -p seamless_mesh --test schedules -- --nocapture
}

# The main job: seeds, weathers, a killed node.
main() {
    local seed
    for ((seed = 1; seed <= ${SEEDS:-10}; seed++)); do
        scripts/main-job.sh --seconds 30 --seed "$seed"
        scripts/main-job.sh --seconds 30 --seed "$seed" --rtt 80 --loss 2
        scripts/main-job.sh --seconds 30 --seed "$seed" --kill-node
        scripts/main-job.sh --seconds 30 --seed "$seed" --kill-node --rtt 80 --loss 2
    done
}

# One long run.
soak() {
    scripts/main-job.sh --cells 3x2 --bots 48 --seconds "${SECONDS_OF_PLAY:-3600}" --rtt 60 --loss 1
}

# The directory under load: claims and checkpoints of four writers.
measure() {
    cargo test -p seamless_mesh --release --test measure -- --ignored --nocapture --test-threads 1
}

# Links: time per packet.
transport() {
    cargo bench -p seamless_transport
}

case ${1:-} in
schedules | main | soak | measure | transport) "$1" ;;
all)
    schedules
    main
    measure
    transport
    soak
    ;;
*)
    sed -n 's/^# \?//; 2,5p' "$0"
    exit 2
    ;;
esac
