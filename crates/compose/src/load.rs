//! Loading a project: which files, in which order, and what each may refer to.
//!
//! Each file is read, interpolated, checked and made canonical on its own; then `extends` is followed, files are laid
//! over one another, `include`d projects are added beside them, environments are filled in, and what no active profile
//! wants is left out. Files and variables come through [`Files`] and [`Request::variables`], so tests need neither.

mod environment;
mod extend;
mod finish;
mod verify;

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::{Path, PathBuf};

use crate::canonical::{self, Base};
use crate::check::check;
use crate::error::{ComposeError, Position, Warning};
use crate::interpolate::{Noticed, interpolate};
use crate::merge::{merge, settle};
use crate::model::Project;
use crate::spec::FILE;
use crate::yaml::{self, Name, Node};

/// The names a Compose file has when none is given, in order of preference.
pub const FILE_NAMES: [&str; 4] = ["compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml"];
/// The files laid over them when they are there.
pub const OVERRIDE_NAMES: [&str; 4] =
    ["compose.override.yaml", "compose.override.yml", "docker-compose.override.yaml", "docker-compose.override.yml"];

/// Where files are read from.
pub trait Files {
    /// The text of a file.
    ///
    /// # Errors
    /// As the system says.
    fn read(&self, path: &Path) -> io::Result<String>;
    /// The bytes of a file (configs and secrets need not be text).
    ///
    /// # Errors
    /// As the system says.
    fn bytes(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// Whether a file or folder is there.
    fn exists(&self, path: &Path) -> bool;
}

/// The machine's own files; `-` is standard input.
#[derive(Debug, Clone, Copy, Default)]
pub struct Disk;

impl Files for Disk {
    fn read(&self, path: &Path) -> io::Result<String> {
        if path.as_os_str() == "-" { io::read_to_string(io::stdin()) } else { std::fs::read_to_string(path) }
    }

    fn bytes(&self, path: &Path) -> io::Result<Vec<u8>> {
        std::fs::read(path)
    }

    fn exists(&self, path: &Path) -> bool {
        path.exists()
    }
}

/// What to load.
#[derive(Debug, Clone, Default)]
pub struct Request {
    /// Where the user is. Absolute.
    pub current_dir: PathBuf,
    /// `-f`, in order; empty: the usual names, here and above.
    pub files: Vec<PathBuf>,
    /// `--project-directory`.
    pub project_dir: Option<PathBuf>,
    /// `-p`.
    pub name: Option<String>,
    /// `--profile`, and `COMPOSE_PROFILES`.
    pub profiles: Vec<String>,
    /// `--env-file`; empty: `.env` of the project's folder, if it is there.
    pub env_files: Vec<PathBuf>,
    /// The user's shell.
    pub variables: BTreeMap<String, String>,
    /// Services named on the command line: their profiles are active.
    pub services: Vec<String>,
    /// Keep `${…}` as it is (`naru config --no-interpolate`).
    pub no_interpolate: bool,
}

/// A loaded project.
#[derive(Debug)]
pub struct Loaded {
    /// The project.
    pub project: Project,
    /// The files it came from, in order.
    pub files: Vec<PathBuf>,
    /// Their text, to be kept with the project.
    pub sources: Vec<(String, String)>,
    /// What the user should know.
    pub warnings: Vec<Warning>,
    /// Services that no active profile wants.
    pub disabled: BTreeSet<String>,
    /// The variables the files asked for.
    pub used_variables: BTreeSet<String>,
}

/// Loads a project.
///
/// # Errors
/// When a file cannot be read, is not YAML, breaks the specification, needs a variable that is not set, or refers to
/// what is not there. Every fault of a file is reported at once, each with its place.
pub fn load(request: &Request, files: &dyn Files) -> Result<Loaded, ComposeError> {
    let request = &environment::completed(request, files)?;
    let paths = find_files(request, files)?;
    let first_dir = paths[0].parent().filter(|_| paths[0].as_os_str() != "-").unwrap_or(&request.current_dir);
    let dir = request.project_dir.clone().map_or_else(|| first_dir.to_owned(), |dir| request.current_dir.join(dir));
    let mut loader = Loader {
        files,
        request,
        noticed: Noticed::default(),
        warnings: Vec::new(),
        sources: Vec::new(),
        including: Vec::new(),
    };
    let env_files = match request.env_files.is_empty() {
        true if environment::is_disabled(&request.variables) => Vec::new(),
        true => vec![(dir.join(".env"), false)],
        false => request.env_files.iter().map(|path| (request.current_dir.join(path), true)).collect(),
    };
    let environment = loader.environment(&env_files, &request.variables)?;
    let (mut tree, environment) = loader.project(&paths, &dir, environment)?;
    settle(&mut tree);
    let mut loaded = finish::finish(&mut loader, tree, &dir, &environment)?;
    loaded.files = paths;
    Ok(loaded)
}

struct Loader<'a> {
    files: &'a dyn Files,
    request: &'a Request,
    noticed: Noticed,
    warnings: Vec<Warning>,
    sources: Vec<(String, String)>,
    /// Files being included, outermost first: a file that includes itself is refused.
    including: Vec<PathBuf>,
}

