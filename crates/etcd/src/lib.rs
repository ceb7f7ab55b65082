//! A client of etcd v3, as much of it as a store needs: ranges, transactions, watches, compaction.
//!
//! The messages are written down by hand from etcd's published protocol (`message`), since there are few of them and
//! generating them needs a compiler of its own. A [`Client`] knows several endpoints and asks one at a time; it moves on
//! when that one does not answer. Reads are repeated elsewhere; a transaction is sent once, and an [`Error`] says whether
//! it can have happened ([`Error::is_ambiguous`]), because only the caller knows how to find out.
//!
//! Refused: leases and locks (nothing here lives by them), and a client that hides which endpoint it asks.

mod client;
mod config;
mod error;
mod message;
mod watch;

pub use client::Client;
pub use config::{Config, Credentials, Tls};
pub use error::{ConfigError, Error};
pub use message::{
    Compare, DeleteRangeRequest, Event, EventKind, KeyValue, PutRequest, RangeRequest, RangeResponse, Request,
    RequestOp, Response, ResponseHeader, ResponseOp, TxnRequest, TxnResponse, WriteResponse,
};
pub use watch::{WatchResponse, Watcher};
