//! Which project a verb is about, and its files when the verb needs them.

use std::collections::BTreeMap;
use std::path::PathBuf;

use anyhow::Context;
use naru_compose::{Disk, Loaded, Request, load};

use crate::cli::ProjectOptions;
use crate::output;

/// A loaded project with the contents of its configs and secrets.
pub(crate) struct Project {
    /// What the loader found.
    pub loaded: Loaded,
    /// The namespace that holds it.
    pub namespace: String,
}

/// A project by name, for verbs that do not need its files.
pub(crate) struct Target {
    /// Its name.
    pub name: String,
    /// The namespace that holds it.
    pub namespace: String,
    /// Its services in the order of their files, when they were read.
    pub known: Vec<String>,
}

impl Project {
    /// Loads the project and says what the loader warns of. `services` are those named on the command line.
    ///
    /// # Errors
    /// Any fault of the files.
    pub fn load(options: &ProjectOptions, services: &[String]) -> anyhow::Result<Self> {
        let request = request(options, services)?;
        let mut loaded = load(&request, &Disk)?;
        for warning in &loaded.warnings {
            output::warn(warning);
        }
        naru_compose::translate::read_contents(&mut loaded.project, &Disk, &request.variables)?;
        let namespace = naru_compose::translate::object_name(&loaded.project.name);
        Ok(Self { loaded, namespace })
    }

    /// The same project for verbs that only need its name.
    pub fn target(&self) -> Target {
        Target {
            name: self.loaded.project.name.clone(),
            namespace: self.namespace.clone(),
            known: self.loaded.project.services.keys().cloned().collect(),
        }
    }
}

impl Target {
    /// The project that is named, or that the files here are of.
    ///
    /// # Errors
    /// When it is not named and the files do not say.
    pub fn find(options: &ProjectOptions) -> anyhow::Result<Self> {
        if let Some(name) = options.name.clone().or_else(|| std::env::var("COMPOSE_PROJECT_NAME").ok())
            && options.files.is_empty()
        {
            let namespace = naru_compose::translate::object_name(&name);
            return Ok(Self { name, namespace, known: Vec::new() });
        }
        // Every profile: a service that was started with one is found again without it.
        let request = Request { profiles: vec!["*".to_owned()], ..request(options, &[])? };
        let loaded = load(&request, &Disk)?;
        Ok(Self {
            namespace: naru_compose::translate::object_name(&loaded.project.name),
            name: loaded.project.name,
            known: loaded.project.services.into_keys().collect(),
        })
    }
}

/// What the loader is asked for.
pub(crate) fn request(options: &ProjectOptions, services: &[String]) -> anyhow::Result<Request> {
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    let split = |name: &str, by: char| -> Vec<String> {
        let text = variables.get(name).cloned().unwrap_or_default();
        text.split(by).filter(|part| !part.is_empty()).map(str::to_owned).collect()
    };
    let files: Vec<PathBuf> = match options.files.is_empty() {
        true => split("COMPOSE_FILE", ':').into_iter().map(PathBuf::from).collect(),
        false => options.files.clone(),
    };
    let profiles = match options.profiles.is_empty() {
        true => split("COMPOSE_PROFILES", ','),
        false => options.profiles.clone(),
    };
    Ok(Request {
        current_dir: std::env::current_dir().context("cannot tell the current folder")?,
        files,
        project_dir: options.project_directory.clone(),
        name: options.name.clone(),
        profiles,
        env_files: options.env_files.clone(),
        variables,
        services: services.to_vec(),
        no_interpolate: false,
    })
}
