//! The signers of the cluster itself, and what each of them signs: pure.
//!
//! The fourth that Kubernetes has, `kubernetes.io/legacy-unknown`, signs nothing here: requests to it cannot be made in
//! any version of the API that is served.

use naru_identity::{CertificateRequest, Usage};

use crate::authentication::member::NODES;
use crate::user::MASTERS;

/// A signer of the cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Signer {
    /// Clients of this API.
    ApiClient,
    /// Nodes, as clients of this API.
    NodeClient,
    /// Nodes, as servers.
    NodeServing,
}

const NODE: &str = "system:node:";

// === impl Signer ===

impl Signer {
    /// The signer of this name.
    pub(crate) fn of(name: &str) -> Option<Signer> {
        Some(match name {
            "kubernetes.io/kube-apiserver-client" => Signer::ApiClient,
            "kubernetes.io/kube-apiserver-client-kubelet" => Signer::NodeClient,
            "kubernetes.io/kubelet-serving" => Signer::NodeServing,
            _ => return None,
        })
    }

    /// What the certificate is to be for.
    ///
    /// # Errors
    /// Why this signer does not sign the request.
    pub(crate) fn judge(self, request: &CertificateRequest, usages: &[&str]) -> Result<Vec<Usage>, String> {
        match self {
            Signer::ApiClient => client(usages)?,
            Signer::NodeClient => node(request, usages, "client auth")?,
            Signer::NodeServing => node(request, usages, "server auth")?,
        }
        // Refused when it was made, too; but a group that may do everything is worth a second look.
        if request.subject.groups.iter().any(|group| group == MASTERS) {
            return Err(format!("the group {MASTERS} is not given to anyone by request"));
        }
        usages.iter().map(|name| Usage::parse(name).ok_or_else(|| format!("usage {name:?} is not signed"))).collect()
    }
}

/// A client's usages: what clients need, and nothing else.
fn client(usages: &[&str]) -> Result<(), String> {
    const REQUIRED: &str = "client auth";
    let optional = ["digital signature", "key encipherment"];
    if let Some(other) = usages.iter().find(|usage| **usage != REQUIRED && !optional.contains(usage)) {
        return Err(format!("invalid usage for client certificate: {other}"));
    }
    if !usages.contains(&REQUIRED) {
        return Err(format!("missing required usage for client certificate: {REQUIRED}"));
    }
    Ok(())
}

fn node(request: &CertificateRequest, usages: &[&str], purpose: &str) -> Result<(), String> {
    let refuse = |why: &str| Err(why.to_owned());
    let names = &request.names;
    if request.subject.groups != [NODES] {
        return Err(format!("subject organization is not {NODES}"));
    }
    let serves = purpose == "server auth";
    if serves && names.dns.is_empty() && names.addresses.is_empty() {
        return refuse("DNS or IP subjectAltName is required");
    }
    if !serves && !names.dns.is_empty() {
        return refuse("DNS subjectAltNames are not allowed");
    }
    if names.emails > 0 {
        return refuse("Email subjectAltNames are not allowed");
    }
    if !serves && !names.addresses.is_empty() {
        return refuse("IP subjectAltNames are not allowed");
    }
    if names.uris > 0 {
        return refuse("URI subjectAltNames are not allowed");
    }
    if names.others > 0 {
        return refuse("subjectAltNames other than of DNS and IP are not allowed");
    }
    let mut wanted = vec!["digital signature", "key encipherment", purpose];
    wanted.sort_unstable();
    let mut given = usages.to_vec();
    // Only keys of RSA encipher others.
    if !given.contains(&"key encipherment") {
        given.push("key encipherment");
    }
    given.sort_unstable();
    if given != wanted {
        return Err(format!("usages did not match {wanted:?}"));
    }
    if !request.subject.user.starts_with(NODE) {
        return Err(format!("subject common name does not begin with {NODE}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEVS: &str = include_str!("../../../tests/data/kim.csr");
    const SERVING: &str = include_str!("../../../tests/data/serving.csr");
    const NODE_USAGES: [&str; 3] = ["key encipherment", "digital signature", "server auth"];

    fn judge(signer: &str, pem: &str, usages: &[&str]) -> Result<Vec<Usage>, String> {
        let request = CertificateRequest::read(pem).expect("a request");
        Signer::of(signer).expect("a signer").judge(&request, usages)
    }

    #[test]
    fn each_signer_signs_what_it_is_for() {
        let client = "kubernetes.io/kube-apiserver-client";
        assert_eq!(judge(client, DEVS, &["client auth"]), Ok(vec![Usage::Client]));
        let why = judge(client, DEVS, &["client auth", "server auth"]).expect_err("too much");
        assert_eq!(why, "invalid usage for client certificate: server auth");
        assert!(judge(client, DEVS, &["digital signature"]).expect_err("too little").contains("missing required"));
        let serving = "kubernetes.io/kubelet-serving";
        assert_eq!(judge(serving, SERVING, &NODE_USAGES).map(|usages| usages.len()), Ok(3));
        assert_eq!(judge(serving, SERVING, &NODE_USAGES[1..]).map(|usages| usages.len()), Ok(2), "no key of RSA");
        let why = judge(serving, SERVING, &["server auth"]).expect_err("too little");
        assert!(why.starts_with("usages did not match"), "{why}");
        let why = judge(serving, DEVS, &NODE_USAGES).expect_err("no node");
        assert_eq!(why, "subject organization is not system:nodes");
        let node = "kubernetes.io/kube-apiserver-client-kubelet";
        let why = judge(node, SERVING, &["digital signature", "client auth"]).expect_err("a server");
        assert_eq!(why, "DNS subjectAltNames are not allowed");
        assert_eq!(Signer::of("kubernetes.io/legacy-unknown"), None);
        assert_eq!(Signer::of("example.com/mine"), None);
    }
}
