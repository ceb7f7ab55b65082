//! Which representation a client asks for in `Accept`, and which one it sends in `Content-Type`.
//!
//! What a client likes best of what there is decides. Protobuf is there for the kinds that Kubernetes has in it; clients
//! that ask for it list JSON after it, or anything, and get that for all others.

use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderValue};
use naru_api::status::Status;

use super::path::Verb;
use crate::routes::Route;

/// The encoding of a body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Media {
    Json,
    Yaml,
    Protobuf,
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

/// What there is in protobuf.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Spoken {
    Nothing,
    /// The metadata of objects: of kinds that users define, too.
    Metadata,
    /// Objects, and their metadata alone; no tables.
    Objects,
}

/// What there is to choose from besides JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Offer {
    yaml: bool,
    protobuf: Spoken,
}

/// The patch languages that every writable part takes.
pub(crate) const PATCHES: [&str; 3] =
    ["application/json-patch+json", "application/merge-patch+json", "application/strategic-merge-patch+json"];
/// The language of server-side apply: objects and their statuses.
const APPLY: &str = "application/apply-patch+yaml";
const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";
const PROTOBUF_STREAM: &str = "application/vnd.kubernetes.protobuf;stream=watch";

/// What a client accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    pub(crate) media: Media,
    pub(crate) shape: Shape,
}

/// How much a client likes what it accepts: by its own word in thousandths, then by how exactly it names it.
type Liking = (u16, u8);

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
            Media::Protobuf => PROTOBUF,
        }
    }

    /// What the stream of a watch is called.
    pub(crate) fn stream_type(self) -> &'static str {
        if self == Media::Protobuf { PROTOBUF_STREAM } else { self.content_type() }
    }

    fn of(essence: &str) -> Option<Media> {
        match essence {
            "application/json" | "*/*" | "application/*" => Some(Media::Json),
            "application/yaml" | "application/x-yaml" | "text/yaml" => Some(Media::Yaml),
            PROTOBUF => Some(Media::Protobuf),
            _ => None,
        }
    }
}

// === impl Offer ===

impl Offer {
    /// Of documents that are no objects.
    pub(crate) const DOCUMENTS: Offer = Offer { yaml: true, protobuf: Spoken::Nothing };

    /// Of what is answered to a request for objects of the route, or a part of one.
    pub(crate) fn of(route: &Route, verb: Verb, subresource: Option<&str>) -> Offer {
        let protobuf = match subresource {
            _ if route.spoken => Spoken::Objects,
            None | Some("status") => Spoken::Metadata,
            Some(_) => Spoken::Nothing,
        };
        // YAML has no frames.
        Offer { yaml: verb != Verb::Watch, protobuf }
    }

    /// The names of it.
    fn types(self) -> &'static [&'static str] {
        match (self.yaml, self.protobuf) {
            (true, Spoken::Objects) => &["application/json", "application/yaml", PROTOBUF],
            (true, _) => &["application/json", "application/yaml"],
            (false, Spoken::Objects) => &["application/json", PROTOBUF_STREAM],
            (false, _) => &["application/json"],
        }
    }

    fn has(self, Accepted { media, shape }: Accepted) -> bool {
        match (media, shape) {
            (Media::Json, _) => true,
            (Media::Yaml, _) => self.yaml,
            (Media::Protobuf, Shape::Table | Shape::Discovery) => false,
            (Media::Protobuf, Shape::Partial) => self.protobuf != Spoken::Nothing,
            (Media::Protobuf, Shape::Whole | Shape::Bare) => self.protobuf == Spoken::Objects,
        }
    }
}

// === impl Accepted ===

impl Accepted {
    pub(crate) const JSON: Accepted = Accepted { media: Media::Json, shape: Shape::Whole };

