//! The store in a real etcd passes the suite, and keeps its promises while members and servers die.

mod suite;

use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use naru_store::{CommitError, EtcdConfig, History, ImportError, OpenError, Options, Prefix, Store, StoreError, Txn};
use naru_testkit::{Etcd, EtcdSetup};
use suite::*;

/// The suite needs transactions larger than etcd's default.
const ROOMY: EtcdSetup = EtcdSetup { roomy: true, certificates: None };

/// Where a test keeps its store.
fn config(etcd: &Etcd) -> EtcdConfig {
    let mut connection = naru_etcd::Config { endpoints: etcd.endpoints(), ..Default::default() };
    if let Some(files) = etcd.certificates() {
        let [authority, certificate, key] = files.map(|path| Some(path.to_owned()));
        connection.tls = naru_etcd::Tls { authority, certificate, key, server_name: None };
    }
    EtcdConfig { connection, prefix: "/naru".into() }
}

fn config_as(etcd: &Etcd, user: &str, password: &str) -> EtcdConfig {
    let mut config = config(etcd);
    config.connection.credentials = Some(naru_etcd::Credentials { user: user.into(), password: password.into() });
    config
}

/// A server's store in this etcd.
async fn open(etcd: &Etcd, history: History) -> Store {
    Store::open(Options { history, ..Options::etcd(config(etcd), codec()) }).await.unwrap()
}

/// An etcd of its own with a store in it.
async fn alone(history: History) -> Option<(Etcd, Store)> {
    let etcd = Etcd::start(1, ROOMY)?;
    let store = open(&etcd, history).await;
    Some((etcd, store))
}

