//! Which project a verb of Compose is about, and the flags of the verbs that have many.

use std::path::PathBuf;

use clap::Args;

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

/// The same for `run`, whose `-p` is a port.
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct RunProjectOptions {
    /// Compose file; several are laid over one another
    #[arg(short = 'f', long = "file", value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Project name
    #[arg(long = "project-name", value_name = "NAME")]
    pub name: Option<String>,
    /// Active profile
    #[arg(long = "profile", value_name = "PROFILE")]
    pub profiles: Vec<String>,
}

impl From<RunProjectOptions> for ProjectOptions {
    fn from(run: RunProjectOptions) -> Self {
        Self { files: run.files, name: run.name, profiles: run.profiles, ..Self::default() }
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

#[derive(Debug, Clone, Default, Args)]
pub(crate) struct Services {
    /// Services; all unless given
    pub services: Vec<String>,
}

#[derive(Debug, Clone, Default, Args)]
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
    /// Stop everything when a container fails
    #[arg(long, conflicts_with_all = ["detach", "abort_on_container_exit"])]
    pub abort_on_container_failure: bool,
    /// Show the logs of this service only
    #[arg(long, value_name = "SERVICE", conflicts_with = "detach")]
    pub attach: Vec<String>,
    /// Show the logs of the services that the named ones depend on, too
    #[arg(long)]
    pub attach_dependencies: bool,
    /// Do not show the logs of this service
    #[arg(long, value_name = "SERVICE", conflicts_with = "detach")]
    pub no_attach: Vec<String>,
    /// Build nothing: a missing image is an error
    #[arg(long, conflicts_with = "build")]
    pub no_build: bool,
    /// Pull without showing progress
    #[arg(long)]
    pub quiet_pull: bool,
    /// Build without showing the builder's output
    #[arg(long)]
    pub quiet_build: bool,
    /// Time stamps before the lines of logs
    #[arg(long)]
    pub timestamps: bool,
    /// Nothing is asked here; for scripts
    #[arg(short = 'y', long, hide = true)]
    pub yes: bool,
    /// There is no menu; for scripts
    #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
    pub menu: Option<bool>,
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

#[derive(Debug, Clone, Args)]
pub(crate) struct CreateOptions {
    #[command(flatten)]
    pub project: ProjectOptions,
    /// Build images first
    #[arg(long)]
    pub build: bool,
    /// Build nothing: a missing image is an error
    #[arg(long, conflicts_with = "build")]
    pub no_build: bool,
    /// When to pull images
    #[arg(long, value_parser = ["always", "missing", "never", "build"])]
    pub pull: Option<String>,
    /// Pull without showing progress
    #[arg(long)]
    pub quiet_pull: bool,
    /// Replace containers whose service did not change, too
    #[arg(long)]
    pub force_recreate: bool,
    /// Leave containers alone whose service changed
    #[arg(long, conflicts_with = "force_recreate")]
    pub no_recreate: bool,
    /// Remove services that the file no longer has
    #[arg(long)]
    pub remove_orphans: bool,
    /// Replicas of a service, as web=3
    #[arg(long, value_name = "SERVICE=NUM")]
    pub scale: Vec<String>,
    /// Nothing is asked here; for scripts
    #[arg(short = 'y', long, hide = true)]
    pub yes: bool,
    #[command(flatten)]
    pub services: Services,
}

impl From<CreateOptions> for UpOptions {
    fn from(create: CreateOptions) -> Self {
        Self {
            project: create.project,
            build: create.build,
            no_build: create.no_build,
            pull: create.pull,
            quiet_pull: create.quiet_pull,
            force_recreate: create.force_recreate,
            no_recreate: create.no_recreate,
            remove_orphans: create.remove_orphans,
            scale: create.scale,
            services: create.services,
            no_start: true,
            ..Self::default()
        }
    }
}

#[derive(Debug, Clone, Args)]
pub(crate) struct RunOptions {
    #[command(flatten)]
    pub project: RunProjectOptions,
    /// Build the image first
    #[arg(long)]
    pub build: bool,
    /// When to pull images
    #[arg(long, value_parser = ["always", "missing", "never"])]
    pub pull: Option<String>,
    /// Pull without showing progress
    #[arg(long)]
    pub quiet_pull: bool,
    /// Build without showing the builder's output
    #[arg(long)]
    pub quiet_build: bool,
    /// Only what the command prints
    #[arg(short, long)]
    pub quiet: bool,
    /// Another mount, as HOST:CONTAINER[:ro] or VOLUME:CONTAINER
    #[arg(short, long = "volume", value_name = "MOUNT")]
    pub volumes: Vec<String>,
    /// Publish a port, as 8080:80
    #[arg(short, long, value_name = "PORT", conflicts_with = "service_ports")]
    pub publish: Vec<String>,
    /// Publish the service's ports
    #[arg(short = 'P', long)]
    pub service_ports: bool,
    /// Labels
    #[arg(short, long = "label", value_name = "KEY=VALUE")]
    pub labels: Vec<String>,
    /// Add a capability
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_add: Vec<String>,
    /// Take a capability away
    #[arg(long, value_name = "CAPABILITY")]
    pub cap_drop: Vec<String>,
    /// Variables from a file
    #[arg(long, value_name = "FILE")]
    pub env_from_file: Vec<String>,
    /// Remove services that the file no longer has
    #[arg(long)]
    pub remove_orphans: bool,
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
