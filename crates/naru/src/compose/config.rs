//! `config`: the project as it is understood.

use std::collections::BTreeSet;

use naru_compose::{Disk, load};
use serde_json::Value;

use super::project::{Project, request};
use crate::cli::ProjectOptions;
use crate::output;

/// What is shown, instead of everything.
pub(crate) struct What {
    pub services: bool,
    pub volumes: bool,
    pub images: bool,
    pub profiles: bool,
    pub objects: bool,
}

/// `naru config`.
pub(crate) fn config(
    options: &ProjectOptions,
    format: &str,
    quiet: bool,
    what: &What,
    no_interpolate: bool,
) -> anyhow::Result<()> {
    let mut request = request(options, &[])?;
    request.no_interpolate = no_interpolate;
    if what.profiles {
        request.profiles.push("*".to_owned());
    }
    let loaded = load(&request, &Disk)?;
    loaded.warnings.iter().for_each(output::warn);
    let project = &loaded.project;
    if quiet {
        return Ok(());
    }
    let show = |names: BTreeSet<String>| names.iter().for_each(|name| println!("{name}"));
    if what.services {
        show(project.services.keys().cloned().collect());
    } else if what.volumes {
        show(project.volumes.keys().cloned().collect());
    } else if what.profiles {
        show(project.services.values().flat_map(|service| service.profiles.iter().cloned()).collect());
    } else if what.images {
        let image = |(name, service): (&String, &naru_compose::model::Service)| {
            service.image.clone().unwrap_or_else(|| format!("{}-{name}", project.name))
        };
        show(project.services.iter().map(image).collect());
    } else if what.objects {
        let project = Project::load(options, &[])?;
        for object in naru_compose::translate(&project.loaded.project)?.objects {
            print!("---\n{}", yaml(&object)?);
        }
    } else if format == "json" {
        println!("{}", serde_json::to_string_pretty(project)?);
    } else {
        let mut value = serde_json::to_value(project)?;
        if let Some(map) = value.as_object_mut() {
            map.remove("x-naru-working-dir");
        }
        print!("{}", yaml(&value)?);
    }
    Ok(())
}

fn yaml(value: &Value) -> anyhow::Result<String> {
    let mut text = serde_saphyr::to_string(value)?;
    if !text.ends_with('\n') {
        text.push('\n');
    }
    Ok(text)
}
