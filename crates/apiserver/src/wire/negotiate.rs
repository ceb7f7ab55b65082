//! Which representation a client asks for in `Accept`, and which one it sends in `Content-Type`.
//!
//! Protobuf is understood in requests and never sent: clients that prefer it list JSON after it and get that; a client
//! that wants nothing but protobuf gets 406.

use http::HeaderMap;
use http::header::{ACCEPT, CONTENT_TYPE};
use naru_api::status::Status;

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
}

/// Which form of the objects is wanted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Shape {
    /// The objects themselves.
    Whole,
    /// The objects without the owners of their fields, which make up most of some: for programs that never look at them
    /// (`application/json;owners=none`, of which other servers know nothing).
    Bare,
    /// `meta.k8s.io/v1 Table`: rows and columns, for people.
    Table,
    /// `meta.k8s.io/v1 PartialObjectMetadata`: only the metadata.
    Partial,
    /// `apidiscovery.k8s.io/v2`: all groups at once; means the plain form elsewhere.
    Discovery,
}

/// The patch languages that every writable part takes.
pub(crate) const PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];
/// The language of server-side apply: objects and their statuses.
const APPLY: &str = "application/apply-patch+yaml";

/// What a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) media: Media,
    pub(crate) shape: Shape,
}

/// The language of a patch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum PatchType {
    Json,
    Merge,
    Strategic,
    Apply,
}

// === impl Media ===

impl Media {
    pub(crate) fn content_type(self) -> &'static str {
        match self {
            Media::Json => "application/json",
            Media::Yaml => "application/yaml",
        }
    }

    fn of(essence: &str) -> Option<Media> {
        match essence {
            "application/json" | "*/*" | "application/*" => Some(Media::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" => Some(Media::Yaml),
            _ => None,
        }
    }
}

// === impl Accepted ===

impl Accepted {
    pub(crate) const JSON: Accepted = Accepted { media: Media::Json, shape: Shape::Whole };

    /// Reads `Accept`; `None` when nothing in it can be served.
    pub(crate) fn offered(headers: &HeaderMap) -> Option<Accepted> {
        let mut values = headers.get_all(ACCEPT).iter().peekable();
        if values.peek().is_none() {
            return Some(Accepted::JSON);
        }
        values.filter_map(|v| v.to_str().ok()).flat_map(|v| v.split(',')).find_map(Accepted::parse)
    }

    /// Reads `Accept`.
    ///
    /// # Errors
    /// 406 with what can be served.
    pub(crate) fn of(headers: &HeaderMap) -> Result<Accepted, Status> {
        Accepted::offered(headers).ok_or_else(|| Status::not_acceptable(&["application/json", "application/yaml"]))
    }

    fn parse(range: &str) -> Option<Accepted> {
        let mut parts = range.split(';').map(str::trim);
        let media = Media::of(parts.next()?)?;
        let (mut shape, mut group, mut version, mut bare) = ("", "", "", false);
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => shape = value,
                Some(("g", value)) => group = value,
                Some(("v", value)) => version = value,
                Some(("owners", "none")) => bare = true,
                Some(("q", "0" | "0.0" | "0.00" | "0.000")) => return None,
                _ => {}
            }
        }
        let shape = match (shape, group, version) {
            ("", _, _) if bare => Shape::Bare,
            ("", _, _) => Shape::Whole,
            ("Table", "meta.k8s.io", "v1") => Shape::Table,
            ("PartialObjectMetadata" | "PartialObjectMetadataList", "meta.k8s.io", "v1") => Shape::Partial,
            ("APIGroupDiscoveryList", "apidiscovery.k8s.io", "v2") => Shape::Discovery,
            _ => return None,
        };
        Some(Accepted { media, shape })
    }
}

/// The encoding of a request's body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    Json,
    Yaml,
    Protobuf,
}

/// The encoding of a request's body, JSON when it is not named (as curl users expect).
///
/// # Errors
/// 415 for anything but JSON, YAML and protobuf.
pub(crate) fn request_media(headers: &HeaderMap) -> Result<Sent, Status> {
    let Some(essence) = essence(headers)? else { return Ok(Sent::Json) };
    match (Media::of(essence), essence) {
        (Some(Media::Json), _) => Ok(Sent::Json),
        (Some(Media::Yaml), _) => Ok(Sent::Yaml),
        (None, "application/vnd.kubernetes.protobuf") => Ok(Sent::Protobuf),
        _ => Err(Status::unsupported_media_type(&[
            "application/json",
            "application/yaml",
            "application/vnd.kubernetes.protobuf",
        ])),
    }
}

/// The language of a patch.
///
/// # Errors
/// 415 for anything but the four patch types.
pub(crate) fn patch_type(headers: &HeaderMap) -> Result<PatchType, Status> {
    match essence(headers)? {
        Some("application/json-patch+json") => Ok(PatchType::Json),
        Some("application/merge-patch+json") => Ok(PatchType::Merge),
        Some("application/strategic-merge-patch+json") => Ok(PatchType::Strategic),
        Some(APPLY) => Ok(PatchType::Apply),
        _ => {
            let [json, merge, strategic] = PATCHES;
            Err(Status::unsupported_media_type(&[json, merge, strategic, APPLY]))
        }
    }
}

fn essence(headers: &HeaderMap) -> Result<Option<&str>, Status> {
    let Some(value) = headers.get(CONTENT_TYPE) else { return Ok(None) };
    let value = value.to_str().map_err(|_| Status::bad_request("the Content-Type header is not ASCII"))?;
    Ok(value.split(';').next().map(str::trim).filter(|e| !e.is_empty()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn accept(value: &str) -> Option<Accepted> {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, value.parse().expect("a header"));
        Accepted::offered(&headers)
    }

    #[test]
    fn clients_that_prefer_protobuf_get_json() {
        assert_eq!(accept("application/vnd.kubernetes.protobuf,application/json"), Some(Accepted::JSON));
        assert_eq!(accept("application/vnd.kubernetes.protobuf"), None);
        assert_eq!(accept("application/json;q=0"), None);
        assert_eq!(Accepted::offered(&HeaderMap::new()), Some(Accepted::JSON));
    }

    #[test]
    fn kubectls_tables_are_understood() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accept(table), Some(Accepted { media: Media::Json, shape: Shape::Table }));
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        assert_eq!(accept(partial), Some(Accepted { media: Media::Json, shape: Shape::Partial }));
        let bare = Some(Accepted { media: Media::Json, shape: Shape::Bare });
        assert_eq!(accept("application/json;owners=none"), bare);
        assert_eq!(accept("application/yaml"), Some(Accepted { media: Media::Yaml, shape: Shape::Whole }));
    }

    #[test]
    fn a_patch_must_name_its_language() {
        let mut headers = HeaderMap::new();
        patch_type(&headers).expect_err("none");
        headers.insert(CONTENT_TYPE, "application/strategic-merge-patch+json".parse().expect("a header"));
        assert_eq!(patch_type(&headers).expect("a type"), PatchType::Strategic);
    }
}
