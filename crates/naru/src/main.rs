//! Naru: containers from one Compose file to a cluster, in one program.
//!
//! This crate holds the command line, the configuration and the wiring of roles; what happens is decided elsewhere.
//! The binary is also what runs beside every pod (`naru supervisor`) and once a machine (`naru helper`): those are
//! told apart before anything else, because they must be one small process without threads.

mod backup;
mod cli;
mod cluster;
mod completion;
mod compose;
mod connect;
mod doctor;
mod image;
mod install;
mod kubeconfig;
mod output;
mod provenance;
mod secrets;
mod server;
mod upgrade;
mod worker;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::Parser;

use crate::cli::{Cli, Command};

/// The stack of a thread: documents that clients send lie in one another up to 128 deep, and reading YAML takes more of it
/// than anything else. Only what is used takes memory.
const STACK: usize = 8 << 20;

fn main() -> ExitCode {
    let arguments: Vec<OsString> = std::env::args_os().collect();
    match arguments.get(1).and_then(|word| word.to_str()) {
        Some("supervisor") => naru_runtime::supervisor_main(arguments[2..].iter().cloned()),
        Some("helper") => helper(arguments[2..].iter().map(|word| word.to_string_lossy().into_owned()).collect()),
        _ => {}
    }
    end_quietly_when_nobody_reads();
    let cli = Cli::parse();
    // Two cryptographic backends in one process make the TLS library panic: the choice is made once, here.
    let _ = rustls::crypto::ring::default_provider().install_default();
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            output::error(&error);
            ExitCode::FAILURE
        }
    }
}

/// `naru helper --group NAME …`: the helper, out of the control group of the daemon that starts it.
fn helper(arguments: Vec<String>) -> ! {
    match arguments.split_first() {
        Some((first, [group, rest @ ..])) if first == "--group" => {
            naru_runtime::outlive_daemon(group);
            naru_network::helper_main(rest.iter().cloned())
        }
        _ => naru_network::helper_main(arguments),
    }
}

/// `naru ps | head -1` closes the pipe: that is no fault, and ends this program as it ends others.
fn end_quietly_when_nobody_reads() {
    let usual = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |info| {
        let text = info.payload().downcast_ref::<String>().map(String::as_str).unwrap_or_default();
        if text.contains("failed printing to stdout") || text.contains("Broken pipe") {
            std::process::exit(0);
        }
        usual(info);
    }));
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let place = cli.place;
    output::choose(cli.ansi.as_deref(), cli.progress.as_deref());
    // The server uses every core; a command line that waits for answers needs one thread.
    let threads = matches!(cli.command, Command::Server(_) | Command::Agent(_));
    let mut runtime = match threads {
        true => tokio::runtime::Builder::new_multi_thread(),
        false => tokio::runtime::Builder::new_current_thread(),
    };
    let runtime = runtime.thread_stack_size(STACK).enable_all().build()?;
    runtime.block_on(async move {
        match cli.command {
            Command::Server(options) => server::run(place, *options).await,
            Command::Agent(options) => worker::run(place, options).await,
            Command::Token(command) => cluster::token(&place, command).await,
            Command::Join(options) => cluster::join(&place, &options).await,
            Command::Leave(options) => cluster::leave(&place, &options).await,
            Command::Node(command) => cluster::node(&place, command).await,
            Command::Backup(command) => backup::run(&place, command).await,
            Command::Secrets(command) => secrets::run(&place, command).await,
            Command::Status(options) => cluster::status(&place, &options).await,
            Command::Compose(command) => compose::run(place, cli.project, command).await,
            Command::Image(command) => image::run(place, command).await,
            Command::Kubeconfig(options) => kubeconfig::run(&place, &options).await,
            Command::Doctor(options) => doctor::run(&place, &options).await,
            Command::Install(options) => install::install(&place, &options).await,
            Command::Uninstall(options) => install::uninstall(&place, &options).await,
            Command::Upgrade(options) => upgrade::upgrade(&place, &options).await,
            Command::UpgradeWatch { detached } => upgrade::watch(&place, detached),
            Command::Version { short: true, .. } => {
                println!("{}", naru_api::version());
                Ok(ExitCode::SUCCESS)
            }
            Command::Version { format, .. } => version(&place, &format).await,
            Command::Completion { shell } => {
                print!("{}", completion::script(shell));
                Ok(ExitCode::SUCCESS)
            }
        }
    })
}

/// `naru version`: the program's, and the server's when one runs.
async fn version(place: &cli::Place, format: &str) -> anyhow::Result<ExitCode> {
    let own = naru_api::version();
    let server = match connect::connect(place) {
        Ok(client) => {
            let answer = client.json(http::Method::GET, "/version", "application/json", None).await;
            answer.ok().and_then(|version| Some(version["gitVersion"].as_str()?.to_owned()))
        }
        Err(_) => None,
    };
    if format == "json" {
        let built = provenance::BUILD;
        println!(
            "{}",
            serde_json::json!({"version": own, "server": server, "gitCommit": built.commit, "gitTreeState": built.tree,
                "buildDate": built.date, "compiler": built.compiler})
        );
    } else {
        println!("naru {own}\n{}", provenance::told());
        println!("server {}", server.as_deref().unwrap_or("(none runs)"));
    }
    Ok(ExitCode::SUCCESS)
}
