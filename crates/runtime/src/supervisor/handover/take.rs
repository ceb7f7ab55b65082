//! The side that replaces.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Write},
    os::{
        fd::{OwnedFd, RawFd},
        unix::fs::FileExt,
    },
    path::PathBuf,
};

use super::record::{Fd, Record, Versions};
use crate::{
    cgroup::Cgroup,
    pod::protocol::Answer,
    supervisor::{Supervisor, connection::Connection, container::Container, diary::note, exec::Exec, job::Job},
    sys::{self, SignalQueue},
};

/// Takes descriptors over, each once.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Taker(BTreeSet<RawFd>);

impl Taker {
    pub(in crate::supervisor) fn fd(&mut self, fd: Fd) -> io::Result<OwnedFd> {
        if !self.0.insert(fd.0) {
            return Err(io::Error::other(format!("descriptor {} is handed over twice", fd.0)));
        }
        sys::inherited(fd.0)
            .map_err(|error| io::Error::new(error.kind(), format!("descriptor {} was not handed over: {error}", fd.0)))
    }

    pub(in crate::supervisor) fn option(&mut self, fd: Option<Fd>) -> io::Result<Option<OwnedFd>> {
        fd.map(|fd| self.fd(fd)).transpose()
    }
}

fn number(word: &std::ffi::OsStr) -> Option<RawFd> {
    word.to_str()?.parse().ok()
}

/// Takes everything over and says whether that works, to the supervisor that asked: `naru supervisor --can-take-over`.
pub(in crate::supervisor) fn check(record: &std::ffi::OsStr) -> ! {
    let text = match take(record) {
        Ok(_) => "D".to_owned(),
        Err(why) => format!("E{why}"),
    };
    let _ = io::stdout().write_all(text.as_bytes());
    let _ = io::stdout().flush();
    sys::exit_now(0)
}

/// Takes the pod over for good: `naru supervisor --take-over`.
pub(in crate::supervisor) fn take_over(record: &std::ffi::OsStr) -> ! {
    sys::limit_heap();
    sys::set_name(c"naru-supervisor");
    match take(record) {
        Ok((mut supervisor, client)) => {
            supervisor.answer(client, Answer::Done);
            sys::trim_heap();
            supervisor.run()
        }
        Err(why) => {
            note(format_args!("the hand-over failed: {why}"));
            std::process::exit(1)
        }
    }
}

fn read(record: &std::ffi::OsStr) -> Result<(Record, Taker), String> {
    let mut taker = Taker::default();
    let number = number(record).ok_or("expected the number of a descriptor")?;
    let file = File::from(taker.fd(Fd(number)).map_err(|error| error.to_string())?);
    let length = file.metadata().map_err(|error| format!("reading the hand-over: {error}"))?.len();
    let mut text = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut text, 0).map_err(|error| format!("reading the hand-over: {error}"))?;
    let versions: Versions = serde_json::from_slice(&text).map_err(|error| format!("no hand-over: {error}"))?;
    if let Some(why) = versions.refusal() {
        return Err(why);
    }
    let record = serde_json::from_slice(&text).map_err(|error| format!("the hand-over is not understood: {error}"))?;
    Ok((record, taker))
}

/// Makes a supervisor out of what the one before left; also gives the client that is to be told.
fn take(record: &std::ffi::OsStr) -> Result<(Supervisor, u64), String> {
    let (record, mut taker) = read(record)?;
    // An execve makes a process's memory readable again.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)
        .map_err(|error| format!("closing memory to others: {error}"))?;
    restore(record, &mut taker).map_err(|error| error.to_string())
}

fn restore(record: Record, taker: &mut Taker) -> io::Result<(Supervisor, u64)> {
    let Record { boot, created, .. } = record;
    let cgroup = Cgroup::of_pod(boot.hierarchy.clone(), &boot.pod.cgroup_parent, &boot.pod.uid);
    let shm = match boot.pod.ipc {
        crate::pod::NamespaceMode::Host => PathBuf::from("/dev/shm"),
        _ => boot.folders.shm(),
    };
    let pause = match record.pause {
        Some((pid, handle)) => Some((pid, taker.fd(handle)?)),
        None => None,
    };
    let mut supervisor = Supervisor::new(
        boot,
        created,
        cgroup.clone(),
        shm,
        File::from(taker.fd(record.lock)?),
        SignalQueue::of_supervisor()?,
        taker.fd(record.listener)?.into(),
        File::open("/proc/self/ns/pid")?.into(),
        pause,
    );
    supervisor.next_connection = record.next_connection;
    for (id, connection) in record.connections {
        supervisor.connections.insert(id, Connection::take(connection, taker)?);
    }
    for (name, container) in record.containers {
        let cgroup = cgroup.child(&format!("{name}.{}", container.attempt()));
        supervisor.containers.insert(name, Container::take(container, cgroup, taker)?);
    }
    for (pid, exec) in record.execs {
        supervisor.execs.insert(pid, Exec::take(exec, taker)?);
    }
    for job in record.jobs {
        supervisor.jobs.push(Job::take(job, taker)?);
    }
    Ok((supervisor, record.client))
}
