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

# What failed is tried once more by itself: a test that passes then is named as unsteady, loudly, and wants mending
# (docs/flakes.md); one that fails again fails the run.
if [ "$status" -ne 0 ]; then
  mapfile -t targets < <(grep -hoE '^    `-p [a-z-]+ --[a-z]+[^`]*`' "$log" | tr -d '`')
  if [ "${#targets[@]}" -gt 0 ]; then
    status=0
    for target in "${targets[@]}"; do
      echo "Once more: $target"
      # shellcheck disable=SC2086 # the target is several words
      if cargo test --locked --no-fail-fast $target -- --nocapture >"$log.again" 2>&1; then
        echo "UNSTEADY: $target failed, then passed"
      else
        grep -E 'FAILED|panicked at|^test result' "$log.again"
        status=1
      fi
      rm -f "$log.again"
    done
  fi
fi

passed=$(grep -hoE '[0-9]+ passed' "$log" | awk '{n += $1} END {print n + 0}')
failed=$(grep -hoE '[0-9]+ failed' "$log" | awk '{n += $1} END {print n + 0}')
skipped=$(grep -c '^SKIPPED' "$log")
if [ "$skipped" -gt 0 ]; then
  echo
  echo "Skipped, for what is missing on this machine:"
  grep '^SKIPPED' "$log" | sort | uniq -c
fi
echo
if [ "$status" -eq 0 ]; then failed=0; fi
echo "$passed passed, $failed failed, $skipped skipped"
exit "$status"
