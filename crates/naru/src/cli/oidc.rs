//! Options of a server that believes tokens of others. Their names are those of kube-apiserver.

use std::path::PathBuf;

use clap::Args;

// Who may log in. (No doc comment: it would become the text of the whole command.)
#[derive(Debug, Clone, Default, Args)]
pub(crate) struct OidcOptions {
    /// File that says whose tokens are believed, and who needs no name (AuthenticationConfiguration of
    /// apiserver.config.k8s.io/v1); instead of the options --oidc-…
    #[arg(long = "authentication-config", value_name = "FILE", conflicts_with = "issuer")]
    pub config: Option<PathBuf>,
    /// Believe ID tokens of this issuer (OpenID Connect), an address that begins with https://
    #[arg(long = "oidc-issuer-url", value_name = "URL", requires = "client")]
    pub issuer: Option<String>,
    /// The client that its tokens must be for
    #[arg(long = "oidc-client-id", value_name = "ID", requires = "issuer")]
    pub client: Option<String>,
    /// The claim that is the user's name [default: sub]
    #[arg(long = "oidc-username-claim", value_name = "CLAIM", requires = "issuer")]
    pub username_claim: Option<String>,
    /// What user names get before them; - for nothing [default: the issuer's address and #, nothing for the claim email]
    #[arg(long = "oidc-username-prefix", value_name = "PREFIX", requires = "issuer", allow_hyphen_values = true)]
    pub username_prefix: Option<String>,
    /// The claim that holds the user's groups; none unless given
    #[arg(long = "oidc-groups-claim", value_name = "CLAIM", requires = "issuer")]
    pub groups_claim: Option<String>,
    /// What groups get before them
    #[arg(long = "oidc-groups-prefix", value_name = "PREFIX", requires = "groups_claim")]
    pub groups_prefix: Option<String>,
    /// A claim that must have this value (repeatable)
    #[arg(long = "oidc-required-claim", value_name = "CLAIM=VALUE", value_delimiter = ',', requires = "issuer")]
    pub required: Vec<String>,
    /// Authority of the issuer's certificate (PEM); the machine's own unless given
    #[arg(long = "oidc-ca-file", value_name = "FILE", requires = "issuer")]
    pub authorities: Option<PathBuf>,
    /// How tokens may be signed [default: RS256]
    #[arg(long = "oidc-signing-algs", value_name = "NAME", value_delimiter = ',', requires = "issuer")]
    pub algorithms: Vec<String>,
}
