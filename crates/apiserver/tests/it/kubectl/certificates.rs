//! Certificates by request, as people approve them.

use base64::{Engine, engine::general_purpose::STANDARD as BASE64};

use super::Kubectl;

#[tokio::test]
async fn approves_and_denies_certificates() {
    let Some(k) = Kubectl::find().await else { return };
    for name in ["kim", "lee"] {
        let request = BASE64.encode(include_str!("../../data/kim.csr"));
        let manifest = format!(
            "apiVersion: certificates.k8s.io/v1\nkind: CertificateSigningRequest\nmetadata: {{name: {name}}}\nspec: {{request: \
             {request}, signerName: kubernetes.io/kube-apiserver-client, expirationSeconds: 3600, usages: [client auth]}}\n"
        );
        std::fs::write(k.world.dir.path().join("csr.yaml"), manifest).expect("a file");
        k.ok("apply -f csr.yaml", &[&format!("certificatesigningrequest.certificates.k8s.io/{name} created")]).await;
    }
    k.ok("get csr", &["kim", "lee", "60m", "Pending"]).await;
    k.ok("certificate approve kim", &["certificatesigningrequest.certificates.k8s.io/kim approved"]).await;
    k.ok("get csr kim", &["Approved,Issued"]).await;
    k.ok("certificate deny lee", &["certificatesigningrequest.certificates.k8s.io/lee denied"]).await;
    k.ok("get csr lee", &["Denied"]).await;
    k.ok("get csr lee -o jsonpath={.status.conditions[*].type}{.status.certificate}", &["Denied"]).await;
}