impl Loader<'_> {
    /// One project: its files laid over one another, and what they include. Also gives its variables back, the
    /// project's name among them.
    fn project(
        &mut self,
        paths: &[PathBuf],
        dir: &Path,
        mut environment: BTreeMap<String, String>,
    ) -> Result<(Node, BTreeMap<String, String>), ComposeError> {
        let raw = paths.iter().map(|path| self.read(path, None)).collect::<Result<Vec<_>, _>>()?;
        let name = self.name(&raw, dir, &environment)?;
        environment.insert("COMPOSE_PROJECT_NAME".to_owned(), name);
        let mut merged: Option<Node> = None;
        for (path, documents) in paths.iter().zip(raw) {
            for mut document in documents {
                self.prepare(&mut document, dir, &environment)?;
                self.extend(&mut document, path, dir, &environment)?;
                match &mut merged {
                    None => merged = Some(document),
                    Some(base) => merge(base, document, ""),
                }
            }
        }
        let mut tree = merged.ok_or_else(|| {
            ComposeError::invalid(
                &Position::file(show(&paths[0])),
                "services",
                "the file is empty: expected `services`",
            )
        })?;
        self.include(&mut tree, dir, &environment)?;
        Ok((tree, environment))
    }

    fn read(&mut self, path: &Path, by: Option<&Position>) -> Result<Vec<Node>, ComposeError> {
        let text = self.files.read(path).map_err(|source| ComposeError::Read {
            path: path.to_owned(),
            by: by.cloned(),
            source,
        })?;
        let documents = yaml::parse(&show(path), &text)?;
        self.sources.push((show(path), text));
        Ok(documents)
    }

    /// Interpolates, checks and makes canonical.
    fn prepare(
        &mut self,
        document: &mut Node,
        dir: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), ComposeError> {
        if !self.request.no_interpolate {
            interpolate(document, "", &|name: &str| environment.get(name).cloned(), &mut self.noticed)?;
        }
        if document.is_null() {
            document.tree = yaml::Tree::Map(Vec::new());
        }
        let mut faults = Vec::new();
        check(document, &FILE, "", &mut faults);
        ComposeError::all(faults)?;
        if let Some(version) = document.remove("version") {
            self.warnings.push(Warning {
                at: Some(version.at),
                key: "version".to_owned(),
                text: "is obsolete and ignored: remove it".to_owned(),
            });
        }
        let home = environment.get("HOME").map(PathBuf::from);
        canonical::file(document, &Base { dir, home: home.as_deref() })
    }

    /// The project's name: `-p`, `COMPOSE_PROJECT_NAME`, `name`, the folder's name.
    fn name(
        &mut self,
        raw: &[Vec<Node>],
        dir: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<String, ComposeError> {
        let given = self.request.name.clone().or_else(|| environment.get("COMPOSE_PROJECT_NAME").cloned());
        if let Some(name) = given.filter(|name| !name.is_empty()) {
            return match normalise(&name) {
                normal if normal == name => Ok(name),
                normal => Err(ComposeError::Project(format!(
                    "the project name {name:?} is not valid: expected lower-case letters, digits, \"-\" and \"_\", \
                     beginning with a letter or digit{}",
                    if normal.is_empty() { String::new() } else { format!("; try {normal:?}") }
                ))),
            };
        }
        if let Some(node) = raw.iter().flatten().rev().find_map(|document| document.get("name")) {
            let mut node = node.clone();
            let mut noticed = Noticed::default();
            interpolate(&mut node, "name", &|name: &str| environment.get(name).cloned(), &mut noticed)?;
            let name = node.as_text().unwrap_or_default();
            let normal = normalise(name);
            if normal.is_empty() {
                let problem = "expected lower-case letters, digits, \"-\" and \"_\", beginning with a letter or digit";
                return Err(ComposeError::invalid(&node.at, "name", format!("{problem}, found {name:?}")));
            }
            if normal != name {
                let text = format!(
                    "{name:?} becomes {normal:?}: a project's name has lower-case letters, digits, \"-\" and \"_\""
                );
                let warning = Warning { at: Some(node.at.clone()), key: "name".to_owned(), text };
                if !self.warnings.contains(&warning) {
                    self.warnings.push(warning);
                }
            }
            return Ok(normal);
        }
        let name = normalise(&dir.file_name().unwrap_or_default().to_string_lossy());
        if name.is_empty() {
            return Err(ComposeError::Project(format!(
                "the folder {} gives the project no name: name it with -p or with `name:` in the file",
                dir.display()
            )));
        }
        Ok(name)
    }

    /// Adds what `include` names. What both sides define is the including side's laid over the other's, with a notice.
    fn include(
        &mut self,
        tree: &mut Node,
        dir: &Path,
        environment: &BTreeMap<String, String>,
    ) -> Result<(), ComposeError> {
        let Some(list) = tree.remove("include") else { return Ok(()) };
        for item in list.as_list().unwrap_or_default() {
            let texts = |key: &str| -> Vec<String> {
                let items = item.get(key).and_then(Node::as_list).unwrap_or_default();
                items.iter().filter_map(Node::as_text).map(str::to_owned).collect()
            };
            let base = Base { dir, home: None };
            let paths: Vec<PathBuf> = texts("path").iter().map(|path| base.resolve(path)).collect();
            let Some(first) = paths.first().cloned() else {
                return Err(ComposeError::invalid(&item.at, "include", "expected `path`: the file to include"));
            };
            if self.including.contains(&first) {
                let problem = format!("{} includes itself", first.display());
                return Err(ComposeError::invalid(&item.at, "include", problem));
            }
            if let Some(missing) = paths.iter().find(|path| !self.files.exists(path)) {
                let source = io::Error::from(io::ErrorKind::NotFound);
                return Err(ComposeError::Read { path: missing.clone(), by: Some(item.at.clone()), source });
            }
            let inner_dir = match item.get("project_directory").and_then(Node::as_text) {
                Some(path) => base.resolve(path),
                None => first.parent().unwrap_or(dir).to_owned(),
            };
            let env_files = match texts("env_file") {
                given if given.is_empty() => vec![(inner_dir.join(".env"), false)],
                given => given.iter().map(|path| (base.resolve(path), true)).collect(),
            };
            let inner_environment = self.environment(&env_files, environment)?;
            self.including.push(first);
            let included = self.project(&paths, &inner_dir, inner_environment);
            self.including.pop();
            self.add(tree, &included?.0);
        }
        Ok(())
    }

    fn add(&mut self, tree: &mut Node, included: &Node) {
        for section in ["services", "networks", "volumes", "configs", "secrets"] {
            let Some(entries) = included.get(section).and_then(Node::as_map) else { continue };
            if tree.get(section).is_none_or(Node::is_null) {
                tree.set(section, Node::map(Vec::new(), &included.at));
            }
            for (name, value) in entries {
                let Some(own) = tree.get_mut(section) else { continue };
                match own.as_map().unwrap_or_default().iter().find(|(known, _)| known.text == name.text) {
                    Some((_, old)) if same(old, value) => {}
                    Some((known, over)) => {
                        self.warnings.push(Warning {
                            at: Some(known.at.clone()),
                            key: format!("{section}.{}", name.text),
                            text: format!("is laid over what is included from {}", name.at),
                        });
                        let mut merged = value.clone();
                        merge(&mut merged, over.clone(), &name.text);
                        own.set(&name.text, merged);
                    }
                    None => own.set(&name.text, value.clone()),
                }
            }
        }
    }
}

