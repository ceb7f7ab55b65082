#!/usr/bin/env bash
# Runs every test and says at the end what was skipped: a skipped test is not a passed one.
# NARU_LONG=1 runs the long forms.
set -uo pipefail
cd "$(dirname "$0")/.."

log=$(mktemp)
trap 'rm -f "$log"' EXIT

# Test programs run one after another, so that no two suites of real containers share the machine.
cargo test --workspace --locked --no-fail-fast -- --nocapture 2>&1 | tee "$log" | grep -vE '^(test .* \.\.\. ok|running [0-9]+ tests?|)$'
status=${PIPESTATUS[0]}

passed=$(grep -hoE '[0-9]+ passed' "$log" | awk '{n += $1} END {print n + 0}')
failed=$(grep -hoE '[0-9]+ failed' "$log" | awk '{n += $1} END {print n + 0}')
skipped=$(grep -c '^SKIPPED' "$log")
if [ "$skipped" -gt 0 ]; then
  echo
  echo "Skipped, for what is missing on this machine:"
  grep '^SKIPPED' "$log" | sort | uniq -c
fi
echo
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
