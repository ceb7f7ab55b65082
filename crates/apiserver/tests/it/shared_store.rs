//! Several servers over one etcd: whoever is asked answers with the newest, watches are whole and in order, and a server
//! that dies takes nothing with it that was acknowledged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::BytesMut;
use http_body_util::BodyExt;
use naru_apiserver::{ApiServer, Config, Listeners, Settings, StoreCodec};
use naru_client::{Body, HttpTransport};
use naru_identity::{Authority, Sealer, TokenSigner};
use naru_store::{EtcdConfig, Options, Store};
use naru_testkit::{Etcd, EtcdSetup};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use crate::support::{Caller, MAPS, NoNodes, PATIENCE, config_map, within};

const ETCD: &str = "NARU_TEST_ETCD";
const FOLDER: &str = "NARU_TEST_FOLDER";

/// A server in a process of its own. Its folder has what all servers of a cluster share, and its socket.
struct Server {
    process: Option<Child>,
    folder: PathBuf,
    etcd: String,
}

impl Server {
    async fn start(etcd: &Etcd, folder: &Path) -> Server {
        std::fs::create_dir_all(folder.join("pki")).expect("a folder");
        let mut server = Server { process: None, folder: folder.to_owned(), etcd: etcd.endpoints().join(",") };
        server.revive().await;
        server
    }

