//! Reading of `apiserver.config.k8s.io/v1 AuthenticationConfiguration`: whose tokens are believed, and who may ask without a
//! name.
//!
//! The options `--oidc-…` are another way to write the same, so they become such a document and take the same road.

use std::sync::Arc;

use naru_api::decode::untyped;
use naru_api::{FieldError, Format};
use naru_identity::SIGNATURES;
use rustls::pki_types::{CertificateDer, pem::PemObject};
use serde_json::{Value, json};

use super::oidc::claims::{ClaimRule, Mapping, Name, Source, UserRule, compile};

/// Whose tokens are believed beside the cluster's own, and who may ask without a name.
#[derive(Debug, Clone, Default)]
pub struct Authentication {
    pub(crate) issuers: Vec<Arc<IssuerConfig>>,
    pub(crate) anonymous: Anonymous,
}

/// Who may ask without a name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) enum Anonymous {
    /// For the server's health and version.
    #[default]
    Health,
    /// For nothing.
    Never,
    /// For what roles grant to `system:unauthenticated`, at these paths; at all where there are none.
    Paths(Vec<String>),
}

/// An issuer of tokens (OpenID Connect) and what its tokens mean.
#[derive(Debug)]
pub(crate) struct IssuerConfig {
    pub(crate) url: String,
    /// Where it tells about itself.
    pub(crate) discovery: String,
    /// PEM; empty for the machine's own.
    pub(crate) authorities: Vec<u8>,
    pub(crate) audiences: Vec<String>,
    pub(crate) algorithms: Vec<String>,
    pub(crate) mapping: Mapping,
}

/// The options `--oidc-…` of kube-apiserver.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OidcFlags {
    /// `--oidc-issuer-url`
    pub issuer: String,
    /// `--oidc-client-id`
    pub client: String,
    /// `--oidc-username-claim`
    pub username_claim: Option<String>,
    /// `--oidc-username-prefix`; `-` for none.
    pub username_prefix: Option<String>,
    /// `--oidc-groups-claim`
    pub groups_claim: Option<String>,
    /// `--oidc-groups-prefix`
    pub groups_prefix: Option<String>,
    /// `--oidc-required-claim`, names and values.
    pub required: Vec<(String, String)>,
    /// The text of `--oidc-ca-file`.
    pub authorities: Option<String>,
    /// `--oidc-signing-algs`
    pub algorithms: Vec<String>,
}

/// Why a configuration is not one.
#[derive(Debug, thiserror::Error)]
#[error("{}", .0.join("\n"))]
pub struct AuthenticationError(Vec<String>);

// === impl Authentication ===

impl Authentication {
    /// Reads a configuration (YAML or JSON). `own` is the issuer of service accounts' tokens, which no other can be.
    ///
    /// # Errors
    /// Everything that is wrong with it, a line each.
    pub fn read(text: &str, own: &str) -> Result<Authentication, AuthenticationError> {
        let document = untyped(text.as_bytes(), Format::Yaml);
        let document = document.map_err(|status| AuthenticationError(vec![status.message]))?;
        Reader::default().configuration(&document, own)
    }

    /// What the options `--oidc-…` mean.
    ///
    /// # Errors
    /// Everything that is wrong with them, a line each.
    pub fn of_flags(flags: &OidcFlags, own: &str) -> Result<Authentication, AuthenticationError> {
        let claim = flags.username_claim.as_deref().unwrap_or("sub");
        let prefix = match flags.username_prefix.as_deref() {
            Some("-") => String::new(),
            Some(prefix) => prefix.to_owned(),
            // Other issuers may have the same subject; a mail address says enough.
            None if claim == "email" => String::new(),
            None => format!("{}#", flags.issuer),
        };
        let mut mappings = json!({ "username": { "claim": claim, "prefix": prefix } });
        if let Some(claim) = &flags.groups_claim {
            let prefix = flags.groups_prefix.as_deref().unwrap_or_default();
            mappings["groups"] = json!({ "claim": claim, "prefix": prefix });
        }
        let required = flags.required.iter().map(|(claim, value)| json!({ "claim": claim, "requiredValue": value }));
        let mut issuer = json!({ "url": flags.issuer, "audiences": [flags.client] });
        if let Some(authorities) = &flags.authorities {
            issuer["certificateAuthority"] = authorities.as_str().into();
        }
        let document = json!({
            "apiVersion": "apiserver.config.k8s.io/v1", "kind": "AuthenticationConfiguration",
            "jwt": [{ "issuer": issuer, "claimMappings": mappings,
                "claimValidationRules": required.collect::<Vec<_>>() }],
        });
        let algorithms = match flags.algorithms.as_slice() {
            [] => vec!["RS256".to_owned()],
            some => some.to_vec(),
        };
        let mut reader = Reader { algorithms, faults: Vec::new() };
        for one in reader.algorithms.clone() {
            if !SIGNATURES.contains(&one.as_str()) {
                reader.faults.push(FieldError::not_supported("oidc-signing-algs", &json!(one), &SIGNATURES));
            }
        }
        reader.configuration(&document, own)
    }
}

