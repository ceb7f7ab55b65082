//! Pods and containers on the real kernel. Needs root and busybox; says SKIPPED otherwise.

mod life;
mod support;
