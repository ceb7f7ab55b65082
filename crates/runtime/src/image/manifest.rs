//! Manifests and indexes: which blobs make an image.
//!
//! Only what the store needs is read; the documents themselves are kept as the bytes they came as, because their
//! digest is what names them. Docker's and OCI's forms differ in media types alone.

use serde::{Deserialize, Serialize};

use super::config::null_is_default;
use super::digest::Digest;
use super::error::ImageError;
use super::platform::Platform;

pub(crate) const OCI_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
pub(crate) const OCI_INDEX: &str = "application/vnd.oci.image.index.v1+json";
pub(crate) const OCI_CONFIG: &str = "application/vnd.oci.image.config.v1+json";
pub(crate) const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
pub(crate) const DOCKER_LIST: &str = "application/vnd.docker.distribution.manifest.list.v2+json";
const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";

/// Documents above this are refused, as registries do.
pub(crate) const DOCUMENT_LIMIT: u64 = 8 << 20;

/// One blob of an image, as its manifest describes it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Descriptor {
    #[serde(default)]
    pub media_type: String,
    pub digest: Digest,
    pub size: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub platform: Option<Platform>,
    #[serde(
        default,
        deserialize_with = "null_is_default",
        skip_serializing_if = "std::collections::BTreeMap::is_empty"
    )]
    pub annotations: std::collections::BTreeMap<String, String>,
}

impl Descriptor {
    pub(crate) fn new(media_type: &str, digest: Digest, size: u64) -> Descriptor {
        Descriptor { media_type: media_type.to_owned(), digest, size, platform: None, annotations: Default::default() }
    }
}

/// An image manifest.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Manifest {
    pub schema_version: u32,
    #[serde(default)]
    pub media_type: String,
    pub config: Descriptor,
    #[serde(default, deserialize_with = "null_is_default")]
    pub layers: Vec<Descriptor>,
}

impl Manifest {
    /// The OCI manifest of an image put together here.
    pub(crate) fn assemble(config: Descriptor, layers: Vec<Descriptor>) -> Manifest {
        Manifest { schema_version: 2, media_type: OCI_MANIFEST.into(), config, layers }
    }
}

/// An index or manifest list.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Index {
    pub schema_version: u32,
    #[serde(default)]
    pub media_type: String,
    #[serde(default, deserialize_with = "null_is_default")]
    pub manifests: Vec<Descriptor>,
}

/// A manifest or an index, told apart by what is in it.
#[derive(Clone, Debug)]
pub(crate) enum Document {
    Manifest(Manifest),
    Index(Index),
}

impl Document {
    /// Reads a document whose bytes have `digest`.
    pub(crate) fn parse(digest: &Digest, bytes: &[u8]) -> Result<Document, ImageError> {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Probe {
            #[serde(default)]
            schema_version: u32,
            #[serde(default)]
            media_type: String,
            manifests: Option<serde::de::IgnoredAny>,
        }
        let refuse = |problem: String| ImageError::Document { document: "manifest", digest: digest.clone(), problem };
        let probe: Probe = serde_json::from_slice(bytes).map_err(|e| refuse(format!("it is not valid JSON ({e})")))?;
        if probe.schema_version == 1 {
            return Err(refuse(
                "it has schema version 1, which registries gave up in 2017: push the image again with a current tool"
                    .into(),
            ));
        }
        if probe.manifests.is_some() || probe.media_type == OCI_INDEX || probe.media_type == DOCKER_LIST {
            let index = serde_json::from_slice(bytes).map_err(|e| refuse(e.to_string()))?;
            return Ok(Document::Index(index));
        }
        let manifest: Manifest = serde_json::from_slice(bytes).map_err(|e| refuse(e.to_string()))?;
        if !matches!(manifest.config.media_type.as_str(), OCI_CONFIG | DOCKER_CONFIG | "application/octet-stream" | "")
        {
            let kind = &manifest.config.media_type;
            return Err(refuse(format!("it describes no container image but an artifact of the type {kind}")));
        }
        if manifest.config.size > DOCUMENT_LIMIT {
            return Err(refuse(format!("its configuration is larger than {DOCUMENT_LIMIT} bytes")));
        }
        Ok(Document::Manifest(manifest))
    }
}

impl Index {
    /// The manifest that fits `wanted` best. Entries without a platform are accepted when nothing else is offered.
    pub(crate) fn choose(&self, wanted: &Platform) -> Option<&Descriptor> {
        let images = || self.manifests.iter().filter(|d| !d.annotations.contains_key("vnd.docker.reference.type"));
        let described: Vec<&Descriptor> = images().filter(|d| d.platform.is_some()).collect();
        match wanted.choose(described.iter().filter_map(|d| d.platform.as_ref())) {
            Some(index) => Some(described[index]),
            None if described.is_empty() => images().next(),
            None => None,
        }
    }

    /// The platforms on offer, for messages.
    pub(crate) fn offers(&self) -> Vec<String> {
        let offers = self.manifests.iter().filter_map(|d| d.platform.as_ref()).filter(|p| p.os != "unknown");
        offers.map(Platform::to_string).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Document, ImageError> {
        Document::parse(&Digest::of(text.as_bytes()), text.as_bytes())
    }

    #[test]
    fn an_index_offers_images_not_attestations() {
        let d = |c: char| format!("sha256:{}", c.to_string().repeat(64));
        let text = format!(
            r#"{{"schemaVersion":2,"manifests":[
            {{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":1,"platform":{{"architecture":"amd64","os":"linux"}}}},
            {{"mediaType":"{OCI_MANIFEST}","digest":"{}","size":1,"platform":{{"architecture":"unknown","os":"unknown"}},
              "annotations":{{"vnd.docker.reference.type":"attestation-manifest"}}}}]}}"#,
            d('a'),
            d('b')
        );
        let Document::Index(index) = parse(&text).unwrap() else { panic!("not an index") };
        assert_eq!(index.choose(&"linux/amd64".parse().unwrap()).unwrap().digest.to_string(), d('a'));
        assert_eq!(index.choose(&"linux/s390x".parse().unwrap()), None);
        assert_eq!(index.offers(), ["linux/amd64"]);
    }

    #[test]
    fn what_is_no_image_is_refused_with_the_reason() {
        assert!(parse("{").unwrap_err().to_string().contains("JSON"));
        assert!(parse(r#"{"schemaVersion":1,"fsLayers":[]}"#).unwrap_err().to_string().contains("schema version 1"));
        let chart = format!(
            r#"{{"schemaVersion":2,"config":{{"mediaType":"application/vnd.cncf.helm.config.v1+json","digest":"{}","size":2}},"layers":[]}}"#,
            Digest::of(b"{}")
        );
        assert!(parse(&chart).unwrap_err().to_string().contains("helm"));
    }
}
