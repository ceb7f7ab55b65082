//! The way into a host's server.

use naru_api::k8s::ByteString;
use naru_client::ClientCertificate;
use naru_identity::JoinLine;
use naru_testkit::Host;

use super::fleet::Door;

/// As a host's kubeconfig says, with a join token made there.
pub fn of(host: &Host) -> Door {
    let text = std::fs::read_to_string(host.kubeconfig()).expect("the kubeconfig file");
    let value = |key: &str| text.lines().find_map(|line| line.trim().strip_prefix(key)).expect(key).trim().to_owned();
    let pem = |key: &str| serde_json::from_value::<ByteString>(value(key).into()).expect("base64").0;
    let said = host.naru(&["token", "create", "--ttl", "3h"]).ok().stdout;
    let line = said.lines().find(|line| line.contains("NARU1.")).expect("a join line").to_owned();
    let administrator =
        ClientCertificate { certificate: pem("client-certificate-data:"), key: pem("client-key-data:") };
    Door {
        url: "https://127.0.0.1:6443".to_owned(),
        authority: pem("certificate-authority-data:"),
        token: JoinLine::parse(&line).expect("a join line").token.bearer(),
        administrator,
    }
}
