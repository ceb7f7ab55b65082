//! Bad input and broken surroundings: every refusal names what and where and what to do, exits non-zero and changes
//! nothing.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;

use naru_testkit::{Host, HostOptions, Image, eventually, missing, shared_host, until};

const PROGRAM: &str = env!("CARGO_BIN_EXE_naru");

fn host() -> Option<&'static Host> {
    shared_host(PROGRAM)
}

/// A file of a project, and what its refusal says.
const REFUSED: &[(&str, &[&str])] = &[
    ("services:\n  web:\n    image: [unclosed\n", &["compose.yaml:3", "unclosed"]),
    ("services:\n  web:\n\timage: x\n", &["compose.yaml", "3"]),
    ("services:\n  web:\n    image: naru.local/probe:1\n    imagee: x\n", &["compose.yaml:4", "services.web.imagee"]),
    ("services:\n  web:\n    image: naru.local/probe:1\n    image: naru.local/probe:2\n", &["compose.yaml:4", "image"]),
    ("servces:\n  web: {image: x}\n", &["compose.yaml:1", "servces"]),
    ("services:\n  web:\n    image: ${REQUIRED:?name the image}\n", &["compose.yaml:3", "REQUIRED", "name the image"]),
    ("services:\n  web:\n    image: ${UNCLOSED\n", &["compose.yaml:3", "image"]),
    (
        "services:\n  a: {image: x, depends_on: [b]}\n  b: {image: x, depends_on: [c]}\n  c: {image: x, depends_on: [a]}\n",
        &["a", "b", "c", "depend"],
    ),
    ("services:\n  a: {image: x, depends_on: [nosuch]}\n", &["compose.yaml:2", "nosuch"]),
    ("services:\n  a: {image: x, networks: [nosuch]}\n", &["compose.yaml:2", "nosuch"]),
    ("services:\n  a: {image: x, volumes: ['nosuch:/data']}\n", &["compose.yaml:2", "nosuch"]),
    ("services:\n  a: {image: x, configs: [nosuch]}\n", &["compose.yaml:2", "nosuch"]),
    ("services:\n  a: {image: x, env_file: nosuch.env}\n", &["nosuch.env"]),
    ("services:\n  a: {extends: {file: nosuch.yaml, service: b}}\n", &["compose.yaml:2", "nosuch.yaml"]),
    ("include: [nosuch.yaml]\n", &["compose.yaml:1", "nosuch.yaml"]),
    ("services:\n  a: {image: x, ports: ['80:web']}\n", &["compose.yaml:2", "80:web"]),
    ("services:\n  a: {image: x, ports: ['99999:80']}\n", &["compose.yaml:2", "99999"]),
    ("services:\n  a: {image: x, mem_limit: lots}\n", &["compose.yaml:2", "mem_limit", "lots"]),
    ("services:\n  a: {image: x, restart: sometimes}\n", &["compose.yaml:2", "restart", "sometimes"]),
    ("services:\n  a: {image: x, stop_grace_period: soon}\n", &["compose.yaml:2", "stop_grace_period", "soon"]),
    ("services:\n  a: {image: x, cgroup_parent: y}\n", &["compose.yaml:2", "cgroup_parent", "deploy.resources"]),
    ("services:\n  a: {command: [x]}\n", &["compose.yaml:2", "image"]),
    ("services:\n  a: {image: x, container_name: one, deploy: {replicas: 2}}\n", &["container_name"]),
    (
        "services:\n  a: {image: x, deploy: {placement: {constraints: [node.labels.disk=ssd]}}}\n",
        &["compose.yaml:2", "services.a.deploy.placement.constraints", "KEY==VALUE"],
    ),
    (
        "services:\n  a: {image: x, deploy: {placement: {constraints: [node.role==leader]}}}\n",
        &["compose.yaml:2", "manager or worker"],
    ),
    (
        "services:\n  a: {image: x, deploy: {placement: {preferences: [{spread: node.zone}]}}}\n",
        &["compose.yaml:2", "node.labels.NAME"],
    ),
    ("services: {}\n", &["compose.yaml", "service"]),
    ("services:\n  a: {image: 'NOT VALID'}\n", &["compose.yaml:2", "NOT VALID"]),
];

