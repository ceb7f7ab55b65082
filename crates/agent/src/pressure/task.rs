//! The loop that reads, judges and acts.

use std::{os::unix::fs::MetadataExt, sync::Arc, time::Duration};

use serde_json::json;
use tokio::{sync::watch, time::Instant};

use super::{
    Eviction, Figures, Pressures, Signal, State, Threshold, decide, decide::is_short, images, rank, read, usage,
    victim_message,
};
use crate::{
    Config,
    fleet::Fleet,
    pod::{Input, Note},
};

/// How often figures are read: they cost a few system calls.
const LOOK: Duration = Duration::from_secs(5);
/// How long the end of an evicted pod is waited for beyond its grace before anything else is done.
const PATIENCE: Duration = Duration::from_secs(30);
/// A pod that holds less of a disk than this is not worth its end: so many bytes, so many inodes.
const WORTH: (i64, i64) = (1 << 20, 64);
/// The grace of a pod that is evicted for a hard threshold, as kubelet's.
const AT_ONCE: Duration = Duration::from_secs(1);

/// What is judged, between two looks.
pub(crate) struct Watch {
    settings: Eviction,
    state: State,
    begun: Instant,
    told: watch::Sender<Pressures>,
    /// What was last said to be of no help.
    helpless: Option<Signal>,
}

/// The first look, before the node says anything about itself.
pub(crate) fn first(config: &Config) -> (Watch, watch::Receiver<Pressures>) {
    let begun = Instant::now();
    let figures = read(&config.state_dir, begun.elapsed());
    let (state, _) = decide(&State::default(), &config.eviction, &figures, begun.elapsed());
    let (told, pressures) = watch::channel(state.pressures(&config.eviction));
    (Watch { settings: config.eviction.clone(), state, begun, told, helpless: None }, pressures)
}

/// Looks and acts, for ever.
pub(crate) async fn keep(fleet: Fleet, mut watch: Watch) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some(figures) = watch.look(&fleet).await else { continue };
        if let Some(threshold) = watch.judge(&figures) {
            watch.act(&fleet, threshold, &figures).await;
        }
    }
}

impl Watch {
    async fn look(&self, fleet: &Fleet) -> Option<Figures> {
        let (state, at) = (fleet.node.config.state_dir.clone(), self.begun.elapsed());
        tokio::task::spawn_blocking(move || read(&state, at)).await.ok()
    }

    fn judge(&mut self, figures: &Figures) -> Option<Threshold> {
        let (state, acts) = decide(&self.state, &self.settings, figures, self.begun.elapsed());
        self.state = state;
        let pressures = self.state.pressures(&self.settings);
        self.told.send_if_modified(|told| std::mem::replace(told, pressures.clone()) != pressures);
        if acts.is_none() {
            self.helpless = None;
        }
        acts
    }

    async fn act(&mut self, fleet: &Fleet, threshold: Threshold, figures: &Figures) {
        let signal = threshold.signal;
        tracing::warn!(%threshold, "this node runs short");
        let node = &fleet.node.config.node_name;
        let involved = json!({"kind": "Node", "apiVersion": "v1", "name": node, "uid": node});
        let text = format!("Attempting to reclaim {}", signal.resource());
        fleet.node.events.note_about(involved, Note::warning("EvictionThresholdMet", text));
        if signal.is_disk() && self.clear(fleet, &threshold).await {
            self.state.acted(self.begun.elapsed());
            return;
        }
        let state_dir = &fleet.node.config.state_dir;
        let device = |path: &std::path::Path| std::fs::metadata(path).map(|meta| meta.dev()).ok();
        let of_images = matches!(signal, Signal::ImagefsAvailable | Signal::ImagefsInodesFree);
        let here = !of_images || device(&state_dir.join("images")).is_none_or(|own| Some(own) == device(state_dir));
        let worth = match signal {
            Signal::NodefsAvailable | Signal::ImagefsAvailable => WORTH.0,
            Signal::NodefsInodesFree | Signal::ImagefsInodesFree => WORTH.1,
            Signal::MemoryAvailable | Signal::PidAvailable => 1,
        };
        let ranked = rank(signal, worth, usage::candidates(fleet, signal, here).await);
        let Some((victim, figure)) = ranked.first().zip(figures.signals.get(&signal)) else {
            if self.helpless.replace(signal) != Some(signal) {
                tracing::warn!(%threshold, "no pod's end would help: free what else takes it");
            }
            return;
        };
        let message = victim_message(&threshold, *figure, victim);
        let grace = if threshold.grace.is_some() { self.settings.pod_grace } else { AT_ONCE };
        self.evict(fleet, &victim.uid, &victim.name, message, grace).await;
        self.state.acted(self.begun.elapsed());
    }

    /// Removes what nobody needs; whether there was anything.
    async fn clear(&self, fleet: &Fleet, threshold: &Threshold) -> bool {
        let cleared = images::clear_ended(fleet).await;
        let (state, begun) = (fleet.node.config.state_dir.clone(), self.begun);
        let enough = || is_short(threshold, &read(&state, begun.elapsed()), true) == Some(false);
        if cleared > 0 && enough() {
            return true;
        }
        images::remove_unused(fleet, enough).await + cleared > 0
    }

    async fn evict(&self, fleet: &Fleet, uid: &str, name: &str, message: String, grace: Duration) {
        tracing::warn!(pod = name, message, "a pod is evicted");
        let found = {
            let workers = fleet.workers();
            workers.get(uid).map(|worker| (worker.inbox.clone(), worker.view.clone()))
        };
        let Some((inbox, mut view)) = found else { return };
        let _ = inbox.send(Input::Evict { message, grace });
        let gone = async {
            while view.borrow_and_update().ending.is_none() || Arc::clone(&view.borrow()).is_occupied() {
                if view.changed().await.is_err() {
                    return;
                }
            }
        };
        if tokio::time::timeout(grace + PATIENCE, gone).await.is_err() {
            tracing::warn!(pod = name, "an evicted pod does not end");
        }
    }
}
