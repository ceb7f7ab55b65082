//! `naru kubeconfig`: what kubectl and others need to speak to this machine's server.

use std::os::unix::fs::OpenOptionsExt;
use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::{Engine, engine::general_purpose::STANDARD as BASE64};
use naru_identity::Authority;

use crate::cli::{KubeconfigOptions, Place};

/// Writes the file.
pub(crate) async fn run(place: &Place, options: &KubeconfigOptions) -> anyhow::Result<ExitCode> {
    let pki = place.state_dir.join("pki");
    // Only its owner may look into the folder, so that "not there" cannot be told from "not allowed" by others.
    if !rustix::process::geteuid().is_root() {
        bail!("the cluster's key is root's alone: run `sudo naru kubeconfig`");
    }
    if crate::cluster::Membership::exists(place) {
        bail!("this machine is a worker: the cluster's key is on its server, run `sudo naru kubeconfig` there");
    }
    if !pki.join("ca.crt").exists() {
        bail!(
            "no cluster is on this machine yet ({} is not there): start one with `naru up` or `naru server`",
            pki.display()
        );
    }
    let authority = Authority::open_or_create(&pki)
        .context("cannot read the cluster's key: run as root (`sudo naru kubeconfig`)")?;
    let issued = authority.client_certificate("naru-admin", &["system:masters"])?;
    let server = options.server.clone().unwrap_or_else(|| server_address(place));
    let text = format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: naru\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {}\nusers:\n- name: naru-admin\n  user:\n    client-certificate-data: {}\n    \
         client-key-data: {}\ncontexts:\n- name: naru\n  context:\n    cluster: naru\n    user: naru-admin\n\
         current-context: naru\n",
        BASE64.encode(authority.certificate()),
        BASE64.encode(issued.certificate),
        BASE64.encode(issued.key),
    );
    if options.file {
        let path = place.state_dir.join("naru.kubeconfig");
        let written = std::fs::OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&path)
            .and_then(|mut file| std::io::Write::write_all(&mut file, text.as_bytes()));
        written.with_context(|| format!("cannot write {}", path.display()))?;
        println!("{}", path.display());
    } else {
        print!("{text}");
    }
    Ok(ExitCode::SUCCESS)
}

/// Where the server of this machine listens, as it noted when it started.
fn server_address(place: &Place) -> String {
    let noted = std::fs::read_to_string(place.run_dir.join("listen")).unwrap_or_default();
    let port = noted.trim().rsplit_once(':').map_or("6443", |(_, port)| port);
    format!("https://127.0.0.1:{port}")
}
