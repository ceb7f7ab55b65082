//! One task a pod: asks the machine what to do, does it, tells the API.
//!
//! The worker reads the newest wish only; whatever came between does not matter. Effects run as tasks beside it, so that
//! a pull that takes minutes never keeps a deletion waiting. Everything that happens (effects that end, exits, probe
//! verdicts, changed objects) arrives in one inbox, and after each the machine is asked again.

mod claims;
mod events;
mod execute;
mod hooks;
mod images;
mod ledger;
mod objects;
mod parting;
mod peers;
mod services;
mod start;
mod status;
mod tokens;
mod worker;

pub(crate) use claims::{Claims, Holder};
pub(crate) use events::{Note, Recorder};
pub(crate) use execute::Executor;
pub(crate) use images::Puller;
pub(crate) use ledger::{Ledger, Saved};
pub(crate) use objects::{ObjectChange, Objects};
pub(crate) use services::{ServiceView, service_variables};
pub(crate) use tokens::Tokens;
pub(crate) use worker::{Handle, Input, Judge, Spawn, spawn};

use std::{collections::BTreeMap, sync::Arc};

use naru_client::Informer;

use crate::{Config, translate::Facts};

/// What all workers of a node share.
pub(crate) struct Node {
    /// What the program was told.
    pub config: Config,
    /// Capacity and addresses.
    pub facts: Facts,
    /// The node's labels.
    pub labels: BTreeMap<String, String>,
    /// Events for the API.
    pub events: Recorder,
    /// ConfigMaps, Secrets and their changes.
    pub objects: Arc<Objects>,
    /// Service-account tokens.
    pub tokens: Tokens,
    /// One pull an image at a time.
    pub puller: Puller,
    /// Pods on disk.
    pub ledger: Ledger,
    /// Who holds which claims.
    pub claims: Claims,
    /// Services, for environment variables.
    pub services: Informer<ServiceView>,
    /// The host's own resolver configuration.
    pub host_resolver: String,
}
