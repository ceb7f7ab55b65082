//! The API server: HTTP to objects and back.
//!
//! A request enters through `listen` (TLS, unix socket) or `transport` (this process) and ends in `dispatch`, which
//! parses its path (`wire`), asks who sends it (`authentication`) and whether they may (`authorization`), and hands it
//! to `resource`, `subresource` or `plain`. `apply` writes whole sets of objects. Reads send the store's bytes (`verbs::{get, list, watch}`, shaped by
//! `represent`). Writes (`verbs::{create, update, patch, delete}`) are completed and judged outside the store
//! (`admission`, and what `naru_api` knows of kinds), then compared and put in one transaction (`write`). What is about
//! a container goes to its node (`node_proxy`), for nodes on other machines over the connection which those keep to this
//! server (`tunnel`); over the same, `dataplanes` hears how far their rules are. Which kinds there are changes while the
//! server runs (`serving`), because users define some (`extension`). `fairness` says whose turn it is. `backup` streams what its owner makes of
//! the whole cluster. What this server does not serve may be another's (`aggregate`). `passage` follows every request for those
//! who only watch: `metrics`, and `audit`, which writes down who asked for what. `encode` says how objects lie in the store, `kept` how
//! the owners of their fields do.
//!
//! This crate knows no controller, no agent and no container; it never computes an object's desired state.

mod admission;
mod aggregate;
mod apply;
mod audit;
mod authentication;
mod authorization;
mod backup;
mod bootstrap;
mod call;
mod calls;
mod components;
mod config;
mod dataplanes;
mod dispatch;
mod encode;
mod extension;
mod fairness;
mod follower;
mod inert;
mod kept;
mod listen;
mod membership;
mod metrics;
mod node_proxy;
mod object;
mod openapi;
mod passage;
mod plain;
mod represent;
mod resource;
mod routes;
mod sealing;
mod server;
mod serving;
mod skew;
mod state;
mod subresource;
mod transport;
mod tunnel;
mod user;
mod verbs;
mod versions;
mod wire;
mod write;

pub use apply::{Action, ApplyOptions, Change, LAST_APPLIED, Prune};
pub use audit::{AuditError, AuditLog, AuditSettings};
pub use authentication::config::{Authentication, AuthenticationError, OidcFlags};
pub use backup::BackupSource;
pub use components::{Components, Queue};
pub use config::{Build, Config, Listeners, Settings, StartError};
pub use encode::StoreCodec;
pub use listen::Bound;
pub use plain::KUBERNETES_VERSION;
pub use server::ApiServer;
pub use tunnel::Presence;
pub use user::{AUTHENTICATED, MASTERS, User};