    async fn revive(&mut self) {
        // It ends with the test that started it.
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(std::env::current_exe().expect("own path"));
        command.args(["shared_store::a_server_of_its_own", "--exact"]).env(ETCD, &self.etcd).env(FOLDER, &self.folder);
        let process = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        self.process = Some(process.expect("a process"));
        let caller = self.caller();
        let deadline = tokio::time::Instant::now() + PATIENCE;
        while !answers(&caller).await {
            assert!(tokio::time::Instant::now() < deadline, "the server does not come up");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    fn kill(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }

    fn caller(&self) -> Caller {
        Caller { transport: Arc::new(HttpTransport::unix(self.folder.join("naru.sock"))), headers: vec![] }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}

async fn answers(caller: &Caller) -> bool {
    let request = caller.request(http::Method::GET, "/readyz", naru_client::empty_body());
    matches!(caller.transport.call(request).await, Ok(answer) if answer.status() == 200)
}

/// Not a test of its own: what [`Server`] starts.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_of_its_own() {
    let (Some(etcd), Some(folder)) = (std::env::var_os(ETCD), std::env::var_os(FOLDER)) else { return };
    let folder = PathBuf::from(folder);
    // One cluster, so one authority and one key for what is sealed.
    let pki = folder.parent().expect("servers side by side").join("pki");
    let sealer = Arc::new(Sealer::open_or_create(&pki.join("seal.key")).expect("a sealer"));
    let endpoints = etcd.into_string().expect("text").split(',').map(str::to_owned).collect();
    let connection = naru_etcd::Config { endpoints, ..Default::default() };
    let config = EtcdConfig { connection, prefix: "/naru".into() };
    let options = Options::etcd(config, Arc::new(StoreCodec::new(sealer.clone())));
    let config = Config {
        store: Store::open(options).await.expect("a store"),
        registry: naru_api::Registry::builtin(),
        authority: Arc::new(Authority::open_or_create(&pki).expect("an authority")),
        tokens: Arc::new(TokenSigner::open_or_create(&pki.join("sa.key")).expect("a signer")),
        sealer,
        dialer: Arc::new(NoNodes),
        settings: Settings::default(),
    };
    let server = ApiServer::new(config).await.expect("a server");
    let listeners = Listeners { tls: None, names: vec![], unix: Some(folder.join("naru.sock")) };
    let bound = server.bind(&listeners).await.expect("listeners");
    bound.serve(CancellationToken::new()).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_asked_answers_with_the_newest() {
    let Some(etcd) = Etcd::start(1, EtcdSetup::default()) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let one = Server::start(&etcd, &dir.path().join("one")).await;
    let two = Server::start(&etcd, &dir.path().join("two")).await;
    let callers = [one.caller(), two.caller()];
    callers[0].post(MAPS, &config_map("a", &[("n", "0")])).await.expect(201);
    for round in 1..60 {
        let (writer, reader) = (&callers[round % 2], &callers[(round + 1) % 2]);
        let written =
            writer.put(&format!("{MAPS}/a"), &config_map("a", &[("n", &round.to_string())])).await.expect(200);
        let read = reader.get(&format!("{MAPS}/a")).await.expect(200);
        assert_eq!(read, written);
        let list = reader.get(MAPS).await.expect(200);
        let found = list["items"].as_array().expect("items").iter().find(|item| item["metadata"]["name"] == "a");
        assert_eq!(found.map(|item| &item["data"]["n"]), Some(&Value::from(round.to_string())));
        // An update on the state of before meets a conflict, wherever it is sent.
        if round == 30 {
            let mut stale = written.clone();
            stale["metadata"]["resourceVersion"] = "1".into();
            reader.put(&format!("{MAPS}/a"), &stale).await.refused(409);
        }
    }
}

/// Writes one object through whoever answers; the last value that was acknowledged.
async fn writer(callers: [Caller; 2], name: String, stop: Arc<AtomicBool>, steps: Arc<AtomicU64>) -> u64 {
    let path = format!("{MAPS}/{name}");
    let (mut acknowledged, mut at) = (0, 0);
    for value in 1.. {
        if stop.load(Ordering::Relaxed) {
            break;
        }
        let body = config_map(&name, &[("n", &value.to_string())]);
        loop {
            let caller = &callers[at % 2];
            let request = caller.request(http::Method::PUT, &path, naru_client::full_body(body.to_string()));
            match tokio::time::timeout(PATIENCE, caller.transport.call(request)).await {
                Ok(Ok(answer)) if answer.status() == 200 => {
                    acknowledged = value;
                    steps.fetch_add(1, Ordering::Relaxed);
                    break;
                }
                // Gone, or it does not know: asked again elsewhere, which may find it done.
                _ => at += 1,
            }
        }
    }
    acknowledged
}

/// Follows all objects through whoever answers, from where the last watch ended, until one has this version.
struct Follower {
    callers: [Caller; 2],
    version: u64,
    /// Every value of every object that was told, in order.
    told: BTreeMap<String, Vec<u64>>,
}

impl Follower {
    async fn until(mut self, last: impl Fn() -> Option<u64>) -> Follower {
        for at in 0.. {
            let path = format!("{MAPS}?watch=1&resourceVersion={}", self.version);
            let caller = self.callers[at % 2].clone();
            let request = caller.request(http::Method::GET, &path, naru_client::empty_body());
            let Ok(Ok(answer)) = tokio::time::timeout(PATIENCE, caller.transport.call(request)).await else { continue };
            if answer.status() == 200 && self.follow(answer.into_body(), &last).await {
                break;
            }
        }
        self
    }

    /// Whether everything was told.
    async fn follow(&mut self, mut body: Body, last: &impl Fn() -> Option<u64>) -> bool {
        let mut read = BytesMut::new();
        loop {
            while let Some(at) = read.iter().position(|byte| *byte == b'\n') {
                let event: Value = serde_json::from_slice(&read.split_to(at + 1)).expect("JSON");
                let metadata = &event["object"]["metadata"];
                let version = metadata["resourceVersion"].as_str().and_then(|text| text.parse().ok());
                let version: u64 = version.unwrap_or_else(|| panic!("no version: {event}"));
                assert!(version > self.version, "{version} was told after {}", self.version);
                self.version = version;
                let name = metadata["name"].as_str().unwrap_or_default().to_owned();
                let value: Option<u64> = event["object"]["data"]["n"].as_str().and_then(|text| text.parse().ok());
                self.told.entry(name).or_default().extend(value);
            }
            if last().is_some_and(|last| self.version >= last) {
                return true;
            }
            match tokio::time::timeout(Duration::from_millis(200), body.frame()).await {
                Ok(Some(Ok(frame))) => read.extend_from_slice(&frame.into_data().unwrap_or_default()),
                Ok(_) => return false,
                Err(_) => {}
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn servers_die_in_turn_and_nothing_acknowledged_is_lost_or_told_twice() {
    let Some(etcd) = Etcd::start(1, EtcdSetup::default()) else { return };
    let dir = tempfile::tempdir().expect("a folder");
    let mut one = Server::start(&etcd, &dir.path().join("one")).await;
    let mut two = Server::start(&etcd, &dir.path().join("two")).await;
    let callers = [one.caller(), two.caller()];
    let names: Vec<String> = (0..4).map(|n| format!("w{n}")).collect();
    for name in &names {
        callers[0].post(MAPS, &config_map(name, &[("n", "0")])).await.expect(201);
    }
    let list = callers[1].get(MAPS).await.expect(200);
    let version: u64 = list["metadata"]["resourceVersion"].as_str().expect("a version").parse().expect("a number");
    let (stop, last) = (Arc::new(AtomicBool::new(false)), Arc::new(parking_lot::Mutex::new(None)));
    let followers: Vec<_> = [[0, 1], [1, 0]]
        .map(|order| {
            let callers = order.map(|at| callers[at].clone());
            let last = last.clone();
            let follower = Follower { callers, version, told: BTreeMap::new() };
            tokio::spawn(follower.until(move || *last.lock()))
        })
        .into();
    let steps = Arc::new(AtomicU64::new(0));
    let write = |name: &String| tokio::spawn(writer(callers.clone(), name.clone(), stop.clone(), steps.clone()));
    let writers: Vec<_> = names.iter().map(write).collect();
    let goes_on = async || {
        let before = steps.load(Ordering::Relaxed);
        while steps.load(Ordering::Relaxed) < before + 50 {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    for server in [&mut one, &mut two] {
        within(goes_on()).await;
        server.kill();
        within(goes_on()).await;
        server.revive().await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut acknowledged = BTreeMap::new();
    for (name, writer) in names.iter().zip(writers) {
        acknowledged.insert(name.clone(), writer.await.expect("a writer"));
    }
    let end = callers[0].get(MAPS).await.expect(200);
    let items = end["items"].as_array().expect("items").iter();
    let mut newest = 0;
    for item in items {
        let version: u64 = item["metadata"]["resourceVersion"].as_str().expect("a version").parse().expect("a number");
        newest = newest.max(version);
        let Some(known) = item["metadata"]["name"].as_str().and_then(|name| acknowledged.get(name)) else { continue };
        let value: u64 = item["data"]["n"].as_str().expect("a value").parse().expect("a number");
        assert!(value >= *known && *known > 0, "{item}: {known} was acknowledged");
    }
    *last.lock() = Some(newest);
    for follower in followers {
        let follower = within(follower).await.expect("a follower");
        for (name, known) in &acknowledged {
            let told = &follower.told[name];
            // Equal steps are one that was sent again; none is left out.
            assert!(told.is_sorted(), "{name}: {told:?}");
            let mut steps = told.clone();
            steps.dedup();
            assert_eq!(steps, (1..=steps.len() as u64).collect::<Vec<_>>(), "{name}");
            assert!(steps.len() as u64 >= *known, "{name}: {known} was acknowledged");
        }
    }
}
