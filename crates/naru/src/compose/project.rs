//! Which project a verb is about, and its files when the verb needs them.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;

use anyhow::Context;
use naru_compose::load::{FILE_NAMES, OVERRIDE_NAMES};
use naru_compose::{Disk, Files, Loaded, Request, load};

use super::overlay::{self, Overlaid};
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

    /// The same with an overlay above the files, as `naru run` makes it of its flags.
    ///
    /// # Errors
    /// Any fault of the files or of the overlay.
    pub fn load_under(options: &ProjectOptions, services: &[String], text: String) -> anyhow::Result<Self> {
        let files = Overlaid::new(text);
        let mut request = request(options, services)?;
        // The first look finds the files; nothing else of it is used.
        request.files = load(&request, &files)?.files;
        request.files.push(overlay::NAME.into());
        let mut loaded = load(&request, &files)?;
        loaded.warnings.iter().for_each(output::warn);
        naru_compose::translate::read_contents(&mut loaded.project, &files, &request.variables)?;
        loaded.files.retain(|path| !path.ends_with(overlay::NAME));
        loaded.sources.retain(|(path, _)| !path.ends_with(overlay::NAME));
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

/// The disk, on which nothing is missing that a file only mentions: whoever takes a project down, or looks at it, does
/// not need the folders that it mounts or the variables that it sets.
struct Lenient;

impl Lenient {
    /// Whether a file is one of those that are looked for by their usual names.
    fn is_looked_for(path: &Path) -> bool {
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        name == ".env" || FILE_NAMES.iter().chain(&OVERRIDE_NAMES).any(|usual| *usual == name)
    }
}

impl Files for Lenient {
    fn read(&self, path: &Path) -> io::Result<String> {
        let is_compose = path.extension().is_some_and(|end| end == "yaml" || end == "yml");
        match Disk.read(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !is_compose && !Self::is_looked_for(path) => {
                Ok(String::new())
            }
            read => read,
        }
    }

    fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        Disk.bytes(path)
    }

    fn exists(&self, path: &Path) -> bool {
        Disk.exists(path) || !Self::is_looked_for(path)
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
        let loaded = load(&request, &Lenient)?;
        Ok(Self {
            namespace: naru_compose::translate::object_name(&loaded.project.name),
            name: loaded.project.name,
            known: loaded.project.services.into_keys().collect(),
        })
    }
}

/// What the loader is asked for; it reads `COMPOSE_FILE` and its kin itself.
pub(crate) fn request(options: &ProjectOptions, services: &[String]) -> anyhow::Result<Request> {
    let variables: BTreeMap<String, String> = std::env::vars().collect();
    Ok(Request {
        current_dir: std::env::current_dir().context("cannot tell the current folder")?,
        files: options.files.clone(),
        project_dir: options.project_directory.clone(),
        name: options.name.clone(),
        profiles: options.profiles.clone(),
        env_files: options.env_files.clone(),
        variables,
        services: services.to_vec(),
        no_interpolate: false,
    })
}
