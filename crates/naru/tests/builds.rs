//! `naru build` with the builder of this machine.

use std::process::{Command, Stdio};

use naru_testkit::{Host, Output, Project, shared_host};

/// A host, and the builder that works here: buildah first, since its store can be a folder of the test's own.
fn host() -> Option<(&'static Host, &'static str)> {
    let works = |program: &str, arguments: &[&str]| {
        let status = Command::new(program).args(arguments).stdout(Stdio::null()).stderr(Stdio::null()).status();
        status.is_ok_and(|status| status.success())
    };
    let builder = if works("buildah", &["--version"]) {
        "buildah"
    } else if works("docker", &["info"]) && works("docker", &["buildx", "version"]) {
        "docker"
    } else {
        eprintln!("SKIPPED: no builder works on this machine (buildah, or docker with an engine and buildx)");
        return None;
    };
    let host = shared_host(env!("CARGO_BIN_EXE_naru"))?;
    let (store, run) = (host.folder().join("builder"), host.folder().join("builder-run"));
    let text =
        format!("[storage]\ndriver = \"vfs\"\ngraphroot = \"{}\"\nrunroot = \"{}\"\n", store.display(), run.display());
    std::fs::write(host.folder().join("storage.conf"), text).expect("the builder's settings");
    Some((host, builder))
}

/// `naru` with the builder, and a secret in a variable.
#[track_caller]
fn naru(project: &Project<'_>, builder: &str, arguments: &[&str]) -> Output {
    let store = project.host().folder().join("storage.conf");
    let variables =
        [("NARU_BUILDER", builder), ("CONTAINERS_STORAGE_CONF", &store.to_string_lossy()), ("TOKEN", "hush")];
    project.naru_with(&variables, arguments)
}

/// What the image's program says of itself.
fn said(project: &Project<'_>, builder: &str, service: &str) -> String {
    naru(project, builder, &["run", "--rm", "-T", "--no-deps", service]).ok().text().to_owned()
}

#[test]
fn up_builds_from_an_image_that_was_loaded_without_a_registry() {
    let Some((host, builder)) = host() else { return };
    let project = host.project("made", "services:\n  web: {build: ., command: [cat, /made]}\n");
    project.write("Dockerfile", "FROM naru.local/busybox:1\nCOPY page /made\n");
    project.write("page", "one\n");
    naru(&project, builder, &["up", "-d", "--no-build"]).refuses(&["services.web", "--no-build"]);
    naru(&project, builder, &["up", "-d"]).ok().says(&["Building", "Built"]);
    assert_eq!(said(&project, builder, "web"), "one");
    project.write("page", "two\n");
    naru(&project, builder, &["up", "-d"]).ok().hides(&["Building"]);
    assert_eq!(said(&project, builder, "web"), "one", "an image that is there is not built again");
    naru(&project, builder, &["up", "-d", "--build"]).ok().says(&["Built"]);
    assert_eq!(said(&project, builder, "web"), "two");
}

#[test]
fn what_the_file_says_of_the_build_is_done() {
    let Some((host, builder)) = host() else { return };
    let file = r#"
services:
  web:
    image: naru.local/asked:1
    command: [cat, /made]
    build:
      context: ctx
      dockerfile: Own.dockerfile
      target: wanted
      args: {WORD: file, OTHER: kept}
      labels: {who: me}
      tags: [naru.local/asked:second]
      additional_contexts: {more: ./more}
      secrets: [token]
      no_cache: true
  inline:
    command: [cat, /made]
    build:
      context: ctx
      dockerfile_inline: |
        FROM naru.local/busybox:1
        COPY page /made
  child:
    command: [cat, /made]
    build:
      context: ctx
      dockerfile_inline: |
        FROM naru.local/asked:1
        COPY page /other
secrets:
  token: {environment: TOKEN}
"#;
    let project = host.project("asked", file);
    project.write(
        "ctx/Own.dockerfile",
        "FROM naru.local/busybox:1 AS wanted\nARG WORD\nARG OTHER\nCOPY --from=more extra /extra\n\
         RUN --mount=type=secret,id=token echo $WORD $OTHER $(cat /extra) $(cat /run/secrets/token) > /made\n\
         FROM wanted AS unwanted\nRUN false\n",
    );
    project.write("ctx/page", "inline\n");
    project.write("more/extra", "extra\n");
    let build = |arguments: &[&str]| naru(&project, builder, &[&["build"], arguments].concat());
    build(&["--build-arg", "WORD=line"]).ok().says(&["naru.local/asked:1  Built", "asked-inline  Built"]);
    naru(&project, builder, &["image", "ls"]).ok().says(&["naru.local/asked", "second"]);
    let run = |service: &str| said(&project, builder, service);
    assert_eq!(run("web"), "line kept extra hush");
    assert_eq!(run("inline"), "inline");
    assert_eq!(run("child"), "line kept extra hush", "one service's image is another's base");
    let image = naru(&project, builder, &["image", "inspect", "naru.local/asked:1"]).ok().stdout;
    assert!(image.contains("who"), "{image}");
    assert!(build(&["--quiet", "inline"]).ok().stdout.is_empty(), "nothing of the builder's on standard output");
}

#[test]
fn builds_that_cannot_be() {
    let Some((host, builder)) = host() else { return };
    let cases: &[(&str, &[&str])] = &[
        ("{context: nosuch}", &["services.web.build.context", "nosuch"]),
        ("{context: ., dockerfile: Nosuch}", &["services.web.build.dockerfile", "Nosuch"]),
        ("{context: ., ssh: [default]}", &["services.web.build.ssh", "SSH_AUTH_SOCK"]),
        ("{context: ., secrets: [nosuch]}", &["nosuch"]),
        ("{context: ., platforms: [linux/s390x, linux/riscv64]}", &["platforms"]),
        ("{context: ., target: nosuch}", &["services.web.build.target", "nosuch"]),
    ];
    let project = host.project("unmade", "services:\n  web: {image: naru.local/probe:1}\n");
    project.write("Dockerfile", "FROM naru.local/busybox:1\n");
    for (build, says) in cases {
        project.write("compose.yaml", &format!("services:\n  web: {{build: {build}}}\n"));
        naru(&project, builder, &["build"]).refuses(says);
        naru(&project, builder, &["up", "-d"]).refuses(says);
    }
    project.write("compose.yaml", "services:\n  web: {build: .}\n");
    project.write("Dockerfile", "FROM scratch\nNOSUCH x\n");
    naru(&project, builder, &["build"]).refuses(&["services.web.build"]);
    assert!(project.ps().is_empty(), "nothing was made");
}
