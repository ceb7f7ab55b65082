//! Whose tokens the server believes: from its options, or from a file.

use std::fs;
use std::path::Path;

use anyhow::Context;
use naru_apiserver::{Authentication, OidcFlags, Settings};

use crate::cli::OidcOptions;

/// Reads what the options say.
///
/// # Errors
/// When a file cannot be read, or something of it means nothing.
pub(super) fn read(options: &OidcOptions) -> anyhow::Result<Authentication> {
    // Service accounts' tokens have this one, which is nobody else's.
    let own = Settings::default().issuer;
    if let Some(path) = &options.config {
        let text = text(path)?;
        return Authentication::read(&text, &own)
            .with_context(|| format!("{} does not say who may log in", path.display()));
    }
    let (Some(issuer), Some(client)) = (&options.issuer, &options.client) else {
        return Ok(Authentication::default());
    };
    let required = options.required.iter().map(|pair| {
        let (claim, value) = pair
            .split_once('=')
            .filter(|(claim, _)| !claim.is_empty())
            .with_context(|| format!("--oidc-required-claim: expected CLAIM=VALUE, got {pair:?}"))?;
        Ok((claim.to_owned(), value.to_owned()))
    });
    let flags = OidcFlags {
        issuer: issuer.clone(),
        client: client.clone(),
        username_claim: options.username_claim.clone(),
        username_prefix: options.username_prefix.clone(),
        groups_claim: options.groups_claim.clone(),
        groups_prefix: options.groups_prefix.clone(),
        required: required.collect::<anyhow::Result<_>>()?,
        authorities: options.authorities.as_deref().map(text).transpose()?,
        algorithms: options.algorithms.clone(),
    };
    Authentication::of_flags(&flags, &own).context("the options --oidc-… do not say who may log in")
}

fn text(path: &Path) -> anyhow::Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::{Cli, Command};
    use clap::Parser;

    fn of(words: &[&str]) -> anyhow::Result<Authentication> {
        let cli = Cli::try_parse_from([&["naru", "server"], words].concat())?;
        let Command::Server(options) = cli.command else { panic!("a server") };
        read(&options.oidc)
    }

    #[test]
    fn options_are_understood_or_refused() {
        of(&[]).expect("nobody else");
        let issuer = ["--oidc-issuer-url", "https://login.example.org", "--oidc-client-id", "naru"];
        let with = |more: &[&str]| of(&[&issuer[..], more].concat());
        with(&["--oidc-username-prefix", "-", "--oidc-required-claim", "hd=example.org,a=b"]).expect("understood");
        assert!(with(&["--oidc-required-claim", "hd"]).expect_err("no value").to_string().contains("CLAIM=VALUE"));
        with(&["--oidc-signing-algs", "none"]).expect_err("no way to sign");
        with(&["--oidc-ca-file", "/does/not/exist"]).expect_err("no file");
        of(&issuer[..2]).expect_err("for whom?");
        with(&["--authentication-config", "x"]).expect_err("one or the other");
        of(&["--oidc-issuer-url", "http://login.example.org", "--oidc-client-id", "naru"]).expect_err("in the open");
    }

    #[test]
    fn a_file_is_read_and_its_faults_are_told() {
        let dir = tempfile::tempdir().expect("a folder");
        let path = dir.path().join("authentication.yaml");
        let of_file = |text: &str| {
            fs::write(&path, text).expect("write");
            of(&["--authentication-config", path.to_str().expect("text")])
        };
        let head = "apiVersion: apiserver.config.k8s.io/v1\nkind: AuthenticationConfiguration\n";
        of_file(&format!("{head}anonymous: {{enabled: false}}\n")).expect("understood");
        let error = of_file(&format!("{head}anonymus: {{}}\n")).expect_err("misspelt");
        assert!(format!("{error:#}").contains("anonymus: Forbidden: unknown field"), "{error:#}");
    }
}
