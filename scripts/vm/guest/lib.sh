# Words for the tests inside the machine. Results go to the second serial port, one line each:
#   TEST ok <name> | TEST FAIL <name>: <why> | TEST SKIPPED <name>: <why> | NOTE <text> | LOG <text>
# A test is a function; it runs in a shell of its own and fails with the first command that fails.

report() { printf '%s\n' "$*" >/dev/ttyS1; }

# Why a test fails, in one line; ends it.
fail() {
  printf '%s\n' "$*" >"$why"
  exit 1
}

# run_test NAME: runs the function test_NAME (dashes become underscores).
run_test() {
  local name=$1 began=$SECONDS
  why=/run/naru-test.why
  nl=$'\n'
  output=/run/naru-test.output
  rm -f "$why"
  (
    set -eE
    trap 'printf "line %s: %s\n" "$LINENO" "${BASH_COMMAND%%$nl*}" >"$why.line"' ERR
    "test_${name//-/_}"
  ) >"$output" 2>&1
  if [ $? -eq 0 ]; then
    report "TEST ok $name"
  else
    local reason
    reason=$(cat "$why" 2>/dev/null || cat "$why.line" 2>/dev/null || echo "it ended without a reason")
    report "TEST FAIL $name: $(head -n1 <<<"$reason")"
    sed 's/^/LOG   /' "$output" | tail -n 25 >/dev/ttyS1
    journalctl -u naru -n 12 --no-pager -o cat 2>/dev/null | cut -c1-300 | sed 's/^/LOG   naru: /' >/dev/ttyS1
    rm -f "$why.line"
  fi
  report "NOTE $name took $((SECONDS - began)) s"
}

# until_ok SECONDS COMMAND…: repeats the command until it succeeds.
until_ok() {
  local deadline=$((SECONDS + $1))
  shift
  until "$@"; do
    [ $SECONDS -lt $deadline ] || fail "still not so after $deadline s of this boot: $*"
    sleep 0.3
  done
}

# same WHAT EXPECTED FOUND
same() { [ "$2" = "$3" ] || fail "$1: expected \"$2\", found \"$3\""; }

# holds WHAT TEXT PATTERN
holds() { grep -qE -e "$3" <<<"$2" || fail "$1: expected something like /$3/, found \"$(tr '\n' ' ' <<<"$2" | cut -c1-300)\""; }

# api PATH [curl's arguments]: asks the server over its socket.
api() {
  local path=$1
  shift
  curl --silent --show-error --fail-with-body --max-time 30 --unix-socket /run/naru/naru.sock "$@" "http://naru$path"
}

project() { naru -f "/run/disk/guest/$1.yaml" "${@:2}"; }

# The pods of a service: pod SERVICE [JQ FILTER]
pod() { api "/api/v1/pods?labelSelector=naru.io%2Fservice%3D$1" | jq -c ".items[0] | ${2:-.}"; }

# containers PROJECT: `service state exit-code pod`, sorted
containers() { project "$1" ps -a --format json | jq -rs 'flatten | sort_by(.Service) | .[] | "\(.Service) \(.State) \(.ExitCode)"'; }

# state_is PROJECT "SERVICE STATE CODE"
state_is() { containers "$1" | grep -qxE "$2"; }

# healthy PROJECT SERVICE
healthy() { project "$1" ps -a --format json | jq -es --arg service "$2" 'flatten | any(.Service == $service and .Health == "healthy")'; }

# The process of a container on the host, by what only its command line holds.
process_of() { pgrep -f -o -- "$1"; }

fetch() { curl --silent --show-error --fail --max-time 10 "$@"; }
