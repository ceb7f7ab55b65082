//! Tokens: of issuers that are trusted, of secrets, and of keys that were replaced.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD as URL};
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use naru_apiserver::{Authentication, OidcFlags, Settings};
use naru_identity::Authority;
use naru_store::History;
use parking_lot::Mutex;
use ring::rand::SystemRandom;
use ring::signature::{
    ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::AbortHandle;
use tokio_rustls::TlsAcceptor;

use crate::support::{Caller, MAPS, NoNodes, PODS, World, settings};

const SELF: &str = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
const REVIEWS: &str = "/apis/authentication.k8s.io/v1/tokenreviews";
const KEYS: &str = "/naru/v1/secrets";

/// An issuer in this process, over TLS.
struct Issuer {
    _dir: tempfile::TempDir,
    url: String,
    authority: String,
    state: Arc<Mutex<Published>>,
    serving: AbortHandle,
}

/// What it publishes, and how often it was asked for that.
#[derive(Default)]
struct Published {
    keys: Vec<Value>,
    asked: usize,
    broken: bool,
}

impl Drop for Issuer {
    fn drop(&mut self) {
        self.serving.abort();
    }
}

impl Issuer {
    async fn start() -> Issuer {
        let dir = tempfile::tempdir().expect("a folder");
        let authority = Authority::open_or_create(dir.path()).expect("an authority");
        let issued = authority.server_certificate(&["127.0.0.1".to_owned()]).expect("a certificate");
        let chain = CertificateDer::pem_slice_iter(issued.certificate.as_bytes()).collect::<Result<_, _>>().unwrap();
        let key = PrivateKeyDer::from_pem_slice(issued.key.as_bytes()).unwrap();
        let tls = rustls::ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let url = format!("https://127.0.0.1:{}/realm", listener.local_addr().expect("an address").port());
        let state: Arc<Mutex<Published>> = Arc::default();
        let (published, about) = (state.clone(), url.clone());
        let serving = tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, published, about) = (acceptor.clone(), published.clone(), about.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let serve = service_fn(move |request| answer(request, published.clone(), about.clone()));
                    let _ =
                        hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), serve).await;
                });
            }
        });
        let authority = authority.certificate().to_owned();
        Issuer { _dir: dir, url, authority, state, serving: serving.abort_handle() }
    }

    fn publish(&self, keys: &[&SigningKey]) {
        self.state.lock().keys = keys.iter().map(|key| key.public()).collect();
    }

    fn asked(&self) -> usize {
        self.state.lock().asked
    }

    /// Claims that are good for now.
    fn claims(&self, more: Value) -> Value {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a time").as_secs();
        let mut claims = json!({"iss": self.url, "aud": "naru", "sub": "1", "iat": now, "exp": now + 600});
        for (field, value) in more.as_object().into_iter().flatten() {
            claims[field] = value.clone();
        }
        claims
    }
}

async fn answer(
    request: Request<Incoming>,
    published: Arc<Mutex<Published>>,
    about: String,
) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let mut published = published.lock();
    let body = match request.uri().path() {
        _ if published.broken => json!("not now"),
        "/realm/.well-known/openid-configuration" => {
            published.asked += 1;
            json!({"issuer": about, "jwks_uri": format!("{about}/keys")})
        }
        "/realm/keys" => json!({"keys": published.keys}),
        _ => json!({}),
    };
    Ok(Response::new(Full::new(body.to_string().into())))
}

/// A key of an issuer.
enum SigningKey {
    Rsa(&'static str, Box<RsaKeyPair>),
    Curve(&'static str, Box<EcdsaKeyPair>),
}

impl SigningKey {
    fn rsa(name: &'static str) -> SigningKey {
        let key = RsaKeyPair::from_der(include_bytes!("../data/issuer.der")).expect("a key");
        SigningKey::Rsa(name, Box::new(key))
    }

    fn curve(name: &'static str) -> SigningKey {
        let random = SystemRandom::new();
        let made = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random).expect("a key");
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, made.as_ref(), &random);
        SigningKey::Curve(name, Box::new(key.expect("a key")))
    }

    fn public(&self) -> Value {
        match self {
            SigningKey::Rsa(name, key) => {
                let public = RsaPublicKeyComponents::<Vec<u8>>::from(key.public());
                json!({"kty": "RSA", "kid": name, "use": "sig", "n": URL.encode(public.n), "e": URL.encode(public.e)})
            }
            SigningKey::Curve(name, key) => {
                let (x, y) = key.public_key().as_ref()[1..].split_at(32);
                json!({"kty": "EC", "crv": "P-256", "kid": name, "x": URL.encode(x), "y": URL.encode(y)})
            }
        }
    }

