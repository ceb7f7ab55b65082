//! The words of the command line.

mod audit;
mod backup;
mod cluster;
mod compose;
mod etcd;
mod eviction;
mod image;
mod machine;
mod oidc;
mod options;
mod secrets;
mod upgrade;

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

pub(crate) use audit::*;
pub(crate) use backup::*;
pub(crate) use cluster::*;
pub(crate) use compose::*;
pub(crate) use etcd::*;
pub(crate) use image::*;
pub(crate) use machine::*;
pub(crate) use oidc::*;
pub(crate) use options::*;
pub(crate) use secrets::*;
pub(crate) use upgrade::*;

/// Containers from one Compose file to a cluster.
///
/// Run `naru up` in a folder with a compose.yaml. The same objects are there for kubectl: `naru kubeconfig`.
#[derive(Debug, Parser)]
#[command(name = "naru", version = naru_api::version(), propagate_version = true, max_term_width = 110)]
#[command(
    after_help = "Examples:\n  naru up -d                     start the project of this folder\n  naru ps                        what runs\n  naru logs -f web               follow a service's logs\n  naru exec web sh               a shell in a container\n  naru down                      stop and remove the project\n  naru doctor                    what is missing on this machine"
)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub place: Place,
    #[command(flatten)]
    pub project: ProjectOptions,
    /// Colours and live progress: auto (on terminals), never, always. NO_COLOR is obeyed
    #[arg(long, value_name = "WHEN", value_parser = ["auto", "never", "always"])]
    pub ansi: Option<String>,
    /// How progress is shown: auto, tty (live), plain (a line for each step)
    #[arg(long, value_name = "HOW", env = "COMPOSE_PROGRESS", value_parser = ["auto", "tty", "plain"])]
    pub progress: Option<String>,
    /// Work at once; Naru decides that itself
    #[arg(long, value_name = "NUMBER", hide = true)]
    pub parallel: Option<i32>,
    #[command(subcommand)]
    pub command: Command,
}

/// Where this machine's Naru lives.
#[derive(Debug, Clone, Args)]
pub(crate) struct Place {
    /// Folder of everything that must survive a restart
    #[arg(long, env = "NARU_STATE_DIR", default_value = "/var/lib/naru", global = true, hide = true)]
    pub state_dir: PathBuf,
    /// Folder of sockets and what is gone after a restart of the machine
    #[arg(long, env = "NARU_RUN_DIR", default_value = "/run/naru", global = true, hide = true)]
    pub run_dir: PathBuf,
}

impl Place {
    /// The server's socket.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("naru.sock")
    }
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    #[command(flatten)]
    Compose(ComposeCommand),
    /// Images of this machine
    #[command(subcommand)]
    Image(ImageCommand),
    /// Run the server in the foreground
    Server(Box<ServerOptions>),
    /// Run a worker in the foreground, on a machine that has joined a cluster
    Agent(AgentOptions),
    /// Invitations for other machines
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make this machine a worker of a cluster
    Join(JoinOptions),
    /// Take this machine out of its cluster
    Leave(LeaveOptions),
    /// The machines of the cluster
    #[command(subcommand)]
    Node(NodeCommand),
    /// Backups of the cluster's state, and a server out of one
    #[command(subcommand)]
    Backup(BackupCommand),
    /// The keys that seal secrets and sign tokens
    #[command(subcommand)]
    Secrets(SecretsCommand),
    /// How the cluster is doing: nodes, versions, certificates, what is wrong and what to do
    Status(StatusOptions),
    /// Write a kubeconfig file for kubectl and others
    Kubeconfig(KubeconfigOptions),
    /// Say what on this machine is missing or in the way, and how to mend it
    Doctor(DoctorOptions),
    /// Put another program on every node, one after the other; containers run on
    Upgrade(UpgradeOptions),
    /// Watches a change of the program and takes it back; started by the node itself
    #[command(hide = true)]
    UpgradeWatch {
        /// As nobody's child
        #[arg(long)]
        detached: bool,
    },
    /// Start Naru with the machine (a systemd unit)
    Install(InstallOptions),
    /// Remove Naru from this machine: containers, networks, and with --volumes the data
    Uninstall(UninstallOptions),
    /// Print the versions of the program and of the server
    Version {
        /// Output format
        #[arg(short, long, default_value = "text", value_parser = ["text", "json", "pretty"])]
        format: String,
        /// Only the program's
        #[arg(long)]
        short: bool,
    },
    /// Print a completion script: bash, zsh, fish, elvish, powershell
    #[command(after_help = "Example:\n  naru completion bash > /etc/bash_completion.d/naru")]
    Completion {
        /// The shell
        shell: clap_complete::Shell,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn no_two_arguments_of_a_verb_meet() {
        Cli::command().debug_assert();
    }
}
