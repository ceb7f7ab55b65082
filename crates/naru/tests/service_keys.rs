//! What the keys of a service do to its container, seen from inside of it.

use naru_testkit::{Host, Project, eventually, shared_host, until};

fn host() -> Option<&'static Host> {
    shared_host(env!("CARGO_BIN_EXE_naru"))
}

/// A container that stays, as a line of YAML.
const STAYS: &str = "image: naru.local/busybox:1\n    command: [sleep, '600']\n    stop_signal: KILL";

struct Case {
    /// The keys of the service, as lines of YAML.
    keys: &'static str,
    /// What is looked at, as a shell command.
    look: &'static str,
    /// What it shows.
    shows: &'static str,
}

const fn case(keys: &'static str, look: &'static str, shows: &'static str) -> Case {
    Case { keys, look, shows }
}

const CASES: &[Case] = &[
    case("environment: {A: '1', B: two words}", "echo $A-$B", "1-two words"),
    case("environment: ['A=1', 'FROM_SHELL']", "echo $A-${FROM_SHELL-unset}", "1-from the shell"),
    case("env_file: own.env", "echo $FILE_A-$FILE_B", "a-b c"),
    case(
        "env_file: [{path: own.env}, {path: missing.env, required: false}]\n    environment: {FILE_A: over}",
        "echo $FILE_A",
        "over",
    ),
    case("working_dir: /proc/sys", "readlink /proc/1/cwd", "/proc/sys"),
    case("hostname: chosen", "hostname", "chosen"),
    case("user: '1234:2345'", "id -u; id -g", "1234\n2345"),
    case("user: nobody", "id -un", "nobody"),
    case("user: '1234'\n    group_add: ['5555', daemon]", "id -G", "0 1 5555"),
    case("extra_hosts: ['elsewhere:192.0.2.7']", "grep -c '192.0.2.7.*elsewhere' /etc/hosts", "1"),
    case(
        "read_only: true\n    tmpfs: /free",
        "touch /x 2>/dev/null || echo refused; touch /free/x && echo free",
        "refused\nfree",
    ),
    case("tmpfs: ['/small:size=1m']", "df -k /small | tail -n1 | awk '{print $2}'; stat -c %a /small", "1024\n1777"),
    case("tmpfs: ['/own:mode=0750,uid=5,gid=6']", "stat -c '%a %u %g' /own", "750 5 6"),
    case("volumes: [{type: tmpfs, target: /mode, tmpfs: {mode: 0700}}]", "stat -c %a /mode", "700"),
    case(
        "hostname: chosen\n    domainname: example.org",
        "cat /proc/sys/kernel/domainname; grep -c chosen.example.org /etc/hosts",
        "example.org\n1",
    ),
    case("hostname: own\n    uts: host", "test \"$(cat /proc/sys/kernel/hostname)\" != own && echo shared", "shared"),
    case("device_cgroup_rules: ['c 1:11 rwm']", "mknod /k c 1 11 && (: > /k) && echo allowed", "allowed"),
    case(
        "secrets: [{source: password, uid: '103', gid: '104', mode: 0440}]",
        "stat -c '%u %g %a' /run/secrets/password",
        "103 104 440",
    ),
    case(
        "tmpfs: /tmp\n    post_start: [{command: [sh, -c, 'id -u > /tmp/who; pwd >> /tmp/who; echo $$A >> /tmp/who'], user: '1234', working_dir: /tmp, environment: [A=b]}]",
        "cat /tmp/who",
        "1234\n/tmp\nb",
    ),
    case("shm_size: 8m", "df -k /dev/shm | tail -n1 | awk '{print $2}'", "8192"),
    case("ulimits: {nofile: {soft: 123, hard: 456}}", "sh -c 'ulimit -Sn; ulimit -Hn'", "123\n456"),
    case(
        "sysctls: {net.ipv4.ip_unprivileged_port_start: 77}",
        "cat /proc/sys/net/ipv4/ip_unprivileged_port_start",
        "77",
    ),
    case("init: true", "cat /proc/1/comm | grep -c sleep; cat /proc/*/comm | grep -c '^sleep$'", "0\n1"),
    case("cap_drop: [ALL]", "grep CapEff /proc/self/status | awk '{print $2}'", "0000000000000000"),
    case(
        "cap_drop: [ALL]\n    cap_add: [NET_ADMIN]",
        "grep CapEff /proc/self/status | awk '{print $2}'",
        "0000000000001000",
    ),
    case("privileged: true", "test -e /dev/loop-control -o -e /dev/kmsg && echo devices", "devices"),
    case("security_opt: [no-new-privileges]", "grep NoNewPrivs /proc/1/status | awk '{print $2}'", "1"),
    case(
        "cpus: 0.5\n    mem_limit: 64m\n    pids_limit: 50",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes /sys/fs/cgroup/pids/pids.max 2>/dev/null || cat /sys/fs/cgroup/memory.max /sys/fs/cgroup/pids.max",
        "67108864\n50",
    ),
    case(
        "deploy: {resources: {limits: {memory: 32M, cpus: '0.25', pids: 40}}}",
        "cat /sys/fs/cgroup/memory/memory.limit_in_bytes 2>/dev/null || cat /sys/fs/cgroup/memory.max",
        "33554432",
    ),
    case("oom_score_adj: 300", "cat /proc/1/oom_score_adj", "300"),
    case("pid: host", "test $(ls -d /proc/[0-9]* | wc -l) -gt 20 && echo many", "many"),
    case("network_mode: none", "ls /sys/class/net | grep -v lo | wc -l; ip -o link | grep -vc ': lo:'", "0\n0"),
    case("network_mode: host", "ip -4 -o addr show eth0 | awk '{print $4}'", "198.18.0.2/24"),
    case(
        "dns: [192.0.2.53]\n    dns_search: [example.org]\n    dns_opt: ['ndots:3']",
        "grep -c -e 192.0.2.53 -e example.org -e ndots:3 /etc/resolv.conf",
        "3",
    ),
    case(
        "configs: [{source: words, target: /etc/words, mode: 0440}]",
        "cat /etc/words; echo; stat -c '%a %u' /etc/words",
        "from content\n440 0",
    ),
    case("configs: [from_file]", "cat /from_file", "from a file"),
    case("configs: [from_env]", "cat /from_env", "from the shell"),
    case(
        "secrets: [password]",
        "cat /run/secrets/password; echo; stat -f -c %T /run/secrets/password",
        "s3cret\ntmpfs",
    ),
    case(
        "volumes: ['./bound:/bound:ro']",
        "cat /bound/file; echo; touch /bound/x 2>/dev/null || echo refused",
        "on the host\nrefused",
    ),
    case(
        "volumes: [{type: tmpfs, target: /t, tmpfs: {size: 2097152}}]",
        "df -k /t | tail -n1 | awk '{print $2}'",
        "2048",
    ),
    case("labels: {own: label}", "echo fine", "fine"),
    case(
        "entrypoint: [/bin/sh, -c]\n    command: ['echo \"$$0 $$*\" > /said; sleep 600', zero, one]",
        "cat /said",
        "zero one",
    ),
    case("command: sh -c 'echo \"a  b\" > /said; sleep 600'", "cat /said", "a  b"),
    case("devices: ['/dev/null:/dev/other:r']", "test -c /dev/other && echo there", "there"),
    case("tty: true", "readlink /proc/1/fd/1 | cut -d/ -f1-4", "/dev/pts/0"),
    case("post_start: [{command: [touch, /after]}]", "ls /after", "/after"),
];