#[test]
fn files_that_cannot_be_understood() {
    let Some(host) = host() else { return };
    let project = host.project("bad", "services:\n  web: {image: naru.local/probe:1}\n");
    project.up(&[]);
    let pod = project.container("web")["Pod"].clone();
    let mut wrong = Vec::new();
    for (text, says) in REFUSED {
        project.write("compose.yaml", text);
        let output = project.naru(&["up", "-d"]);
        let missing: Vec<_> = says.iter().filter(|word| !output.stderr.contains(**word)).collect();
        if output.code == 0 || !missing.is_empty() {
            wrong.push(format!("{text}    must say {missing:?} code {}: {}", output.code, output.stderr));
        }
    }
    project.write("compose.yaml", "services:\n  web: {image: naru.local/probe:1}\n");
    assert_eq!(project.container("web")["Pod"], pod, "nothing changed");
    assert_eq!(project.ps().len(), 1);
    assert!(wrong.is_empty(), "{} of {}:\n{}", wrong.len(), REFUSED.len(), wrong.join("\n"));
}

#[test]
fn words_that_cannot_be_understood() {
    let Some(host) = host() else { return };
    let project = host.project("words", "services:\n  web: {image: naru.local/probe:1}\n");
    let cases: &[(&[&str], &[&str])] = &[
        (&["upp"], &["upp", "up"]),
        (&["up", "--no-such"], &["--no-such"]),
        (&["up", "nosuch"], &["nosuch"]),
        (&["up", "--scale", "web=x"], &["web=x", "SERVICE=NUM"]),
        (&["up", "--scale", "nosuch=1"], &["nosuch"]),
        (&["-f", "nosuch.yaml", "up"], &["nosuch.yaml"]),
        (&["--env-file", "nosuch.env", "up"], &["nosuch.env"]),
        (&["-p", "Not Valid", "up", "-d"], &["Not Valid"]),
        (&["logs", "--since", "soon"], &["soon"]),
        (&["kill", "-s", "NOSUCH"], &["NOSUCH"]),
        (&["cp", "a", "b"], &["SERVICE:PATH"]),
        (&["image", "load", "-i", "nosuch.tar"], &["nosuch.tar"]),
        (&["image", "inspect", "nosuch:1"], &["nosuch:1"]),
        (&["image", "rm", "nosuch:1"], &["nosuch:1"]),
        (&["image", "save", "nosuch:1", "-o", "out.tar"], &["nosuch:1"]),
    ];
    project.up(&[]);
    let mut wrong = Vec::new();
    for (arguments, says) in cases {
        let output = project.naru(arguments);
        let missing: Vec<_> = says.iter().filter(|word| !output.stderr.contains(**word)).collect();
        if output.code == 0 || !missing.is_empty() || output.stderr.contains("panicked") {
            wrong.push(format!("{arguments:?} must say {missing:?} code {}: {}", output.code, output.stderr));
        }
    }
    assert!(!project.folder().join("out.tar").exists());
    assert_eq!(project.ps().len(), 1, "nothing changed");
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let empty = host.project("nofile", "");
    fs::remove_file(empty.folder().join("compose.yaml")).expect("remove the file");
    empty.naru(&["up"]).refuses(&["compose.yaml"]);
}

#[test]
fn a_taken_port_is_refused_with_its_holder() {
    let Some(host) = host() else { return };
    let _holder = host.inside(|| TcpListener::bind("0.0.0.0:8401").expect("take the port"));
    let project = host.project(
        "taken",
        "services:\n  web: {image: naru.local/probe:1, ports: ['8401:8080']}\n  db: {image: naru.local/probe:1}\n",
    );
    let own = std::process::id().to_string();
    project.naru(&["up", "-d", "--wait", "--wait-timeout", "30"]).refuses(&["8401", &own]);
    // Another project holds it.
    let first = host.project("first", "services:\n  web: {image: naru.local/probe:1, ports: ['8402:8080']}\n");
    first.up(&[]);
    let second = host.project("second", "services:\n  web: {image: naru.local/probe:1, ports: ['8402:8080']}\n");
    second.naru(&["up", "-d", "--wait", "--wait-timeout", "30"]).refuses(&["8402", "first"]);
    assert!(host.fetch(8402, "/host").starts_with("web"), "the first keeps it");
}

