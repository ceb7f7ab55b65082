//! The verbs of Compose, with the words and flags of `docker compose`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// Which project. Taken before the verb, as `docker compose` does, and after it.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct ProjectOptions {
    /// Compose file; several are laid over one another
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Project name
    #[arg(short = 'p', long = "project-name", value_name = "NAME")]
    pub name: Option<String>,
    /// Folder that relative paths start from
    #[arg(long, value_name = "DIR")]
    pub project_directory: Option<PathBuf>,
    /// Active profile
    #[arg(long = "profile", value_name = "PROFILE")]
    pub profiles: Vec<String>,
    /// Environment file instead of .env
    #[arg(long = "env-file", value_name = "FILE")]
    pub env_files: Vec<PathBuf>,
}

/// The same for verbs whose `-f` is another word (`logs -f`, `rm -f`).
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct LongProjectOptions {
    /// Compose file; several are laid over one another
    #[arg(long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Project name
    #[arg(short = 'p', long = "project-name", value_name = "NAME")]
    pub name: Option<String>,
    /// Active profile
    #[arg(long = "profile", value_name = "PROFILE")]
    pub profiles: Vec<String>,
}

impl From<LongProjectOptions> for ProjectOptions {
    fn from(long: LongProjectOptions) -> Self {
        Self { files: long.files, name: long.name, profiles: long.profiles, ..Self::default() }
    }
}

