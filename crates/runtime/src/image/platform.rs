//! Which variant of a multi-platform image runs here.
//!
//! A pure choice over what an index offers: the wanted system and architecture must match, the exact variant wins,
//! then the closest older one (an arm v6 program runs on v7, an amd64 v2 one on v3), never a newer one.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::error::ImageError;

/// An operating system and architecture, as Go names them.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Platform {
    /// `linux`.
    #[serde(default)]
    pub os: String,
    /// `amd64`, `arm64`, …
    #[serde(default)]
    pub architecture: String,
    /// `v7`, `v8`, …
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

impl Platform {
    /// This machine's.
    pub fn host() -> Platform {
        let (architecture, variant) = match std::env::consts::ARCH {
            "x86_64" => ("amd64", None),
            "aarch64" => ("arm64", Some("v8")),
            "arm" => ("arm", Some("v7")),
            "x86" => ("386", None),
            "powerpc64" => ("ppc64le", None),
            other => (other, None),
        };
        Platform { os: "linux".into(), architecture: architecture.into(), variant: variant.map(Into::into) }
    }

    /// Index of the offer that fits best; none when nothing fits. The first of equals wins.
    pub(crate) fn choose<'a>(&self, offers: impl IntoIterator<Item = &'a Platform>) -> Option<usize> {
        let mut best: Option<(u32, usize)> = None;
        for (index, offer) in offers.into_iter().enumerate() {
            if let Some(score) = self.fit(offer)
                && best.is_none_or(|(top, _)| score > top)
            {
                best = Some((score, index));
            }
        }
        best.map(|(_, index)| index)
    }

    /// How well `offer` fits; higher is better, none when it does not run.
    fn fit(&self, offer: &Platform) -> Option<u32> {
        if self.os != offer.os || self.architecture != offer.architecture {
            return None;
        }
        let default = match self.architecture.as_str() {
            "arm64" => 8,
            "arm" => 7,
            _ => 1,
        };
        let number = |variant: &Option<String>| match variant.as_deref() {
            None | Some("") => Some(default),
            Some(text) => text.strip_prefix('v').unwrap_or(text).parse::<u32>().ok(),
        };
        match (number(&self.variant), number(&offer.variant)) {
            (Some(wanted), Some(offered)) => (offered <= wanted).then_some(offered + 1),
            _ => (self.variant == offer.variant).then_some(1),
        }
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.os, self.architecture)?;
        match self.variant.as_deref() {
            None | Some("") => Ok(()),
            Some(variant) => write!(f, "/{variant}"),
        }
    }
}

impl FromStr for Platform {
    type Err = ImageError;

    /// Reads `os/architecture[/variant]`, with the usual other names of architectures.
    fn from_str(input: &str) -> Result<Platform, ImageError> {
        let parts: Vec<&str> = input.split('/').collect();
        let (os, architecture, variant) = match parts.as_slice() {
            [os, architecture] => (*os, *architecture, None),
            [os, architecture, variant] => (*os, *architecture, Some((*variant).to_owned())),
            _ => {
                return Err(ImageError::Reference {
                    input: input.to_owned(),
                    expected: "a platform such as linux/amd64",
                });
            }
        };
        let architecture = match architecture {
            "x86_64" | "x86-64" => "amd64",
            "aarch64" => "arm64",
            "armhf" => "arm",
            "i386" | "i686" => "386",
            other => other,
        };
        Ok(Platform { os: os.to_owned(), architecture: architecture.to_owned(), variant })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platforms(list: &[&str]) -> Vec<Platform> {
        list.iter().map(|p| p.parse().unwrap()).collect()
    }

    #[test]
    fn the_closest_variant_that_runs_is_chosen() {
        for (wanted, offers, chosen) in [
            ("linux/amd64", vec!["linux/arm64", "linux/amd64"], Some(1)),
            ("linux/amd64", vec!["linux/amd64/v3", "linux/amd64"], Some(1)),
            ("linux/amd64/v3", vec!["linux/amd64", "linux/amd64/v2", "linux/amd64/v4"], Some(1)),
            ("linux/arm/v7", vec!["linux/arm/v5", "linux/arm/v6", "linux/arm64/v8"], Some(1)),
            ("linux/arm64", vec!["linux/arm64/v8"], Some(0)),
            ("linux/amd64", vec!["windows/amd64", "linux/386"], None),
            ("linux/amd64", vec!["linux/amd64/v2"], None),
            ("linux/x86_64", vec!["linux/amd64"], Some(0)),
        ] {
            assert_eq!(
                wanted.parse::<Platform>().unwrap().choose(&platforms(&offers)),
                chosen,
                "{wanted} of {offers:?}"
            );
        }
    }
}
