//! A Compose project of a test: a folder with its file, taken down when dropped.

use std::fs;
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::process::Output;
use crate::{Host, Running, eventually};

/// A project on a host. Its name is its folder's, as for users.
pub struct Project<'h> {
    host: &'h Host,
    name: String,
    folder: PathBuf,
}

impl<'h> Project<'h> {
    pub(crate) fn new(host: &'h Host, name: &str, compose: &str) -> Self {
        let folder = host.folder().join("projects").join(name);
        fs::create_dir_all(&folder).expect("a folder for the project");
        let project = Self { host, name: name.to_owned(), folder };
        project.write("compose.yaml", compose);
        project
    }

    /// Its name, which is its namespace's too.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Its folder.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The host it is on.
    pub fn host(&self) -> &'h Host {
        self.host
    }

    /// Writes a file in its folder.
    pub fn write(&self, file: &str, text: &str) -> PathBuf {
        let path = self.folder.join(file);
        if let Some(parent) = path.parent() {
            fs::create_dir_all(parent).expect("a folder");
        }
        fs::write(&path, text).expect("a file of the project");
        path
    }

    /// Runs `naru` in its folder.
    #[track_caller]
    pub fn naru(&self, arguments: &[&str]) -> Output {
        let mut command = self.host.program();
        command.args(arguments).current_dir(&self.folder);
        self.host.run(command, b"")
    }

    /// The same with variables of the shell.
    #[track_caller]
    pub fn naru_with(&self, variables: &[(&str, &str)], arguments: &[&str]) -> Output {
        let mut command = self.host.program();
        command.args(arguments).current_dir(&self.folder).envs(variables.iter().copied());
        self.host.run(command, b"")
    }

    /// The same with `input` on standard input.
    #[track_caller]
    pub fn naru_fed(&self, input: &[u8], arguments: &[&str]) -> Output {
        let mut command = self.host.program();
        command.args(arguments).current_dir(&self.folder);
        self.host.run(command, input)
    }

    /// Starts `naru` in its folder, to run beside the test.
    #[track_caller]
    pub fn start(&self, arguments: &[&str]) -> Running {
        let mut command = self.host.program();
        command.args(arguments).current_dir(&self.folder);
        Running::spawn(command)
    }

    /// Starts `naru` in its folder on a terminal of its own.
    #[track_caller]
    pub fn on_terminal(&self, arguments: &[&str]) -> Running {
        let program = self.host.program();
        let words: Vec<String> = std::iter::once(program.get_program())
            .chain(program.get_args())
            .map(|word| word.to_string_lossy().into_owned())
            .chain(arguments.iter().map(|word| format!("'{}'", word.replace('\'', r"'\''"))))
            .collect();
        let mut command = std::process::Command::new("script");
        command.args(["--quiet", "--return", "--command", &words.join(" "), "/dev/null"]);
        self.host.environment(&mut command);
        command.env("TERM", "xterm").current_dir(&self.folder);
        Running::spawn(command)
    }

    /// `naru up` with more arguments, which must succeed.
    #[track_caller]
    pub fn up(&self, more: &[&str]) -> Output {
        self.naru(&[&["up", "-d", "--wait"], more].concat()).ok()
    }

    /// `naru exec -T <service> …`.
    #[track_caller]
    pub fn exec(&self, service: &str, command: &[&str]) -> Output {
        self.naru(&[&["exec", "-T", service], command].concat())
    }

    /// `kubectl` in its namespace.
    #[track_caller]
    pub fn kubectl(&self, arguments: &[&str]) -> Output {
        self.host.kubectl(&[&["-n", &self.name], arguments].concat())
    }

    /// The rows of `naru ps -a --format json`.
    #[track_caller]
    pub fn ps(&self) -> Vec<Value> {
        self.naru(&["ps", "-a", "--format", "json"]).ok().json_lines()
    }

    /// The row of a service's only container; one that is going away does not count.
    ///
    /// # Panics
    /// When it has none or several.
    #[track_caller]
    pub fn container(&self, service: &str) -> Value {
        let mut rows = self.ps();
        rows.retain(|row| row["Service"] == service && row["State"] != "removing");
        assert_eq!(rows.len(), 1, "containers of {service}: {rows:#?}");
        rows.remove(0)
    }

    /// Waits until the rows of `naru ps -a` of a service are as wanted.
    #[track_caller]
    pub fn until(&self, service: &str, what: &str, holds: impl Fn(&[Value]) -> bool) -> Vec<Value> {
        eventually(&format!("{service}: {what}"), || {
            let mut rows = self.ps();
            rows.retain(|row| row["Service"] == service);
            if holds(&rows) { Ok(rows) } else { Err(format!("{rows:#?}")) }
        })
    }
}

impl Drop for Project<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let mut ps = self.host.program();
            ps.args(["ps", "-a"]).current_dir(&self.folder);
            let output = ps.output().map(|output| String::from_utf8_lossy(&output.stdout).into_owned());
            eprintln!("--- naru ps -a of {}\n{}", self.name, output.unwrap_or_default());
            eprintln!("--- the server's last lines\n{}", self.host.log_tail(40));
        }
        // A test that stops the server, or takes the project down itself, is content with less.
        if self.host.server_pid().is_some() {
            let mut down = self.host.program();
            let output = down.args(["-p", &self.name, "down", "--volumes", "--timeout", "0"]).output();
            if let Ok(output) = output
                && !output.status.success()
                && !std::thread::panicking()
            {
                panic!("`naru down -v` of {}: {}", self.name, String::from_utf8_lossy(&output.stderr));
            }
        }
    }
}
