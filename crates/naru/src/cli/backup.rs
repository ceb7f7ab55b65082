//! Words about backups of the cluster.

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum BackupCommand {
    /// Make a backup of the running cluster: all objects, its keys and its settings; no volumes and no images
    Create(CreateBackup),
    /// List backups
    #[command(visible_alias = "list")]
    Ls(ListBackups),
    /// Read a backup from its beginning to its end and say whether it is whole and unaltered
    Verify(VerifyBackup),
    /// Make this machine the server of the cluster in a backup
    Restore(RestoreBackup),
    /// Print a new key for sealing backups. Keep it elsewhere than the backups, and not on the server alone
    #[command(after_help = "Example:\n  (umask 077; naru backup key > /root/naru-backup.key)")]
    Key,
}

/// The key of backups.
#[derive(Debug, Clone, Args)]
pub(crate) struct KeyOptions {
    /// File with the key or a passphrase; unless given, the variable NARU_BACKUP_KEY holds it
    #[arg(long, value_name = "FILE")]
    pub key_file: Option<PathBuf>,
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  naru backup create --key-file naru-backup.key -o cluster.backup\n  naru backup create --key-file naru-backup.key --to file:///mnt/nas/naru\n  naru backup create --key-file naru-backup.key --to s3://bucket/naru"
)]
pub(crate) struct CreateBackup {
    /// The file to write; in the current folder and named after cluster and time unless given
    #[arg(short, long, value_name = "FILE", conflicts_with = "to")]
    pub output: Option<PathBuf>,
    /// The place to put it: file:///folder or s3://bucket/prefix
    #[arg(long, value_name = "PLACE")]
    pub to: Option<String>,
    #[command(flatten)]
    pub key: KeyOptions,
    /// Do not seal it: whoever reads the file has the cluster's keys
    #[arg(long, conflicts_with = "key_file")]
    pub unsealed: bool,
    /// Output format
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct ListBackups {
    /// The place: file:///folder or s3://bucket/prefix; the server's own (--backup-to) unless given
    #[arg(long, value_name = "PLACE")]
    pub from: Option<String>,
    /// Output format
    #[arg(long, default_value = "table", value_parser = ["table", "json"])]
    pub format: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct VerifyBackup {
    /// The backup: a file, or file:///folder/name or s3://bucket/prefix/name
    pub backup: String,
    #[command(flatten)]
    pub key: KeyOptions,
    /// Output format
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Example, on a new machine:\n  sudo naru backup restore --key-file naru-backup.key cluster.backup\n  sudo naru install"
)]
pub(crate) struct RestoreBackup {
    /// The backup: a file, or file:///folder/name or s3://bucket/prefix/name
    pub backup: String,
    #[command(flatten)]
    pub key: KeyOptions,
    /// How long machines that the backup knows may come back unasked: one that comes later, or was removed since, gets no
    /// pods until `naru node update --accept`. 0s: every one of them
    #[arg(long, default_value = "1h", value_name = "DURATION", value_parser = crate::cluster::duration)]
    pub returning: std::time::Duration,
    /// In place of the cluster that is on this machine, whose state is moved aside; its server must have ended
    #[arg(long)]
    pub replace: bool,
    /// Output format
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}

/// Backups that the server makes by itself.
#[derive(Debug, Clone, Args)]
pub(crate) struct ScheduleOptions {
    /// Make backups at times, to this place: file:///folder or s3://bucket/prefix
    #[arg(long, value_name = "PLACE")]
    pub backup_to: Option<String>,
    /// How often
    #[arg(long, default_value = "6h", value_parser = crate::cluster::duration, requires = "backup_to")]
    pub backup_every: std::time::Duration,
    /// How many of those are kept; the oldest go first
    #[arg(long, default_value_t = 14, value_parser = clap::value_parser!(u16).range(1..), requires = "backup_to")]
    pub backup_keep: u16,
    /// File with the key or a passphrase that seals them; unless given, the variable NARU_BACKUP_KEY holds it
    #[arg(long, value_name = "FILE", requires = "backup_to")]
    pub backup_key_file: Option<PathBuf>,
    /// Do not seal them: whoever reads one has the cluster's keys
    #[arg(long, requires = "backup_to", conflicts_with = "backup_key_file")]
    pub backup_unsealed: bool,
}