#[test]
fn images_that_cannot_be_had() {
    let Some(host) = host() else { return };
    let project = host.project("images", "services:\n  web: {image: naru.local/probe:1}\n");
    project.up(&[]);
    let pod = project.container("web")["Pod"].clone();
    for (image, says) in [
        ("image: 'localhost:5999/no/such:1'", &["localhost:5999/no/such:1"][..]),
        ("image: 'naru.local/nosuch:1'\n    pull_policy: never", &["naru.local/nosuch:1"]),
        (
            "image: 'naru.local/probe@sha256:0000000000000000000000000000000000000000000000000000000000000000'\n    pull_policy: never",
            &["sha256:0000"],
        ),
    ] {
        project.write("compose.yaml", &format!("services:\n  web:\n    {image}\n"));
        project.naru(&["up", "-d", "--wait"]).refuses(says);
        project.write("compose.yaml", "services:\n  web: {image: naru.local/probe:1}\n");
        let running = project.container("web");
        assert_eq!((&running["Pod"], &running["State"]), (&pod, &"running".into()), "what runs goes on");
    }
}

/// Archives that reach out of their root: a member's path, and what is in it.
#[test]
fn archives_that_climb_or_are_broken() {
    let Some(host) = host() else { return };
    if missing(&["tar", "sha256sum"]) {
        return;
    }
    let folder = host.folder().join("archives");
    let victim = host.folder().join("victim");
    for (name, script) in [
        ("dots", "tar -C s -cPf layer.tar --transform 's,^file,../../../../../../../../$VICTIM,' file"),
        ("absolute", "tar -C s -cPf layer.tar --transform 's,^file,$VICTIM,' file"),
        (
            "link",
            "ln -s / s/out && tar -C s -cf layer.tar out && tar -C s -rPf layer.tar --transform 's,^file,out$VICTIM,' file",
        ),
        (
            "hard",
            "ln s/file s/hard && tar -C s -cPf layer.tar --transform 's,^file,../../../../../../..$VICTIM,S' hard file",
        ),
    ] {
        let place = folder.join(name);
        fs::create_dir_all(place.join("s")).expect("a folder");
        fs::write(place.join("s/file"), "escaped").expect("a file");
        let script = format!(
            "set -e; {script}; id=$(sha256sum layer.tar | cut -d' ' -f1); \
             echo '{{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{{}},\"rootfs\":{{\"type\":\"layers\",\"diff_ids\":[\"sha256:'$id'\"]}}}}' > config.json; \
             echo '[{{\"Config\":\"config.json\",\"RepoTags\":[\"naru.local/evil-{name}:1\"],\"Layers\":[\"layer.tar\"]}}]' > manifest.json; \
             tar -cf ../{name}.tar manifest.json config.json layer.tar"
        );
        let mut command = host.command("sh");
        command.args(["-c", &script]).env("VICTIM", &victim).current_dir(&place);
        host.run(command, b"").ok();
        let archive = folder.join(format!("{name}.tar"));
        let output = host.naru(&["image", "load", "-i", &archive.to_string_lossy()]);
        assert!(!victim.exists(), "{name} wrote outside: {output}");
        // Docker takes some of these by keeping them inside; then the file must be inside.
        if output.code != 0 {
            assert!(output.stderr.contains("out") || output.stderr.contains(".."), "{name}: {output}");
        }
    }
    // Broken ones: cut off, damaged, something else.
    let good = fs::read(Image::Busybox.archive().expect("an archive")).expect("read it");
    let mut damaged = good.clone();
    let middle = damaged.len() / 2;
    damaged[middle..middle + 64].iter_mut().for_each(|byte| *byte ^= 0x5a);
    for (name, bytes) in [
        ("cut", &good[..good.len() / 2]),
        ("damaged", &damaged[..]),
        ("text", b"not an archive at all"),
        ("empty", b""),
    ] {
        let archive = folder.join(format!("{name}.tar"));
        fs::write(&archive, bytes).expect("write an archive");
        host.naru(&["image", "load", "-i", &archive.to_string_lossy()]).refuses(&[&format!("{name}.tar")]);
    }
    host.naru(&["image", "ls"]).ok().says(&["naru.local/busybox"]);
}

