//! The API's peer: a kube-apiserver over one etcd on loopback, where `KUBE_APISERVER` names its program.
//!
//! It gets what a control plane gets from kubeadm, without encryption to etcd, which is kinder to it; its programs
//! end with this process whatever happens.

use std::fs;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use naru_testkit::{Etcd, EtcdSetup};

use crate::api::connection::{Credentials, Endpoint};
use crate::api::server::Server;
use crate::report;
use crate::stamps::wait;

/// A ready kube-apiserver with an empty etcd; both end with the value.
pub struct Kubernetes {
    credentials: Credentials,
    folder: PathBuf,
    program: Child,
    etcd: Etcd,
}

impl Kubernetes {
    /// Lets in whoever `administrator` is; `None`, said aloud, without a program.
    pub fn start(administrator: &Credentials) -> Option<Self> {
        let Some(program) = std::env::var_os("KUBE_APISERVER") else {
            report::note("no peer in this run: KUBE_APISERVER names no program");
            return None;
        };
        let etcd = Etcd::start(1, EtcdSetup::default())?;
        let folder = std::env::temp_dir().join(format!("naru-kube-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder for the peer");
        fs::write(folder.join("clients.pem"), &administrator.root).expect("the clients' authority");
        fs::write(folder.join("accounts.pem"), &administrator.key).expect("the key of tokens");
        let port =
            std::net::TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port").port();
        let mut command = Command::new("setpriv");
        command.args(["--pdeathsig", "KILL"]).arg(program).current_dir(&folder);
        command.arg(format!("--etcd-servers={}", etcd.endpoints().join(",")));
        command.arg(format!("--secure-port={port}"));
        command.args(["--bind-address=127.0.0.1", "--advertise-address=192.0.2.1", "--cert-dir=."]);
        command.args(["--client-ca-file=clients.pem", "--authorization-mode=Node,RBAC"]);
        command.args([
            "--service-account-issuer=https://kubernetes.default.svc",
            "--service-cluster-ip-range=10.43.0.0/16",
        ]);
        command.args(["--service-account-key-file=accounts.pem", "--service-account-signing-key-file=accounts.pem"]);
        // No controller makes the accounts that pods would need.
        command.args(["--disable-admission-plugins=ServiceAccount", "--v=0"]);
        let log = fs::File::create(folder.join("log")).expect("a log");
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log);
        let child = command.spawn().expect("setpriv, of util-linux");
        let root = wait("the peer has a certificate", || fs::read(folder.join("apiserver.crt")).ok());
        let Credentials { certificate, key, .. } = administrator;
        let credentials = Credentials {
            address: format!("localhost:{port}"),
            root,
            certificate: certificate.clone(),
            key: key.clone(),
        };
        let peer = Self { credentials, folder, program: child, etcd };
        let executor = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("an executor");
        let endpoint = peer.endpoint();
        wait("the peer is ready", || Some(()).filter(|()| executor.block_on(endpoint.is_ready())));
        Some(peer)
    }

    /// Where it is asked.
    pub fn endpoint(&self) -> Endpoint {
        Endpoint::of(&self.credentials)
    }

    /// Its processes.
    pub fn server(&self) -> Server {
        Server(std::iter::once(self.program.id()).chain(self.etcd.processes()).collect())
    }
}

impl Drop for Kubernetes {
    fn drop(&mut self) {
        let _ = self.program.kill();
        let _ = self.program.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}
