//! What the server has to say about a definition.

use naru_api::meta;
use naru_crd::Taken;
use serde_json::{Value, json};

use super::condition::{Condition, find};

/// Tells why a definition that was stored cannot be served.
const UNREADABLE: &str = "NonStructuralSchema";

/// What decides about a definition besides itself.
#[derive(Debug, Default)]
pub(super) struct Circumstances {
    /// The names that others of its group have.
    pub(super) taken: Taken,
    /// Why it cannot be served, although its names were accepted.
    pub(super) unreadable: Option<String>,
}

/// The status that a definition should have; `now` is a time stamp in words. Asked again about its own answer it says the
/// same, so that it is written once, whoever asks.
pub(super) fn status(definition: &Value, by: &Circumstances, now: &str) -> Value {
    let status = naru_crd::status(definition, &by.taken, now);
    let mut judged = json!({"metadata": {"generation": meta::generation(definition)}, "status": status});
    match &by.unreadable {
        Some(why) => {
            let condition = Condition { kind: UNREADABLE, holds: true, reason: "Violations", message: why };
            condition.set(&mut judged, now);
        }
        None if find(&judged, UNREADABLE).is_some() => {
            let conditions = judged["status"]["conditions"].as_array_mut();
            conditions.into_iter().for_each(|all| all.retain(|c| c["type"] != UNREADABLE));
        }
        None => {}
    }
    judged["status"].take()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::extension::condition::holds;
    use crate::extension::fixture;

    #[test]
    fn it_is_said_once() {
        let mut definition = fixture::definition("v1");
        let by = Circumstances::default();
        definition["status"] = status(&definition, &by, "1");
        assert!(holds(&definition, "Established") && holds(&definition, "NamesAccepted"));
        assert_eq!(definition["status"]["acceptedNames"]["plural"], "widgets");
        assert_eq!(status(&definition, &by, "2"), definition["status"], "nothing new, whoever asks and when");
    }

    #[test]
    fn names_of_others_are_not_accepted() {
        let mut definition = fixture::definition("v1");
        let taken = Taken { resources: vec!["widget".into()], kinds: vec![] };
        definition["status"] = status(&definition, &Circumstances { taken, unreadable: None }, "1");
        let names = find(&definition, "NamesAccepted").expect("said");
        assert_eq!((&names["status"], &names["reason"]), (&json!("False"), &json!("SingularConflict")));
        assert!(!holds(&definition, "Established"));
        definition["status"] = status(&definition, &Circumstances::default(), "2");
        assert!(holds(&definition, "NamesAccepted") && holds(&definition, "Established"), "free by now");
    }

    #[test]
    fn what_cannot_be_served_says_why_until_it_can() {
        let mut definition = fixture::definition("v1");
        let by = Circumstances { unreadable: Some("no version".into()), ..Circumstances::default() };
        definition["status"] = status(&definition, &by, "1");
        assert_eq!(find(&definition, UNREADABLE).expect("said")["message"], "no version");
        assert_eq!(status(&definition, &by, "2"), definition["status"]);
        definition["status"] = status(&definition, &Circumstances::default(), "3");
        assert!(find(&definition, UNREADABLE).is_none());
    }
}
