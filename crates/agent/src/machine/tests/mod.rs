//! The machine against a fake world.

mod gates;
mod restarts;
mod statuses;
mod stops;
mod sweep;
mod world;
