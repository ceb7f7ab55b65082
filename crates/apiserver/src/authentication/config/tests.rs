use super::*;

const OWN: &str = "https://kubernetes.default.svc";

fn refused(text: &str) -> Vec<String> {
    Authentication::read(text, OWN).expect_err("refused").0
}

fn document(jwt: &str) -> String {
    format!("apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n{jwt}")
}

#[test]
fn a_whole_configuration_is_read() {
    let text = document(
        r#"
jwt:
- issuer:
    url: https://login.example.org
    discoveryURL: https://inside.example.org/discovery
    audiences: [naru, other]
    audienceMatchPolicy: MatchAny
  claimValidationRules:
  - claim: hd
    requiredValue: example.org
  - expression: "claims.exp - claims.nbf <= 86400"
    message: it lives too long
  claimMappings:
    username:
      expression: "claims.username + ':external'"
    groups:
      claim: groups
      prefix: ""
    uid:
      claim: sub
    extra:
    - key: example.org/tenant
      valueExpression: claims.tenant
  userValidationRules:
  - expression: "!user.username.startsWith('system:')"
    message: reserved
anonymous:
  enabled: true
  conditions:
  - path: /livez
"#,
    );
    let read = Authentication::read(&text, OWN).expect("a configuration");
    assert_eq!(read.anonymous, Anonymous::Paths(vec!["/livez".to_owned()]));
    let issuer = &read.issuers[0];
    assert_eq!(issuer.discovery, "https://inside.example.org/discovery");
    assert_eq!(issuer.audiences, ["naru", "other"]);
    assert_eq!((issuer.mapping.claim_rules.len(), issuer.mapping.user_rules.len()), (2, 1));
    let json = json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration"}).to_string();
    let empty = Authentication::read(&json, OWN).expect("nothing");
    assert!(empty.issuers.is_empty() && empty.anonymous == Anonymous::Health);
}

#[test]
fn everything_that_is_wrong_is_told() {
    let told = refused(&document(
        r#"
jwt:
- issuer: {url: "http://login.example.org", audiences: [a, b]}
  claimMapings: {}
  claimMappings:
    username: {claim: sub}
    groups: {claim: g, expression: claims.g, prefix: ""}
    extra: [{key: kubernetes.io/x, valueExpression: "claims."}]
  claimValidationRules: [{}]
- issuer: {url: "https://kubernetes.default.svc", audiences: [a]}
  claimMappings: {username: {expression: claims.email}}
"#,
    ));
    for part in [
        "jwt[0].issuer.url: Invalid value: \"http://login.example.org\": URL scheme must be https",
        "jwt[0].claimMapings: Forbidden: unknown field",
        "jwt[0].issuer.audienceMatchPolicy: Invalid value: null: audienceMatchPolicy must be MatchAny",
        "jwt[0].claimMappings.username.prefix: Required value: prefix is required when claim is set",
        "jwt[0].claimMappings.groups: Invalid value: \"\": claim and expression can't both be set",
        "jwt[0].claimMappings.extra[0].key: Invalid value: \"kubernetes.io/x\": k8s.io, kubernetes.io",
        "jwt[0].claimMappings.extra[0].valueExpression: Invalid value: \"claims.\": compilation failed",
        "jwt[0].claimValidationRules[0]: Required value: either claim or expression is required",
        "jwt[1].issuer.url: Invalid value: \"https://kubernetes.default.svc\": URL must not overlap",
        "jwt[1].claimMappings.username.expression: Invalid value: \"claims.email\": claims.email_verified must be used",
    ] {
        assert!(told.iter().any(|line| line.starts_with(part)), "{part}\n{told:#?}");
    }
    assert!(refused("apiVersion: v1\nkind: Pod")[0].starts_with("apiVersion: Unsupported value: \"v1\""));
}

#[test]
fn options_mean_what_they_mean_elsewhere() {
    let flags = OidcFlags { issuer: "https://login.example.org".into(), client: "naru".into(), ..OidcFlags::default() };
    let user = |flags: &OidcFlags, claims: Value| {
        let read = Authentication::of_flags(flags, OWN).expect("a configuration");
        let user = super::super::oidc::claims::user(&read.issuers[0].mapping, &claims);
        user.map(|user| (user.name, user.groups))
    };
    let known = |groups: &[&str]| groups.iter().copied().chain(["system:authenticated"]).map(str::to_owned).collect();
    let plain = user(&flags, json!({"sub": "1", "groups": ["a"]}));
    assert_eq!(plain, Ok(("https://login.example.org#1".to_owned(), known(&[]))));
    let more = OidcFlags {
        username_claim: Some("email".into()),
        groups_claim: Some("groups".into()),
        groups_prefix: Some("oidc:".into()),
        required: vec![("hd".into(), "example.org".into())],
        ..flags.clone()
    };
    let claims = |verified: bool| json!({"email": "kim@example.org", "email_verified": verified, "groups": "a", "hd": "example.org"});
    assert_eq!(user(&more, claims(true)), Ok(("kim@example.org".to_owned(), known(&["oidc:a"]))));
    assert!(user(&more, claims(false)).expect_err("not his").contains("not verified"));
    let bare = OidcFlags { username_prefix: Some("-".into()), ..flags.clone() };
    assert_eq!(user(&bare, json!({"sub": "1"})).map(|user| user.0), Ok("1".to_owned()));
    let wrong = OidcFlags { algorithms: vec!["none".into()], ..flags };
    Authentication::of_flags(&wrong, OWN).expect_err("no way to sign");
}
