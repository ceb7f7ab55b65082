//! `config`: the project as it is understood.

use std::collections::BTreeSet;
use std::path::PathBuf;

use anyhow::{Context, bail};
use naru_compose::{Disk, load};

use super::project::{Project, request};
use crate::cli::ProjectOptions;
use crate::output;

/// What is shown, instead of everything.
pub(crate) struct What {
    pub services: bool,
    pub volumes: bool,
    pub networks: bool,
    pub environment: bool,
    pub images: bool,
    pub profiles: bool,
    pub objects: bool,
}

/// How it is shown.
pub(crate) struct How {
    pub format: String,
    /// Only check.
    pub quiet: bool,
    pub no_interpolate: bool,
    /// A file instead of standard output.
    pub output: Option<PathBuf>,
    /// Only these services; all unless given.
    pub only: Vec<String>,
}

/// `naru config`.
pub(crate) fn config(options: &ProjectOptions, what: &What, how: &How) -> anyhow::Result<()> {
    let text = text(options, what, how)?;
    match &how.output {
        Some(path) => std::fs::write(path, text).with_context(|| format!("cannot write {}", path.display())),
        None => {
            print!("{text}");
            Ok(())
        }
    }
}

fn text(options: &ProjectOptions, what: &What, how: &How) -> anyhow::Result<String> {
    if what.objects {
        let mut project = Project::load(options, &how.only)?;
        super::up::narrow(&mut project, &how.only, false);
        let objects = naru_compose::translate(&project.loaded.project)?.objects;
        let documents = objects.iter().map(|object| Ok(format!("---\n{}", output::yaml(object)?)));
        return documents.collect::<anyhow::Result<Vec<_>>>().map(|documents| documents.concat());
    }
    let mut request = request(options, &how.only)?;
    request.no_interpolate = how.no_interpolate;
    if what.profiles {
        request.profiles.push("*".to_owned());
    }
    let mut loaded = load(&request, &Disk)?;
    loaded.warnings.iter().for_each(output::warn);
    if let Some(unknown) = how.only.iter().find(|name| !loaded.project.services.contains_key(*name)) {
        bail!("no such service: {unknown}");
    }
    if how.quiet {
        return Ok(String::new());
    }
    if !how.only.is_empty() {
        loaded.project.services.retain(|name, _| how.only.contains(name));
    }
    let project = &loaded.project;
    let show = |names: BTreeSet<String>| names.iter().map(|name| format!("{name}\n")).collect::<String>();
    Ok(if what.services {
        show(project.services.keys().cloned().collect())
    } else if what.volumes {
        show(project.volumes.keys().cloned().collect())
    } else if what.networks {
        show(project.networks.keys().cloned().collect())
    } else if what.environment {
        let value = |name: &String| Some(format!("{name}={}", std::env::var(name).ok()?));
        show(loaded.used_variables.iter().filter_map(value).collect())
    } else if what.profiles {
        show(project.services.values().flat_map(|service| service.profiles.iter().cloned()).collect())
    } else if what.images {
        show(project.services.keys().map(|name| super::images::image_of(project, name)).collect())
    } else if how.format == "json" {
        serde_json::to_string_pretty(project)? + "\n"
    } else {
        let mut value = serde_json::to_value(project)?;
        if let Some(map) = value.as_object_mut() {
            map.remove("x-naru-working-dir");
        }
        output::yaml(&value)?
    })
}
