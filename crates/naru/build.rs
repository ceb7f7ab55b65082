//! Link settings of the program, and what it is built from.
//!
//! A commit alone is no reason to build a program again that is being worked on: there the commit is the one of the last
//! time that this ran, and the tree says that there may be more. Only what is built to be used looks at every commit.

use std::path::{Path, PathBuf};
use std::process::Command;

fn main() {
    // Each pod has a supervisor process that is this binary. Linked at a fixed address, its relocated data needs no
    // private copy in each of them: measured 144 KiB of private memory a process instead of 572.
    println!("cargo:rustc-link-arg-bins=-no-pie");
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=SOURCE_DATE_EPOCH");
    let built_to_be_used = std::env::var("PROFILE").is_ok_and(|profile| profile == "release");
    let source = Source::here(built_to_be_used).unwrap_or(Source::ARCHIVE);
    let epoch = std::env::var("SOURCE_DATE_EPOCH").ok().and_then(|text| text.trim().parse().ok());
    let compiler = std::env::var_os("RUSTC").and_then(|rustc| said(Command::new(rustc).arg("--version")));
    for (name, value) in [
        ("COMMIT", source.commit),
        ("TREE", source.tree.to_owned()),
        ("DATE", rfc3339(epoch.unwrap_or(source.seconds))),
        ("COMPILER", compiler.unwrap_or_else(|| "rustc".to_owned())),
    ] {
        println!("cargo:rustc-env=NARU_BUILD_{name}={value}");
    }
}

/// What is built.
struct Source {
    commit: String,
    tree: &'static str,
    /// When it was committed, in seconds of Unix. The time of building would make every build another program.
    seconds: i64,
}

impl Source {
    /// Unpacked from an archive, or git is not there.
    const ARCHIVE: Source = Source { commit: String::new(), tree: "archive", seconds: 0 };

    /// What git says of this checkout; `None` where it is none.
    fn here(exactly: bool) -> Option<Source> {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
        let git = |arguments: &[&str]| said(Command::new("git").arg("-C").arg(root).args(arguments));
        // Somebody else's repository may be around a copy of this one.
        if PathBuf::from(git(&["rev-parse", "--show-toplevel"])?).canonicalize().ok()? != root.canonicalize().ok()? {
            return None;
        }
        if exactly {
            for file in ["logs/HEAD", "HEAD"] {
                let path = root.join(git(&["rev-parse", "--git-path", file])?);
                if path.exists() {
                    println!("cargo:rerun-if-changed={}", path.display());
                }
            }
        }
        let clean = || said(Command::new("git").arg("-C").arg(root).args(CHANGES)).is_some_and(|list| list.is_empty());
        Some(Source {
            commit: git(&["rev-parse", "HEAD"])?,
            tree: if exactly && clean() { "clean" } else { "dirty" },
            seconds: git(&["log", "-1", "--format=%ct"])?.parse().ok()?,
        })
    }
}

const CHANGES: [&str; 3] = ["status", "--porcelain", "--untracked-files=no"];

/// What a command prints, if it succeeds.
fn said(command: &mut Command) -> Option<String> {
    let output = command.output().ok().filter(|output| output.status.success())?;
    Some(String::from_utf8(output.stdout).ok()?.trim().to_owned())
}

/// A time in seconds of Unix as a time stamp.
fn rfc3339(seconds: i64) -> String {
    let (days, rest) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Days are counted from the first of March of the year 0, so that the leap day is a year's last; 400 years repeat.
    let from_march = days + 719_468;
    let (era, day) = (from_march.div_euclid(146_097), from_march.rem_euclid(146_097));
    let year = (day - day / 1_460 + day / 36_524 - day / 146_096) / 365;
    let day = day - (365 * year + year / 4 - year / 100);
    let month = (5 * day + 2) / 153;
    let (day, month) = (day - (153 * month + 2) / 5 + 1, if month < 10 { month + 3 } else { month - 9 });
    let year = era * 400 + year + i64::from(month <= 2);
    let (hour, minute, second) = (rest / 3_600, rest / 60 % 60, rest % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}