#[test]
fn not_root_is_told_so() {
    let Some(host) = host() else { return };
    if missing(&["setpriv"]) {
        return;
    }
    // A copy that everybody may run, since the build's folder may be closed.
    let copy = PathBuf::from(format!("/tmp/naru-not-root-{}", std::process::id()));
    struct Removed(PathBuf);
    impl Drop for Removed {
        fn drop(&mut self) {
            let _ = fs::remove_file(&self.0);
        }
    }
    let _removed = Removed(copy.clone());
    // By a program: what this one writes itself, a process that another test forks may still hold open for writing when
    // it is to be run ("text file busy").
    let mut install = host.command("install");
    install.args(["-m", "755", PROGRAM]).arg(&copy);
    host.run(install, b"").ok();
    let nobody = |arguments: &[&str]| {
        let mut command = host.command("setpriv");
        command.args(["--reuid=65534", "--regid=65534", "--clear-groups", "--"]).arg(&copy).args(arguments);
        host.run(command, b"")
    };
    nobody(&["ls"]).refuses(&["naru.sock", "group"]);
    nobody(&["server"]).refuses(&["root"]);
    nobody(&["uninstall", "--yes"]).refuses(&["root"]);
    nobody(&["kubeconfig"]).refuses(&["root"]);
    assert!(host.server_pid().is_some());
    host.naru(&["ls"]).ok();
}

/// The store's log that is written to, and how much of it is: files are made longer than what is in them.
fn log(host: &Host) -> (PathBuf, Vec<u8>, usize) {
    let entries =
        fs::read_dir(host.state_dir().join("store")).into_iter().flatten().flatten().map(|entry| entry.path());
    let is_log = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("log-"));
    let path = entries.filter(is_log).max().expect("a log");
    let bytes = fs::read(&path).expect("read the log");
    let written = bytes.iter().rposition(|byte| *byte != 0).expect("something is written") + 1;
    (path, bytes, written.next_multiple_of(8))
}

#[test]
fn a_torn_tail_is_dropped_and_damage_is_refused() {
    let options = HostOptions { images: Some(vec![]), ..HostOptions::default() };
    let Some(host) = Host::start_with(PROGRAM, options) else { return };
    for number in 0..10 {
        host.kubectl(&["create", "configmap", &format!("c{number}"), "--from-literal=a=b"]).ok();
    }
    let count =
        |host: &Host| host.kubectl(&["get", "configmaps", "-o", "name"]).ok().stdout.matches("configmap/c").count();
    host.kill_server();
    // A write that was cut off: the beginning of a record. Nobody was told that it is done.
    let (path, mut bytes, written) = log(&host);
    bytes.copy_within(64..64 + 40, written);
    fs::write(&path, &bytes).expect("tear the tail");
    host.start_server();
    assert_eq!(count(&host), 10, "all that was acknowledged is there");
    host.kubectl(&["create", "configmap", "after", "--from-literal=a=b"]).ok();

    host.kill_server();
    let (path, good, written) = log(&host);
    let mut bytes = good.clone();
    bytes[64 + (written - 64) / 2] ^= 0xff;
    fs::write(&path, &bytes).expect("damage it");
    let output = host.run(host.server_command(), b"");
    let name = path.file_name().expect("a name").to_string_lossy().into_owned();
    output.refuses(&[&name, "backup"]);
    assert_eq!(fs::read(&path).expect("read it again"), bytes, "a refusal changes nothing");
    fs::write(&path, good).expect("mend it");
    host.start_server();
    assert_eq!(count(&host), 10);
}