impl ProjectOptions {
    /// What stands after the verb, above what stands before it.
    pub fn over(self, before: Self) -> Self {
        let list = |after: Vec<_>, before| if after.is_empty() { before } else { after };
        Self {
            files: list(self.files, before.files),
            name: self.name.or(before.name),
            project_directory: self.project_directory.or(before.project_directory),
            profiles: if self.profiles.is_empty() { before.profiles } else { self.profiles },
            env_files: list(self.env_files, before.env_files),
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct Services {
    /// Services; all unless given
    pub services: Vec<String>,
}

#[derive(Debug, Clone, Args)]
pub(crate) struct UpOptions {
    #[command(flatten)]
    pub project: ProjectOptions,
    /// Return when everything has started
    #[arg(short, long)]
    pub detach: bool,
    /// Return when everything is ready (healthy); implies --detach
    #[arg(long)]
    pub wait: bool,
    /// How long --wait waits, in seconds
    #[arg(long, value_name = "SECONDS")]
    pub wait_timeout: Option<u64>,
    /// Replicas of a service, as web=3
    #[arg(long, value_name = "SERVICE=NUM")]
    pub scale: Vec<String>,
    /// Build images first
    #[arg(long)]
    pub build: bool,
    /// When to pull images
    #[arg(long, value_parser = ["always", "missing", "never", "build"])]
    pub pull: Option<String>,
    /// Replace containers whose service did not change, too
    #[arg(long)]
    pub force_recreate: bool,
    /// Leave containers alone whose service changed
    #[arg(long, conflicts_with = "force_recreate")]
    pub no_recreate: bool,
    /// Make everything, start nothing
    #[arg(long)]
    pub no_start: bool,
    /// Remove services that the file no longer has
    #[arg(long)]
    pub remove_orphans: bool,
    /// Leave the services that these depend on alone
    #[arg(long)]
    pub no_deps: bool,
    /// Stop everything when a container ends
    #[arg(long, conflicts_with = "detach")]
    pub abort_on_container_exit: bool,
    /// Return the exit code of this service's container; implies --abort-on-container-exit
    #[arg(long, value_name = "SERVICE", conflicts_with = "detach")]
    pub exit_code_from: Option<String>,
    /// Do not show the services' names before their lines
    #[arg(long)]
    pub no_log_prefix: bool,
    /// No colours
    #[arg(long)]
    pub no_color: bool,
    /// Seconds of grace when stopping
    #[arg(short, long, value_name = "SECONDS")]
    pub timeout: Option<u32>,
    #[command(flatten)]
    pub services: Services,
}

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ComposeCommand {
    /// Make and start the services of a Compose file
    #[command(
        after_help = "Examples:\n  naru up                        start, show the logs, Ctrl-C stops\n  naru up -d                     start and return\n  naru up -d --wait              return when everything is healthy\n  naru up -d --scale web=3       three replicas of web\n  naru -f a.yaml -f b.yaml up    b.yaml laid over a.yaml"
    )]
    Up(Box<UpOptions>),
    /// Stop and remove the project
    Down {
        #[command(flatten)]
        project: ProjectOptions,
        /// Also its volumes: their data is gone
        #[arg(short, long)]
        volumes: bool,
        /// Also its images: all, or those without a name of their own (local)
        #[arg(long, value_parser = ["all", "local"])]
        rmi: Option<String>,
        /// Also services that the file does not have
        #[arg(long)]
        remove_orphans: bool,
        /// Seconds of grace
        #[arg(short, long, value_name = "SECONDS")]
        timeout: Option<u32>,
    },
    /// Make everything, start nothing
    Create {
        #[command(flatten)]
        project: ProjectOptions,
        /// Build images first
        #[arg(long)]
        build: bool,
        #[command(flatten)]
        services: Services,
    },
    /// What runs
    Ps {
        #[command(flatten)]
        project: ProjectOptions,
        /// Stopped containers too
        #[arg(short, long)]
        all: bool,
        /// Only identifiers
        #[arg(short, long)]
        quiet: bool,
        /// Only the services' names
        #[arg(long)]
        services_only: bool,
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
        #[command(flatten)]
        services: Services,
    },
    /// Show logs
    Logs {
        #[command(flatten)]
        project: LongProjectOptions,
        /// Follow
        #[arg(short, long)]
        follow: bool,
        /// Lines from the end of each container's log
        #[arg(short = 'n', long, default_value = "all")]
        tail: String,
        /// From then on: 10m, or 2026-01-31T12:00:00Z
        #[arg(long)]
        since: Option<String>,
        /// With time stamps
        #[arg(short, long)]
        timestamps: bool,
        /// No colours
        #[arg(long)]
        no_color: bool,
        /// Do not show the services' names before their lines
        #[arg(long)]
        no_log_prefix: bool,
        #[command(flatten)]
        services: Services,
    },
    /// Run a command in a running container
    Exec {
        #[command(flatten)]
        project: ProjectOptions,
        /// Which replica
        #[arg(long, default_value_t = 1)]
        index: u32,
        /// No terminal
        #[arg(short = 'T', long)]
        no_tty: bool,
        /// Keep standard input open (the default)
        #[arg(short, long, hide = true)]
        interactive: bool,
        /// A terminal (the default where there is one)
        #[arg(short, long, hide = true)]
        tty: bool,
        /// Return at once
        #[arg(short, long)]
        detach: bool,
        /// Variables for the command
        #[arg(short, long, value_name = "KEY=VALUE")]
        env: Vec<String>,
        /// Folder of the command
        #[arg(short, long, value_name = "DIR")]
        workdir: Option<String>,
        /// The service
        service: String,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Run a command in a container of its own
    Run(Box<RunOptions>),
    /// Stop containers, keep them
    Stop {
        #[command(flatten)]
        project: ProjectOptions,
        /// Seconds of grace
        #[arg(short, long, value_name = "SECONDS")]
        timeout: Option<u32>,
        #[command(flatten)]
        services: Services,
    },
    /// Start stopped containers
    Start {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        services: Services,
    },
    /// Stop and start containers
    Restart {
        #[command(flatten)]
        project: ProjectOptions,
        /// Seconds of grace
        #[arg(short, long, value_name = "SECONDS")]
        timeout: Option<u32>,
        #[command(flatten)]
        services: Services,
    },
    /// Send a signal to containers
    Kill {
        #[command(flatten)]
        project: ProjectOptions,
        /// The signal
        #[arg(short, long, default_value = "SIGKILL")]
        signal: String,
        #[command(flatten)]
        services: Services,
    },
    /// Freeze containers
    Pause {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        services: Services,
    },
    /// Let frozen containers run again
    Unpause {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        services: Services,
    },
    /// Remove stopped containers
    Rm {
        #[command(flatten)]
        project: LongProjectOptions,
        /// Do not ask
        #[arg(short, long)]
        force: bool,
        /// Stop them first
        #[arg(short, long)]
        stop: bool,
        /// Also their anonymous volumes
        #[arg(short = 'v', long)]
        volumes: bool,
        #[command(flatten)]
        services: Services,
    },
    /// Set the number of replicas
    #[command(after_help = "Example:\n  naru scale web=5 worker=2")]
    Scale {
        #[command(flatten)]
        project: ProjectOptions,
        /// As web=3
        #[arg(required = true, value_name = "SERVICE=NUM")]
        scale: Vec<String>,
    },
    /// Show the project as it is understood
    #[command(visible_alias = "convert")]
    Config {
        #[command(flatten)]
        project: ProjectOptions,
        /// Output format
        #[arg(long, default_value = "yaml", value_parser = ["yaml", "json"])]
        format: String,
        /// Only check
        #[arg(short, long)]
        quiet: bool,
        /// Only the services' names
        #[arg(long)]
        services: bool,
        /// Only the volumes' names
        #[arg(long)]
        volumes: bool,
        /// Only the images' names
        #[arg(long)]
        images: bool,
        /// Only the profiles' names
        #[arg(long = "profiles", id = "only_profiles")]
        profiles: bool,
        /// Leave variables as they are
        #[arg(long)]
        no_interpolate: bool,
        /// The objects that the project becomes, as YAML for kubectl
        #[arg(long)]
        objects: bool,
    },
    /// Images of the project's containers
    Images {
        #[command(flatten)]
        project: ProjectOptions,
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
        /// Only identifiers
        #[arg(short, long)]
        quiet: bool,
        #[command(flatten)]
        services: Services,
    },
    /// Pull the services' images
    Pull {
        #[command(flatten)]
        project: ProjectOptions,
        /// Go on when one fails
        #[arg(long)]
        ignore_pull_failures: bool,
        /// Only the result
        #[arg(short, long)]
        quiet: bool,
        #[command(flatten)]
        services: Services,
    },
    /// Build the services' images with docker, buildah or buildctl
    Build {
        #[command(flatten)]
        project: ProjectOptions,
        /// Without cache
        #[arg(long)]
        no_cache: bool,
        /// Pull base images
        #[arg(long)]
        pull: bool,
        /// Build arguments
        #[arg(long, value_name = "KEY=VALUE")]
        build_arg: Vec<String>,
        #[command(flatten)]
        services: Services,
    },
    /// Where a container's port is published
    Port {
        #[command(flatten)]
        project: ProjectOptions,
        /// tcp or udp
        #[arg(long, default_value = "tcp")]
        protocol: String,
        /// The service
        service: String,
        /// The port in the container
        private_port: u16,
    },
    /// Processes of the containers
    Top {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        services: Services,
    },
    /// What the containers use
    Stats {
        #[command(flatten)]
        project: ProjectOptions,
        /// Once, not continuously
        #[arg(long)]
        no_stream: bool,
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
        #[command(flatten)]
        services: Services,
    },
    /// Copy files between a container and this machine
    #[command(after_help = "Examples:\n  naru cp web:/etc/nginx.conf .\n  naru cp ./page.html web:/srv/")]
    Cp {
        #[command(flatten)]
        project: ProjectOptions,
        /// Which replica
        #[arg(long, default_value_t = 1)]
        index: u32,
        /// SERVICE:PATH, a path here, or - for a tar stream
        source: String,
        /// SERVICE:PATH, a path here, or - for a tar stream
        target: String,
    },
    /// Wait until containers end
    Wait {
        #[command(flatten)]
        project: ProjectOptions,
        /// The services
        #[arg(required = true)]
        services: Vec<String>,
    },
    /// What happens to the project's containers
    Events {
        #[command(flatten)]
        project: ProjectOptions,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        services: Services,
    },
    /// Projects of this machine
    Ls {
        /// Projects without running containers too
        #[arg(short, long)]
        all: bool,
        /// Only the names
        #[arg(short, long)]
        quiet: bool,
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
    },
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub project: ProjectOptions,
    /// Remove the container when it ends
    #[arg(long)]
    pub rm: bool,
    /// Return at once
    #[arg(short, long)]
    pub detach: bool,
    /// No terminal
    #[arg(short = 'T', long)]
    pub no_tty: bool,
    /// Keep standard input open (the default)
    #[arg(short, long, hide = true)]
    pub interactive: bool,
    /// A terminal (the default where there is one)
    #[arg(short, long, hide = true)]
    pub tty: bool,
    /// The container's name
    #[arg(long = "name", id = "container_name", value_name = "NAME")]
    pub name: Option<String>,
    /// Variables
    #[arg(short, long, value_name = "KEY=VALUE")]
    pub env: Vec<String>,
    /// Replaces the entry point
    #[arg(long)]
    pub entrypoint: Option<String>,
    /// User
    #[arg(short, long)]
    pub user: Option<String>,
    /// Folder of the command
    #[arg(short, long, value_name = "DIR")]
    pub workdir: Option<String>,
    /// Do not start the services that it depends on
    #[arg(long)]
    pub no_deps: bool,
    /// The service
    pub service: String,
    /// The command; the service's own unless given
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    pub command: Vec<String>,
}
