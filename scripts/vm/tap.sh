# Results as the Test Anything Protocol shows them: what tests report in one line each (see guest/words.sh).
ran=0
passed=0
skipped=0
failures=()
# Also from within a test, whose output goes elsewhere.
exec 9>&1

# tap LINE: one line of results.
tap() {
  case $1 in
    "TEST ok "*) passed=$((passed + 1)) ran=$((ran + 1)) && echo "ok $ran - ${1#TEST ok }" ;;
    "TEST SKIPPED "*) skipped=$((skipped + 1)) ran=$((ran + 1)) && echo "ok $ran - # SKIP ${1#TEST SKIPPED }" ;;
    "TEST FAIL "*) failures+=("${1#TEST FAIL }") && ran=$((ran + 1)) && echo "not ok $ran - ${1#TEST FAIL }" ;;
    "NOTE "*) echo "# ${1#NOTE }" ;;
    "LOG "*) echo "#   ${1#LOG }" ;;
  esac >&9
}

shown=0
# show: what is new in the results of the machine at hand; what began and has no end of line yet waits.
show() {
  local lines line
  lines=$(wc -l <"$results")
  while [ "$shown" -lt "$lines" ] && IFS= read -r line; do
    tap "${line%$'\r'}"
    shown=$((shown + 1))
  done < <(sed -n "$((shown + 1)),${lines}p" "$results")
}

# summary SECONDS: the end; fails when something failed, or nothing ran.
summary() {
  echo "1..$ran"
  [ ${#failures[@]} -eq 0 ] || printf '# failed: %s\n' "${failures[@]}"
  say "took $1 s"
  echo "$passed passed, ${#failures[@]} failed, $skipped skipped"
  [ ${#failures[@]} -eq 0 ] && [ "$passed" -gt 0 ]
}