/// A key given here overrides the same of the container that stays.
fn service(index: usize, keys: &str) -> String {
    let stays: Vec<&str> = STAYS
        .lines()
        .filter(|line| {
            let key = line.trim().split(':').next().unwrap_or_default();
            !keys.lines().any(|own| own.trim().starts_with(&format!("{key}:")))
        })
        .collect();
    format!("  k{index}:\n    {}\n    {keys}\n", stays.join("\n").trim())
}

#[test]
fn keys_do_what_they_say() {
    let Some(host) = host() else { return };
    let mut compose = String::from("services:\n");
    CASES.iter().enumerate().for_each(|(index, case)| compose.push_str(&service(index, case.keys)));
    compose.push_str(
        "configs:\n  words: {content: from content}\n  from_file: {file: ./a.conf}\n  from_env: {environment: FROM_SHELL}\n\
         secrets:\n  password: {file: ./secret.txt}\n",
    );
    let project = host.project("keys", &compose);
    project.write("own.env", "# a comment\nFILE_A=a\nFILE_B=\"b c\"\n");
    project.write("a.conf", "from a file");
    project.write("secret.txt", "s3cret");
    project.write("bound/file", "on the host");
    project.naru_with(&[("FROM_SHELL", "from the shell")], &["up", "-d", "--wait"]).ok();
    let mut wrong = Vec::new();
    for (index, case) in CASES.iter().enumerate() {
        let output = project.naru(&["-p", "keys", "exec", "-T", &format!("k{index}"), "sh", "-c", case.look]);
        let seen = output.stdout.trim();
        if seen != case.shows {
            wrong.push(format!(
                "{}\n    `{}` shows {seen:?}, expected {:?} {}",
                case.keys, case.look, case.shows, output.stderr
            ));
        }
    }
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), CASES.len(), wrong.join("\n"));
}

