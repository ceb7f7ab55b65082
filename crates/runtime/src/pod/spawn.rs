//! Starting a supervisor, and collecting it when it ends.

use std::{fs, os::fd::AsFd, process::Stdio};

use rustix::process::{Pid, PidfdFlags, WaitId, WaitIdOptions, pidfd_open, waitid};
use tokio::{
    io::{AsyncReadExt, unix::AsyncFd},
    process::Command,
};

use super::{
    PodCreated, PodError, PodUid, SupervisorCommand,
    client::Inner,
    protocol::{Birth, Folders},
};

impl Inner {
    /// Starts a supervisor and waits until its pod is made.
    pub(super) async fn spawn(&self, uid: &PodUid, folders: &Folders) -> Result<PodCreated, PodError> {
        let SupervisorCommand { program, args } = &self.config.supervisor;
        let failed = |message: String| PodError::Create { uid: uid.clone(), message };
        let mut child = Command::new(program)
            // The program may be given by a path that says nothing to who lists processes.
            .arg0("naru")
            .args(args)
            .arg(folders.boot())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .map_err(|error| failed(format!("starting {}: {error}", program.display())))?;
        let mut text = Vec::new();
        if let Some(mut stdout) = child.stdout.take() {
            stdout.read_to_end(&mut text).await.map_err(|error| failed(format!("reading from it: {error}")))?;
        }
        // It stays our child: collected when it ends, by init when we ended before.
        tokio::spawn(async move { child.wait().await });
        let mut result = None;
        for birth in serde_json::Deserializer::from_slice(&text).into_iter::<Birth>() {
            match birth {
                Ok(Birth::Begun(process)) => collect(process),
                Ok(Birth::Created(created)) => result = Some(Ok(created)),
                Ok(Birth::Failed(message)) => result = Some(Err(failed(message))),
                Err(_) => break,
            }
        }
        result.unwrap_or_else(|| {
            let log = fs::read_to_string(folders.log()).unwrap_or_default();
            Err(failed(format!("the supervisor ended without a word; its log: {:?}", log.trim())))
        })
    }
}

/// Collects a child that was not started here, when it ends: it is one of the process that was.
fn collect(process: i32) {
    // The number cannot come to mean another process: it is our child, and not collected yet.
    let handle = Pid::from_raw(process).and_then(|process| pidfd_open(process, PidfdFlags::empty()).ok());
    let Some(handle) = handle else { return };
    // SAFETY: the handle is owned by what is registered, which closes it after taking it back.
    #[allow(unsafe_code)]
    let registered = unsafe { AsyncFd::register(handle) };
    let Ok(handle) = registered else { return };
    tokio::spawn(async move {
        if let Ok(ended) = handle.readable().await {
            let _ = waitid(WaitId::PidFd(ended.get_ref().as_fd()), WaitIdOptions::EXITED | WaitIdOptions::NOHANG);
        }
    });
}
