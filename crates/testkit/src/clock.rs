//! A machine's clock that a test sets.
//!
//! The kernel moves this clock for no namespace, so it is moved where programs ask for it: a small library is loaded
//! before the C library (`programs/clock.c`). Programs that are linked statically do not notice.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Mutex;

/// The library, compiled when it is not there or older than its source.
///
/// # Errors
/// What the compiler says.
pub(crate) fn library() -> Result<PathBuf, String> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let folder = crate::images::cache().join("test-images");
    fs::create_dir_all(&folder).map_err(|error| format!("{}: {error}", folder.display()))?;
    let (source, library) = (crate::images::root().join("crates/testkit/programs/clock.c"), folder.join("clock.so"));
    if crate::images::is_fresh(&library, std::slice::from_ref(&source)) {
        return Ok(library);
    }
    let fresh = folder.join(format!("clock-{}.so", std::process::id()));
    let mut command = Command::new("cc");
    command.args(["-O2", "-shared", "-fPIC", "-o"]).arg(&fresh).arg(&source);
    let output = command.output().map_err(|error| format!("cc: {error}"))?;
    if !output.status.success() {
        return Err(format!("{command:?}: {}", String::from_utf8_lossy(&output.stderr)));
    }
    fs::rename(&fresh, &library).map_err(|error| format!("{}: {error}", library.display()))?;
    Ok(library)
}

/// Writes by how many seconds the clock is ahead.
///
/// # Panics
/// When the file cannot be written.
pub(crate) fn set(path: &Path, seconds: i64) {
    use std::os::unix::fs::FileExt;
    let file = fs::File::options().write(true).create(true).truncate(false).open(path).expect("the clock's file");
    file.write_all_at(&seconds.to_ne_bytes(), 0).expect("the clock");
}
