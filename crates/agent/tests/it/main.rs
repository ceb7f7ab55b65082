//! The whole agent with real containers, against an API server of the test's own. Needs root and busybox.

mod api;
mod claims;
mod compose;
mod files;
mod interface;
mod life;
mod machine;
mod recovery;
