//! The life of one pod, decided purely.
//!
//! `step(&Desired, &Observed, now)` looks at what is wanted and what is known and names the one next thing to do. It
//! performs nothing: the worker ([`crate::pod`]) runs the effect and folds the outcome back with [`Observed::apply`].
//! Several effects may be under way at once (volumes, images and the sandbox do not wait for each other); `Observed`
//! remembers which, so asking again never names the same work twice.
//!
//! Refused: a script per life-cycle ("create", "restart", "delete") that awaits its way through the steps. A crash in
//! the middle of a script needs a second script to repair it; here boot only rebuilds `Observed` from the runtime and
//! asks `step` again, so recovery is the ordinary path.

mod adopt;
mod apply;
mod backoff;
mod conditions;
mod desired;
mod effect;
mod gates;
mod observed;
mod parse;
mod phase;
mod rules;
mod status;
mod step;

#[cfg(test)]
mod tests;

pub use adopt::{addresses, adopt};
pub use backoff::Pace;
pub use desired::{Deletion, Desired, Name, Power, PullPolicy, Restart, RestartRule, Role, Wanted};
pub use effect::{Effect, EffectError, Outcome, Slot};
pub use gates::{Gate, GateSpec, judge as judge_gates, to_reach};
pub use observed::{
    Ending, Exit, Hook, ImageSeen, Marks, Observed, Presence, Sandbox, Seen, State, Stop, Trouble, Why, Wish,
};
pub use parse::{parse as desired, power};
pub use phase::{Phase, is_over};
pub use status::{StatusInput, status};
pub use step::{Step, step};