#[test]
fn who_follows_a_service_is_replaced_after_it() {
    let Some(host) = host() else { return };
    let compose = |version: &str| {
        format!(
            "services:\n  db:\n    {STAYS}\n    environment: {{VERSION: '{version}'}}\n  web:\n    {STAYS}\n    depends_on: {{db: {{condition: service_started, restart: true}}}}\n  other:\n    {STAYS}\n    depends_on: [db]\n"
        )
    };
    let project = host.project("follow", &compose("1"));
    project.up(&[]);
    let pods = |project: &Project<'_>| ["db", "web", "other"].map(|name| project.container(name)["Pod"].clone());
    let before = pods(&project);
    project.write("compose.yaml", &compose("2"));
    project.up(&[]);
    let after = pods(&project);
    assert_ne!(before[0], after[0], "the one that changed");
    assert_ne!(before[1], after[1], "the one that follows it");
    assert_eq!(before[2], after[2], "the one that only starts after it");
    project.up(&[]);
    assert_eq!(after, pods(&project), "nothing changed");
}

#[test]
fn volumes_are_filled_kept_and_removed() {
    let Some(host) = host() else { return };
    let project = host.project(
        "vols",
        r#"
services:
  web:
    image: naru.local/busybox:1
    command: [sleep, "600"]
    stop_signal: KILL
    volumes: ["etc:/etc/copied", "named:/usr/bin", "/anonymous"]
volumes: {named: {}, etc: {}}
"#,
    );
    project.up(&[]);
    let kept = |project: &Project<'_>, file: &str| project.exec("web", &["cat", file]).stdout;
    assert_eq!(project.exec("web", &["test", "-x", "/usr/bin/busybox"]).code, 0, "filled from the image at first use");
    for file in ["/etc/copied/a", "/anonymous/a"] {
        project.exec("web", &["sh", "-c", &format!("echo kept > {file}")]).ok();
    }
    project.exec("web", &["rm", "/usr/bin/yes"]).ok();
    project.up(&["--force-recreate"]);
    assert_eq!(kept(&project, "/anonymous/a"), "kept\n", "an anonymous volume is kept when its container is replaced");
    project.naru(&["down"]).ok();
    assert!(project.ps().is_empty());
    project.up(&[]);
    assert_eq!(kept(&project, "/etc/copied/a"), "kept\n", "a named volume is kept over down");
    assert_ne!(project.exec("web", &["test", "-e", "/usr/bin/yes"]).code, 0, "what is not empty is not filled again");
    project.naru(&["down", "-v"]).ok();
    project.up(&[]);
    assert_eq!(kept(&project, "/etc/copied/a"), "", "down -v removes it");
}

