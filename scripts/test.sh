#!/usr/bin/env bash
# Runs every test. The last lines say what failed and with which words, what was unsteady, and what was skipped: a
# skipped test is not a passed one.
# NARU_LONG=1 runs the long forms, NARU_BACKTRACE=1 shows backtraces.
set -uo pipefail
cd "$(dirname "$0")/.."
# Whoever reads the last lines wants what a test said, not the frames of its executor.
export RUST_BACKTRACE="${NARU_BACKTRACE:-0}"

log=$(mktemp)
trap 'rm -f "$log" "$log".*' EXIT

# The tests that a log names as failed. Output of a test may stand before, on the same line.
failed_tests() {
  grep -ohE 'test [^ ].* \.\.\. FAILED' "$1" | sed -E 's/^test (.*) \.\.\. FAILED$/\1/' | sort -u
}

# The words of every panic that a log holds, the first lines of each; the end of the log where there is none.
words() {
  awk '
    /panicked at / { left = 9; found = 1 }
    /^(note: run with|stack backtrace:|---- |failures:|test )/ { left = 0 }
    left > 0 && NF { print substr($0, 1, 300); left-- }
    { last[NR % 12] = $0 }
    END { if (!found) for (at = NR - 11; at <= NR; at++) if (at > 0) print last[at % 12] }
  ' "$1"
}

# What the log holds of one target: from its start to cargo's word that it failed.
section() {
  awk -v end="to rerun pass \`$1\`" '
    /^ +(Running|Doc-tests) / { text = "" }
    { text = text $0 "\n" }
    index($0, end) { printf "%s", text; exit }
  ' "$log"
}

# Test programs run one after another, so that no two suites of real containers share the machine.
cargo test --workspace --locked --no-fail-fast -- --nocapture </dev/null 2>&1 | tee "$log" |
  grep -vE '^(test .* \.\.\. ok|running [0-9]+ tests?|)$'
status=${PIPESTATUS[0]}

# What failed is tried once more by itself: a test that passes then is named as unsteady, loudly, and wants mending
# (docs/flakes.md); one that fails again fails the run.
unsteady=()
failed=()
if [ "$status" -ne 0 ]; then
  # As cargo names them at its end: `-p naru-agent --test it`, `--lib`, `--bin naru`, `--doc`.
  mapfile -t targets < <(grep -hoE '^    `-p [a-z0-9_-]+ --[a-z]+[^`]*`' "$log" | tr -d '`' | sed 's/^ *//')
  if [ "${#targets[@]}" -gt 0 ]; then
    status=0
    for target in "${targets[@]}"; do
      echo "Once more: $target"
      # shellcheck disable=SC2086 # the target is several words
      if cargo test --locked --no-fail-fast $target </dev/null >"$log.again" 2>&1; then
        unsteady+=("$target")
        section "$target" >"$log.first"
        { echo "--- $target: $(failed_tests "$log.first" | tr '\n' ' ')" && words "$log.first"; } >>"$log.unsteady"
      else
        status=1
        mapfile -t names < <(failed_tests "$log.again")
        [ "${#names[@]}" -gt 0 ] || names=("(ended before its time)")
        for name in "${names[@]}"; do failed+=("$target: $name"); done
        { echo "--- $target"; words "$log.again"; } >>"$log.words"
      fi
    done
  else
    grep -E -A 12 '^error' "$log" | tail -n 40 >"$log.words"
  fi
fi

passed=$(grep -hoE '[0-9]+ passed' "$log" | awk '{n += $1} END {print n + 0}')
skipped=$(grep -c '^SKIPPED' "$log")
if [ "$skipped" -gt 0 ]; then
  echo
  echo "Skipped, for what is missing on this machine:"
  grep '^SKIPPED' "$log" | sort | uniq -c
fi
if [ "${#unsteady[@]}" -gt 0 ]; then
  echo
  echo "UNSTEADY, failed and then passed (docs/flakes.md):"
  head -n 30 "$log.unsteady"
fi
if [ "$status" -ne 0 ]; then
  echo
  echo "Failed, with these words:"
  head -n 30 "$log.words"
  echo
  printf '  %s\n' "${failed[@]:-the build: see above}" | head -n 15
fi
echo
echo "$passed passed, ${#failed[@]} failed, ${#unsteady[@]} targets unsteady, $skipped skipped"
exit "$status"