/// Reads, and gathers what is wrong.
struct Reader {
    algorithms: Vec<String>,
    faults: Vec<FieldError>,
}

impl Default for Reader {
    fn default() -> Self {
        Reader { algorithms: SIGNATURES.map(str::to_owned).to_vec(), faults: Vec::new() }
    }
}

// === impl Reader ===

impl Reader {
    fn configuration(mut self, document: &Value, own: &str) -> Result<Authentication, AuthenticationError> {
        self.known(document, "", &["apiVersion", "kind", "jwt", "anonymous"]);
        let (version, kind) = (&document["apiVersion"], &document["kind"]);
        let versions = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];
        if !versions.iter().any(|known| version == known) {
            self.faults.push(FieldError::not_supported("apiVersion", version, &versions));
        }
        if kind != "AuthenticationConfiguration" {
            self.faults.push(FieldError::not_supported("kind", kind, &["AuthenticationConfiguration"]));
        }
        let mut issuers: Vec<Arc<IssuerConfig>> = Vec::new();
        for (at, jwt) in list(&document["jwt"]).iter().enumerate() {
            let path = format!("jwt[{at}]");
            let Some(issuer) = self.issuer(jwt, &path) else { continue };
            let at = format!("{path}.issuer.url");
            if issuer.url == own {
                let why = "URL must not overlap with disallowed issuers: it is that of service accounts";
                self.faults.push(FieldError::invalid(at, &json!(own), why));
            } else if issuers.iter().any(|known| known.url == issuer.url) {
                self.faults.push(FieldError::duplicate(at, &json!(issuer.url)));
            }
            issuers.push(Arc::new(issuer));
        }
        let anonymous = self.anonymous(&document["anonymous"]);
        if self.faults.is_empty() {
            return Ok(Authentication { issuers, anonymous });
        }
        Err(AuthenticationError(self.faults.iter().map(ToString::to_string).collect()))
    }

    /// Fields that mean nothing are refused: a word that is misspelt may be one that keeps somebody out.
    fn known(&mut self, value: &Value, path: &str, fields: &[&str]) {
        for name in value.as_object().into_iter().flatten().map(|(name, _)| name) {
            if !fields.contains(&name.as_str()) {
                let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
                self.faults.push(FieldError::forbidden(path, "unknown field"));
            }
        }
    }

    fn anonymous(&mut self, value: &Value) -> Anonymous {
        self.known(value, "anonymous", &["enabled", "conditions"]);
        let paths: Vec<String> = list(&value["conditions"]).iter().map(|condition| text(&condition["path"])).collect();
        if value["enabled"] != true && !paths.is_empty() {
            self.faults.push(FieldError::invalid(
                "anonymous.conditions",
                &value["conditions"],
                "enabled should be set to true when conditions are defined",
            ));
        }
        match value["enabled"].as_bool() {
            None => Anonymous::Health,
            Some(false) => Anonymous::Never,
            Some(true) => Anonymous::Paths(paths),
        }
    }

    fn issuer(&mut self, jwt: &Value, path: &str) -> Option<IssuerConfig> {
        self.known(jwt, path, &["issuer", "claimValidationRules", "claimMappings", "userValidationRules"]);
        let issuer = &jwt["issuer"];
        let at = format!("{path}.issuer");
        let fields =
            ["url", "discoveryURL", "certificateAuthority", "audiences", "audienceMatchPolicy", "egressSelectorType"];
        self.known(issuer, &at, &fields);
        let url = text(&issuer["url"]);
        self.address(&issuer["url"], &format!("{at}.url"));
        let mut discovery = format!("{}/.well-known/openid-configuration", url.trim_end_matches('/'));
        if !text(&issuer["discoveryURL"]).is_empty() {
            discovery = text(&issuer["discoveryURL"]);
            self.address(&issuer["discoveryURL"], &format!("{at}.discoveryURL"));
            if discovery.trim_end_matches('/') == url.trim_end_matches('/') {
                let why = "discoveryURL must be different from URL";
                self.faults.push(FieldError::invalid(format!("{at}.discoveryURL"), &json!(discovery), why));
            }
        }
        if !text(&issuer["egressSelectorType"]).is_empty() {
            let why = "there are no egress selectors: leave it out";
            self.faults.push(FieldError::forbidden(format!("{at}.egressSelectorType"), why));
        }
        let authorities = text(&issuer["certificateAuthority"]).into_bytes();
        let certificates: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&authorities).collect();
        let none = match certificates {
            Ok(all) => all.is_empty(),
            Err(_) => true,
        };
        if !authorities.is_empty() && none {
            let why = "expected certificates in PEM";
            self.faults.push(FieldError::invalid(format!("{at}.certificateAuthority"), &json!("<omitted>"), why));
        }
        let audiences = self.audiences(issuer, &at);
        let mapping = self.mapping(jwt, path)?;
        Some(IssuerConfig { url, discovery, authorities, audiences, algorithms: self.algorithms.clone(), mapping })
    }

    fn address(&mut self, url: &Value, path: &str) {
        let address = text(url);
        if address.is_empty() {
            self.faults.push(FieldError::required(path, "URL is required"));
            return;
        }
        let parsed = address.parse::<http::Uri>().ok().filter(|uri| uri.host().is_some());
        let why = match parsed {
            None => "it is no URL",
            Some(uri) if uri.scheme_str() != Some("https") => "URL scheme must be https",
            Some(uri) if uri.authority().is_some_and(|authority| authority.as_str().contains('@')) => {
                "URL must not contain a username or password"
            }
            Some(uri) if uri.query().is_some() => "URL must not contain a query",
            Some(_) if address.contains('#') => "URL must not contain a fragment",
            Some(_) => return,
        };
        self.faults.push(FieldError::invalid(path, url, why));
    }

    fn audiences(&mut self, issuer: &Value, path: &str) -> Vec<String> {
        let audiences: Vec<String> = list(&issuer["audiences"]).iter().map(text).collect();
        let at = format!("{path}.audiences");
        if audiences.is_empty() {
            self.faults.push(FieldError::required(&at, "at least one audience is required"));
        }
        for (index, audience) in audiences.iter().enumerate() {
            if audience.is_empty() {
                self.faults.push(FieldError::required(format!("{at}[{index}]"), "audience can't be empty"));
            } else if audiences[..index].contains(audience) {
                self.faults.push(FieldError::duplicate(format!("{at}[{index}]"), &json!(audience)));
            }
        }
        let policy = &issuer["audienceMatchPolicy"];
        let fits = policy == "MatchAny" || text(policy).is_empty() && audiences.len() < 2;
        if !fits {
            let why = "audienceMatchPolicy must be MatchAny for multiple audiences, MatchAny or empty for one";
            self.faults.push(FieldError::invalid(format!("{path}.audienceMatchPolicy"), policy, why));
        }
        audiences
    }

    fn mapping(&mut self, jwt: &Value, path: &str) -> Option<Mapping> {
        let mappings = &jwt["claimMappings"];
        let at = format!("{path}.claimMappings");
        self.known(mappings, &at, &["username", "groups", "uid", "extra"]);
        let username = self.name(&mappings["username"], &format!("{at}.username"));
        if username.is_none() && !mappings["username"].is_object() {
            self.faults.push(FieldError::required(format!("{at}.username"), "claim or expression is required"));
        }
        let groups = self.name(&mappings["groups"], &format!("{at}.groups"));
        let uid = self.source(&mappings["uid"], &format!("{at}.uid"), &["claim", "expression"]);
        let extra = self.extra(&mappings["extra"], &format!("{at}.extra"));
        let claim_rules = self.claim_rules(&jwt["claimValidationRules"], &format!("{path}.claimValidationRules"));
        let user_rules = self.user_rules(&jwt["userValidationRules"], &format!("{path}.userValidationRules"));
        self.verified_mail(jwt, &at);
        Some(Mapping { username: username?, groups, uid, extra, claim_rules, user_rules })
    }

    /// Whoever takes the mail address for a name must look whether it is the user's.
    fn verified_mail(&mut self, jwt: &Value, path: &str) {
        let username = text(&jwt["claimMappings"]["username"]["expression"]);
        let named = username.contains("claims.email") && !username.contains("claims.email_verified");
        let looked = jwt["claimValidationRules"].to_string().contains("claims.email_verified")
            || jwt["claimMappings"]["extra"].to_string().contains("claims.email_verified");
        if named && !looked {
            let why = "claims.email_verified must be used in claimMappings.username.expression or \
                       claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is \
                       used in claimMappings.username.expression";
            self.faults.push(FieldError::invalid(format!("{path}.username.expression"), &json!(username), why));
        }
    }

    /// A claim or an expression.
    fn source(&mut self, value: &Value, path: &str, fields: &[&str]) -> Option<Source> {
        if !value.is_object() {
            return None;
        }
        self.known(value, path, fields);
        match (text(&value["claim"]), text(&value["expression"])) {
            (claim, expression) if !claim.is_empty() && !expression.is_empty() => {
                let why = "claim and expression can't both be set";
                self.faults.push(FieldError::invalid(path, &json!(""), why));
                None
            }
            (claim, expression) if claim.is_empty() && expression.is_empty() => {
                self.faults.push(FieldError::required(path, "claim or expression is required"));
                None
            }
            (claim, expression) if expression.is_empty() => Some(Source::Claim(claim)),
            (_, expression) => {
                self.program(&expression, "claims", &format!("{path}.expression")).map(Source::Expression)
            }
        }
    }

    fn name(&mut self, value: &Value, path: &str) -> Option<Name> {
        let source = self.source(value, path, &["claim", "prefix", "expression"])?;
        let prefix = value.get("prefix").filter(|prefix| !prefix.is_null());
        match (&source, prefix) {
            (Source::Claim(_), None) => {
                let why = "prefix is required when claim is set. It can be set to an empty string to disable prefixing";
                self.faults.push(FieldError::required(format!("{path}.prefix"), why));
            }
            (Source::Expression(_), Some(prefix)) => {
                let why = "prefix can't be set when expression is set";
                self.faults.push(FieldError::invalid(format!("{path}.prefix"), prefix, why));
            }
            _ => {}
        }
        Some(Name { source, prefix: prefix.map(text).unwrap_or_default() })
    }

    fn program(&mut self, expression: &str, variable: &str, path: &str) -> Option<Arc<naru_cel::Program>> {
        match compile(expression, variable) {
            Ok(program) => Some(Arc::new(program)),
            Err(why) => {
                let why = format!("compilation failed: {why}");
                self.faults.push(FieldError::invalid(path, &json!(expression), why));
                None
            }
        }
    }

    fn extra(&mut self, value: &Value, path: &str) -> Vec<(String, Arc<naru_cel::Program>)> {
        let mut extra: Vec<(String, Arc<naru_cel::Program>)> = Vec::new();
        for (at, one) in list(value).iter().enumerate() {
            let path = format!("{path}[{at}]");
            self.known(one, &path, &["key", "valueExpression"]);
            let key = text(&one["key"]);
            let domain = key.split_once('/').map_or("", |(domain, _)| domain);
            let reserved = ["k8s.io", "kubernetes.io"];
            let why = match () {
                () if domain.is_empty() || key.ends_with('/') => {
                    "must be a domain-prefixed path (such as \"acme.io/foo\")"
                }
                () if key.to_lowercase() != key => "must be lowercase",
                () if reserved.iter().any(|own| domain == *own || domain.ends_with(&format!(".{own}"))) => {
                    "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"
                }
                () if extra.iter().any(|(known, _)| *known == key) => "it is there twice",
                () => "",
            };
            if !why.is_empty() {
                self.faults.push(FieldError::invalid(format!("{path}.key"), &one["key"], why));
            }
            let expression = text(&one["valueExpression"]);
            if let Some(program) = self.program(&expression, "claims", &format!("{path}.valueExpression")) {
                extra.push((key, program));
            }
        }
        extra
    }

    fn claim_rules(&mut self, value: &Value, path: &str) -> Vec<ClaimRule> {
        let mut rules = Vec::new();
        for (at, rule) in list(value).iter().enumerate() {
            let path = format!("{path}[{at}]");
            self.known(rule, &path, &["claim", "requiredValue", "expression", "message"]);
            match (text(&rule["claim"]), text(&rule["expression"])) {
                (claim, expression) if claim.is_empty() == expression.is_empty() => {
                    self.faults.push(FieldError::required(&path, "either claim or expression is required"));
                }
                (claim, expression) if expression.is_empty() => {
                    rules.push(ClaimRule::Equals { claim, value: text(&rule["requiredValue"]) });
                }
                (_, expression) => {
                    let program = self.program(&expression, "claims", &format!("{path}.expression"));
                    let message = text(&rule["message"]);
                    rules.extend(program.map(|program| ClaimRule::Holds { program, expression, message }));
                }
            }
        }
        rules
    }

    fn user_rules(&mut self, value: &Value, path: &str) -> Vec<UserRule> {
        let mut rules = Vec::new();
        for (at, rule) in list(value).iter().enumerate() {
            let path = format!("{path}[{at}]");
            self.known(rule, &path, &["expression", "message"]);
            let expression = text(&rule["expression"]);
            let program = self.program(&expression, "user", &format!("{path}.expression"));
            let message = text(&rule["message"]);
            rules.extend(program.map(|program| UserRule { program, expression, message }));
        }
        rules
    }
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn text(value: &Value) -> String {
    value.as_str().unwrap_or_default().to_owned()
}

#[cfg(test)]
mod tests;
