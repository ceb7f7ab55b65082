//! Finding and executing the program. The wording of what fails is that of the container runtimes people know.

use std::{
    ffi::CString,
    io,
    os::unix::{ffi::OsStrExt, fs::MetadataExt},
    path::{Path, PathBuf},
};

use rustix::fs::{Access, AtFlags};

use super::failure::{Outcome, refuse};
use crate::{
    pod::{StartFailure, StartStep},
    sys,
};

/// The value of a variable; the last one counts.
pub(super) fn variable<'a>(env: &'a [String], name: &str) -> Option<&'a str> {
    env.iter().rev().find_map(|pair| pair.strip_prefix(name)?.strip_prefix('='))
}

/// One entry a name: the last value at the first one's place, as programs read it.
pub(super) fn merged(env: &[String]) -> Vec<String> {
    let mut out: Vec<String> = Vec::with_capacity(env.len());
    for pair in env {
        let name = pair.split('=').next().unwrap_or(pair);
        match out.iter_mut().find(|o| o.split('=').next() == Some(name)) {
            Some(earlier) => earlier.clone_from(pair),
            None => out.push(pair.clone()),
        }
    }
    out
}

fn executable(path: &Path) -> io::Result<()> {
    if path.is_dir() {
        return Err(io::Error::from_raw_os_error(libc::EISDIR));
    }
    Ok(rustix::fs::accessat(rustix::fs::CWD, path, Access::EXEC_OK, AtFlags::EACCESS)?)
}

/// Where the program is: as given when it has a slash, else the first executable of that name in `PATH`.
pub(super) fn find(name: &str, env: &[String]) -> Outcome<PathBuf> {
    let failed = |step, action: String, errno| Err(StartFailure { step, action, errno });
    if name.is_empty() {
        return refuse(StartStep::ProgramNotFound, "no program to execute: the command is empty");
    }
    if name.contains('/') {
        return match executable(Path::new(name)) {
            Ok(()) => Ok(PathBuf::from(name)),
            Err(error) => match error.raw_os_error().unwrap_or(0) {
                errno @ (libc::ENOENT | libc::ENOTDIR | libc::ELOOP | libc::ENAMETOOLONG) => {
                    failed(StartStep::ProgramNotFound, format!("exec: {name:?}: stat {name}"), errno)
                }
                errno => failed(StartStep::ProgramNotExecutable, format!("exec: {name:?}"), errno),
            },
        };
    }
    let mut refused = None;
    for folder in variable(env, "PATH").unwrap_or_default().split(':') {
        let candidate = Path::new(if folder.is_empty() { "." } else { folder }).join(name);
        match executable(&candidate) {
            Ok(()) => return Ok(candidate),
            Err(error) if error.raw_os_error() == Some(libc::EACCES) => refused = Some(libc::EACCES),
            Err(_) => {}
        }
    }
    match refused {
        Some(errno) => failed(StartStep::ProgramNotExecutable, format!("exec: {name:?}"), errno),
        None => refuse(StartStep::ProgramNotFound, format!("exec: {name:?}: executable file not found in $PATH")),
    }
}

/// Executes it; returns only the failure.
pub(super) fn execute(path: &Path, args: &[String], env: &[String], own: Option<(u64, u64)>) -> StartFailure {
    // Never this very program: a container that gets the host's binary executed inside it could try to overwrite it.
    if let (Some(own), Ok(facts)) = (own, path.metadata())
        && own == (facts.dev(), facts.ino())
    {
        let action = format!("exec {}: this is the host's own program", path.display());
        return StartFailure { step: StartStep::ProgramNotExecutable, action, errno: libc::EPERM };
    }
    let strings = |list: &[String]| list.iter().map(|s| CString::new(s.as_str())).collect::<Result<Vec<_>, _>>();
    let (Ok(args), Ok(env)) = (strings(args), strings(env)) else {
        let action = "an argument or variable holds a NUL character".to_owned();
        return StartFailure { step: StartStep::Config, action, errno: 0 };
    };
    let error = sys::execute(path.as_os_str().as_bytes(), &args, &env);
    let errno = error.raw_os_error().unwrap_or(0);
    let step = match errno {
        // The file is there: its interpreter is not.
        libc::ENOENT => StartStep::ProgramNotFound,
        libc::EACCES | libc::EPERM => StartStep::ProgramNotExecutable,
        _ => StartStep::Exec,
    };
    StartFailure { step, action: format!("exec {}", path.display()), errno }
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt};

    use super::*;

    #[test]
    fn the_last_value_of_a_variable_counts() {
        let env = ["A=1".to_owned(), "B=2".into(), "A=3".into()];
        assert_eq!(merged(&env), ["A=3", "B=2"]);
        assert_eq!(variable(&env, "A"), Some("3"));
        assert_eq!(variable(&env, "C"), None);
    }

    #[test]
    fn words_what_is_wrong_with_a_program() {
        let scratch = tempfile::tempdir().unwrap();
        let plain = scratch.path().join("plain");
        fs::write(&plain, "text").unwrap();
        fs::set_permissions(&plain, fs::Permissions::from_mode(0o644)).unwrap();
        let env = [format!("PATH=/nowhere:{}", scratch.path().display())];
        let missing = find("no-such", &env).unwrap_err();
        assert_eq!(missing.to_string(), "exec: \"no-such\": executable file not found in $PATH");
        assert_eq!(missing.exit_code(), 127);
        let refused = find("plain", &env).unwrap_err();
        assert_eq!((refused.to_string(), refused.exit_code()), ("exec: \"plain\": permission denied".into(), 126));
        let absent = find("/no/such", &env).unwrap_err();
        assert_eq!(absent.to_string(), "exec: \"/no/such\": stat /no/such: no such file or directory");
    }
}
