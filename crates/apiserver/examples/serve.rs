//! Serves an API without nodes from a folder, for trying out and for measuring: `serve FOLDER [PORT]`.
//!
//! Writes `FOLDER/kubeconfig`. The store is durable in `FOLDER/store`, or in memory when `NARU_MEMORY` is set.

use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use naru_apiserver::{ApiServer, Config, Listeners, Settings, StoreCodec};
use naru_client::{BoxFuture, BoxedIo, DialError, NodeDialer};
use naru_identity::{Authority, Sealer, TokenSigner};
use naru_store::{Options, Store};
use tokio_util::sync::CancellationToken;

struct NoNodes;

impl NodeDialer for NoNodes {
    fn dial(&self, node: &str) -> BoxFuture<'static, Result<BoxedIo, DialError>> {
        let node = node.to_owned();
        Box::pin(async move { Err(DialError::NotConnected { node }) })
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let dir = PathBuf::from(args.next().ok_or("expected a folder")?);
    let port: u16 = args.next().map_or(Ok(6443), |p| p.parse())?;
    serve(&dir, port).await
}

/// Serves from `dir` until interrupted.
pub async fn serve(dir: &Path, port: u16) -> Result<(), Box<dyn Error>> {
    let authority = Arc::new(Authority::open_or_create(&dir.join("pki"))?);
    let sealer = Arc::new(Sealer::open_or_create(&dir.join("pki/seal.key"))?);
    let codec = Arc::new(StoreCodec::new(sealer.clone()));
    let options = match std::env::var_os("NARU_MEMORY") {
        Some(_) => Options::memory(codec),
        None => Options::embedded(dir.join("store"), codec),
    };
    let server = ApiServer::new(Config {
        store: Store::open(options).await?,
        registry: naru_api::Registry::builtin(),
        tokens: Arc::new(TokenSigner::open_or_create(&dir.join("pki/sa.key"))?),
        sealer,
        dialer: Arc::new(NoNodes),
        settings: Settings::default(),
        authority: authority.clone(),
    })
    .await?;
    let listeners = Listeners {
        tls: Some(([127, 0, 0, 1], port).into()),
        names: vec!["localhost".into(), "127.0.0.1".into()],
        unix: Some(dir.join("naru.sock")),
    };
    let bound = server.bind(&listeners).await?;
    let admin = authority.client_certificate("admin", &["system:masters"])?;
    let address = bound.address().ok_or("no address")?;
    let config = format!(
        "apiVersion: v1\nkind: Config\ncurrent-context: naru\nclusters:\n- name: naru\n  cluster:\n    server: https://{address}\n    \
         certificate-authority-data: {}\ncontexts:\n- name: naru\n  context: {{cluster: naru, user: admin}}\nusers:\n- name: admin\n  \
         user:\n    client-certificate-data: {}\n    client-key-data: {}\n",
        BASE64.encode(authority.certificate()),
        BASE64.encode(&admin.certificate),
        BASE64.encode(&admin.key),
    );
    std::fs::write(dir.join("kubeconfig"), config)?;
    println!("serving on https://{address}");
    let shutdown = CancellationToken::new();
    let stop = shutdown.clone();
    tokio::spawn(async move {
        let _ = tokio::signal::ctrl_c().await;
        stop.cancel();
    });
    bound.serve(shutdown).await;
    Ok(())
}
