//! Images for tests, made on this machine without any registry and kept between runs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;
use std::time::SystemTime;

/// An image that tests run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Image {
    /// A shell and the usual small programs.
    Busybox,
    /// Our web service that tells about itself and misbehaves on demand, beside busybox; see `programs/probe.rs`.
    Probe,
    /// Redis of Debian, with a volume at `/data`.
    Redis,
    /// nginx of Debian.
    Nginx,
    /// PostgreSQL of Debian.
    Postgres,
}

impl Image {
    /// Its name in Compose files, as long as the machine's packages give that version.
    pub fn name(self) -> &'static str {
        match self {
            Self::Busybox => "naru.local/busybox:1",
            Self::Probe => "naru.local/probe:1",
            Self::Redis => "naru.local/redis:7",
            Self::Nginx => "naru.local/nginx:1",
            Self::Postgres => "naru.local/postgres:15",
        }
    }

    fn word(self) -> &'static str {
        self.name().trim_start_matches("naru.local/").split(':').next().unwrap_or_default()
    }

    /// Its archive, made when it is not there or older than what it is made from.
    ///
    /// # Errors
    /// What the packing script says: most often that a package cannot be had.
    pub fn archive(self) -> Result<PathBuf, String> {
        // One maker at a time in this process; others at worst make the same twice, since it is put in place by rename.
        static MAKING: Mutex<()> = Mutex::new(());
        let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let folder = cache().join("test-images");
        fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let archive = folder.join(format!("{}.tar", self.word()));
        let scripts = root().join("scripts");
        let source = root().join("crates/testkit/programs/probe.rs");
        let sources = [scripts.join("pack-image.sh"), scripts.join("pack-images.sh"), source.clone()];
        let sources = if self == Self::Probe { &sources[..] } else { &sources[..2] };
        if is_fresh(&archive, sources) {
            return Ok(archive);
        }
        let mut command = match self {
            Self::Probe => {
                let program = folder.join("probe");
                compile(&source, &program)?;
                // Whoever runs it in the image, and whatever mask the maker has.
                fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
                    .map_err(|error| format!("{}: {error}", program.display()))?;
                let mut command = Command::new(scripts.join("pack-image.sh"));
                command.args(["--name", self.name(), "--deb", "busybox-static", "--busybox-links", "--expose", "8080"]);
                command.args(["--add", &format!("{}:/probe", program.display()), "--entrypoint", r#"["/probe"]"#]);
                command.arg("-o").arg(&archive);
                command
            }
            _ => {
                let mut command = Command::new(scripts.join("pack-images.sh"));
                command.arg("-d").arg(&folder).arg(self.word());
                command
            }
        };
        run(&mut command)?;
        // A script that finds its answer in its own cache copies that with its old time.
        let now = fs::File::options().append(true).open(&archive).and_then(|file| file.set_modified(SystemTime::now()));
        now.map_err(|error| format!("{}: {error}", archive.display()))?;
        Ok(archive)
    }
}

/// Compiles one file of ours into one static program.
fn compile(source: &Path, program: &Path) -> Result<(), String> {
    let compiler = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let mut command = Command::new(compiler);
    command.args([
        "--edition",
        "2024",
        "-O",
        "-C",
        "target-feature=+crt-static",
        "-C",
        "panic=abort",
        "-C",
        "strip=symbols",
    ]);
    run(command.arg("-o").arg(program).arg(source))
}

fn run(command: &mut Command) -> Result<(), String> {
    let output = command.output().map_err(|error| format!("{command:?}: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr).trim())),
    }
}

pub(crate) fn is_fresh(archive: &Path, sources: &[PathBuf]) -> bool {
    let time = |path: &Path| fs::metadata(path).and_then(|meta| meta.modified()).ok();
    time(archive).is_some_and(|made| sources.iter().all(|source| time(source).is_none_or(|changed| changed < made)))
}

/// Where what is slow to make is kept.
pub(crate) fn cache() -> PathBuf {
    std::env::var_os("NARU_CACHE").map_or_else(
        || PathBuf::from(std::env::var_os("HOME").unwrap_or_else(|| "/root".into())).join(".cache/naru"),
        PathBuf::from,
    )
}

/// The repository's folder: told by cargo when a test runs, since checkouts share a target folder and a path that was
/// compiled in may be another's.
pub(crate) fn root() -> PathBuf {
    let crate_dir = std::env::var_os("CARGO_MANIFEST_DIR").unwrap_or_else(|| env!("CARGO_MANIFEST_DIR").into());
    Path::new(&crate_dir).ancestors().nth(2).unwrap_or(Path::new("/")).to_owned()
}
