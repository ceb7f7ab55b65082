//! How long a request may take.
//!
//! Everything that does not last by nature ends within a minute, or sooner where its client says so (`?timeout=5s`): the
//! client gets an answer that it knows to repeat, and what the request held is free again. What was begun may be done all
//! the same, as the answer says.

use std::time::Duration;

use naru_api::Status;
use naru_cel::parse_duration;

use super::query::Query;

/// The longest, whatever the client says: Kubernetes' default.
const LONGEST: Duration = Duration::from_secs(60);

/// How long a request may take that is not told otherwise than by its query.
///
/// # Errors
/// 400 for a `timeout` that is no length of time.
pub(crate) fn of(query: &Query<'_>) -> Result<Duration, Status> {
    let Some(text) = query.get("timeout") else { return Ok(LONGEST) };
    let Some(asked) = parse_duration(text) else {
        let text = format!("invalid timeout specified in the request URL - time: invalid duration {text:?}");
        return Err(Status::bad_request(text));
    };
    // None at all, or less, says nothing.
    let asked = Duration::try_from(asked).ok().filter(|asked| !asked.is_zero());
    Ok(asked.map_or(LONGEST, |asked| asked.min(LONGEST)))
}

/// What `work` comes to within `limit`.
///
/// # Errors
/// 504 when it takes longer.
pub(crate) async fn within<T>(limit: Duration, work: impl Future<Output = Result<T, Status>>) -> Result<T, Status> {
    tokio::time::timeout(limit, work).await.unwrap_or_else(|_| {
        let text = "Timeout: request did not complete within requested timeout - context deadline exceeded";
        Err(Status::timeout(text))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(query: &str) -> Result<Duration, Status> {
        of(&Query::parse(Some(query)).expect("a query"))
    }

    #[test]
    fn a_client_can_ask_for_less_and_not_for_more() {
        for (query, seconds) in [
            ("", 60.0),
            ("timeout=5s", 5.0),
            ("timeout=1m30s", 60.0),
            ("timeout=0s", 60.0),
            ("timeout=-3s", 60.0),
            ("timeout=250ms", 0.25),
        ] {
            assert_eq!(asked(query).expect("a time"), Duration::from_secs_f64(seconds), "{query}");
        }
        for query in ["timeout=5", "timeout=soon", "timeout=5%20s"] {
            let status = asked(query).expect_err("no time");
            assert_eq!(status.code(), 400);
            assert!(status.message.starts_with("invalid timeout specified in the request URL - "), "{status}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_takes_longer_ends() {
        let status =
            within(Duration::from_secs(60), std::future::pending::<Result<(), Status>>()).await.expect_err("late");
        assert_eq!((status.code(), status.reason.as_str()), (504, "Timeout"));
        assert_eq!(within(Duration::from_secs(1), async { Ok(3) }).await, Ok(3));
    }
}
