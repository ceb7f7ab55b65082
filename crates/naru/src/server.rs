//! `naru server`: the roles of one process, wired.
//!
//! Order matters: whoever is needed stands before who needs it, and the listeners open only when the rest can answer.
//! Ending is the other way round, and stops no container: pods have supervisors of their own, and the next server
//! finds them.

mod authentication;
mod backup;
mod components;
mod dialer;
pub(crate) mod network;
mod removal;
pub(crate) mod schedule;
pub(crate) mod settings;
pub(crate) mod state;

use std::fs;
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use naru_agent::Agent;
use naru_agent::dataplane::Dataplane;
use naru_apiserver::{ApiServer, Config, Listeners, Settings, StoreCodec, User};
use naru_client::Client;
use naru_identity::{Authority, Sealer, TokenSigner};
use naru_network::model::NodeConfig;
use naru_runtime::image::Images;
use naru_runtime::pod::Pods;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Place, ServerOptions};

pub(crate) use removal::remove_everything;

/// Pods that a node takes: kubelet's default.
pub(crate) const MAX_PODS: u32 = 110;

/// Runs the server until it is told to end.
pub(crate) async fn run(place: Place, mut options: ServerOptions) -> anyhow::Result<ExitCode> {
    log(&options.log, &options.log_format)?;
    if !rustix::process::geteuid().is_root() {
        bail!("`naru server` runs containers, which needs root: run `sudo naru server`, or `sudo naru install` once");
    }
    if crate::cluster::Membership::exists(&place) {
        bail!(
            "this machine is a worker of a cluster ({}): `naru agent` runs it, `sudo naru leave` ends that",
            place.state_dir.display()
        );
    }
    let begun = std::time::Instant::now();
    crate::upgrade::collect_children();
    folders(&place)?;
    if crate::backup::restore::finish(&place.state_dir).context("a restored backup cannot be put in place")?.is_some() {
        tracing::info!("a restored backup was put in place");
    }
    let schedule = schedule::Schedule::of(&options.backup)?;
    let eviction = options.eviction.settings()?;
    let audit = options.audit.open()?;
    let before = settings::read(&place);
    settings::complete(&mut options, before.as_ref());
    let plan = network::plan(&options)?;
    let node_name = options.node_name.clone().map_or_else(host_name, Ok)?;
    let pki = place.state_dir.join("pki");
    let authority =
        Arc::new(Authority::open_or_create(&pki).context("the cluster's certificate authority is unusable")?);
    let tokens = Arc::new(TokenSigner::open_or_create(&pki.join("tokens.key"))?);
    let sealer = Arc::new(Sealer::open_or_create(&pki.join("seal.key"))?);
    let codec = Arc::new(StoreCodec::new(sealer.clone()));
    let state = state::open(&place, &options.etcd, codec).await?;
    let store = state.store.clone();
    let between = settings::between(&options.between, before.as_ref());
    let noted = naru_backup::ServerSettings {
        network: Some(serde_json::to_string(&between)?),
        node_name: node_name.clone(),
        pod_network: options.pod_network.to_string(),
        service_network: options.service_network.to_string(),
        restored: before.and_then(|before| before.restored),
    };
    settings::write(&place, &noted)?;
    let addresses = network::addresses(&plan);
    let dialer = Arc::new(dialer::LocalDialer::new(&node_name));
    let registry = naru_api::Registry::builtin();
    let settings = Settings {
        service_network: options.service_network,
        advertise: addresses.first().map(|address| (*address, options.listen.port()).into()),
        pod_network: options.pod_network,
        node_loss_toleration: options.pod_eviction,
        node_certificate: options.node_certificate,
        authentication: authentication::read(&options.oidc)?,
        restored: noted.restored.map(|restored| (restored.taken, restored.at)),
        returning: noted.restored.map_or(jiff::SignedDuration::ZERO, |restored| {
            jiff::SignedDuration::from_secs(i64::try_from(restored.returning).unwrap_or(i64::MAX))
        }),
        build: crate::provenance::BUILD,
        ..Settings::default()
    };
    let names = certificate_names(&options, &settings, &plan, &node_name);
    let server = ApiServer::new(Config {
        store: store.clone(),
        registry,
        authority: authority.clone(),
        tokens,
        sealer,
        dialer: dialer.clone(),
        settings,
    })
    .await?;
    server.has_node(&node_name);
    if let Some(log) = &audit {
        server.has_audit(log.clone());
    }
    let backups = backup::Backups { store: store.clone(), pki, settings: noted };
    server.has_backups(Arc::new(backups.clone()));
    let shutdown = CancellationToken::new();
    let listeners = Listeners { tls: Some(options.listen), names, unix: Some(place.socket()) };
    let bound = server.bind(&listeners).await?;
    share_socket(&place.socket());
    // `naru kubeconfig` reads it.
    fs::write(place.run_dir.join("listen"), options.listen.to_string()).context("cannot write to the run folder")?;
    let client = |user: &str| Client::new(server.transport(User::master(user)));
    let controllers = {
        let volumes = place.state_dir.join("volumes");
        let controllers = naru_controllers::Options {
            authority: authority.certificate().to_owned(),
            volumes: volumes.display().to_string(),
            node_gone: options.node_grace,
            presence: Some(server.presence()),
            kinds: server.kinds(),
            pod_network: options.pod_network,
            rebalance: options.rebalance,
            ..Default::default()
        };
        naru_controllers::start(client("system:controllers"), controllers, shutdown.clone()).await
    };
    server.has_components(Arc::new(components::Parts(controllers.pulse())));
    let images = Images::open(place.state_dir.join("images")).await.context("the image store cannot be opened")?;
    let dataplane = Dataplane::start(
        &client("system:network"),
        naru_agent::dataplane::DataplaneConfig {
            cluster: Some(between),
            ..network::dataplane_config(&place, plan.clone(), &node_name, addresses.first().copied())?
        },
    )
    .context("the pod network cannot be set up")?;
    // `naru uninstall` reads it.
    fs::write(network::subnet_file(&place), plan.pod_subnet.to_string()).context("cannot write to the state folder")?;
    // Before the first pod can be made anew: what belongs to none that is known on disk was left by a crash.
    dataplane.retain(&known_pods(&place)).await;
    let pods = Pods::open(network::pods_config(&place)?).context("the container runtime cannot start")?;
    let program = crate::upgrade::Replaceable::new(&place, &pods)?;
    let agent = Agent::start(naru_agent::Config {
        node_name: node_name.clone(),
        addresses: network::follow_addresses({
            let plan = plan.clone();
            move || network::addresses(&plan)
        }),
        state_dir: place.state_dir.clone(),
        run_dir: place.run_dir.clone(),
        client: client(&format!("system:node:{node_name}")),
        images,
        runtime: Arc::new(pods),
        network: dataplane.clone(),
        dns: naru_agent::Dns { server: plan.dns.into(), ..naru_agent::Dns::default() },
        labels: [("naru.io/role", "manager"), ("node-role.kubernetes.io/control-plane", "")]
            .map(|(key, value)| (key.to_owned(), value.to_owned()))
            .into(),
        max_pods: MAX_PODS,
        eviction,
        pod_cidr: Some(plan.pod_subnet.to_string()),
    });
    let agent = Arc::new(agent.await.context("the node cannot start")?);
    agent.has_program(Arc::new(program.clone()));
    dialer.connect(agent.clone());
    // The listeners were opened early, so that a taken port is found before anything is touched; they answer only now,
    // when every part behind them does.
    let serving = tokio::spawn(bound.serve(shutdown.clone()));
    tracing::info!(
        node = node_name,
        listen = %options.listen,
        socket = %place.socket().display(),
        milliseconds = begun.elapsed().as_millis() as u64,
        "ready"
    );
    program.settle(client("system:upgrade"), node_name);
    match schedule {
        Some(schedule) => tokio::spawn(schedule.run(backups, client("system:backup"), shutdown.clone())),
        None => tokio::spawn(schedule::forget(client("system:backup"))),
    };
    tokio::select! {
        ended = until_told_to_end() => ended?,
        () = program.replaced() => {}
    }
    tracing::info!("ending; containers go on");
    shutdown.cancel();
    drop((controllers, agent, dataplane));
    let _ = tokio::time::timeout(std::time::Duration::from_secs(1), serving).await;
    if let Some(log) = audit {
        log.close();
    }
    store.close().await;
    let _ = fs::remove_file(place.socket());
    if program.is_replaced() {
        return Err(program.execute());
    }
    Ok(ExitCode::SUCCESS)
}