#[test]
fn a_full_pod_subnet_is_told() {
    let options = HostOptions { server: vec!["--pod-network".into(), "10.42.0.0/29".into()], ..HostOptions::default() };
    let Some(host) = Host::start_with(PROGRAM, options) else { return };
    let project = host.project("full", "services:\n  web: {image: naru.local/probe:1, ports: ['8441:8080']}\n");
    project.up(&[]);
    project.naru(&["up", "-d", "--scale", "web=8", "--wait", "--wait-timeout", "5"]).refuses(&["web"]);
    until("why is told", || project.kubectl(&["get", "events"]).stdout, |text| text.contains("10.42.0.0/29"));
    assert!(host.fetch(8441, "/host").starts_with("web"), "what runs goes on");
    let running = project.ps().iter().filter(|row| row["State"] == "running").count();
    assert!((2..8).contains(&running), "as many as there are addresses for run: {running}");
    // With room again, all run.
    project.naru(&["scale", "web=2"]).ok();
    project.until("web", "two run", |rows| rows.len() == 2 && rows.iter().all(|row| row["State"] == "running"));
}

#[test]
fn a_registry_that_is_down_or_lies() {
    if missing(&["docker-registry"]) {
        return;
    }
    let Some(host) = Host::start(PROGRAM) else { return };
    let folder = host.folder().join("registry");
    fs::create_dir_all(&folder).expect("a folder");
    let config = folder.join("config.yml");
    fs::write(&config, format!("version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {}}}}}\nhttp: {{addr: 127.0.0.1:5000}}\n", folder.display())).expect("its settings");
    let mut command = host.command("docker-registry");
    command.args(["serve"]).arg(&config).stdout(std::process::Stdio::null()).stderr(std::process::Stdio::null());
    struct Killed(std::process::Child);
    impl Drop for Killed {
        fn drop(&mut self) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
    let registry = Killed(command.spawn().expect("start the registry"));
    eventually("the registry answers", || host.get([127, 0, 0, 1], 5000, "/v2/"));
    host.naru(&["image", "tag", "naru.local/busybox:1", "localhost:5000/box:1"]).ok();
    host.naru(&["image", "push", "localhost:5000/box:1"]).ok();
    host.naru(&["image", "rm", "localhost:5000/box:1"]).ok();
    host.naru(&["image", "pull", "localhost:5000/box:1"]).ok();
    let project = host.project(
        "pulls",
        "services:\n  web: {image: 'localhost:5000/box:1', command: [sleep, '60'], stop_signal: KILL}\n",
    );
    project.up(&["--pull", "always"]);
    host.naru(&["image", "pull", "localhost:5000/nosuch:1"]).refuses(&["localhost:5000/nosuch:1"]);
    project.naru(&["down", "-t", "0"]).ok();
    host.naru(&["image", "rm", "-f", "localhost:5000/box:1", "naru.local/busybox:1"]).ok();
    // The pod's layers may be let go a moment after `down`; what is still here would not be pulled.
    let blobs = host.state_dir().join("images/blobs");
    until(
        "no blob is left",
        || {
            host.naru(&["image", "prune", "-a", "-f"]).ok();
            String::from_utf8_lossy(
                &host.command("find").arg(&blobs).args(["-type", "f"]).output().expect("find").stdout,
            )
            .into_owned()
        },
        |left| left.is_empty(),
    );
    // A blob that is not what its digest says.
    let list = host
        .command("find")
        .arg(&folder)
        .args(["-path", "*blobs*", "-name", "data", "-size", "+100k"])
        .output()
        .expect("find");
    let blob = String::from_utf8_lossy(&list.stdout).lines().next().map(PathBuf::from).expect("a layer");
    let mut bytes = fs::read(&blob).expect("read the layer");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&blob, bytes).expect("falsify the layer");
    host.naru(&["image", "pull", "localhost:5000/box:1"]).refuses(&[
        "localhost:5000",
        "expected sha256:",
        "got sha256:",
    ]);
    drop(registry);
    host.naru(&["image", "pull", "localhost:5000/box:1"]).refuses(&["localhost:5000"]);
    until("no half image", || host.naru(&["image", "ls"]).ok().stdout, |text| !text.contains("localhost:5000/box"));
}