    fn sign(&self, claims: &Value) -> String {
        let random = SystemRandom::new();
        let (name, way) = match self {
            SigningKey::Rsa(name, _) => (name, "RS256"),
            SigningKey::Curve(name, _) => (name, "ES256"),
        };
        let header = json!({"alg": way, "kid": name, "typ": "JWT"});
        let body = format!("{}.{}", URL.encode(header.to_string()), URL.encode(claims.to_string()));
        let signature = match self {
            SigningKey::Rsa(_, key) => {
                let mut signature = vec![0; key.public().modulus_len()];
                key.sign(&RSA_PKCS1_SHA256, &random, body.as_bytes(), &mut signature).expect("signed");
                signature
            }
            SigningKey::Curve(_, key) => key.sign(&random, body.as_bytes()).expect("signed").as_ref().to_vec(),
        };
        format!("{body}.{}", URL.encode(signature))
    }
}

async fn world_of(authentication: Authentication) -> World {
    let settings = Settings { authentication, ..settings() };
    World::with_settings(Arc::new(NoNodes), History::default(), settings).await
}

/// A server that trusts the issuer as the options `--oidc-…` say.
async fn world_with(issuer: &Issuer, change: impl FnOnce(&mut OidcFlags)) -> World {
    let mut flags = OidcFlags {
        issuer: issuer.url.clone(),
        client: "naru".into(),
        groups_claim: Some("groups".into()),
        groups_prefix: Some("org:".into()),
        authorities: Some(issuer.authority.clone()),
        ..OidcFlags::default()
    };
    change(&mut flags);
    world_of(Authentication::of_flags(&flags, &settings().issuer).expect("options")).await
}

async fn who(caller: &Caller) -> Value {
    caller.post(SELF, &json!({})).await.expect(201)["status"]["userInfo"].clone()
}

#[tokio::test]
async fn a_token_of_a_trusted_issuer_names_its_user() {
    let issuer = Issuer::start().await;
    let key = SigningKey::rsa("one");
    issuer.publish(&[&key]);
    let world = world_with(&issuer, |_| {}).await;
    let token = key.sign(&issuer.claims(json!({"groups": ["devs", "ops"]})));
    let user = who(&world.bearer(&token)).await;
    assert_eq!(user["username"], format!("{}#1", issuer.url));
    assert_eq!(user["groups"], json!(["org:devs", "org:ops", "system:authenticated"]));
    let message = world.bearer(&token).get(PODS).await.refused(403);
    assert!(message.contains("cannot list resource"), "{message}");
    assert_eq!(issuer.asked(), 1, "keys are kept");

    let past = issuer.claims(json!({"exp": 1_000}));
    let other_audience = issuer.claims(json!({"aud": "elsewhere"}));
    let other_issuer = issuer.claims(json!({"iss": "https://127.0.0.1:1/realm"}));
    for claims in [past, other_audience, other_issuer, issuer.claims(json!({"sub": null}))] {
        world.bearer(&key.sign(&claims)).get("/apis").await.refused(401);
    }
    let mut parts: Vec<String> = token.split('.').map(str::to_owned).collect();
    parts[1] = URL.encode(issuer.claims(json!({"sub": "root"})).to_string());
    world.bearer(&parts.join(".")).get("/apis").await.refused(401);
}

#[tokio::test]
async fn an_issuers_new_key_is_found_and_a_foreign_one_is_not_asked_for_without_end() {
    let issuer = Issuer::start().await;
    let (first, second, foreign) = (SigningKey::rsa("one"), SigningKey::curve("two"), SigningKey::curve("three"));
    issuer.publish(&[&first]);
    let world = world_with(&issuer, |flags| flags.algorithms = vec!["RS256".into(), "ES256".into()]).await;
    let claims = issuer.claims(json!({}));
    who(&world.bearer(&first.sign(&claims))).await;
    issuer.publish(&[&first, &second]);
    who(&world.bearer(&second.sign(&claims))).await;
    assert_eq!(issuer.asked(), 2);
    let foreign = world.bearer(&foreign.sign(&claims));
    for _ in 0..50 {
        foreign.get("/apis").await.refused(401);
    }
    assert!(issuer.asked() <= 6, "asked {} times", issuer.asked());
    // Others are not hurt by that, nor by an issuer that is away.
    issuer.state.lock().broken = true;
    who(&world.bearer(&second.sign(&claims))).await;
}

