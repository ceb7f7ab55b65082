//! Behaviours that Kubernetes names `[Conformance]` and that no other test has as its subject; `docs/conformance.txt` says
//! which test proves which of them.

mod accounts;
mod discovery;
mod events;
mod lists;
mod quotas;
mod watches;
