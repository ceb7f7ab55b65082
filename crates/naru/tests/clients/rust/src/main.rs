//! What programs do with kube: a function a part, chosen by the argument; each ends with `<part> done`.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use futures::{StreamExt, TryStreamExt};
use k8s_openapi::api::core::v1::{ConfigMap, Pod};
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, AttachParams, DeleteParams, ListParams, Patch, PatchParams, PostParams, WatchEvent, WatchParams};
use kube::runtime::controller::{Action, Controller};
use kube::runtime::finalizer::{Event, finalizer};
use kube::runtime::reflector::{self, ObjectRef};
use kube::runtime::wait::{await_condition, conditions};
use kube::runtime::{WatchStreamExt, watcher};
use kube::{Client, CustomResource, CustomResourceExt, Resource, ResourceExt};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

type Maps = Api<ConfigMap>;

fn map(value: Value) -> ConfigMap {
    serde_json::from_value(value).expect("a map")
}

fn refused(result: Result<ConfigMap, kube::Error>) -> Result<(u16, String)> {
    match result {
        Err(kube::Error::Api(status)) => Ok((status.code, status.reason.clone())),
        other => bail!("expected a refusal, got {other:?}"),
    }
}

/// Waits for something that comes; a minute is for hung machines.
async fn soon<T, E: std::error::Error + Send + Sync + 'static>(
    what: &str,
    comes: impl Future<Output = Result<T, E>>,
) -> Result<T> {
    let waited = tokio::time::timeout(Duration::from_secs(60), comes).await;
    Ok(waited.with_context(|| format!("not in time: {what}"))??)
}

/// Waits until a store is as wanted.
async fn until(what: &str, mut look: impl FnMut() -> bool) -> Result<()> {
    tokio::time::timeout(Duration::from_secs(60), async {
        while !look() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await
    .with_context(|| format!("not in time: {what}"))
}

async fn objects(client: Client, namespace: &str) -> Result<()> {
    let maps: Maps = Api::namespaced(client, namespace);
    let made =
        maps.create(&PostParams::default(), &map(json!({"metadata": {"name": "a"}, "data": {"k": "1"}}))).await?;
    let taken = maps.create(&PostParams::default(), &map(json!({"metadata": {"name": "a"}}))).await;
    ensure!(refused(taken)? == (409, "AlreadyExists".into()));
    let merge = maps.patch("a", &PatchParams::default(), &Patch::Merge(json!({"data": {"l": "2"}}))).await?;
    ensure!(merge.data.as_ref().is_some_and(|data| data.len() == 2));
    maps.patch("a", &PatchParams::default(), &Patch::Strategic(json!({"data": {"k": null}}))).await?;
    let apply = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}, "data": {"m": "3"}});
    let applied = maps.patch("a", &PatchParams::apply("rust").force(), &Patch::Apply(apply)).await?;
    ensure!(applied.data == map(json!({"data": {"l": "2", "m": "3"}})).data, "{applied:?}");
    ensure!(refused(maps.replace("a", &PostParams::default(), &made).await)?.0 == 409);
    let version = applied.resource_version().context("a version")?;
    let mut events = maps.watch(&WatchParams::default().timeout(60), &version).await?.boxed();
    maps.delete("a", &DeleteParams::default()).await?;
    match events.try_next().await? {
        Some(WatchEvent::Deleted(gone)) => ensure!(gone.name_any() == "a"),
        other => bail!("{other:?}"),
    }
    let metadata = maps.list_metadata(&ListParams::default().limit(10)).await?;
    ensure!(metadata.items.iter().any(|item| item.name_any() == "kube-root-ca.crt"));
    Ok(())
}