#[test]
fn containers_start_in_order() {
    let Some(host) = host() else { return };
    let project = host.project(
        "order",
        r#"
services:
  web:
    image: naru.local/probe:1
    depends_on:
      db: {condition: service_healthy}
      migrate: {condition: service_completed_successfully}
      cache: {condition: service_started}
  migrate:
    image: naru.local/busybox:1
    command: [wget, -q, -O-, "http://db:8080/health"]
    depends_on: {db: {condition: service_healthy}}
  cache: {image: naru.local/probe:1}
  db:
    image: naru.local/probe:1
    command: [--unhealthy]
    healthcheck: {test: [CMD, wget, -q, -O-, "http://127.0.0.1:8080/health"], interval: 1s, retries: 1000}
    labels: {naru.io/healthcheck-restart: "false"}
"#,
    );
    let up = project.start(&["up", "-d", "--wait"]);
    project.until("db", "it runs", |rows| rows.iter().any(|row| row["State"] == "running"));
    project.until("cache", "it runs, since nothing holds it", |rows| rows.iter().any(|row| row["State"] == "running"));
    for service in ["web", "migrate"] {
        let held = project.container(service);
        assert_eq!(held["State"], "created", "{held}");
    }
    project.exec("db", &["wget", "-q", "-O-", "http://127.0.0.1:8080/health/good"]).ok();
    up.wait().ok();
    let at = |service: &str, field: &str| {
        let pods =
            project.kubectl(&["get", "pods", "-l", &format!("naru.io/service={service}"), "-o", "json"]).ok().json();
        let state = &pods["items"][0]["status"]["containerStatuses"][0]["state"];
        let text = ["running", "terminated"].iter().find_map(|word| state[*word][field].as_str());
        text.unwrap_or_default().to_owned()
    };
    assert!(at("migrate", "finishedAt") <= at("web", "startedAt"), "web starts after the migration");
    assert_eq!(project.container("migrate")["State"], "exited");
}

#[test]
fn a_dependency_that_is_not_healthy_fails_up_and_may_be_late() {
    let Some(host) = host() else { return };
    let project = host.project(
        "late",
        r#"
services:
  web:
    image: naru.local/probe:1
    depends_on: {db: {condition: service_healthy}}
  db:
    image: naru.local/probe:1
    command: [--unhealthy]
    healthcheck: {test: [CMD, wget, -q, -O-, "http://127.0.0.1:8080/health"], interval: 1s, retries: 2}
"#,
    );
    project.naru(&["up", "-d", "--wait"]).refuses(&["late-db-1", "container is unhealthy", "503"]);
    let row = project.container("db");
    assert_eq!((&row["State"], &row["Health"]), (&"running".into(), &"unhealthy".into()), "{row}");
    assert!(row["Status"].as_str().is_some_and(|text| text.ends_with("(unhealthy)")), "{row}");
    assert_eq!(project.container("web")["State"], "created");
    project.exec("db", &["wget", "-q", "-O-", "http://127.0.0.1:8080/health/good"]).ok();
    project.until("web", "it starts after all", |rows| rows[0]["State"] == "running");
    let row = project.container("db");
    assert_eq!((&row["Health"], &row["RestartCount"]), (&"healthy".into(), &0.into()), "{row}");
}

