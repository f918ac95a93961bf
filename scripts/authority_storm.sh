#!/usr/bin/env bash
# Authority under storm: the example of that name with many seeds at 0, 5 and 30 % loss. Fails on any
# figure that must be 0 and is not. Prints one line for each loss; what failed stands before it.
#
# Usage: scripts/authority_storm.sh [SEEDS [arguments of the example]]     50 seeds if not given
set -euo pipefail
cd "$(dirname "$0")/.."

seeds=${1:-50}
shift || true
args=("$@")
((${#args[@]} > 0)) || args=(--clients 4 --entities 200 --seconds 20)
cargo build --quiet --release --example authority_storm
storm=${CARGO_TARGET_DIR:-target}/release/examples/authority_storm
must_be_0=(violations unanswered_requests lost_writes stale_writes_applied echo_bytes_to_holder
    component_bytes_resent redirects_left_after_ttl)
failed=0

# The value of a figure in what the last run said.
figure() {
    sed -n "s/.*\"$1\":\([^,}]*\).*/\1/p" <<<"$said"
}

# The largest value of a figure so far in this weather.
declare -A largest
keep() {
    local value
    value=$(figure "$1")
    [[ -n ${largest[$1]:-} ]] && ! awk "BEGIN { exit !($value > ${largest[$1]}) }" ||
        largest[$1]=$value
}

for loss in 0 5 30; do
    largest=()
    bad=0
    operations=0
    for ((seed = 1; seed <= seeds; seed++)); do
        said=$("$storm" "${args[@]}" --loss "$loss" --seed "$seed" --json) || true
        wrong=()
        for name in "${must_be_0[@]}"; do
            [[ $(figure "$name") == 0 ]] || wrong+=("$name is $(figure "$name")")
        done
        if ((${#wrong[@]} > 0)); then
            echo "seed $seed at loss $loss: ${wrong[*]}" >&2
            bad=$((bad + 1))
            continue
        fi
        operations=$((operations + $(figure operations)))
        for name in grant_latency_ticks_p50 grant_latency_ticks_p99 \
            control_bytes_per_grant_per_observer; do
            keep "$name"
        done
    done
    echo "loss $loss: $seeds seeds, $bad failed; $operations operations;" \
        "at most $(for name in "${!largest[@]}"; do printf '%s %s, ' "$name" "${largest[$name]}"; done)"
    ((bad == 0)) || failed=1
done
exit "$failed"
