# Machines: each has a name, a disk of its own over the one that machine.sh made, and files `<name>.*` in the work folder.
# What is known of them is in files, for tests run in shells of their own.

# Emulated, the time is read from the processor's counter: every look at another clock stops both processors, of which a
# loaded machine sometimes does not recover.
accel=(-accel tcg,thread=multi -cpu max,la57=off)
clock='tsc=reliable clocksource=tsc no_timer_check'
[ "${NARU_VM_ACCEL:-tcg}" = kvm ] && accel=(-accel kvm -cpu host) clock=

# boot NAME STAGE WORDS [QEMU'S OPTIONS…]: starts a machine. WORDS go to the kernel's command line. `inside` is what qemu
# runs in: `ip netns exec …`, or nothing.
boot() {
  local name=$1 stage=$2 words=$3 shell=()
  shift 3
  [ -z "${NARU_VM_KEEP:-}" ] || shell=(-serial "unix:$work/$name.shell,server=on,wait=off")
  results=$work/$name.$stage.results
  console=$work/$name.$stage.console
  : >"$results"
  shown=0
  rm -f "$work/$name".monitor.{in,out}
  mkfifo "$work/$name".monitor.{in,out}
  [ -e "$work/$name.qcow2" ] || qemu-img create -q -f qcow2 -F raw -b "$machine/root.ext4" "$work/$name.qcow2"
  ${inside:-} qemu-system-x86_64 -M q35,hpet=off "${accel[@]}" -smp 2 -m "${memory:-1536}" -nodefaults -display none -no-reboot \
    -kernel "$machine/kernel" -initrd "$machine/initrd" \
    -append "console=ttyS0 quiet loglevel=4 panic=-1 systemd.unified_cgroup_hierarchy=1 systemd.show_status=0 $clock ${shell:+systemd.debug_shell=ttyS2} systemd.hostname=$name naru.stage=$stage naru.slow=$slow $words" \
    -drive "file=$work/$name.qcow2,if=virtio,format=qcow2,cache=writeback" \
    -drive "file=$work/disk.ext4,if=virtio,format=raw,readonly=on" \
    "$@" -device virtio-rng-pci -chardev "pipe,id=monitor,path=$work/$name.monitor" -mon monitor -serial "file:$console" -serial "file:$results" "${shell[@]}" \
    </dev/null >"$work/$name.qemu" 2>&1 &
  echo $! >"$work/$name.pid"
  # The shell would tell of its end.
  disown
}

# One that ended and that its parent has not asked for yet does not run.
runs() { [ -e "$work/$1.pid" ] && grep -q '^State:[[:space:]]*[^ZX[:space:]]' "/proc/$(cat "$work/$1.pid")/status" 2>/dev/null; }

# standstill NAME: where the processors of a machine are, twice, which tells one that waits from one that spins.
standstill() {
  local answer
  for _ in 1 2; do
    echo 'info registers -a' 1<>"$work/$1.monitor.in" || return 0
    answer=$(timeout 3 cat <>"$work/$1.monitor.out" | tr -d '\r' | grep -aoE 'CPU#[0-9]+|[RE]IP=[0-9a-f]+|HLT=[0-9]') || true
    echo "processors: ${answer//$'\n'/ }"
  done
}

# cut_power NAME: as if the cable were pulled.
cut_power() {
  [ -e "$work/$1.pid" ] || return 0
  kill -9 "$(cat "$work/$1.pid")" 2>/dev/null || true
  while runs "$1"; do sleep 0.05; done
  rm -f "$work/$1.pid"
}

stop_all() {
  local file
  for file in "$work"/*.pid; do
    [ ! -e "$file" ] || cut_power "$(basename "$file" .pid)"
  done
  ! declare -F take_down_wire >/dev/null || take_down_wire
}

# follow NAME STAGE SECONDS MARK: shows results until the line MARK, the end of the machine, or the deadline.
follow() {
  local name=$1 stage=$2 deadline=$((SECONDS + $3 * slow)) mark=$4
  results=$work/$name.$stage.results
  while :; do
    show
    tr -d '\r' <"$results" | grep -qx "$mark" && return 0
    if ! runs "$name" || [ $SECONDS -ge $deadline ]; then
      show
      tr -d '\r' <"$results" | grep -qx "$mark" && return 0
      tap "TEST FAIL $name-$stage: the machine did not come to \"$mark\"; its console ended with what follows"
      tail -n 15 "$work/$name.$stage.console" "$work/$name.qemu" 2>/dev/null | sed 's/^/#   /'
      ! runs "$name" || standstill "$name" | sed 's/^/#   /'
      cut_power "$name"
      return 1
    fi
    sleep 0.5
  done
}

# ended NAME SECONDS TEST: waits until a machine ends by itself, which is when it went down or restarts. Later than SECONDS
# is a failure; what comes after is tested all the same.
ended() {
  local name=$1 seconds=$(($2 * slow)) test=$3 since=$SECONDS late=''
  while runs "$name"; do
    if [ -z "$late" ] && [ $((SECONDS - since)) -ge "$seconds" ]; then
      late=yes
      tap "TEST FAIL $test: the machine did not go down within $seconds s"
      tail -n 5 "$work/$name".*.console | cut -c1-300 | sed 's/^/#   /'
    elif [ $((SECONDS - since)) -ge $((seconds + 300 * slow)) ]; then
      cut_power "$name"
      return 1
    fi
    sleep 0.5
  done
  rm -f "$work/$name.pid"
  [ -n "$late" ] || tap "TEST ok $test ($((SECONDS - since)) s)"
}
