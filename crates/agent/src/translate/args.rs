//! Commands and `$(VAR)` references.

use naru_api::k8s::api::core::v1::Container;
use naru_runtime::image::ImageConfig;

use super::TranslateError;

/// Replaces `$(NAME)` by its value; `$$` is an escaped dollar sign, and a name without a value stays as written.
#[must_use]
pub fn expand(text: &str, value: impl Fn(&str) -> Option<String>) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            out.push('$');
            rest = escaped;
        } else if let Some((name, tail)) = after.strip_prefix('(').and_then(|inner| inner.split_once(')')) {
            match value(name) {
                Some(value) => out.push_str(&value),
                None => out.extend(["$(", name, ")"]),
            }
            rest = tail;
        } else {
            out.push('$');
            rest = after;
        }
    }
    out.push_str(rest);
    out
}

/// Program and arguments: `command` replaces the image's entrypoint and its arguments, `args` only the arguments.
pub(super) fn args(
    container: &Container,
    image: &ImageConfig,
    value: impl Fn(&str) -> Option<String>,
) -> Result<Vec<String>, TranslateError> {
    let command = container.command.as_deref().filter(|list| !list.is_empty());
    let args = container.args.as_deref().filter(|list| !list.is_empty());
    let expanded = |list: &[String]| list.iter().map(|text| expand(text, &value)).collect::<Vec<_>>();
    let mut line = command.map_or_else(|| image.entrypoint.clone(), &expanded);
    match (command, args) {
        (_, Some(args)) => line.extend(expanded(args)),
        (Some(_), None) => {}
        (None, None) => line.extend(image.cmd.iter().cloned()),
    }
    if line.is_empty() || line[0].is_empty() {
        return Err(TranslateError::NoCommand { image: container.image.clone().unwrap_or_default() });
    }
    Ok(line)
}
