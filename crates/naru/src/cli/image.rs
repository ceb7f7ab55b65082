//! `naru image …`

use std::path::PathBuf;

use clap::{Args, Subcommand};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ImageCommand {
    /// List images
    #[command(visible_alias = "list")]
    Ls {
        #[command(flatten)]
        on: OnNode,
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
        /// Only identifiers
        #[arg(short, long)]
        quiet: bool,
    },
    /// Load images from a docker archive or an OCI layout
    #[command(after_help = "Examples:\n  naru image load -i app.tar\n  docker save app | naru image load")]
    Load {
        #[command(flatten)]
        on: OnNode,
        /// The archive; standard input unless given
        #[arg(short, long, value_name = "FILE")]
        input: Option<PathBuf>,
        /// Also the archive
        #[arg(value_name = "FILE", conflicts_with = "input")]
        file: Option<PathBuf>,
    },
    /// Save images to an archive that docker and others load
    Save {
        #[command(flatten)]
        on: OnNode,
        /// The images
        #[arg(required = true)]
        images: Vec<String>,
        /// The archive; standard output unless given
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
    },
    /// Fetch an image from its registry
    Pull {
        #[command(flatten)]
        on: OnNode,
        /// The image
        image: String,
        /// Its platform, as linux/arm64
        #[arg(long)]
        platform: Option<String>,
        /// Only the result
        #[arg(short, long)]
        quiet: bool,
    },
    /// Send an image to its registry
    Push {
        #[command(flatten)]
        on: OnNode,
        /// The image
        image: String,
        /// Only the result
        #[arg(short, long)]
        quiet: bool,
    },
    /// Give an image another name
    Tag {
        #[command(flatten)]
        on: OnNode,
        /// The image
        source: String,
        /// The new name
        target: String,
    },
    /// Remove images
    #[command(visible_alias = "remove")]
    Rm(RemoveImages),
    /// Remove what no container uses
    Prune {
        #[command(flatten)]
        on: OnNode,
        /// All images that no container uses, not only those without a name
        #[arg(short, long)]
        all: bool,
        /// Do not ask
        #[arg(short, long)]
        force: bool,
    },
    /// Everything about an image, as JSON
    Inspect {
        #[command(flatten)]
        on: OnNode,
        /// The images
        #[arg(required = true)]
        images: Vec<String>,
    },
    /// Copy an image from the Docker engine of this machine
    Import {
        /// The image, as Docker names it
        image: String,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RemoveImages {
    /// The images
    #[arg(required = true)]
    pub images: Vec<String>,
    #[command(flatten)]
    pub on: OnNode,
    /// Also when a container uses it
    #[arg(short, long)]
    pub force: bool,
}

/// Whose images.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OnNode {
    /// The node whose images are meant, or all; the server's own unless given
    #[arg(long, value_name = "NAME|all")]
    pub node: Option<String>,
}