    /// What the client likes best of what `there` is; `None` when nothing of it will do.
    fn best(headers: &HeaderMap, there: impl Fn(Accepted) -> bool) -> Option<Accepted> {
        let values = headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok());
        let ranges = values.flat_map(|value| value.split(',')).filter_map(Accepted::parse);
        let mut best: Option<(Liking, Accepted)> = None;
        for (liking, accepted) in ranges.filter(|(_, accepted)| there(*accepted)) {
            // The first of what is liked as much.
            if best.is_none_or(|(known, _)| liking > known) {
                best = Some((liking, accepted));
            }
        }
        best.map(|(_, accepted)| accepted)
    }

    /// Reads `Accept`: what the client likes best of `offer`.
    ///
    /// # Errors
    /// 406 with what there is.
    pub(crate) fn of(headers: &HeaderMap, offer: Offer) -> Result<Accepted, Status> {
        if headers.get_all(ACCEPT).iter().all(HeaderValue::is_empty) {
            return Ok(Accepted::JSON);
        }
        Accepted::best(headers, |accepted| offer.has(accepted)).ok_or_else(|| Status::not_acceptable(offer.types()))
    }

    /// In what a refusal is told: it has a single form, and is told whatever the client accepts.
    pub(crate) fn of_refusal(headers: &HeaderMap) -> Media {
        let whole = |accepted: Accepted| matches!(accepted.shape, Shape::Whole | Shape::Bare);
        Accepted::best(headers, whole).map_or(Media::Json, |accepted| accepted.media)
    }

    fn parse(range: &str) -> Option<(Liking, Accepted)> {
        let mut parts = range.split(';').map(str::trim);
        let essence = parts.next()?;
        let media = Media::of(essence)?;
        let exactness = match essence {
            "*/*" => 0,
            "application/*" => 1,
            _ => 2,
        };
        let (mut shape, mut group, mut version, mut bare, mut quality) = ("", "", "", false, 1000);
        for part in parts {
            match part.split_once('=') {
                Some(("as", value)) => shape = value,
                Some(("g", value)) => group = value,
                Some(("v", value)) => version = value,
                Some(("owners", "none")) => bare = true,
                Some(("q", value)) => quality = thousandths(value),
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
        (quality > 0).then_some(((quality, exactness), Accepted { media, shape }))
    }
}

/// A quality (`0.8`); what is none is as good as not said.
fn thousandths(quality: &str) -> u16 {
    let quality = quality.parse::<f32>().ok().filter(|quality| (0.0..=1.0).contains(quality));
    // From 0 to 1000.
    quality.map_or(1000, |quality| (quality * 1000.0).round() as u16)
}

/// The encoding of a request's body, JSON when it is not named (as curl users expect).
///
/// # Errors
/// 415 for anything but JSON, YAML and protobuf.
pub(crate) fn request_media(headers: &HeaderMap) -> Result<Media, Status> {
    let Some(essence) = essence(headers)? else { return Ok(Media::Json) };
    Media::of(essence)
        .ok_or_else(|| Status::unsupported_media_type(&["application/json", "application/yaml", PROTOBUF]))
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

    const OBJECTS: Offer = Offer { yaml: true, protobuf: Spoken::Objects };
    const METADATA: Offer = Offer { yaml: true, protobuf: Spoken::Metadata };

    fn asked(value: &str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(ACCEPT, value.parse().expect("a header"));
        headers
    }

    fn accept(value: &str, offer: Offer) -> Option<Accepted> {
        Accepted::of(&asked(value), offer).ok()
    }

    fn some(media: Media, shape: Shape) -> Option<Accepted> {
        Some(Accepted { media, shape })
    }

    #[test]
    fn protobuf_is_for_kinds_that_are_spoken_in_it() {
        let both = "application/vnd.kubernetes.protobuf,application/json";
        assert_eq!(accept(both, OBJECTS), some(Media::Protobuf, Shape::Whole));
        assert_eq!(accept(both, METADATA), Some(Accepted::JSON));
        assert_eq!(accept(both, Offer::DOCUMENTS), Some(Accepted::JSON));
        assert_eq!(accept("application/json,application/vnd.kubernetes.protobuf", OBJECTS), Some(Accepted::JSON));
        let alone = "application/vnd.kubernetes.protobuf";
        assert_eq!(accept(alone, OBJECTS), some(Media::Protobuf, Shape::Whole));
        let refused = Accepted::of(&asked(alone), METADATA).expect_err("nothing else");
        assert_eq!(refused.code, 406);
        assert!(!refused.message.contains("protobuf") && refused.message.contains("application/yaml"), "{refused}");
        assert_eq!(Accepted::of(&HeaderMap::new(), OBJECTS).expect("JSON"), Accepted::JSON);
    }

    #[test]
    fn what_is_liked_best_is_taken() {
        for (value, media) in [
            ("*/*, application/vnd.kubernetes.protobuf", Media::Protobuf),
            ("application/vnd.kubernetes.protobuf, */*", Media::Protobuf),
            ("*/*", Media::Json),
            ("application/json;q=0.8, application/vnd.kubernetes.protobuf;q=0.9", Media::Protobuf),
            ("application/vnd.kubernetes.protobuf;q=0.5, application/yaml;q=0.50, */*;q=0.1", Media::Protobuf),
            ("application/json;q=0, application/yaml;q=0.001", Media::Yaml),
            ("application/vnd.kubernetes.protobuf;stream=watch, application/json", Media::Protobuf),
        ] {
            assert_eq!(accept(value, OBJECTS), some(media, Shape::Whole), "{value}");
        }
        assert_eq!(accept("application/json;q=0", OBJECTS), None);
        let watch = Offer { yaml: false, ..OBJECTS };
        assert_eq!(accept("application/yaml, application/json", watch), Some(Accepted::JSON));
        assert_eq!(accept("application/yaml", watch), None);
    }

    #[test]
    fn kubectls_tables_are_understood() {
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json;as=Table;v=v1beta1;g=meta.k8s.io,application/json";
        assert_eq!(accept(table, OBJECTS), some(Media::Json, Shape::Table));
        let table = "application/vnd.kubernetes.protobuf;as=Table;v=v1;g=meta.k8s.io";
        assert_eq!(accept(table, OBJECTS), None);
        assert_eq!(accept(&format!("{table},application/json"), OBJECTS), Some(Accepted::JSON));
        let bare = some(Media::Json, Shape::Bare);
        assert_eq!(accept("application/json;owners=none", OBJECTS), bare);
        assert_eq!(accept("application/yaml", OBJECTS), some(Media::Yaml, Shape::Whole));
    }

    #[test]
    fn metadata_alone_is_spoken_of_every_kind() {
        let partial = "application/vnd.kubernetes.protobuf;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1,application/json";
        for offer in [OBJECTS, METADATA] {
            assert_eq!(accept(partial, offer), some(Media::Protobuf, Shape::Partial));
        }
        assert_eq!(accept(partial, Offer::DOCUMENTS), some(Media::Json, Shape::Partial));
        assert_eq!(Accepted::of_refusal(&asked(partial)), Media::Json, "a refusal has no metadata to show alone");
    }

    #[test]
    fn refusals_are_told_whatever_is_accepted() {
        for (value, media) in [
            ("application/vnd.kubernetes.protobuf, */*", Media::Protobuf),
            ("application/yaml", Media::Yaml),
            ("text/html", Media::Json),
            ("application/json;as=Table;v=v1;g=meta.k8s.io", Media::Json),
        ] {
            assert_eq!(Accepted::of_refusal(&asked(value)), media, "{value}");
        }
        assert_eq!(Accepted::of_refusal(&HeaderMap::new()), Media::Json);
    }

    #[test]
    fn a_patch_must_name_its_language() {
        let mut headers = HeaderMap::new();
        patch_type(&headers).expect_err("none");
        headers.insert(CONTENT_TYPE, "application/strategic-merge-patch+json".parse().expect("a header"));
        assert_eq!(patch_type(&headers).expect("a type"), PatchType::Strategic);
    }
}
