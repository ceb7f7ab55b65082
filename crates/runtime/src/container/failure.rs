//! Saying at which step, on what, a start failed.

use std::{error::Error, fmt::Display, io};

use crate::{
    cgroup::CgroupError,
    pod::{StartFailure, StartStep},
};

pub(super) type Outcome<T = ()> = Result<T, StartFailure>;

/// A refusal of our own.
pub(super) fn refuse<T>(step: StartStep, action: impl Into<String>) -> Outcome<T> {
    Err(StartFailure { step, action: action.into(), errno: 0 })
}

/// Adds step and action to a system error.
pub(super) trait At<T> {
    fn at<D: Display>(self, step: StartStep, action: impl FnOnce() -> D) -> Outcome<T>;
}

impl<T> At<T> for io::Result<T> {
    fn at<D: Display>(self, step: StartStep, action: impl FnOnce() -> D) -> Outcome<T> {
        self.map_err(|error| match error.raw_os_error() {
            Some(errno) => StartFailure { step, action: action().to_string(), errno },
            None => StartFailure { step, action: format!("{}: {error}", action()), errno: 0 },
        })
    }
}

impl<T> At<T> for rustix::io::Result<T> {
    fn at<D: Display>(self, step: StartStep, action: impl FnOnce() -> D) -> Outcome<T> {
        self.map_err(|error| StartFailure { step, action: action().to_string(), errno: error.raw_os_error() })
    }
}

impl From<CgroupError> for StartFailure {
    fn from(error: CgroupError) -> Self {
        let action = match (error.source.raw_os_error(), error.source()) {
            (None, Some(inner)) => format!("{error}: {inner}"),
            _ => error.to_string(),
        };
        Self { step: StartStep::Cgroup, action, errno: error.source.raw_os_error().unwrap_or(0) }
    }
}