#[tokio::test]
async fn an_issuer_that_cannot_be_reached_or_is_not_trusted_lets_nobody_in() {
    let issuer = Issuer::start().await;
    let key = SigningKey::rsa("one");
    issuer.publish(&[&key]);
    let stranger = tempfile::tempdir().expect("a folder");
    let stranger = Authority::open_or_create(stranger.path()).expect("an authority").certificate().to_owned();
    let world = world_with(&issuer, |flags| flags.authorities = Some(stranger)).await;
    let token = key.sign(&issuer.claims(json!({})));
    world.bearer(&token).get("/apis").await.refused(401);
    assert_eq!(issuer.asked(), 0, "nothing was said to it");
    // The cluster's own tokens need no issuer.
    let root = world.root();
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let own = root.post(path, &json!({})).await.expect(201)["status"]["token"].as_str().expect("a token").to_owned();
    world.bearer(&own).get("/apis").await.expect(200);
    let world = world_with(&issuer, |flags| flags.algorithms = vec!["ES256".into()]).await;
    world.bearer(&token).get("/apis").await.refused(401);
}

#[tokio::test]
async fn a_configuration_says_what_claims_mean_and_who_needs_no_name() {
    let issuer = Issuer::start().await;
    let key = SigningKey::curve("one");
    issuer.publish(&[&key]);
    let document = json!({
        "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
        "anonymous": {"enabled": true, "conditions": [{"path": "/livez"}, {"path": "/apis"}]},
        "jwt": [{
            "issuer": {"url": issuer.url, "audiences": ["naru", "kubernetes"], "audienceMatchPolicy": "MatchAny",
                "certificateAuthority": issuer.authority},
            "claimValidationRules": [{"expression": "claims.hd == 'example.org'", "message": "another company"}],
            "claimMappings": {
                "username": {"expression": "'corp:' + claims.login"},
                "groups": {"expression": "claims.roles.filter(r, r != 'none')"},
                "uid": {"claim": "sub"},
                "extra": [{"key": "example.org/tenant", "valueExpression": "claims.tenant"}]},
            "userValidationRules": [{"expression": "user.username != 'corp:root'", "message": "reserved"}]}]});
    let read = Authentication::read(&document.to_string(), &settings().issuer).expect("a configuration");
    let world = world_of(read).await;
    let claims = |login: &str, company: &str| {
        issuer.claims(
            json!({"login": login, "hd": company, "roles": ["a", "none"], "tenant": "t", "aud": ["kubernetes"]}),
        )
    };
    let kim = world.bearer(&key.sign(&claims("kim", "example.org")));
    assert_eq!(
        who(&kim).await,
        json!({"username": "corp:kim", "uid": "1", "groups": ["a", "system:authenticated"],
            "extra": {"example.org/tenant": ["t"]}})
    );
    world.bearer(&key.sign(&claims("root", "example.org"))).get("/apis").await.refused(401);
    world.bearer(&key.sign(&claims("kim", "example.com"))).get("/apis").await.refused(401);

    let review = json!({"spec": {"token": key.sign(&claims("kim", "example.org"))}});
    let reviewed = world.root().post(REVIEWS, &review).await.expect(201);
    assert_eq!(reviewed["status"]["user"]["username"], "corp:kim");
    assert_eq!(reviewed["status"]["audiences"], json!([settings().issuer]));
    let mut elsewhere = review.clone();
    elsewhere["spec"]["audiences"] = json!(["vault"]);
    let reviewed = world.root().post(REVIEWS, &elsewhere).await.expect(201);
    assert_eq!(reviewed["status"]["authenticated"], false);

    let nobody = world.anyone();
    assert_eq!(nobody.get("/livez").await.code, 200);
    nobody.get("/readyz").await.refused(401);
    let message = nobody.get("/apis").await.refused(403);
    assert!(message.contains("User \"system:anonymous\" cannot get path \"/apis\""), "{message}");
    nobody.get(MAPS).await.refused(401);
}

#[tokio::test]
async fn a_review_says_for_whom_a_token_is() {
    let world = World::start().await;
    let root = world.root();
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let request = json!({"spec": {"audiences": ["vault", "store"]}});
    let issued = root.post(path, &request).await.expect(201);
    let token = issued["status"]["token"].as_str().expect("a token");
    let review = |audiences: Value| json!({"spec": {"token": token, "audiences": audiences}});
    let known = root.post(REVIEWS, &review(json!(["store", "bank"]))).await.expect(201);
    assert_eq!((&known["status"]["authenticated"], &known["status"]["audiences"]), (&json!(true), &json!(["store"])));
    for audiences in [json!(["bank"]), json!([])] {
        let unknown = root.post(REVIEWS, &review(audiences)).await.expect(201);
        assert_eq!(unknown["status"]["authenticated"], false);
        assert!(unknown["status"]["error"].as_str().is_some_and(|why| why.contains("audiences")), "{unknown}");
    }
    root.post(REVIEWS, &json!({"spec": {}})).await.refused(400);
}

