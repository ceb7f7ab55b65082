//! Words about several machines.

use std::net::IpAddr;
use std::time::Duration;

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Args)]
pub(crate) struct AgentOptions {
    #[command(flatten)]
    pub eviction: super::eviction::EvictionOptions,
    /// What is logged: error, warn, info, debug, trace, or a filter such as naru_agent=debug
    #[arg(long, env = "NARU_LOG", default_value = "info")]
    pub log: String,
    /// How it is logged
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub log_format: String,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum TokenCommand {
    /// Print the line that lets another machine join
    #[command(
        after_help = "Example:\n  naru token create --ttl 24h\n  # then, on the other machine: the line it printed"
    )]
    Create {
        /// How long machines may join with it
        #[arg(long, default_value = "1h", value_parser = crate::cluster::duration)]
        ttl: Duration,
        /// What it is for
        #[arg(long)]
        description: Option<String>,
        /// Where the machine reaches the server, where that differs from the server's own addresses (repeatable)
        #[arg(long = "server", value_name = "HOST[:PORT]")]
        servers: Vec<String>,
        /// Good for one machine only
        #[arg(long)]
        once: bool,
    },
    /// List tokens
    #[command(visible_alias = "list")]
    Ls {
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
    },
    /// Remove tokens: no machine joins with them any more
    Rm {
        /// Identifiers, or whole lines
        #[arg(required = true)]
        ids: Vec<String>,
    },
}

#[derive(Debug, Clone, Args)]
#[command(after_help = "Example:\n  sudo naru join NARU1.eyJ2IjoxLC…")]
pub(crate) struct JoinOptions {
    /// The token that `naru token create` printed on a server
    #[arg(required = true, value_name = "TOKEN")]
    pub token: Vec<String>,
    /// The node's name; the host's name unless given
    #[arg(long)]
    pub node_name: Option<String>,
    /// A label of the node (repeatable)
    #[arg(long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// The zone that it is in, such as a rack or a data centre: replicas keep apart by it
    #[arg(long)]
    pub zone: Option<String>,
    /// The region that it is in
    #[arg(long)]
    pub region: Option<String>,
    /// Another address of the server, asked beside those in the token (repeatable)
    #[arg(long = "server", value_name = "HOST[:PORT]")]
    pub servers: Vec<String>,
    /// This machine's address for other nodes; the one by which it reaches the server unless given
    #[arg(long, value_name = "IP")]
    pub address: Option<IpAddr>,
    /// Whether that address means nothing to other nodes, as behind a router that translates addresses; found out unless given
    #[arg(long, value_name = "true|false", num_args = 0..=1, default_missing_value = "true", require_equals = true)]
    pub behind_nat: Option<bool>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct LeaveOptions {
    /// Leave also when the cluster cannot be told
    #[arg(long)]
    pub force: bool,
    /// Do not ask
    #[arg(short, long)]
    pub yes: bool,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct StatusOptions {
    /// Output format
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct UpdateNode {
    /// active: takes pods; pause: takes no new ones; drain: everything moves off it
    #[arg(long, value_parser = ["active", "pause", "drain"])]
    pub availability: Option<String>,
    /// Set a label (repeatable)
    #[arg(long, value_name = "KEY=VALUE")]
    pub label_add: Vec<String>,
    /// Remove a label (repeatable)
    #[arg(long, value_name = "KEY")]
    pub label_rm: Vec<String>,
    /// It belongs here: said of a node that came back to a cluster that was restored from before it joined
    #[arg(long)]
    pub accept: bool,
    /// worker or manager
    #[arg(long, value_parser = ["worker", "manager"])]
    pub role: Option<String>,
    /// The node
    pub node: String,
}

#[derive(Debug, Clone, Args)]
#[command(
    after_help = "Examples:\n  naru node rebalance --dry-run     what would be moved\n  naru node rebalance worker-3      fill that node"
)]
pub(crate) struct RebalanceNodes {
    /// Nodes that are to take pods; all that can unless given
    pub nodes: Vec<String>,
    /// Only tell what would be moved
    #[arg(long, conflicts_with = "stop")]
    pub dry_run: bool,
    /// How many pods are moved at once
    #[arg(long, default_value = "1", value_name = "NUMBER")]
    pub at_once: usize,
    /// How many pods are moved to each of the nodes at most; no limit unless given
    #[arg(long, value_name = "NUMBER")]
    pub most: Option<usize>,
    /// How long to wait; until all are moved unless given
    #[arg(long, value_parser = crate::cluster::duration)]
    pub timeout: Option<Duration>,
    /// Begin no more moves; those under way go on
    #[arg(long)]
    pub stop: bool,
    /// Output format of --dry-run
    #[arg(long, default_value = "text", value_parser = ["text", "json"])]
    pub format: String,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum NodeCommand {
    /// List nodes
    #[command(visible_alias = "list")]
    Ls {
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
        /// Names only
        #[arg(short, long)]
        quiet: bool,
    },
    /// Show everything about nodes
    Inspect {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
        /// Output format
        #[arg(long, default_value = "json", value_parser = ["json", "yaml"])]
        format: String,
    },
    /// List what runs on nodes; on all unless some are named
    Ps {
        /// Nodes
        nodes: Vec<String>,
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
    },
    /// Give nodes new keys for encryption between nodes
    RotateKey {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Change whether a node takes pods, and its labels
    Update(UpdateNode),
    /// Move running pods to nodes that came later: a replacement starts first, one at a time
    Rebalance(RebalanceNodes),
    /// Make workers servers (a cluster has one server so far)
    Promote {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Make servers workers (a cluster has one server so far)
    Demote {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Move everything off a node, and put nothing new on it
    Drain {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
        /// How long pods may take to end, in seconds; their own time unless given
        #[arg(long, value_name = "SECONDS")]
        grace_period: Option<i64>,
        /// How long to wait for all of it; for ever unless given
        #[arg(long, value_parser = crate::cluster::duration)]
        timeout: Option<Duration>,
        /// Also end pods that nothing replaces
        #[arg(long)]
        force: bool,
    },
    /// Put nothing new on a node
    Cordon {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Let a node take pods again
    Uncordon {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
    },
    /// Set or remove labels: KEY=VALUE, KEY-
    Label {
        /// The node
        node: String,
        /// Labels
        #[arg(required = true, value_name = "KEY=VALUE|KEY-")]
        labels: Vec<String>,
    },
    /// Set or remove taints: KEY[=VALUE]:EFFECT, KEY[:EFFECT]-
    Taint {
        /// The node
        node: String,
        /// Taints
        #[arg(required = true, value_name = "KEY[=VALUE]:EFFECT|KEY[:EFFECT]-")]
        taints: Vec<String>,
    },
    /// Remove a node from the cluster: its certificate is worth nothing from then on
    Rm {
        /// Nodes
        #[arg(required = true)]
        nodes: Vec<String>,
        /// Also where pods still run there
        #[arg(short, long)]
        force: bool,
    },
}
