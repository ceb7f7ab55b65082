//! The server as clients meet it: real connections (TLS, unix socket) and the in-process transport, over a memory store.

mod admission;
mod apply;
mod connections;
mod crud;
mod custom;
mod families;
mod field_validation;
mod identity;
mod joining;
mod kinds;
mod kubectl;
mod limits;
mod listing;
mod mutating;
mod nodes;
mod policies;
mod published;
mod representation;
mod server_side_apply;
mod shared_store;
mod subresources;
mod support;
mod watching;
mod webhooks;
