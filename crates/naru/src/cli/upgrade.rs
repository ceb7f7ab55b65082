//! Words about the program itself.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  ./naru-new upgrade --check           who would get this program, and who could not\n  \
                  sudo ./naru-new upgrade              the server first, then one worker after the other\n  \
                  sudo naru upgrade --to ./naru-new --node w1 --yes"
)]
pub(crate) struct UpgradeOptions {
    /// The program that nodes get; the one that runs this command unless given
    #[arg(long, value_name = "FILE")]
    pub to: Option<PathBuf>,
    /// Only this node (repeatable); all unless given
    #[arg(long = "node", value_name = "NODE")]
    pub nodes: Vec<String>,
    /// Say what would be done, and do nothing
    #[arg(long, visible_alias = "dry-run")]
    pub check: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
    /// Workers at once
    #[arg(long, value_name = "NUMBER", default_value = "1", id = "at_once")]
    pub parallel: u8,
    /// How long a node may take until everything is as it was; then it goes back
    #[arg(long, default_value = "2m", value_parser = crate::cluster::duration)]
    pub timeout: Duration,
    /// Output format
    #[arg(short = 'o', long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}
