//! From "the namespaces are right" to the program: shared by a container's first process and those started later.

use std::{
    fs::{self, File},
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use rustix::{fs::Mode, process::Signal};

use super::{
    failure::{At, Outcome, refuse},
    policy, program,
    report::Reporter,
    user,
};
use crate::{
    cgroup::Cgroup,
    pod::{ProcessPolicy, RunAs, StartStep, TerminalSize},
    sys,
};

/// A process to be.
#[derive(Debug)]
pub(crate) struct ProcessSpec<'a> {
    pub(crate) args: &'a [String],
    pub(crate) env: Vec<String>,
    pub(crate) cwd: &'a Path,
    pub(crate) user: &'a RunAs,
    pub(crate) policy: &'a ProcessPolicy,
    pub(crate) seccomp: Option<BorrowedFd<'a>>,
    pub(crate) terminal: Option<TerminalSize>,
}

/// Standard streams; the missing ones become `/dev/null`.
#[derive(Debug, Default)]
pub(crate) struct Streams {
    pub(crate) stdin: Option<OwnedFd>,
    pub(crate) stdout: Option<OwnedFd>,
    pub(crate) stderr: Option<OwnedFd>,
}

/// What has to be taken from the host's side before the root changes.
pub(super) struct FromHost {
    apparmor: Option<(File, String)>,
    null: File,
    own_program: Option<(u64, u64)>,
}

impl FromHost {
    pub(super) fn gather(policy: &ProcessPolicy) -> Outcome<Self> {
        let null = File::options().read(true).write(true).open("/dev/null");
        Ok(Self {
            apparmor: policy::prepare_apparmor(&policy.apparmor)?,
            null: null.at(StartStep::Streams, || "opening /dev/null")?,
            own_program: fs::metadata("/proc/self/exe").ok().map(|m| (m.dev(), m.ino())),
        })
    }
}

/// Dies with the supervisor. Changing user clears the setting, hence it is made again.
pub(super) fn die_with_parent() -> Outcome {
    rustix::process::set_parent_process_death_signal(Some(Signal::KILL))
        .at(StartStep::Namespaces, || "tying the process to its supervisor")
}

/// Opens a terminal of this mount namespace's devpts and hands its master to the supervisor.
fn open_terminal(size: TerminalSize, report: &Reporter) -> Outcome<sys::TerminalPair> {
    let what = || "opening a terminal";
    let node = File::options().read(true).write(true).open("/dev/pts/ptmx").at(StartStep::Streams, what)?;
    let pair = sys::open_terminal(node.into()).at(StartStep::Streams, what)?;
    sys::resize(pair.master.as_fd(), size).at(StartStep::Streams, || "setting the terminal's size")?;
    report.terminal(pair.master.as_fd()).at(StartStep::Streams, || "handing the terminal over")?;
    Ok(pair)
}

/// A terminal is also the container's console.
fn bind_console(number: u32) -> Outcome {
    let what = || "binding /dev/console";
    File::create("/dev/console").at(StartStep::Streams, what)?;
    let slave = PathBuf::from(format!("/dev/pts/{number}"));
    sys::mount(Some(&slave), Path::new("/dev/console"), None, libc::MS_BIND, None).at(StartStep::Streams, what)
}

/// Runs in the final namespaces and root; returns only a failure.
pub(super) fn become_program(
    spec: &ProcessSpec<'_>,
    streams: Streams,
    host: FromHost,
    console: bool,
    report: &Reporter,
) -> Outcome<std::convert::Infallible> {
    rustix::process::setsid().at(StartStep::Streams, || "starting a session")?;
    connect(spec, streams, &host, console, report)?;
    rustix::process::umask(Mode::from_raw_mode(spec.policy.umask.unwrap_or(0o022)));
    let identity =
        user::resolve(spec.user, &user::database(Path::new("/etc/passwd")), &user::database(Path::new("/etc/group")))?;
    policy::own_streams(&identity);
    let entered = enter_folder(spec.cwd)?;
    policy::limits(&spec.policy.rlimits, report)?;
    policy::become_user(spec.policy, &identity, spec.seccomp, report)?;
    die_with_parent()?;
    if !entered {
        std::env::set_current_dir(spec.cwd)
            .at(StartStep::WorkingDirectory, || format!("entering {}", spec.cwd.display()))?;
    }
    let mut env = program::merged(&spec.env);
    if program::variable(&env, "HOME").is_none_or(str::is_empty) {
        env.retain(|pair| !pair.starts_with("HOME="));
        env.push(format!("HOME={}", identity.home));
    }
    let Some(name) = spec.args.first() else {
        return refuse(StartStep::ProgramNotFound, "no program to execute: the command is empty");
    };
    let path = program::find(name, &env)?;
    policy::confine(host.apparmor)?;
    sys::reset_signals();
    report.ready().at(StartStep::Exec, || "telling the supervisor")?;
    Err(program::execute(&path, spec.args, &env, host.own_program))
}

