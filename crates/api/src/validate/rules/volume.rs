//! Rules of a pod's volumes.

use std::sync::LazyLock;

use super::super::error::FieldError;
use super::super::spot::Spot;
use super::check;
use super::pod;

static SOURCES: LazyLock<Vec<String>> = LazyLock::new(|| pod::sources("io.k8s.api.core.v1.Volume"));

/// A volume: one name, one source.
pub(in super::super) fn volume(volume: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::label(&volume.field("name"), errors);
    let present: Vec<&String> =
        SOURCES.iter().filter(|s| volume.value.get(s.as_str()).is_some_and(|v| !v.is_null())).collect();
    if present.is_empty() {
        errors.push(volume.required("must specify a volume type"));
    }
    for extra in present.iter().skip(1) {
        errors.push(volume.field(extra).forbidden("may not specify more than 1 volume type"));
    }
}

/// A path of the host.
pub(in super::super) fn host_path(source: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::no_climbing(&source.field("path"), errors);
}

/// A secret as files.
pub(in super::super) fn secret(source: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if source.field("secretName").is_empty() {
        errors.push(source.field("secretName").required(""));
    }
    files(source, errors);
}

/// Anything as files.
pub(in super::super) fn files(source: &Spot<'_>, errors: &mut Vec<FieldError>) {
    mode(&source.field("defaultMode"), errors);
    for item in source.field("items").items() {
        mode(&item.field("mode"), errors);
        check::local_path(&item.field("path"), errors);
    }
}

/// Several sources in one folder.
pub(in super::super) fn projected(source: &Spot<'_>, errors: &mut Vec<FieldError>) {
    mode(&source.field("defaultMode"), errors);
    for part in source.field("sources").items() {
        const SOURCES: &[&str] =
            &["secret", "configMap", "downwardAPI", "serviceAccountToken", "clusterTrustBundle", "podCertificate"];
        for extra in part.present(SOURCES).iter().skip(1) {
            errors.push(part.field(extra).forbidden("may not specify more than 1 volume type"));
        }
    }
}

/// A key and the file that it becomes.
pub(in super::super) fn key_to_path(item: &Spot<'_>, errors: &mut Vec<FieldError>) {
    check::local_path(&item.field("path"), errors);
}

fn mode(mode: &Spot<'_>, errors: &mut Vec<FieldError>) {
    if mode.number().is_some_and(|m| !(0..=0o777).contains(&m)) {
        errors.push(mode.invalid("must be a number between 0 and 0777 (octal), both inclusive"));
    }
}
