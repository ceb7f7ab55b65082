//! Options of a server whose state is kept in etcd. Their names are those of kube-apiserver.

use std::path::PathBuf;

use clap::Args;
use serde::{Deserialize, Serialize};

// What was said last is noted in the state folder. (No doc comment: it would become the text of the whole command.)
#[derive(Debug, Clone, Default, PartialEq, Eq, Args, Serialize, Deserialize)]
#[serde(default)]
pub(crate) struct EtcdOptions {
    /// Keep the cluster's state in this etcd (3.4 or newer) instead of the state folder; what is there is moved once
    #[arg(long = "etcd-servers", value_name = "URL", value_delimiter = ',')]
    pub servers: Vec<String>,
    /// What all keys in etcd begin with, so that clusters can share one [default: /naru]
    #[arg(long = "etcd-prefix", value_name = "PREFIX", requires = "servers")]
    pub prefix: Option<String>,
    /// Authority of etcd's certificates (PEM), for https
    #[arg(long = "etcd-cafile", value_name = "FILE", requires = "servers")]
    pub authority: Option<PathBuf>,
    /// Certificate to show to etcd (PEM)
    #[arg(long = "etcd-certfile", value_name = "FILE", requires = "key")]
    pub certificate: Option<PathBuf>,
    /// Its key (PEM)
    #[arg(long = "etcd-keyfile", value_name = "FILE", requires = "certificate")]
    pub key: Option<PathBuf>,
    /// User of etcd, where it asks for one
    #[arg(long = "etcd-user", value_name = "NAME", requires = "password_file")]
    pub user: Option<String>,
    /// File with that user's password
    #[arg(long = "etcd-password-file", value_name = "FILE", requires = "user")]
    pub password_file: Option<PathBuf>,
}