pub(crate) fn log(filter: &str, format: &str) -> anyhow::Result<()> {
    use std::io::IsTerminal;
    let filter = tracing_subscriber::EnvFilter::try_new(filter).with_context(|| {
        format!("--log: {filter:?} is not a filter: expected a level such as info, or naru_agent=debug")
    })?;
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        // On a full disk the log cannot be written, and saying so there would be a panic.
        .log_internal_errors(false)
        .with_ansi(std::io::stderr().is_terminal());
    let result = if format == "json" { builder.json().try_init() } else { builder.try_init() };
    result.map_err(|error| anyhow::anyhow!("cannot set up the log: {error}"))
}

/// Makes the folders. The state is root's alone, also where it exists already: volumes hold other people's data and
/// programs with set-uid bits, which no user of the machine may reach (as CVE-2021-41091 was in another engine). The run
/// folder may be passed through to the socket.
pub(crate) fn folders(place: &Place) -> anyhow::Result<()> {
    // Whatever mask this was started with: containers' users must be able to read what is made for them.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o022));
    for (path, mode) in [(&place.state_dir, 0o700), (&place.run_dir, 0o755)] {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(mode)
            .create(path)
            .with_context(|| format!("cannot make {}", path.display()))?;
        fs::set_permissions(path, fs::Permissions::from_mode(mode))
            .with_context(|| format!("cannot close {} to others", path.display()))?;
    }
    Ok(())
}

