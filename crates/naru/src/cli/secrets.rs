//! Words about the cluster's keys.

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum SecretsCommand {
    /// Show the keys that seal secrets and sign tokens, and how many values older keys sealed
    #[command(visible_alias = "list")]
    Ls {
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
    },
    /// Make a new key; what older keys sealed is sealed again while everything goes on
    Rotate(RotateKeys),
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  naru secrets rotate                        a new key for secrets; old keys stay, for they may be needed\n  \
                  naru secrets rotate --drop-old             and without the old keys, once nothing needs them\n  \
                  naru secrets rotate --tokens               a new key for tokens of service accounts\n  \
                  naru secrets rotate --tokens --drop-old    and tokens of the old keys are worth nothing at once\n\nCtrl-C ends the watching, not the work. Backups hold the keys of their time."
)]
pub(crate) struct RotateKeys {
    /// The keys that sign tokens of service accounts, in place of those that seal secrets
    #[arg(long)]
    pub tokens: bool,
    /// Take the old keys away as well, as soon as nothing is sealed with them
    #[arg(long)]
    pub drop_old: bool,
    /// How long to wait until everything is sealed again; until it is unless given
    #[arg(long, value_name = "DURATION", value_parser = crate::cluster::duration)]
    pub timeout: Option<std::time::Duration>,
}
