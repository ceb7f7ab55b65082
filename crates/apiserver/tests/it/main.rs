//! The server as clients meet it: real connections (TLS, unix socket) and the in-process transport, over a memory store.

mod admission;
mod apply;
mod connections;
mod crud;
mod families;
mod identity;
mod joining;
mod kubectl;
mod listing;
mod nodes;
mod representation;
mod server_side_apply;
mod shared_store;
mod subresources;
mod support;
mod watching;
