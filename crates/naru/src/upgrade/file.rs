//! A program file: what it is, found out without executing it.

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use naru_api::{ProgramFacts, Version};
use naru_runtime::image::Digest;
use serde::{Deserialize, Serialize};

/// What is known of a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Program {
    /// Its version.
    pub version: String,
    /// The newest format of the store that it writes.
    pub store: u32,
    /// The machine that it is for, as images call it.
    pub architecture: String,
    /// Of its bytes.
    pub sha256: String,
    /// Its bytes.
    pub size: u64,
}

impl Program {
    /// Its version, taken apart.
    pub fn parsed(&self) -> Option<Version> {
        Version::parse(&self.version)
    }
}

/// Reads a file.
///
/// # Errors
/// When it cannot be read, or is no program of Naru.
pub(crate) fn inspect(path: &Path) -> anyhow::Result<Program> {
    let bytes = std::fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    let none = |why: &str| format!("{} is no program of Naru: {why}", path.display());
    let Some(architecture) = architecture(&bytes) else { bail!(none("it is no executable file of Linux")) };
    let Some(facts) = ProgramFacts::find(&bytes) else { bail!(none("it does not say that it is one")) };
    Ok(Program {
        version: facts.version.to_string(),
        store: facts.store,
        architecture,
        sha256: Digest::of(&bytes).hex().to_owned(),
        size: bytes.len() as u64,
    })
}

/// The file that this process was started from, under the name that it had then.
///
/// # Errors
/// When the kernel does not say.
pub(crate) fn own_path() -> anyhow::Result<PathBuf> {
    std::env::current_exe().context("cannot find the program's own file")
}

/// The machine that an executable file is for.
fn architecture(bytes: &[u8]) -> Option<String> {
    let [0x7f, b'E', b'L', b'F', _class, 1, ..] = bytes else { return None };
    let machine = u16::from_le_bytes([*bytes.get(18)?, *bytes.get(19)?]);
    Some(match machine {
        62 => "amd64".to_owned(),
        183 => "arm64".to_owned(),
        243 => "riscv64".to_owned(),
        other => format!("machine {other}"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_told_from_other_files() {
        let own = inspect(&own_path().expect("a path")).expect("this test holds the record, as every program of Naru");
        assert_eq!(own.version, naru_api::version());
        assert_eq!((own.store, own.sha256.len()), (1, 64));
        let folder = std::env::temp_dir().join(format!("naru-file-{}", std::process::id()));
        std::fs::create_dir_all(&folder).expect("a folder");
        let file = folder.join("file");
        let mut elf = vec![0x7f, b'E', b'L', b'F', 2, 1, 1, 0];
        elf.resize(20, 0);
        elf[18] = 183;
        for (bytes, why) in [(b"#!/bin/sh\n".to_vec(), "no executable file"), (elf, "does not say")] {
            std::fs::write(&file, bytes).expect("written");
            let error = inspect(&file).expect_err("no program").to_string();
            assert!(error.contains(why), "{error}");
        }
        std::fs::remove_dir_all(&folder).expect("removed");
        assert!(inspect(&file).is_err());
    }
}
