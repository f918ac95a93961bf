#!/usr/bin/env bash
# Random worlds, many of them: tests/seeds.rs with so many seeds at each of 0, 5 and 30 % loss.
# Prints one line of results; what failed stands before it.
#
# Usage: scripts/seeds.sh [SEEDS]     1000 if not given
set -euo pipefail
cd "$(dirname "$0")/.."

seeds=${1:-1000}
log=$(mktemp)
trap 'rm -f "$log"' EXIT
cargo test --quiet --release --no-run --test seeds
started=$SECONDS
failed=0
SEAMLESS_SEEDS=$seeds cargo test --quiet --release --test seeds -- --nocapture >"$log" 2>&1 || failed=1
((failed == 0)) || grep -A 12 -E '^seed [0-9]+ at loss|^error' "$log" >&2 || true
# "seeds at loss 0.05: 1000, failed: 0"
results=$(sed -n 's/^.*seeds at loss \([0-9.]*\( in threads\)\{0,1\}\): [0-9]*, failed: \([0-9]*\)$/\3 failed at \1/p' "$log" | sort -k4 -n | paste -sd, | sed 's/,/, /g')
echo "seeds: $seeds at each loss: ${results:-nothing ran}; $((SECONDS - started)) s"
exit "$failed"