conformance!(alone);

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_reopened_store_has_everything_and_goes_on_counting() {
    let Some(mut etcd) = Etcd::start(1, ROOMY) else { return };
    let store = open(&etcd, History::default()).await;
    let cluster = store.cluster();
    let created = put(&store, "a", "red:1").await;
    let modified = put(&store, "a", "red:2").await;
    put(&store, "b", "v").await;
    let last = delete(&store, "b").await;
    store.close().await;
    etcd.kill(0);
    etcd.revive(0);
    let store = open(&etcd, History::default()).await;
    assert_eq!(store.cluster(), cluster);
    let snapshot = store.snapshot();
    assert!(snapshot.revision() >= last);
    let entry = snapshot.get(&key("a")).unwrap();
    assert_eq!((entry.created, entry.modified, text(entry)), (created, modified, &*format!("red:2@{modified}")));
    assert_eq!(snapshot.by_index(FIRST_WORD, "red").count(), 1);
    assert!(store.watch(Prefix::all(), created).is_err(), "what was before the start is not known");
    assert!(put(&store, "c", "v").await > last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_servers_read_what_the_other_has_written_and_watch_the_same() {
    let Some(etcd) = Etcd::start(1, ROOMY) else { return };
    let (one, two) = (open(&etcd, History::default()).await, open(&etcd, History::default()).await);
    let start = one.snapshot().revision();
    for round in 0..100 {
        let (writer, reader) = if round % 2 == 0 { (&one, &two) } else { (&two, &one) };
        let revision = put(writer, "a", &round.to_string()).await;
        let seen = reader.confirm().await.unwrap();
        assert_eq!(text(seen.get(&key("a")).unwrap()), format!("{round}@{revision}"));
    }
    let last = one.confirm().await.unwrap().revision();
    let story = until(&mut one.watch(Prefix::all(), start).unwrap(), last).await;
    assert_eq!(story.len(), 100);
    assert_eq!(until(&mut two.watch(Prefix::all(), start).unwrap(), last).await, story);
}

/// Counts up through a store until told to stop: how often it was done, and how often nobody knows.
fn counting(store: &Store, stop: &Arc<AtomicBool>) -> tokio::task::JoinHandle<(u64, u64)> {
    let (store, stop) = (store.clone(), stop.clone());
    tokio::spawn(async move {
        let (mut done, mut unknown) = (0, 0);
        while !stop.load(Ordering::Relaxed) {
            let add = |txn: &mut Txn<'_>| {
                let old = txn.get(&key("n")).map_or(0, |e| text(&e).split('@').next().unwrap().parse().unwrap());
                txn.put(key("n"), (old + 1u64).to_string());
                Ok::<_, ()>(())
            };
            match store.commit(add).await {
                Ok(_) => done += 1,
                Err(CommitError::Store(StoreError::Unknown { .. })) => unknown += 1,
                Err(CommitError::Store(StoreError::Unavailable { .. })) => {}
                Err(error) => panic!("{error:?}"),
            }
        }
        (done, unknown)
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_die_one_after_the_other_and_nothing_acknowledged_is_lost() {
    let Some(mut etcd) = Etcd::start(3, ROOMY) else { return };
    let (one, two) = (open(&etcd, History::default()).await, open(&etcd, History::default()).await);
    let start = one.snapshot().revision();
    let mut watch = two.watch(Prefix::all(), start).unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let counters = [counting(&one, &stop), counting(&two, &stop)];
    for member in 0..3 {
        etcd.kill(member);
        // Until writing goes on without it.
        for store in [&one, &two] {
            let before = store.snapshot().revision();
            let deadline = tokio::time::Instant::now() + Duration::from_secs(40);
            while store.snapshot().revision().0 < before.0 + 20 {
                assert!(tokio::time::Instant::now() < deadline, "nothing goes on without member {member}");
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        etcd.revive(member);
        let (before, deadline) = (one.snapshot().revision(), tokio::time::Instant::now() + Duration::from_secs(40));
        while one.snapshot().revision().0 < before.0 + 20 {
            assert!(tokio::time::Instant::now() < deadline, "nothing goes on with member {member} again");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let (mut done, mut unknown) = (0, 0);
    for counter in counters {
        let (more, doubtful) = counter.await.unwrap();
        (done, unknown) = (done + more, unknown + doubtful);
    }
    let end = one.confirm().await.unwrap();
    two.confirm().await.unwrap();
    let sum: u64 = text(end.get(&key("n")).unwrap()).split('@').next().unwrap().parse().unwrap();
    assert!(sum >= done && sum <= done + unknown, "{done} done, {unknown} unknown, {sum} there");
    let story = until(&mut watch, end.revision()).await;
    let values: Vec<u64> = story.iter().map(|(.., text)| text.split('@').next().unwrap().parse().unwrap()).collect();
    assert_eq!(values, (1..=sum).collect::<Vec<_>>(), "every step was told once, in order");
}

/// Not a test of its own: the server that [`a_killed_server_loses_nothing_acknowledged`] kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn server_to_be_killed() {
    let Some(endpoint) = std::env::var_os("NARU_STORE_ETCD") else { return };
    let connection = naru_etcd::Config { endpoints: vec![endpoint.into_string().unwrap()], ..Default::default() };
    let config = EtcdConfig { connection, prefix: "/naru".into() };
    let store = Store::open(Options::etcd(config, codec())).await.unwrap();
    write_without_end(store).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_killed_server_loses_nothing_acknowledged() {
    let Some(etcd) = Etcd::start(1, ROOMY) else { return };
    let other = open(&etcd, History::default()).await;
    let mut watch = other.watch(Prefix::all(), other.snapshot().revision()).unwrap();
    let acknowledged = said_by_a_killed_process("server_to_be_killed", "NARU_STORE_ETCD", &etcd.endpoints()[0]);
    let end = other.confirm().await.unwrap();
    let story = until(&mut watch, end.revision()).await;
    assert!(story.is_sorted_by_key(|(revision, ..)| *revision));
    for (name, value, revision) in acknowledged {
        let told = (revision, name.clone(), format!("{value}@{revision}"));
        assert!(story.contains(&told), "{told:?} was acknowledged and never told");
        assert!(end.get(&key(&name)).unwrap().modified >= revision);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reads_and_writes_wait_for_an_etcd_that_restarts() {
    let Some(mut etcd) = Etcd::start(1, ROOMY) else { return };
    let store = open(&etcd, History::default()).await;
    put(&store, "a", "1").await;
    etcd.kill(0);
    assert_eq!(store.snapshot().count(&Prefix::all()), 1, "what is known is read without it");
    let (reading, writing) = (store.clone(), store.clone());
    let read = tokio::spawn(async move { reading.confirm().await.map(drop) });
    let write = tokio::spawn(async move { put(&writing, "b", "2").await });
    etcd.revive(0);
    read.await.unwrap().unwrap();
    let revision = write.await.unwrap();
    assert_eq!(store.confirm().await.unwrap().get(&key("b")).unwrap().modified, revision);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_the_embedded_engine_becomes_a_store_in_etcd_and_back() {
    let Some(etcd) = Etcd::start(1, EtcdSetup::default()) else { return };
    let dir = tempfile::TempDir::new().unwrap();
    let embedded = Store::open(Options::embedded(dir.path().join("old"), codec())).await.unwrap();
    for n in 0..700 {
        put(&embedded, &format!("n{n:03}"), &format!("red:{n:02000}")).await;
    }
    let last = put(&embedded, "large", &"x".repeat(1_400_000)).await;
    let plain = |store: &Store| -> Vec<(String, String)> {
        let value = |entry: &naru_store::Entry| text(entry).rsplit_once('@').unwrap().0.to_owned();
        store.snapshot().range(&Prefix::all()).map(|e| (e.key.as_str().to_owned(), value(e))).collect()
    };
    let export = |store: &Store| {
        let mut bytes = Vec::new();
        store.export(&mut bytes).unwrap();
        bytes
    };
    let bytes = export(&embedded);
    // One that is cut off leaves nothing that opens.
    let cut = Store::import_into(&config(&etcd), &bytes[..bytes.len() - 50], None).await;
    assert!(matches!(cut, Err(ImportError::Damaged { .. })), "{cut:?}");
    let half = Store::open(Options::etcd(config(&etcd), codec())).await.err().expect("opened");
    assert!(matches!(half, OpenError::Foreign { .. }), "{half:?}");
    let again = Store::import_into(&config(&etcd), &bytes[..], None).await;
    assert!(matches!(again, Err(ImportError::Store(OpenError::Foreign { .. }))), "{again:?}");
    let config = EtcdConfig { prefix: "/other".into(), ..config(&etcd) };
    let imported = Store::import_into(&config, &bytes[..], None).await.unwrap();
    let store = Store::open(Options::etcd(config, codec())).await.unwrap();
    assert_eq!((store.cluster(), imported.objects), (embedded.cluster(), 701));
    assert_eq!(plain(&store), plain(&embedded));
    assert!(store.snapshot().range(&Prefix::all()).all(|entry| entry.created.0 > last.0 + naru_store::GAP));
    assert!(store.snapshot().revision() >= imported.revision);
    assert_eq!(store.snapshot().by_index(FIRST_WORD, "red").count(), 700);
    // And back, still rising.
    let issued = put(&store, "new", "v").await;
    let bytes = export(&store);
    let folder = dir.path().join("new");
    Store::import(&folder, &mut &bytes[..], None).unwrap();
    let back = Store::open(Options::embedded(&folder, codec())).await.unwrap();
    assert_eq!(plain(&back), plain(&store));
    assert!(back.snapshot().range(&Prefix::all()).all(|entry| entry.created > issued));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_etcds_own_limits_refuse_is_told_and_changes_nothing() {
    let Some(etcd) = Etcd::start(1, EtcdSetup::default()) else { return };
    let store = open(&etcd, History::default()).await;
    let before = put(&store, "a", "1").await;
    let many = |txn: &mut Txn<'_>| {
        (0..200).for_each(|i| txn.put(key(&format!("k{i}")), "v"));
        Ok::<_, ()>(())
    };
    let large = |txn: &mut Txn<'_>| {
        txn.put(key("large"), vec![b'x'; naru_store::MAX_VALUE]);
        Ok::<_, ()>(())
    };
    for refused in [store.commit(many).await.map(drop), store.commit(large).await.map(drop)] {
        let Err(CommitError::Store(StoreError::Refused { source })) = refused else { panic!("{refused:?}") };
        assert!(
            source.to_string().contains("too many operations") || source.to_string().contains("too large"),
            "{source}"
        );
    }
    let snapshot = store.confirm().await.unwrap();
    assert_eq!((snapshot.revision(), snapshot.count(&Prefix::all())), (before, 1));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_are_believed_by_their_certificates_only() {
    let dir = tempfile::TempDir::new().unwrap();
    let (ours, theirs) = (certificates(&dir.path().join("ours")), certificates(&dir.path().join("theirs")));
    let Some(etcd) = Etcd::start(1, EtcdSetup { roomy: false, certificates: Some(ours) }) else { return };
    put(&open(&etcd, History::default()).await, "a", "1").await;
    let mut wrong = config(&etcd);
    let [authority, certificate, key] = theirs.map(Some);
    wrong.connection.tls = naru_etcd::Tls { authority, certificate, key, server_name: None };
    let error = Store::open(Options::etcd(wrong, codec())).await.err().expect("opened");
    assert!(matches!(&error, OpenError::Etcd { .. }), "{error:?}");
    let mut anonymous = config(&etcd);
    (anonymous.connection.tls.certificate, anonymous.connection.tls.key) = (None, None);
    assert!(Store::open(Options::etcd(anonymous, codec())).await.is_err());
}

/// An authority with one certificate of it, for both sides: their files, and the key's.
fn certificates(dir: &std::path::Path) -> [std::path::PathBuf; 3] {
    use rcgen::{BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair};
    std::fs::create_dir(dir).unwrap();
    let authority_key = KeyPair::generate().unwrap();
    let mut authority = CertificateParams::default();
    authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let own = authority.self_signed(&authority_key).unwrap();
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    let certificate = params.signed_by(&key, &Issuer::new(authority, authority_key)).unwrap();
    let write = |name: &str, text: String| {
        std::fs::write(dir.join(name), text).unwrap();
        dir.join(name)
    };
    [write("ca.pem", own.pem()), write("cert.pem", certificate.pem()), write("key.pem", key.serialize_pem())]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn users_need_their_password_and_a_role_for_the_prefix() {
    let Some(control) = Etcd::program("etcdctl") else { return };
    let Some(etcd) = Etcd::start(1, EtcdSetup::default()) else { return };
    let run = |words: &str| {
        let mut command = Command::new(&control);
        command.env("ETCDCTL_API", "3").args(["--endpoints", &etcd.endpoints()[0]]).args(words.split(' '));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{words}: {output:?}");
    };
    for words in [
        "user add root:hush",
        "user grant-role root root",
        "role add naru",
        "role grant-permission naru --prefix=true readwrite /naru/",
        "user add naru:secret",
        "user grant-role naru naru",
        "user add stranger:secret",
        "auth enable",
    ] {
        run(words);
    }
    let store = Store::open(Options::etcd(config_as(&etcd, "naru", "secret"), codec())).await.unwrap();
    let revision = put(&store, "a", "1").await;
    assert_eq!(store.confirm().await.unwrap().revision(), revision);
    for config in [config(&etcd), config_as(&etcd, "naru", "wrong"), config_as(&etcd, "stranger", "secret")] {
        let error = Store::open(Options::etcd(config, codec())).await.err().expect("opened");
        let OpenError::Etcd { source } = &error else { panic!("{error:?}") };
        assert!(!source.is_ambiguous(), "{source}");
        assert!(!source.to_string().contains("wrong"), "{source}");
    }
}
