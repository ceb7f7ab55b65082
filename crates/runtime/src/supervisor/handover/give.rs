//! The side that is replaced.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd, AsRawFd, OwnedFd, RawFd},
        unix::ffi::{OsStrExt, OsStringExt},
    },
    path::{Path, PathBuf},
};

use super::record::{Fd, Record, SINCE, VERSION, Versions};
use crate::{
    pod::protocol::Answer,
    supervisor::{
        Supervisor,
        job::{Job, Purpose},
    },
    sys,
};

/// A program that does not say within this time that it can take the pod over will not.
const TRIAL: u32 = 20;

/// A new program that was asked for, and has shown that it can.
#[derive(Debug)]
pub(in crate::supervisor) struct Renewal {
    pub(in crate::supervisor) client: u64,
    pub(in crate::supervisor) program: PathBuf,
    pub(in crate::supervisor) args: Vec<String>,
}

/// Collects the descriptors that go along.
#[derive(Debug, Default)]
pub(in crate::supervisor) struct Giver(Vec<RawFd>);

impl Giver {
    pub(in crate::supervisor) fn fd(&mut self, fd: &impl AsFd) -> Fd {
        let raw = fd.as_fd().as_raw_fd();
        self.0.push(raw);
        Fd(raw)
    }

    pub(in crate::supervisor) fn option(&mut self, fd: Option<&OwnedFd>) -> Option<Fd> {
        fd.map(|fd| self.fd(fd))
    }
}

/// The command line of the next program: `first` says what it is to do.
fn arguments(args: &[String], first: &str, record: &OwnedFd, boot: &Path) -> io::Result<Vec<CString>> {
    let number = record.as_raw_fd().to_string();
    let words = std::iter::once("naru").chain(args.iter().map(String::as_str)).chain([first, &number]);
    let words = words.map(str::as_bytes).chain([boot.as_os_str().as_bytes()]);
    words.map(|word| CString::new(word).map_err(|_| io::Error::from(io::ErrorKind::InvalidInput))).collect()
}

fn environment() -> Vec<CString> {
    let pairs = std::env::vars_os().map(|(name, value)| [name.into_vec(), value.into_vec()].join(&b'='));
    pairs.filter_map(|pair| CString::new(pair).ok()).collect()
}

impl Supervisor {
    /// Asks a program whether it can take this pod over, and goes on meanwhile.
    pub(in crate::supervisor) fn renew(&mut self, client: u64, program: PathBuf, args: Vec<String>) {
        if let Some(why) = self.is_ending() {
            return self.answer(client, Answer::Failed(why.to_owned()));
        }
        let purpose = Purpose::Renewed { client, program: program.clone(), args: args.clone() };
        let prepared = self.record(client).and_then(|(record, fds)| {
            let arguments = arguments(&args, "--can-take-over", &record, &self.boot.folders.boot())?;
            Job::execute(purpose, || {
                sys::end_after(TRIAL);
                match sys::inherit(&fds, true) {
                    Ok(()) => sys::execute(program.as_os_str().as_bytes(), &arguments, &environment()),
                    Err(error) => error,
                }
            })
        });
        match prepared {
            Ok(job) => self.jobs.push(job),
            Err(error) => self.answer(client, Answer::Failed(format!("preparing the hand-over: {error}"))),
        }
    }

    fn is_ending(&self) -> Option<&'static str> {
        if self.power_off.is_some() {
            return Some("the machine goes down");
        }
        (!self.destroyers.is_empty()).then_some("the pod is being destroyed")
    }

    /// The trial is over.
    pub(in crate::supervisor) fn tried(&mut self, renewal: Renewal, result: Result<(), String>) {
        match result {
            Ok(()) => self.renewal = Some(renewal),
            Err(why) => {
                let why = why.trim();
                let why = if why.is_empty() { "it said nothing of it" } else { why };
                let text = format!("{} cannot take the pod over: {why}", renewal.program.display());
                self.answer(renewal.client, Answer::Failed(text));
            }
        }
    }

    /// Executes the new program, if one has shown that it can. Returns when there is none, or the kernel refuses it.
    pub(in crate::supervisor) fn continue_renewal(&mut self) {
        let Some(renewal) = self.renewal.take() else { return };
        if let Some(why) = self.is_ending() {
            return self.answer(renewal.client, Answer::Failed(why.to_owned()));
        }
        let error = match self.hand_over(&renewal) {
            Ok(never) => match never {},
            Err(error) => error,
        };
        let text = format!("executing {}: {error}", renewal.program.display());
        self.answer(renewal.client, Answer::Failed(text));
    }

    fn hand_over(&self, renewal: &Renewal) -> io::Result<std::convert::Infallible> {
        let (record, fds) = self.record(renewal.client)?;
        let arguments = arguments(&renewal.args, "--take-over", &record, &self.boot.folders.boot())?;
        sys::inherit(&fds, true)?;
        let error = sys::execute(renewal.program.as_os_str().as_bytes(), &arguments, &environment());
        sys::inherit(&fds, false)?;
        Err(error)
    }

    /// Everything this process knows, as a memory file, and every descriptor that goes with it.
    fn record(&self, client: u64) -> io::Result<(OwnedFd, Vec<RawFd>)> {
        let mut giver = Giver::default();
        let record = Record {
            versions: Versions { version: VERSION, since: SINCE },
            boot: self.boot.clone(),
            created: self.created.clone(),
            lock: giver.fd(&self.lock),
            listener: giver.fd(&self.listener),
            pause: self.pause.as_ref().map(|(pid, handle)| (*pid, giver.fd(handle))),
            next_connection: self.next_connection,
            connections: self.connections.iter().map(|(id, c)| (*id, c.give(&mut giver))).collect(),
            containers: self.containers.iter().map(|(name, c)| (name.clone(), c.give(&mut giver))).collect(),
            execs: self.execs.iter().map(|(pid, exec)| (*pid, exec.give(&mut giver))).collect(),
            jobs: self.jobs.iter().map(|job| job.give(&mut giver)).collect(),
            client,
        };
        let file = sys::memfd(c"naru-hand-over", &serde_json::to_vec(&record)?)?;
        let mut fds = giver.0;
        fds.push(file.as_raw_fd());
        Ok((file, fds))
    }
}