#[tokio::test]
async fn a_secret_holds_a_token_for_as_long_as_both_it_and_its_account_are_there() {
    let world = World::start().await;
    let root = world.root();
    let (accounts, secrets) = ("/api/v1/namespaces/default/serviceaccounts", "/api/v1/namespaces/default/secrets");
    root.post(accounts, &json!({"metadata": {"name": "robot"}})).await.expect(201);
    let secret = |name: &str| {
        json!({"metadata": {"name": name, "annotations": {"kubernetes.io/service-account.name": "robot"}},
            "type": "kubernetes.io/service-account-token"})
    };
    let made = root.post(secrets, &secret("robot-token")).await.expect(201);
    let text = |field: &str| {
        let bytes = STANDARD.decode(made["data"][field].as_str().expect("a field")).expect("base64");
        String::from_utf8(bytes).expect("text")
    };
    assert_eq!((text("namespace").as_str(), text("ca.crt").as_str()), ("default", world.authority.certificate()));
    assert!(made["metadata"]["annotations"]["kubernetes.io/service-account.uid"].is_string());
    let robot = world.bearer(&text("token"));
    assert_eq!(who(&robot).await["username"], "system:serviceaccount:default:robot");
    let reviewed = root.post(REVIEWS, &json!({"spec": {"token": text("token")}})).await.expect(201);
    assert_eq!(reviewed["status"]["authenticated"], true);
    // What is not changed keeps its token; what is taken out comes back, as another one would not be known.
    let path = format!("{secrets}/robot-token");
    let labelled = root.patch(&path, "merge-patch", &json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    assert_eq!(labelled["data"]["token"], made["data"]["token"]);
    let emptied = root.patch(&path, "merge-patch", &json!({"data": {"token": null}})).await.expect(200);
    assert!(emptied["data"]["token"].is_string());

    root.post(secrets, &secret("other-token")).await.expect(201);
    root.delete(&format!("{secrets}/robot-token")).await.expect(200);
    robot.get("/apis").await.refused(401);
    let other = root.get(&format!("{secrets}/other-token")).await.expect(200);
    let other = STANDARD.decode(other["data"]["token"].as_str().expect("a token")).expect("base64");
    let other = world.bearer(std::str::from_utf8(&other).expect("text"));
    other.get("/apis").await.expect(200);
    root.delete(&format!("{accounts}/robot")).await.expect(200);
    root.post(accounts, &json!({"metadata": {"name": "robot"}})).await.expect(201);
    other.get("/apis").await.refused(401);
}

#[tokio::test]
async fn tokens_outlive_the_key_that_signs_until_theirs_is_taken_away() {
    let world = World::start().await;
    let (root, kim) = (world.root(), world.user("kim", &[]));
    let path = "/api/v1/namespaces/default/serviceaccounts/default/token";
    let token =
        async || root.post(path, &json!({})).await.expect(201)["status"]["token"].as_str().expect("one").to_owned();
    let old = token().await;
    kim.get(KEYS).await.refused(403);
    let keys = root.send(http::Method::POST, &format!("{KEYS}?do=rotate-tokens"), "").await.expect(200);
    assert_eq!(keys["tokens"]["keys"].as_array().map(Vec::len), Some(2));
    let new = token().await;
    let account = world.bearer(&new);
    for token in [&old, &new] {
        world.bearer(token).get("/apis").await.expect(200);
        let header: Value =
            serde_json::from_slice(&URL.decode(token.split('.').next().expect("a part")).expect("text")).expect("JSON");
        let published = account.get("/openid/v1/jwks").await.expect(200);
        let named = published["keys"].as_array().expect("keys").iter().filter(|key| key["kid"] == header["kid"]);
        assert_eq!(named.count(), 1, "{published}");
    }
    root.send(http::Method::POST, &format!("{KEYS}?do=drop-tokens"), "").await.expect(200);
    world.bearer(&old).get("/apis").await.refused(401);
    world.bearer(&new).get("/apis").await.expect(200);
    root.send(http::Method::POST, &format!("{KEYS}?do=nothing"), "").await.refused(400);
}