#[test]
fn a_dependency_that_fails_fails_up() {
    let Some(host) = host() else { return };
    let project = host.project(
        "broken",
        r#"
services:
  web:
    image: naru.local/probe:1
    depends_on: {migrate: {condition: service_completed_successfully}}
  migrate: {image: naru.local/busybox:1, command: [sh, -c, "echo no such table >&2; exit 3"]}
"#,
    );
    project.naru(&["up", "-d", "--wait"]).refuses(&["migrate", "3", "no such table"]);
    assert_eq!(project.container("web")["State"], "created", "what depends on it is not started");
}

#[test]
fn restart_rules() {
    let Some(host) = host() else { return };
    let project = host.project(
        "restarts",
        r#"
services:
  never: {image: naru.local/busybox:1, command: [sh, -c, "exit 1"], restart: "no"}
  good: {image: naru.local/busybox:1, command: ["true"], restart: on-failure}
  twice: {image: naru.local/busybox:1, command: [sh, -c, "exit 2"], restart: "on-failure:1"}
  always: {image: naru.local/busybox:1, command: ["true"], restart: always}
  kept: {image: naru.local/probe:1, restart: unless-stopped}
"#,
    );
    project.naru(&["up", "-d"]);
    project.until("never", "it stays ended", |rows| rows[0]["State"] == "exited" && rows[0]["ExitCode"] == 1);
    project.until("good", "a good end is final", |rows| rows[0]["State"] == "exited");
    project
        .until("twice", "once again, and no more", |rows| rows[0]["RestartCount"] == 1 && rows[0]["State"] == "exited");
    project.until("always", "again and again", |rows| rows[0]["RestartCount"].as_i64() >= Some(1));
    project.exec("kept", &["sh", "-c", "kill 1"]).ok();
    project.until("kept", "back", |rows| rows[0]["RestartCount"] == 1 && rows[0]["State"] == "running");
    project.naru(&["stop", "kept"]).ok();
    assert_eq!(project.container("kept")["State"], "exited");
    for (service, restarts) in [("never", 0), ("good", 0), ("twice", 1), ("kept", 1)] {
        assert_eq!(project.container(service)["RestartCount"], restarts, "{service}");
    }
}

#[test]
fn stopping_uses_the_signal_and_the_grace() {
    let Some(host) = host() else { return };
    let project = host.project(
        "stops",
        r#"
services:
  quit: {image: naru.local/probe:1, stop_signal: SIGQUIT, command: [--term-code, "5"]}
  deaf: {image: naru.local/probe:1, command: [--ignore-term], stop_grace_period: 1s}
  hook:
    image: naru.local/probe:1
    volumes: ["./shared:/shared"]
    pre_stop: [{command: [sh, -c, "echo before > /shared/stopped"]}]
"#,
    );
    project.write("shared/empty", "");
    project.up(&[]);
    project.naru(&["stop"]).ok();
    let codes: Vec<_> = project.ps().iter().map(|row| (row["Service"].clone(), row["ExitCode"].clone())).collect();
    assert_eq!(codes, [("deaf".into(), 137.into()), ("hook".into(), 0.into()), ("quit".into(), 5.into())]);
    project.naru(&["logs", "quit"]).ok().says(&["got QUIT"]);
    project.naru(&["logs", "deaf"]).ok().says(&["ignored TERM"]);
    let stopped = std::fs::read_to_string(project.folder().join("shared/stopped"));
    assert_eq!(stopped.ok().as_deref(), Some("before\n"), "pre_stop ran");
}