/// Equal in all but place.
fn same(a: &Node, b: &Node) -> bool {
    crate::typed::value(a, &crate::spec::Type::Any) == crate::typed::value(b, &crate::spec::Type::Any)
}

fn find_files(request: &Request, files: &dyn Files) -> Result<Vec<PathBuf>, ComposeError> {
    if !request.files.is_empty() {
        let absolute = |path: &PathBuf| match path.as_os_str() == "-" {
            true => path.clone(),
            false => request.current_dir.join(path),
        };
        return Ok(request.files.iter().map(absolute).collect());
    }
    let start = request.project_dir.as_ref().map_or(request.current_dir.clone(), |dir| request.current_dir.join(dir));
    for dir in start.ancestors() {
        if let Some(found) = FILE_NAMES.iter().map(|name| dir.join(name)).find(|path| files.exists(path)) {
            let mut paths = vec![found];
            paths.extend(OVERRIDE_NAMES.iter().map(|name| dir.join(name)).find(|path| files.exists(path)));
            return Ok(paths);
        }
    }
    Err(ComposeError::NoFile { dir: start })
}

/// A project name as Compose makes it of a folder's name.
pub fn normalise(name: &str) -> String {
    let lower = name.to_lowercase();
    let kept: String =
        lower.chars().filter(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || "-_".contains(*c)).collect();
    kept.trim_start_matches(['-', '_']).to_owned()
}

fn show(path: &Path) -> String {
    if path.as_os_str() == "-" { "<standard input>".to_owned() } else { path.display().to_string() }
}

/// A key that has no place of its own.
fn made(text: &str, at: &Position) -> Name {
    Name { text: text.to_owned(), at: at.clone() }
}
