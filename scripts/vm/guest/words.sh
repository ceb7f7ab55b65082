# Words for tests, inside the machines and beside them. What runs them gives `report LINE`, `scratch` (a folder or a
# prefix of files) and `aftermath` (more about a failure, as LOG lines). Results are lines:
#   TEST ok <name> (<n> s) | TEST FAIL <name>: <why> | TEST SKIPPED <name>: <why> | NOTE <text> | LOG <text>
# A test is a function; it runs in a shell of its own and fails with the first command that fails.

# Why a test fails, in one line; ends it.
fail() {
  printf '%s\n' "$*" | tee "$scratch.why"
  exit 1
}

# Why a test cannot be made here; ends it.
skip_test() {
  printf '%s\n' "$*" >"$scratch.skipped"
  exit 1
}

# wanted NAME: whether the filter names it. A plus before a name: others need it, it always runs.
wanted() {
  [[ $1 = +* || -z ${filter:-} ]] || grep -qE -e "$filter" <<<"$1"
}

# run_tests NAME…: those that are wanted, each of which is the function test_NAME (dashes become underscores).
run_tests() {
  local name
  for name; do
    ! wanted "$name" || run_test "${name#+}"
  done
}

run_test() {
  local name=$1 began=$SECONDS newline=$'\n' reason code flags=$-
  rm -f "$scratch".{why,line,skipped}
  # Not `( … ) || code=…`: the shell would not leave at the first command that fails any more.
  set +e
  (
    set -eE
    trap 'printf "line %s: %s\n" "$LINENO" "${BASH_COMMAND%%$newline*}" >"$scratch.line"' ERR
    "test_${name//-/_}"
  ) >"$scratch.output" 2>&1
  code=$?
  case $flags in *e*) set -e ;; esac
  if [ $code -eq 0 ]; then
    report "TEST ok $name ($((SECONDS - began)) s)"
  elif [ -e "$scratch.skipped" ]; then
    report "TEST SKIPPED $name: $(head -n1 "$scratch.skipped")"
  else
    reason=$(cat "$scratch.why" 2>/dev/null || cat "$scratch.line" 2>/dev/null || echo "it ended without a reason")
    report "TEST FAIL $name: $(head -n1 <<<"$reason") ($((SECONDS - began)) s)"
    sed 's/^/LOG   /' "$scratch.output" | tail -n 25 | while IFS= read -r line; do report "$line"; done
    aftermath
  fi
}

# until_ok SECONDS COMMAND…: repeats the command until it succeeds. When it never does, the shell's own trace of the last
# attempt tells what was seen.
until_ok() {
  local seconds=$1 deadline=$((SECONDS + $1 * ${slow:-1}))
  shift
  until "$@"; do
    [ $SECONDS -lt $deadline ] || fail "still not so after $seconds s: $*; seen: $( (trap - ERR && set -x +e && "$@") 2>&1 | tail -n 2 | tr '\n' ' ' | cut -c1-400)"
    sleep 0.3
  done
}

# same WHAT EXPECTED FOUND
same() { [ "$2" = "$3" ] || fail "$1: expected \"$2\", found \"$3\""; }

# holds WHAT TEXT PATTERN
holds() { grep -qE -e "$3" <<<"$2" || fail "$1: expected something like /$3/, found \"$(tr '\n' ' ' <<<"$2" | cut -c1-300)\""; }

# lacks WHAT TEXT PATTERN
lacks() { ! grep -qE -e "$3" <<<"$2" || fail "$1: there is something like /$3/: \"$(grep -E -e "$3" <<<"$2" | tr '\n' ' ' | cut -c1-300)\""; }

fetch() { curl --silent --show-error --fail --max-time 10 "$@"; }