#[test]
fn logs_are_rotated() {
    let Some(host) = host() else { return };
    let project = host.project(
        "rotates",
        r#"
services:
  web:
    image: naru.local/probe:1
    ports: ["8111:8080"]
    logging: {driver: json-file, options: {max-size: 20k, max-file: "2"}}
"#,
    );
    project.up(&[]);
    host.fetch(8111, "/print/5000/a-line-that-has-some-length");
    let last = until(
        "the last line is there",
        || project.naru(&["logs", "--no-log-prefix", "web"]).ok().stdout,
        |text| text.contains("length 5000"),
    );
    assert!(!last.contains("length 1\n"), "the first lines were rotated away");
    eventually("the files stay small", || {
        let folder = host.state_dir().join("logs");
        let own = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|entry| entry.path());
        let own = own.filter(|path| path.to_string_lossy().contains("rotates_"));
        let output =
            std::process::Command::new("du").arg("-sbc").args(own).output().map_err(|error| error.to_string())?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let total = text.lines().last().and_then(|line| line.split_whitespace().next()?.parse::<u64>().ok());
        // All lines together are above 400 kB; a file may go over its size by what one read took.
        if total.is_some_and(|total| (1000..200_000).contains(&total)) { Ok(()) } else { Err(text) }
    });
}

#[test]
fn unhealthy_containers_are_restarted_unless_told_otherwise() {
    let Some(host) = host() else { return };
    let health = "healthcheck: {test: [CMD, wget, -q, -O-, 'http://127.0.0.1:8080/health'], interval: 1s, retries: 2}";
    let project = host.project(
        "sick",
        &format!(
            "services:\n  heals:\n    image: naru.local/probe:1\n    {health}\n    ports: ['8112:8080']\n  \
             stays:\n    image: naru.local/probe:1\n    {health}\n    ports: ['8113:8080']\n    \
             labels: {{naru.io/healthcheck-restart: 'false'}}\n"
        ),
    );
    project.up(&[]);
    for service in ["heals", "stays"] {
        project.exec(service, &["wget", "-q", "-O-", "http://127.0.0.1:8080/health/bad"]).ok();
    }
    project.until("stays", "it is told unhealthy", |rows| rows[0]["Health"] == "unhealthy");
    project.until("heals", "it is restarted and well", |rows| {
        rows[0]["RestartCount"] == 1 && rows[0]["Health"] == "healthy"
    });
    assert_eq!(project.container("stays")["RestartCount"], 0);
    assert!(host.get([127, 0, 0, 1], 8113, "/").is_err(), "the published port leads to no unhealthy container");
    assert_eq!(host.fetch(8112, "/health"), "healthy");
}

#[test]
fn memory_beyond_the_limit_is_named() {
    let Some(host) = host() else { return };
    let project = host.project(
        "oom",
        "services:\n  web: {image: naru.local/probe:1, mem_limit: 32m, ports: ['8114:8080'], restart: 'no'}\n",
    );
    project.up(&[]);
    host.fetch(8114, "/memory/1");
    let _ = host.get([127, 0, 0, 1], 8114, "/memory/200");
    project.until("web", "killed for its memory", |rows| rows[0]["State"] == "exited");
    let row = project.container("web");
    assert_eq!(row["ExitCode"], 137, "{row}");
    assert!(row["Status"].as_str().is_some_and(|text| text.contains("OOMKilled")), "{row}");
}

#[test]
fn services_share_a_pod_where_they_ask_for_it() {
    let Some(host) = host() else { return };
    let project = host.project(
        "shared",
        r#"
services:
  web: {image: naru.local/probe:1, container_name: my-web}
  side: {image: naru.local/busybox:1, command: [sleep, "600"], stop_signal: KILL, network_mode: "service:web"}
  other: {image: naru.local/busybox:1, command: [sleep, "600"], stop_signal: KILL}
"#,
    );
    project.up(&[]);
    let answer = project.exec("side", &["wget", "-q", "-O-", "http://127.0.0.1:8080/health"]).ok();
    assert_eq!(answer.text(), "healthy");
    assert_eq!(project.container("web")["Name"], "my-web");
    eventually("its own name leads there", || {
        let answer = project.exec("other", &["wget", "-q", "-O-", "http://my-web:8080/health"]);
        if answer.text() == "healthy" { Ok(()) } else { Err(answer.to_string()) }
    });
}