#[test]
fn a_full_disk_is_told_and_leaves_nothing_half() {
    let options = HostOptions { idle: true, ..HostOptions::default() };
    let Some(host) = Host::start_with(PROGRAM, options) else { return };
    let images = host.state_dir().join("images");
    fs::create_dir_all(&images).expect("a folder");
    let mut mount = host.command("mount");
    mount.args(["-t", "tmpfs", "-o", "size=16m", "none"]).arg(&images);
    host.run(mount, b"").ok();
    host.start_server();
    let load = |image: Image| {
        let archive = image.archive().expect("an archive");
        host.naru(&["image", "load", "-i", &archive.to_string_lossy()])
    };
    load(Image::Busybox).ok();
    // Bytes that do not compress: an archive larger than the disk.
    let folder = host.folder().join("large");
    fs::create_dir_all(&folder).expect("a folder");
    let script = "set -e; head -c 12000000 /dev/urandom > file; tar -cf layer.tar file; id=$(sha256sum layer.tar | cut -d' ' -f1); \
        echo '{\"architecture\":\"amd64\",\"os\":\"linux\",\"config\":{},\"rootfs\":{\"type\":\"layers\",\"diff_ids\":[\"sha256:'$id'\"]}}' > config.json; \
        echo '[{\"Config\":\"config.json\",\"RepoTags\":[\"naru.local/large:1\"],\"Layers\":[\"layer.tar\"]}]' > manifest.json; \
        tar -cf large.tar manifest.json config.json layer.tar";
    let mut command = host.command("sh");
    command.args(["-c", script]).current_dir(&folder);
    host.run(command, b"").ok();
    let archive = folder.join("large.tar");
    let output = host.naru(&["image", "load", "-i", &archive.to_string_lossy()]);
    output.refuses(&["large.tar", "space"]);
    host.naru(&["image", "ls"]).ok().says(&["naru.local/busybox"]).hides(&["large"]);
    host.naru(&["image", "prune", "-f"]).ok();
    load(Image::Probe).ok();
    let project = host.project("roomy", "services:\n  web: {image: naru.local/probe:1, ports: ['8471:8080']}\n");
    project.up(&[]);
    host.fetch(8471, "/host");
}

#[test]
fn what_the_machine_lacks_is_told() {
    let Some(host) = host() else { return };
    let project = host.project("builds", "services:\n  web: {build: .}\n");
    project.write("Dockerfile", "FROM scratch\n");
    if ["/usr/bin", "/bin", "/usr/sbin"]
        .iter()
        .all(|folder| !PathBuf::from(folder).join("buildah").exists() && !PathBuf::from(folder).join("docker").exists())
    {
        project
            .naru_with(&[("PATH", "/usr/bin:/bin:/usr/sbin:/sbin")], &["up", "-d", "--build"])
            .refuses(&["Docker", "buildah", "buildctl"]);
    }
    if missing(&["setpriv"]) {
        return;
    }
    let mut doctor = host.command("setpriv");
    doctor
        .args(["--bounding-set=-sys_admin", "--inh-caps=-sys_admin", "--"])
        .arg(PROGRAM)
        .args(["doctor", "--format", "json"]);
    let report = host.run(doctor, b"").exits(1).json();
    let finding =
        report["findings"].as_array().into_iter().flatten().find(|finding| finding["check"] == "capabilities").cloned();
    assert!(
        finding.is_some_and(|finding| finding.to_string().contains("SYS_ADMIN") && finding["level"] == "error"),
        "{report}"
    );
}

#[test]
fn doctor_and_completion_answer() {
    let Some(host) = host() else { return };
    let report = host.naru(&["doctor", "--format", "json"]).ok().json();
    assert!(report["findings"].as_array().is_some_and(|findings| findings.len() >= 8), "{report}");
    host.naru(&["doctor"]).ok().says(&["kernel", "nftables", "control groups", "server"]);
    for shell in ["bash", "zsh", "fish"] {
        host.naru(&["completion", shell]).ok().says(&["naru"]);
    }
    host.naru(&["--version"]).ok().says(&["naru 0."]);
    host.naru(&["--help"]).ok().says(&["naru up -d"]);
}