/// A store that a watcher keeps, also past the end of its watches.
async fn followed(client: Client, namespace: &str) -> Result<()> {
    for streaming in [false, true] {
        let maps: Maps = Api::namespaced(client.clone(), namespace);
        let config = watcher::Config::default().labels("app=rust").timeout(2);
        let config = if streaming { config.streaming_lists() } else { config };
        let (store, writer) = reflector::store();
        let follow = reflector::reflector(writer, watcher(maps.clone(), config)).default_backoff().touched_objects();
        let follow = tokio::spawn(async move {
            let mut follow = std::pin::pin!(follow);
            while let Some(event) = follow.next().await {
                event.expect("an event");
            }
        });
        store.wait_until_ready().await?;
        for n in 0..30 {
            let name = format!("m{n}");
            let object = map(json!({"metadata": {"name": name, "labels": {"app": "rust"}}, "data": {"n": "0"}}));
            maps.create(&PostParams::default(), &object).await?;
            maps.patch(&name, &PatchParams::default(), &Patch::Merge(json!({"data": {"n": "1"}}))).await?;
            if n % 3 == 0 {
                maps.delete(&name, &DeleteParams::default()).await?;
            }
            if n % 10 == 0 {
                tokio::time::sleep(Duration::from_millis(1100)).await;
            }
        }
        let is_true = |object: &Arc<ConfigMap>| object.data.as_ref().is_some_and(|data| data["n"] == "1");
        until("the store is as the server", || store.len() == 20 && store.state().iter().all(is_true)).await?;
        ensure!(store.get(&ObjectRef::new("m1").within(namespace)).is_some());
        follow.abort();
        maps.delete_collection(&DeleteParams::default(), &ListParams::default().labels("app=rust")).await?;
    }
    Ok(())
}

/// A kind of our own.
#[derive(CustomResource, Clone, Debug, Serialize, Deserialize, JsonSchema)]
#[kube(
    group = "rust.example.com",
    version = "v1",
    kind = "Ferris",
    plural = "ferrises",
    namespaced,
    status = "FerrisStatus"
)]
struct FerrisSpec {
    claws: u32,
    #[serde(default)]
    name: Option<String>,
}

#[derive(Clone, Debug, Default, Serialize, Deserialize, JsonSchema)]
struct FerrisStatus {
    fed: bool,
}

const FINALIZER: &str = "rust.example.com/fed";

async fn feed(
    ferris: Arc<Ferris>,
    client: Arc<Client>,
) -> Result<Action, kube::runtime::finalizer::Error<kube::Error>> {
    let namespace = ferris.namespace().unwrap_or_default();
    let all: Api<Ferris> = Api::namespaced((*client).clone(), &namespace);
    let maps: Maps = Api::namespaced((*client).clone(), &namespace);
    let again = ferris.clone();
    finalizer(&all, FINALIZER, ferris, |event| async move {
        match event {
            Event::Apply(ferris) => {
                let owned = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": ferris.name_any(),
                    "ownerReferences": [ferris.controller_owner_ref(&()).expect("a reference")]},
                    "data": {"claws": ferris.spec.claws.to_string()}});
                maps.patch(&ferris.name_any(), &PatchParams::apply("rust").force(), &Patch::Apply(owned)).await?;
                let status = json!({"status": {"fed": true}});
                let all: Api<Ferris> = Api::namespaced((*client).clone(), &namespace);
                all.patch_status(&ferris.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
                Ok(Action::requeue(Duration::from_secs(300)))
            }
            Event::Cleanup(_) => {
                let note = map(json!({"metadata": {"name": format!("farewell-{}", again.name_any())}}));
                match maps.create(&PostParams::default(), &note).await {
                    Err(kube::Error::Api(status)) if status.code == 409 => {}
                    other => drop(other?),
                }
                Ok(Action::await_change())
            }
        }
    })
    .await
}