/// Puts the streams on 0, 1 and 2.
fn connect(spec: &ProcessSpec<'_>, streams: Streams, host: &FromHost, console: bool, report: &Reporter) -> Outcome {
    let what = || "connecting the standard streams";
    let null = host.null.as_fd();
    let (stdin, stdout, stderr);
    let terminal = spec.terminal.map(|size| open_terminal(size, report)).transpose()?;
    if let Some(pair) = &terminal {
        sys::controlling(pair.slave.as_fd()).at(StartStep::Streams, || "taking the terminal")?;
        if console {
            bind_console(pair.number)?;
        }
        (stdin, stdout, stderr) = (pair.slave.as_fd(), pair.slave.as_fd(), pair.slave.as_fd());
    } else {
        stdin = streams.stdin.as_ref().map_or(null, AsFd::as_fd);
        stdout = streams.stdout.as_ref().map_or(null, AsFd::as_fd);
        stderr = streams.stderr.as_ref().map_or(null, AsFd::as_fd);
    }
    rustix::stdio::dup2_stdin(stdin).at(StartStep::Streams, what)?;
    rustix::stdio::dup2_stdout(stdout).at(StartStep::Streams, what)?;
    rustix::stdio::dup2_stderr(stderr).at(StartStep::Streams, what)
}

/// Makes the working directory when missing and enters it. `false`: root may not, the user will try.
fn enter_folder(cwd: &Path) -> Outcome<bool> {
    let cwd = if cwd.as_os_str().is_empty() { Path::new("/") } else { cwd };
    if !cwd.is_absolute() {
        return refuse(StartStep::WorkingDirectory, format!("working directory {} is not absolute", cwd.display()));
    }
    let what = || format!("entering working directory {}", cwd.display());
    match std::env::set_current_dir(cwd) {
        Ok(()) => Ok(true),
        Err(error) if error.raw_os_error() == Some(libc::ENOENT) => {
            fs::create_dir_all(cwd)
                .at(StartStep::WorkingDirectory, || format!("making working directory {}", cwd.display()))?;
            std::env::set_current_dir(cwd).at(StartStep::WorkingDirectory, what)?;
            Ok(true)
        }
        Err(error) if error.raw_os_error() == Some(libc::EACCES) => Ok(false),
        failed => failed.at(StartStep::WorkingDirectory, what).map(|()| true),
    }
}

/// A process to be started in a running container.
#[derive(Debug)]
pub(crate) struct Enter<'a> {
    /// The container's first process.
    pub(crate) container: BorrowedFd<'a>,
    pub(crate) cgroup: &'a Cgroup,
    pub(crate) spec: ProcessSpec<'a>,
    pub(crate) oom_score_adj: Option<i32>,
}

/// The whole life of a child that the supervisor cloned into the container's process namespace, up to its program.
pub(crate) fn enter(wanted: &Enter<'_>, streams: Streams, report: &Reporter) -> Outcome<std::convert::Infallible> {
    die_with_parent()?;
    policy::oom_score(wanted.oom_score_adj, report)?;
    wanted.cgroup.enter(0)?;
    let host = FromHost::gather(wanted.spec.policy)?;
    let flags = libc::CLONE_NEWNS | libc::CLONE_NEWCGROUP;
    sys::join_by_pidfd(wanted.container, flags).at(StartStep::Namespaces, || "joining the container's namespaces")?;
    std::env::set_current_dir("/").at(StartStep::Namespaces, || "entering the container's root")?;
    become_program(&wanted.spec, streams, host, false, report)
}
