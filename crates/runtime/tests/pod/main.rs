//! Pods and containers on the real kernel. Needs root and busybox; says SKIPPED otherwise.

mod confinement;
mod faults;
mod groups;
mod life;
mod limits;
mod mounts;
mod sessions;
mod support;
