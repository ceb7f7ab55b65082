//! Options of the audit log. Their names are those of kube-apiserver.

use std::path::PathBuf;
use std::sync::Arc;

use anyhow::Context;
use clap::Args;
use naru_apiserver::{AuditLog, AuditSettings};

// (No doc comment: it would become the text of the whole command.)
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct AuditOptions {
    /// Write down who asks for what, as this policy says (audit.k8s.io/v1 Policy, YAML)
    #[arg(long = "audit-policy-file", value_name = "FILE", requires = "audit_log")]
    pub audit_policy: Option<PathBuf>,
    /// Where it is written, one JSON object a line; - for the standard output
    #[arg(long = "audit-log-path", value_name = "FILE", requires = "audit_policy")]
    pub audit_log: Option<PathBuf>,
    /// For how many days files that were put aside are kept; 0: for ever
    #[arg(long = "audit-log-maxage", value_name = "DAYS", default_value_t = 0)]
    pub audit_max_age: u32,
    /// How many files that were put aside are kept; 0: all
    #[arg(long = "audit-log-maxbackup", value_name = "NUMBER", default_value_t = 0)]
    pub audit_max_backups: u32,
    /// From how many megabytes on the file is put aside
    #[arg(long = "audit-log-maxsize", value_name = "MEGABYTES", default_value_t = 100,
        value_parser = clap::value_parser!(u32).range(1..))]
    pub audit_max_size: u32,
}

impl AuditOptions {
    /// Opens the log; `None` where nobody wants one.
    ///
    /// # Errors
    /// When the policy or the log cannot be used.
    pub fn open(&self) -> anyhow::Result<Option<Arc<AuditLog>>> {
        let (Some(policy), Some(path)) = (self.audit_policy.clone(), self.audit_log.clone()) else { return Ok(None) };
        let (max_age, max_backups, max_size) = (self.audit_max_age, self.audit_max_backups, self.audit_max_size);
        let settings = AuditSettings { policy, path, max_age, max_backups, max_size };
        Ok(Some(Arc::new(AuditLog::open(&settings).context("there is no audit log")?)))
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use crate::cli::{Cli, Command};

    fn options(words: &[&str]) -> Result<super::AuditOptions, clap::Error> {
        match Cli::try_parse_from([&["naru", "server"], words].concat())?.command {
            Command::Server(options) => Ok(options.audit),
            _ => panic!("a server"),
        }
    }

    #[test]
    fn a_log_needs_a_policy_and_a_policy_a_log() {
        assert!(options(&[]).expect("options").open().expect("no log").is_none());
        options(&["--audit-policy-file", "p.yaml"]).expect_err("where to?");
        options(&["--audit-log-path", "-"]).expect_err("what?");
        let both = ["--audit-policy-file", "/nowhere/p.yaml", "--audit-log-path", "-", "--audit-log-maxage", "30"];
        let both = options(&both).expect("options");
        assert_eq!((both.audit_max_age, both.audit_max_backups, both.audit_max_size), (30, 0, 100));
        let refused = format!("{:#}", both.open().expect_err("no policy there"));
        assert!(refused.contains("/nowhere/p.yaml"), "{refused}");
    }
}
