//! `naru backup …`: the cluster's state in a file, and a cluster out of one.

mod create;
mod key;
mod list;
pub(crate) mod place;
pub(crate) mod restore;
mod verify;

use std::process::ExitCode;

use crate::cli::{BackupCommand, Place};

pub(crate) use key::needed as needed_key;

/// What every backup is without, said wherever one could think otherwise.
pub(crate) const WITHOUT: &str = "Volumes and images are not part of a backup: save what volumes hold on its own";

/// Runs one verb.
pub(crate) async fn run(place: &Place, command: BackupCommand) -> anyhow::Result<ExitCode> {
    match command {
        BackupCommand::Create(options) => create::run(place, options).await,
        BackupCommand::Ls(options) => list::run(place, options).await,
        BackupCommand::Verify(options) => verify::run(options).await,
        BackupCommand::Restore(options) => restore::run(place, options).await,
        BackupCommand::Key => key::print(),
    }
}
