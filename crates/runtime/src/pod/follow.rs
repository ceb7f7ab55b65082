//! Listening to one supervisor: its events become ours; its end is noticed.

use std::{collections::HashSet, sync::Arc, time::Duration};

use super::{
    ContainerName, ContainerState, Exit, PodConfig, PodError, PodEvent, PodUid,
    client::Inner,
    folder,
    link::Link,
    protocol::{Answer, Request, State},
};

/// What a daemon keeps of a pod.
pub(super) struct Known {
    pub(super) config: PodConfig,
    /// Being destroyed or swept: its supervisor's end is no news.
    pub(super) leaving: bool,
    /// Exits that were told, in a record or as an event.
    told: HashSet<(ContainerName, u32)>,
}

impl Known {
    pub(super) fn new(config: PodConfig) -> Self {
        Self { config, leaving: false, told: HashSet::new() }
    }
}

/// Subscribes and returns the state from which the events go on. What has ended by then counts as told.
pub(super) async fn start(inner: Arc<Inner>, uid: PodUid) -> Result<State, PodError> {
    let (link, state) = subscribe(&inner, &uid).await?;
    if let Some(known) = inner.known.lock().get_mut(&uid) {
        for (name, record) in &state.containers {
            if matches!(record.state, ContainerState::Exited { .. }) {
                known.told.insert((name.clone(), record.attempt));
            }
        }
    }
    tokio::spawn(listen(inner, uid, link));
    Ok(state)
}

async fn subscribe(inner: &Inner, uid: &PodUid) -> Result<(Link, State), PodError> {
    match inner.converse(uid, Request::Subscribe, &[]).await? {
        (link, Answer::State(state), _) => Ok((link, state)),
        _ => Err(Inner::unexpected(uid, "subscribe")),
    }
}

/// Tells an exit once.
fn tell(inner: &Inner, uid: &PodUid, container: ContainerName, attempt: u32, exit: Exit) {
    let mut known = inner.known.lock();
    let new = known.get_mut(uid).is_none_or(|k| k.told.insert((container.clone(), attempt)));
    drop(known);
    if new {
        // Nobody listens while the daemon shuts down.
        let _ = inner.sender.send(PodEvent::Exited { uid: uid.clone(), container, attempt, exit });
    }
}

async fn listen(inner: Arc<Inner>, uid: PodUid, mut link: Link) {
    loop {
        while let Ok(received) = link.receive().await {
            if let Answer::Event { container, attempt, exit } = received.answer {
                tell(&inner, &uid, container, attempt, exit);
            }
        }
        // Cut off, or it is gone. A dying process closes its socket a little before it gives up its lock.
        let mut lost = true;
        for _ in 0..200 {
            if leaving(&inner, &uid) || folder::holder(&inner.folders(&uid)).is_none() {
                break;
            }
            if let Ok((again, state)) = subscribe(&inner, &uid).await {
                for (name, record) in state.containers {
                    if let ContainerState::Exited { exit } = record.state {
                        tell(&inner, &uid, name, record.attempt, exit);
                    }
                }
                link = again;
                lost = false;
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        if lost {
            if !leaving(&inner, &uid) {
                let _ = inner.sender.send(PodEvent::SupervisorLost { uid });
            }
            return;
        }
    }
}

fn leaving(inner: &Inner, uid: &PodUid) -> bool {
    inner.known.lock().get(uid).is_none_or(|known| known.leaving)
}
