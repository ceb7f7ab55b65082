//! Pods and containers on the real kernel. Needs root and busybox; says SKIPPED otherwise.

mod confinement;
mod disk;
mod faults;
mod groups;
mod life;
mod limits;
mod mounts;
mod power;
mod renewal;
mod sessions;
mod support;
