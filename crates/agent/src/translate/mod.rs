//! A pod's spec as the runtime's configuration: pure, so that each field can be tested with a table.
//!
//! What a container needs from elsewhere (ConfigMaps, Secrets, services, its image) is listed first
//! ([`references`]), fetched by the worker, and handed in whole; nothing here reads, waits or looks at a clock.

mod args;
mod container;
mod env;
mod extras;
mod fields;
mod health;
mod hosts;
mod lookup;
mod pod;
mod qos;
mod resources;
mod security;

#[cfg(test)]
mod tests;

pub use args::expand;
pub use container::{ContainerInput, container, signal, stop_signal, variables};
pub use extras::{Extras, LogLimits};
pub use fields::{Facts, Missing, field, resource_field};
pub use health::with_image_health;
pub use hosts::{hosts_file, resolv_conf};
pub use lookup::{Lookup, References, references};
pub use pod::{Paths, hostname, pod_config};
pub use qos::{Qos, oom_score_adj, qos};

/// A pod that cannot be translated; retried, because what is missing may appear.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TranslateError {
    /// A ConfigMap or Secret that is not optional is not there.
    #[error("{kind} {name:?} not found in namespace {namespace:?}: create it, or mark the reference optional")]
    NoObject {
        /// `configmap` or `secret`.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
    },
    /// The object is there but lacks the key.
    #[error("couldn't find key {key:?} in {kind} {namespace}/{name}: add it, or mark the reference optional")]
    NoKey {
        /// `ConfigMap` or `Secret`.
        kind: &'static str,
        /// Its namespace.
        namespace: String,
        /// Its name.
        name: String,
        /// The key.
        key: String,
    },
    /// A `fieldRef` or `resourceFieldRef` that names nothing.
    #[error("{field:?} is not a field that a container can be told: {hint}")]
    Field {
        /// As written.
        field: String,
        /// What is possible.
        hint: &'static str,
    },
    /// Neither the spec nor the image says what to run.
    #[error("no command specified: neither the container nor its image {image:?} names a program")]
    NoCommand {
        /// The image.
        image: String,
    },
    /// A value of the spec that cannot be used.
    #[error("{field} {value:?}: {problem}")]
    Invalid {
        /// The field's path.
        field: &'static str,
        /// The value.
        value: String,
        /// What is wrong, and what was expected.
        problem: String,
    },
}

impl TranslateError {
    fn invalid(field: &'static str, value: impl Into<String>, problem: impl Into<String>) -> TranslateError {
        TranslateError::Invalid { field, value: value.into(), problem: problem.into() }
    }
}
