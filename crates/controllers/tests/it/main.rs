//! The controllers over a real API server in this process, with a node that only pretends to run pods.

mod addresses;
mod cleanup;
mod garbage;
mod namespaces;
mod support;
mod updates;
mod workloads;
