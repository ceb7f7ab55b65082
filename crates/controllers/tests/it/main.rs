//! The controllers over a real API server in this process, with a node that only pretends to run pods.

mod cleanup;
mod support;
mod updates;
mod workloads;
