//! Keys of what is sealed are replaced while everything goes on, and a crash in between loses nothing.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use http::Method;
use naru_apiserver::{ApiServer, Config, StoreCodec, User};
use naru_identity::{Authority, Sealer, TokenSigner};
use naru_store::{Options, Store};
use serde_json::{Value, json};

use crate::support::{Caller, MAPS, NoNodes, World, config_map, settings, within};

const KEYS: &str = "/naru/v1/secrets";
const SECRETS: &str = "/api/v1/namespaces/default/secrets";

/// A server over a folder, as after each start of the program.
struct Started {
    server: ApiServer,
    store: Store,
    sealer: Arc<Sealer>,
}

impl Started {
    async fn over(dir: &Path) -> Started {
        let sealer = Arc::new(Sealer::open_or_create(&dir.join("seal.key")).expect("a sealer"));
        let codec = Arc::new(StoreCodec::new(sealer.clone()));
        let store = Store::open(Options::embedded(dir.join("store"), codec)).await.expect("the store opens");
        let config = Config {
            store: store.clone(),
            registry: naru_api::Registry::builtin(),
            authority: Arc::new(Authority::open_or_create(&dir.join("pki")).expect("an authority")),
            tokens: Arc::new(TokenSigner::open_or_create(&dir.join("sa.key")).expect("a signer")),
            sealer: sealer.clone(),
            dialer: Arc::new(NoNodes),
            settings: settings(),
        };
        Started { server: ApiServer::new(config).await.expect("a server"), store, sealer }
    }

    fn root(&self) -> Caller {
        Caller { transport: self.server.transport(User::master("root")), headers: vec![] }
    }

    async fn stop(self) {
        drop(self.server);
        self.store.close().await;
    }

    async fn act(&self, what: &str) -> Value {
        self.root().send(Method::POST, &format!("{KEYS}?do={what}"), "").await.expect(200)["sealing"].clone()
    }

    /// Waits until no value is left that an older key sealed.
    async fn until_renewed(&self) {
        within(async {
            while self.root().get(KEYS).await.expect(200)["sealing"]["stale"] != 0 {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        })
        .await;
    }
}

async fn write(root: &Caller, count: usize) {
    for at in 0..count {
        let secret = json!({"metadata": {"name": format!("s{at}")}, "stringData": {"a": format!("value {at}")}});
        root.post(SECRETS, &secret).await.expect(201);
    }
}

async fn value(root: &Caller, name: &str) -> String {
    let secret = root.get(&format!("{SECRETS}/{name}")).await.expect(200);
    secret["data"]["a"].as_str().expect("a value").to_owned()
}

#[tokio::test]
async fn after_a_rotation_everything_opens_with_the_new_key_alone() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = Started::over(dir.path()).await;
    let root = first.root();
    write(&root, 40).await;
    let map = root.post(MAPS, &config_map("plain", &[("a", "b")])).await.expect(201);
    let read = value(&root, "s7").await;
    let old = first.sealer.key_names();
    let turned = first.act("rotate").await;
    let keys = turned["keys"].as_array().expect("keys").clone();
    assert_eq!((keys.len(), &keys[0]), (2, &json!(old[0])));
    first.until_renewed().await;
    assert_eq!(root.get(&format!("{MAPS}/plain")).await.expect(200), map, "nothing else was written");
    assert_eq!(first.act("drop").await["keys"], json!([keys[1]]));
    assert_eq!(value(&root, "s7").await, read);
    drop(root);
    first.stop().await;
    let again = Started::over(dir.path()).await;
    assert_eq!(again.sealer.key_names(), [keys[1].as_str().expect("a name")]);
    assert_eq!(value(&again.root(), "s39").await, "dmFsdWUgMzk=");
    again.stop().await;
}

#[tokio::test]
async fn a_rotation_that_was_cut_off_goes_on_with_the_next_start() {
    let dir = tempfile::tempdir().expect("a folder");
    let first = Started::over(dir.path()).await;
    write(&first.root(), 5).await;
    first.stop().await;
    // The key was written, and then the power went.
    Sealer::open_or_create(&dir.path().join("seal.key")).expect("a sealer").rotate([]).expect("a key");
    let second = Started::over(dir.path()).await;
    second.until_renewed().await;
    assert_eq!(second.act("drop").await["keys"].as_array().map(Vec::len), Some(1));
    second.stop().await;
    let third = Started::over(dir.path()).await;
    assert_eq!(value(&third.root(), "s4").await, "dmFsdWUgNA==");
    third.stop().await;
}

#[tokio::test]
async fn keys_that_are_needed_are_not_taken_away_and_nobody_else_may_ask() {
    let world = World::start().await;
    world.user("kim", &[]).get(KEYS).await.refused(403);
    let root = world.root();
    root.send(Method::POST, &format!("{KEYS}?do=nothing"), "").await.refused(400);
    root.delete(KEYS).await.refused(405);
    let dir = tempfile::tempdir().expect("a folder");
    let sealer = Sealer::open_or_create(&dir.path().join("seal.key")).expect("a sealer");
    sealer.rotate(["secrets/default/a".to_owned()]).expect("a key");
    let refused = sealer.drop_old().expect_err("needed").to_string();
    assert!(refused.contains("1 values are still sealed"), "{refused}");
}
