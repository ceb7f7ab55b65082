//! `naru completion`: what shells offer after TAB.
//!
//! The verbs and flags come from the words of the command line. Names of services are asked of the project's files at
//! that moment, by `naru config --services`, which needs no server.

use clap::CommandFactory;
use clap_complete::Shell;

use crate::cli::Cli;

/// The verbs that take names of services.
const VERBS: [&str; 23] = [
    "attach", "build", "config", "cp", "create", "down", "events", "exec", "images", "kill", "logs", "pause", "port",
    "ps", "pull", "restart", "rm", "run", "start", "stats", "stop", "top", "unpause",
];
/// Those that take nothing else than such names, or begin with one.
const MORE: [&str; 3] = ["up", "wait", "scale"];

/// The script for a shell.
pub(crate) fn script(shell: Shell) -> String {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "naru", &mut script);
    let script = String::from_utf8_lossy(&script).into_owned();
    let verbs: Vec<&str> = VERBS.into_iter().chain(MORE).filter(|verb| knows(verb)).collect();
    match shell {
        Shell::Bash => bash(&script, &verbs),
        Shell::Zsh => zsh(&script),
        Shell::Fish => fish(&script, &verbs),
        _ => script,
    }
}

fn knows(verb: &str) -> bool {
    Cli::command().find_subcommand(verb).is_some()
}

/// A function around the made one, which adds the services.
fn bash(script: &str, verbs: &[&str]) -> String {
    format!(
        "{script}
_naru_and_services() {{
    _naru \"$@\"
    local word verb= current=\"${{COMP_WORDS[COMP_CWORD]}}\"
    [[ $current == -* ]] && return
    for word in \"${{COMP_WORDS[@]:1:COMP_CWORD-1}}\"; do
        case $word in
            {}) verb=$word; break ;;
        esac
    done
    [[ -n $verb ]] || return 0
    COMPREPLY+=( $(compgen -W \"$(naru config --services 2>/dev/null)\" -- \"$current\") )
}}
complete -F _naru_and_services -o nosort -o bashdefault -o default naru 2>/dev/null ||
    complete -F _naru_and_services -o bashdefault -o default naru
",
        verbs.join("|")
    )
}

/// The arguments that the made script leaves to files are names of services.
fn zsh(script: &str) -> String {
    let mut out = String::with_capacity(script.len() + 512);
    for line in script.lines() {
        let argument = line.trim_start().trim_start_matches(['\'', '*', ':']);
        let names =
            ["services -- ", "service -- ", "only -- ", "scale -- "].iter().any(|name| argument.starts_with(name));
        if names && line.contains(":_default'") {
            out.push_str(&line.replace(":_default'", ":_naru_services'"));
        } else {
            out.push_str(line);
        }
        out.push('\n');
        if line.starts_with("autoload -U is-at-least") {
            out.push_str(
                "\n_naru_services() {\n    local -a names\n    names=(${(f)\"$(naru config --services 2>/dev/null)\"})\n    \
                 compadd -a names\n}\n",
            );
        }
    }
    out
}

fn fish(script: &str, verbs: &[&str]) -> String {
    format!(
        "{script}complete -c naru -n \"__fish_seen_subcommand_from {}\" -f -a \"(naru config --services 2>/dev/null)\"\n",
        verbs.join(" ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_offered_in_every_shell() {
        for (shell, part) in [
            (Shell::Bash, "complete -F _naru_and_services"),
            (Shell::Zsh, "Services; all unless given:_naru_services'"),
            (Shell::Fish, "(naru config --services 2>/dev/null)"),
        ] {
            let script = script(shell);
            assert!(script.contains(part), "{shell}: {}", &script[..script.len().min(2000)]);
            assert!(script.contains("config --services"), "{shell}");
        }
    }
}
