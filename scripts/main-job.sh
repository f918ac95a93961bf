#!/usr/bin/env bash
# Runs the main job and checks the JSON object that it prints as its last line.
#
# Usage: scripts/main-job.sh [arguments of the seamless_world example]
set -euo pipefail
cd "$(dirname "$0")/.."

failed=0
said=$(cargo run --quiet --release --example seamless_world -- --json "$@") || failed=1
summary=${said##*$'\n'}
printf '%s\n' "$summary"

# The value of a figure; nothing if it is not there.
figure() {
    sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p" <<<"$summary"
}

complain() {
    echo "main job: $*" >&2
    failed=1
}

for name in handovers aborted reclaims authority_grants migrations inputs_sent lost_inputs \
    duplicated_inputs owner_conflicts entities_lost entities_duplicated gap_ticks_p50 \
    gap_ticks_p99 gap_ticks_max gap_ticks_p99_control correction_m_p99 frozen_ms_p50 \
    frozen_ms_p99 frozen_ticks_p99 players_back players_killed recovery_ms_p50 recovery_ms_p99 \
    client_kbps_mean server_tick_ms_p95 tick_late_ms_p99 cpu_busy saturated; do
    [[ -n $(figure "$name") ]] || complain "no figure $name"
done
for name in lost_inputs duplicated_inputs owner_conflicts entities_lost entities_duplicated; do
    [[ $(figure "$name") == 0 ]] || complain "$name is $(figure "$name"), not 0"
done
for name in handovers authority_grants migrations inputs_sent; do
    [[ $(figure "$name") =~ ^[1-9] ]] || complain "$name is $(figure "$name"): nothing happened"
done
[[ $(figure players_back) == "$(figure players_killed)" ]] || complain "players stayed away"
if [[ " $* " == *" --kill-node "* ]]; then
    [[ $(figure players_killed) =~ ^[1-9] ]] || complain "nobody was on the killed node"
    recovery=$(figure recovery_ms_p99)
    # Waiting times of a machine that cannot keep up say nothing.
    [[ $(figure saturated) == true ]] || ((${recovery%.*} <= 2000)) ||
        complain "recovery took $recovery ms"
fi
exit "$failed"