/// Members of the group `naru` may speak to the server. Without the group, root alone may.
pub(crate) fn share_socket(path: &Path) {
    let group = fs::read_to_string("/etc/group").unwrap_or_default();
    let id = group.lines().find_map(|line| line.strip_prefix("naru:")?.split(':').nth(1)?.parse::<u32>().ok());
    let mode = if id.is_some() { 0o660 } else { 0o600 };
    if let Err(error) = std::os::unix::fs::chown(path, Some(0), Some(id.unwrap_or(0)))
        .and_then(|()| fs::set_permissions(path, fs::Permissions::from_mode(mode)))
    {
        tracing::warn!(%error, "cannot share the socket with the group naru");
    }
}

/// The pods that this machine knows of, dead or alive.
pub(crate) fn known_pods(place: &Place) -> std::collections::BTreeSet<String> {
    let entries = fs::read_dir(place.state_dir.join("pods")).into_iter().flatten().flatten();
    entries.filter_map(|entry| entry.file_name().into_string().ok()).collect()
}

pub(crate) fn host_name() -> anyhow::Result<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().to_lowercase();
    let name: String =
        name.chars().map(|c| if c.is_ascii_alphanumeric() || "-.".contains(c) { c } else { '-' }).collect();
    let name = name.trim_matches(['-', '.']).to_owned();
    if name.is_empty() { bail!("the host has no usable name: give one with --node-name") } else { Ok(name) }
}

fn certificate_names(options: &ServerOptions, settings: &Settings, plan: &NodeConfig, node_name: &str) -> Vec<String> {
    let mut names: Vec<String> = [
        "localhost",
        "127.0.0.1",
        "::1",
        "kubernetes",
        "kubernetes.default",
        "kubernetes.default.svc",
        "kubernetes.default.svc.cluster.local",
    ]
    .map(str::to_owned)
    .to_vec();
    names.push(node_name.to_owned());
    names.push(settings.kubernetes_address().to_string());
    names.extend(network::addresses(plan).iter().map(ToString::to_string));
    names.extend(options.names.iter().cloned());
    if !options.listen.ip().is_unspecified() {
        names.push(options.listen.ip().to_string());
    }
    names.sort();
    names.dedup();
    names
}

pub(crate) async fn until_told_to_end() -> anyhow::Result<()> {
    let mut terminate = signal(SignalKind::terminate()).context("cannot follow signals")?;
    let mut interrupt = signal(SignalKind::interrupt()).context("cannot follow signals")?;
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    Ok(())
}
