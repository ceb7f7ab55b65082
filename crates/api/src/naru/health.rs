//! The message of the condition [`names::UNHEALTHY`](super::names::UNHEALTHY): a line for each unhealthy container, its
//! name and what its health test said. One string, because a condition has no other place; lines, because people read it.

/// Longest text of a test that is told, in characters.
const LONGEST: usize = 500;

/// The message for containers and the words of their tests.
#[must_use]
pub fn message<'a>(tests: impl IntoIterator<Item = (&'a str, &'a str)>) -> String {
    let line = |(name, text): (&str, &str)| {
        let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
        format!("{name}: {}", text.chars().take(LONGEST).collect::<String>())
    };
    tests.into_iter().map(line).collect::<Vec<_>>().join("\n")
}

/// The containers that a message names, each with the words of its test.
pub fn tests(message: &str) -> impl Iterator<Item = (&str, &str)> {
    message.lines().filter_map(|line| line.split_once(": "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_written_is_read_again() {
        let text = message([("db", "exit code 1:\n not yet: wait"), ("web", "no answer")]);
        assert_eq!(text, "db: exit code 1: not yet: wait\nweb: no answer");
        assert_eq!(tests(&text).collect::<Vec<_>>(), [("db", "exit code 1: not yet: wait"), ("web", "no answer")]);
    }
}