async fn controller(client: Client, namespace: &str) -> Result<()> {
    let definitions: Api<CustomResourceDefinition> = Api::all(client.clone());
    let name = "ferrises.rust.example.com";
    definitions.patch(name, &PatchParams::apply("rust").force(), &Patch::Apply(Ferris::crd())).await?;
    let established = await_condition(definitions.clone(), name, conditions::is_crd_established());
    soon("the definition is established", established).await?;
    let all: Api<Ferris> = Api::namespaced(client.clone(), namespace);
    let maps: Maps = Api::namespaced(client.clone(), namespace);
    let context = Arc::new(client.clone());
    let running = Controller::new(all.clone(), watcher::Config::default())
        .owns(maps.clone(), watcher::Config::default())
        .run(feed, |_, _, _| Action::requeue(Duration::from_millis(200)), context)
        .for_each(|done| async move {
            // Told where a failed test shows it.
            if let Err(error) = done {
                eprintln!("{error}");
            }
        });
    let running = tokio::spawn(running);
    all.create(&PostParams::default(), &Ferris::new("f", FerrisSpec { claws: 2, name: None })).await?;
    let fed = |ferris: Option<&Ferris>| ferris.and_then(|f| f.status.as_ref()).is_some_and(|status| status.fed);
    soon("it is fed", await_condition(all.clone(), "f", fed)).await?;
    maps.delete("f", &DeleteParams::default()).await?;
    let there = |object: Option<&ConfigMap>| object.is_some();
    soon("what it owns is made again", await_condition(maps.clone(), "f", there)).await?;
    let ferris = all.get("f").await?;
    all.delete("f", &DeleteParams::foreground()).await?;
    let uid = ferris.uid().context("an id")?;
    soon("it is gone", await_condition(all, "f", conditions::is_deleted(&uid))).await?;
    maps.get("farewell-f").await?;
    running.abort();
    definitions.delete(name, &DeleteParams::default()).await?;
    Ok(())
}

async fn streams(client: Client, namespace: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client, namespace);
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "probe"}, "spec": {
        "terminationGracePeriodSeconds": 1,
        "containers": [{"name": "main", "image": "naru.local/probe:1", "ports": [{"containerPort": 8080}]}]}});
    pods.create(&PostParams::default(), &serde_json::from_value(pod)?).await?;
    let running = await_condition(pods.clone(), "probe", conditions::is_pod_running());
    soon("the pod runs", running).await?;
    let parameters = AttachParams::default().stdin(true).stdout(true).stderr(false);
    let mut attached = pods.exec("probe", ["sh", "-c", "read word; echo heard $word; exit 3"], &parameters).await?;
    let mut stdin = attached.stdin().context("an input")?;
    tokio::io::AsyncWriteExt::write_all(&mut stdin, b"this\n").await?;
    let mut heard = String::new();
    let mut stdout = attached.stdout().context("an output")?;
    tokio::io::AsyncReadExt::read_to_string(&mut stdout, &mut heard).await?;
    ensure!(heard == "heard this\n", "{heard:?}");
    let status = attached.take_status().context("a status")?.await.context("an end")?;
    ensure!(status.reason.as_deref() == Some("NonZeroExitCode"), "{status:?}");
    let mut forwarder = pods.portforward("probe", &[8080]).await?;
    let mut stream = forwarder.take_stream(8080).context("a stream")?;
    tokio::io::AsyncWriteExt::write_all(&mut stream, b"GET /host HTTP/1.1\r\nhost: p\r\nconnection: close\r\n\r\n")
        .await?;
    let mut answer = String::new();
    tokio::io::AsyncReadExt::read_to_string(&mut stream, &mut answer).await?;
    ensure!(answer.starts_with("HTTP/1.1 200") && answer.trim_end().ends_with("probe"), "{answer}");
    pods.delete("probe", &DeleteParams::default().grace_period(0)).await?;
    Ok(())
}

#[tokio::main]
async fn main() -> Result<()> {
    rustls::crypto::ring::default_provider().install_default().ok();
    let part = std::env::args().nth(1).context("a part")?;
    let namespace = std::env::var("NAMESPACE")?;
    let client = Client::try_default().await?;
    match part.as_str() {
        "objects" => objects(client, &namespace).await?,
        "followed" => followed(client, &namespace).await?,
        "controller" => controller(client, &namespace).await?,
        "streams" => streams(client, &namespace).await?,
        other => bail!("{other} is no part"),
    }
    println!("{part} done");
    Ok(())
}
