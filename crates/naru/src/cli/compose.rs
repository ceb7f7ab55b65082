//! The verbs of Compose, with the words and flags of `docker compose`.

use std::path::PathBuf;

use clap::Subcommand;

use super::options::{CreateOptions, LongProjectOptions, ProjectOptions, RunOptions, Services, UpOptions};

#[derive(Debug, Clone, Subcommand)]
pub(crate) enum ComposeCommand {
    /// Make and start the services of a Compose file
    #[command(
        after_help = "Examples:\n  naru up                        start, show the logs, Ctrl-C stops\n  naru up -d                     start and return\n  naru up -d --wait              return when everything is healthy\n  naru up -d --scale web=3       three replicas of web\n  naru -f a.yaml -f b.yaml up    b.yaml laid over a.yaml"
    )]
    Up(Box<UpOptions>),
    /// Stop and remove the project
    #[command(
        after_help = "Examples:\n  naru down                      stop and remove; volumes stay\n  naru down -v                   also the volumes: their data is gone\n  naru down web                  only this service\n  naru -p shop down              from any folder"
    )]
    Down {
        #[command(flatten)]
        project: ProjectOptions,
        /// Also its volumes: their data is gone
        #[arg(short, long)]
        volumes: bool,
        /// Also its images: all, or those without a name of their own (local)
        #[arg(long, value_parser = ["all", "local"])]
        rmi: Option<String>,
        /// Also services that the file does not have; they always go
        #[arg(long)]
        remove_orphans: bool,
        /// Seconds of grace
        #[arg(short, long, value_name = "SECONDS")]
        timeout: Option<u32>,
        #[command(flatten)]
        services: Services,
    },
    /// Make everything, start nothing
    #[command(after_help = "Example:\n  naru create && naru start      what `naru up -d` does at once")]
    Create(Box<CreateOptions>),
    /// What runs
    #[command(
        after_help = "Examples:\n  naru ps                        what runs, and what cannot start and why\n  naru ps -a                     stopped containers too\n  naru ps --format json | jq .   one object a line\n  naru ps --status exited -q     identifiers of what ended"
    )]
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
        #[arg(long = "services", alias = "services-only", id = "services_only")]
        services_only: bool,
        /// Only containers in this state
        #[arg(long, value_name = "STATE", value_parser = ["created", "running", "paused", "exited", "removing", "restarting", "dead"])]
        status: Vec<String>,
        /// Only containers that fit; status=STATE is known
        #[arg(long, value_name = "KEY=VALUE")]
        filter: Vec<String>,
        /// Show long texts whole
        #[arg(long)]
        no_trunc: bool,
        /// Services that the file does not have are always shown; for scripts
        #[arg(long, hide = true, num_args = 0..=1, default_missing_value = "true")]
        orphans: Option<bool>,
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
        #[command(flatten)]
        services: Services,
    },
    /// Show logs
    #[command(
        after_help = "Examples:\n  naru logs -f                   everything, as it comes\n  naru logs -n 20 web            the last lines of each container of web\n  naru logs --since 10m -t       the last ten minutes, with time stamps"
    )]
    Logs {
        #[command(flatten)]
        project: LongProjectOptions,
        /// Follow
        #[arg(short, long)]
        follow: bool,
        /// Only this replica
        #[arg(long, value_name = "NUMBER")]
        index: Option<u32>,
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
    #[command(
        after_help = "Examples:\n  naru exec web sh                       a shell\n  naru exec -u root web id               as another user\n  naru exec -T db pg_dump shop > dump    without a terminal\n  naru exec --index 2 web hostname       in the second replica"
    )]
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
        /// User of the command: a name or number of the container, with or without a group
        #[arg(short, long, value_name = "USER[:GROUP]")]
        user: Option<String>,
        /// With all capabilities
        #[arg(long)]
        privileged: bool,
        /// The service
        service: String,
        /// The command
        #[arg(required = true, trailing_var_arg = true, allow_hyphen_values = true)]
        command: Vec<String>,
    },
    /// Run a command in a container of its own
    #[command(
        after_help = "Examples:\n  naru run --rm web sh                     a shell in a container like web's\n  naru run --rm -T app ./migrate           a task; its exit code is naru's\n  naru run --rm -v ./data:/data app load   with another mount"
    )]
    Run(Box<RunOptions>),
    /// Stop containers, keep them
    #[command(
        after_help = "Examples:\n  naru stop                      everything\n  naru stop -t 30 db             with 30 seconds of grace"
    )]
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
    #[command(after_help = "Example:\n  naru start web")]
    Start {
        #[command(flatten)]
        project: ProjectOptions,
        /// Return when everything is ready (healthy)
        #[arg(long)]
        wait: bool,
        /// How long --wait waits, in seconds
        #[arg(long, value_name = "SECONDS")]
        wait_timeout: Option<u64>,
        #[command(flatten)]
        services: Services,
    },
    /// Stop and start containers
    #[command(
        after_help = "Example:\n  naru restart web               changes of the file are not applied: `naru up -d` does that"
    )]
    Restart {
        #[command(flatten)]
        project: ProjectOptions,
        /// Leave the services that depend on these alone; they always are
        #[arg(long, hide = true)]
        no_deps: bool,
        /// Seconds of grace
        #[arg(short, long, value_name = "SECONDS")]
        timeout: Option<u32>,
        #[command(flatten)]
        services: Services,
    },
    /// Send a signal to containers
    #[command(
        after_help = "Examples:\n  naru kill\n  naru kill -s SIGHUP web        have web read its configuration again"
    )]
    Kill {
        #[command(flatten)]
        project: ProjectOptions,
        /// The signal
        #[arg(short, long, default_value = "SIGKILL")]
        signal: String,
        /// Services that the file does not have are among all; for scripts
        #[arg(long, hide = true)]
        remove_orphans: bool,
        #[command(flatten)]
        services: Services,
    },
    /// Freeze containers
    #[command(after_help = "Example:\n  naru pause web")]
    Pause {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        services: Services,
    },
    /// Let frozen containers run again
    #[command(after_help = "Example:\n  naru unpause web")]
    Unpause {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        services: Services,
    },
    /// Remove stopped containers
    #[command(
        after_help = "Examples:\n  naru rm -f                     what has stopped\n  naru rm -sf web                stop and remove web"
    )]
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
        /// Leave the services that these depend on alone; they always are
        #[arg(long, hide = true)]
        no_deps: bool,
        /// As web=3
        #[arg(required = true, value_name = "SERVICE=NUM")]
        scale: Vec<String>,
    },
    /// Show the project as it is understood
    #[command(
        visible_alias = "convert",
        after_help = "Examples:\n  naru config                    the merged file, variables filled in\n  naru config -q                 only check\n  naru config --objects | kubectl diff -f -"
    )]
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
        /// Only the networks' names
        #[arg(long)]
        networks: bool,
        /// Only the variables that interpolation sees
        #[arg(long)]
        environment: bool,
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
        /// Write to this file
        #[arg(short, long, value_name = "FILE")]
        output: Option<PathBuf>,
        /// Only these services; all unless given
        #[arg(value_name = "SERVICES")]
        only: Vec<String>,
    },
    /// Images of the project's containers
    #[command(after_help = "Example:\n  naru images --format json")]
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
    #[command(after_help = "Examples:\n  naru pull\n  naru pull --policy missing web")]
    Pull {
        #[command(flatten)]
        project: ProjectOptions,
        /// Also those of the services that the named ones depend on
        #[arg(long)]
        include_deps: bool,
        /// Not those that can be built
        #[arg(long)]
        ignore_buildable: bool,
        /// When to pull
        #[arg(long, value_parser = ["always", "missing"])]
        policy: Option<String>,
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
    #[command(
        after_help = "Examples:\n  naru build\n  naru build --no-cache --build-arg VERSION=2 web\n  NARU_BUILDER=buildah naru build   with this builder, whatever else is there"
    )]
    Build {
        #[command(flatten)]
        project: ProjectOptions,
        /// Without the builder's output
        #[arg(short, long)]
        quiet: bool,
        /// Send the images to their registries
        #[arg(long)]
        push: bool,
        /// Also the services that the named ones depend on
        #[arg(long)]
        with_dependencies: bool,
        /// Keys of an SSH agent for the build, as default or ID=PATH
        #[arg(long, value_name = "SSH")]
        ssh: Vec<String>,
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
    #[command(after_help = "Example:\n  naru port web 80")]
    Port {
        #[command(flatten)]
        project: ProjectOptions,
        /// Which replica; all share their ports here
        #[arg(long, hide = true)]
        index: Option<u32>,
        /// tcp or udp
        #[arg(long, default_value = "tcp", value_parser = ["tcp", "udp"])]
        protocol: String,
        /// The service
        service: String,
        /// The port in the container
        private_port: u16,
    },
    /// Processes of the containers
    #[command(after_help = "Example:\n  naru top web")]
    Top {
        #[command(flatten)]
        project: ProjectOptions,
        #[command(flatten)]
        services: Services,
    },
    /// What the containers use
    #[command(
        after_help = "Examples:\n  naru stats                     live; Ctrl-C ends\n  naru stats --no-stream web"
    )]
    Stats {
        #[command(flatten)]
        project: ProjectOptions,
        /// Once, not continuously
        #[arg(long)]
        no_stream: bool,
        /// Stopped containers too
        #[arg(short, long)]
        all: bool,
        /// Nothing is cut here; for scripts
        #[arg(long, hide = true)]
        no_trunc: bool,
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
        #[command(flatten)]
        services: Services,
    },
    /// Copy files between a container and this machine
    #[command(
        after_help = "Examples:\n  naru cp web:/etc/nginx.conf .\n  naru cp ./page.html web:/srv/\n  naru cp web:/srv - | tar -t    as a tar stream"
    )]
    Cp {
        #[command(flatten)]
        project: ProjectOptions,
        /// Owners and times are always kept inside a container; for scripts
        #[arg(short, long, hide = true)]
        archive: bool,
        /// Copy what a symbolic link here points to
        #[arg(short = 'L', long)]
        follow_link: bool,
        /// Which replica
        #[arg(long, default_value_t = 1)]
        index: u32,
        /// SERVICE:PATH, a path here, or - for a tar stream
        source: String,
        /// SERVICE:PATH, a path here, or - for a tar stream
        target: String,
    },
    /// Wait until containers end
    #[command(after_help = "Example:\n  naru wait migrate && naru up -d app")]
    Wait {
        #[command(flatten)]
        project: ProjectOptions,
        /// Take the project down then
        #[arg(long)]
        down_project: bool,
        /// The services
        #[arg(required = true)]
        services: Vec<String>,
    },
    /// What happens to the project's containers
    #[command(
        after_help = "Examples:\n  naru events                    as it happens; Ctrl-C ends\n  naru events --since 1h --json  also what happened before"
    )]
    Events {
        #[command(flatten)]
        project: ProjectOptions,
        /// Also what happened since then: 10m, or 2026-01-31T12:00:00Z
        #[arg(long)]
        since: Option<String>,
        /// One JSON object a line
        #[arg(long)]
        json: bool,
        #[command(flatten)]
        services: Services,
    },
    /// Volumes of the project
    #[command(after_help = "Example:\n  naru volumes -q")]
    Volumes {
        #[command(flatten)]
        project: ProjectOptions,
        /// Only the names
        #[arg(short, long)]
        quiet: bool,
        /// Output format
        #[arg(long, default_value = "table", value_parser = ["table", "json"])]
        format: String,
    },
    /// Projects of this machine
    #[command(after_help = "Examples:\n  naru ls -a\n  naru ls --filter name=shop")]
    Ls {
        /// Only projects that fit; name=TEXT is known
        #[arg(long, value_name = "KEY=VALUE")]
        filter: Vec<String>,

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
