//! What a token's claims mean: the user. Pure.

use std::sync::Arc;

use naru_cel::{Bindings, Budget, Env, Program, Type, Value as Cel};
use serde_json::{Value, json};

use crate::user::User;

/// What all expressions about one token may cost.
const COST: u64 = 1_000_000;

/// What claims mean.
#[derive(Debug)]
pub(crate) struct Mapping {
    pub(crate) username: Name,
    pub(crate) groups: Option<Name>,
    pub(crate) uid: Option<Source>,
    pub(crate) extra: Vec<(String, Arc<Program>)>,
    pub(crate) claim_rules: Vec<ClaimRule>,
    pub(crate) user_rules: Vec<UserRule>,
}

/// Where something is taken from.
#[derive(Debug)]
pub(crate) enum Source {
    /// A claim.
    Claim(String),
    /// What an expression makes of all of them.
    Expression(Arc<Program>),
}

/// A name or names, with what they get before them.
#[derive(Debug)]
pub(crate) struct Name {
    pub(crate) source: Source,
    pub(crate) prefix: String,
}

/// What must be true of claims.
#[derive(Debug)]
pub(crate) enum ClaimRule {
    Equals { claim: String, value: String },
    Holds { program: Arc<Program>, expression: String, message: String },
}

/// What must be true of the user that they make.
#[derive(Debug)]
pub(crate) struct UserRule {
    pub(crate) program: Arc<Program>,
    pub(crate) expression: String,
    pub(crate) message: String,
}

struct Named<'a>(&'a str, &'a Cel);

impl Bindings for Named<'_> {
    fn get(&self, name: &str) -> Option<Cel> {
        (name == self.0).then(|| self.1.clone())
    }
}

/// Reads an expression about one variable.
///
/// # Errors
/// What is wrong with it.
pub(crate) fn compile(expression: &str, variable: &str) -> Result<Program, String> {
    if expression.trim().is_empty() {
        return Err("expression is required".to_owned());
    }
    Env::new().with(variable, Type::Dyn).compile(expression).map_err(|error| error.to_string())
}

/// The user that claims make.
///
/// # Errors
/// Why they make none.
pub(crate) fn user(mapping: &Mapping, claims: &Value) -> Result<User, String> {
    let mut evaluation = Evaluation { claims, cel: Cel::from_json(claims), budget: Budget::new(COST) };
    for rule in &mapping.claim_rules {
        evaluation.holds(rule)?;
    }
    let username = match &mapping.username.source {
        Source::Claim(claim) => {
            if claim == "email" && claims.get("email_verified").is_some_and(|verified| verified != true) {
                return Err("oidc: email not verified".to_owned());
            }
            let name = claims[claim].as_str();
            name.ok_or_else(|| format!("oidc: parse username claims {claim:?}: claim not present"))?.to_owned()
        }
        Source::Expression(program) => match evaluation.json(program, "username")? {
            Value::String(name) => name,
            other => {
                return Err(format!("oidc: error evaluating username claim expression: it gave {other}, not text"));
            }
        },
    };
    if username.is_empty() {
        return Err("oidc: the token names an empty user".to_owned());
    }
    let groups = match &mapping.groups {
        None => Vec::new(),
        Some(name) => {
            let found = evaluation.take(&name.source, "groups")?;
            let groups = texts(&found).ok_or("oidc: the groups are neither text nor a list of text")?;
            groups.into_iter().map(|group| format!("{}{group}", name.prefix)).collect()
        }
    };
    let groups: Vec<&str> = groups.iter().map(String::as_str).collect();
    let mut user = User::new(format!("{}{username}", mapping.username.prefix), &groups);
    if let Some(source) = &mapping.uid {
        let uid = evaluation.take(source, "uid")?;
        user.uid = uid.as_str().ok_or("oidc: the uid is not there, or is not text")?.to_owned();
    }
    for (key, program) in &mapping.extra {
        let found = evaluation.json(program, key)?;
        let values = texts(&found).ok_or_else(|| format!("oidc: extra {key:?} is neither text nor a list of text"))?;
        if !values.is_empty() {
            user.extra.insert(key.clone(), values);
        }
    }
    evaluation.allows(&mapping.user_rules, &user)?;
    Ok(user)
}

/// Text, or a list of text; what is empty is not there.
fn texts(value: &Value) -> Option<Vec<String>> {
    let all = match value {
        Value::Null => Vec::new(),
        Value::String(text) => vec![text.clone()],
        Value::Array(list) => list.iter().map(|one| one.as_str().map(str::to_owned)).collect::<Option<_>>()?,
        _ => return None,
    };
    Some(all.into_iter().filter(|text| !text.is_empty()).collect())
}

struct Evaluation<'a> {
    claims: &'a Value,
    cel: Cel,
    budget: Budget,
}

// === impl Evaluation ===

impl Evaluation<'_> {
    fn json(&mut self, program: &Program, what: &str) -> Result<Value, String> {
        let made = program.eval(&Named("claims", &self.cel), &mut self.budget);
        let made = made.map_err(|error| format!("oidc: error evaluating the expression for {what}: {error}"))?;
        made.to_json().ok_or_else(|| format!("oidc: the expression for {what} gave {}", made.type_name()))
    }

    fn take(&mut self, source: &Source, what: &str) -> Result<Value, String> {
        match source {
            Source::Claim(claim) => Ok(self.claims[claim].clone()),
            Source::Expression(program) => self.json(program, what),
        }
    }

    fn holds(&mut self, rule: &ClaimRule) -> Result<(), String> {
        match rule {
            ClaimRule::Equals { claim, value } => match self.claims[claim].as_str() {
                Some(given) if given == value => Ok(()),
                Some(given) => {
                    Err(format!("oidc: required claim {claim} value does not match: got {given:?}, expected {value:?}"))
                }
                None => Err(format!("oidc: required claim {claim} not present in ID token")),
            },
            ClaimRule::Holds { program, expression, message } => match self.json(program, expression)? {
                Value::Bool(true) => Ok(()),
                _ => Err(failed(expression, message)),
            },
        }
    }

    fn allows(&mut self, rules: &[UserRule], user: &User) -> Result<(), String> {
        let seen = Cel::from_json(&json!({
            "username": user.name, "uid": user.uid, "groups": user.groups, "extra": user.extra,
        }));
        for UserRule { program, expression, message } in rules {
            match program.eval(&Named("user", &seen), &mut self.budget) {
                Ok(Cel::Bool(true)) => {}
                Ok(_) => return Err(failed(expression, message)),
                Err(error) => return Err(format!("oidc: error evaluating user info validation rule: {error}")),
            }
        }
        Ok(())
    }
}

fn failed(expression: &str, message: &str) -> String {
    let why = if message.is_empty() { "" } else { ": " };
    format!("oidc: validation expression {expression:?} failed{why}{message}")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(expression: &str, variable: &str) -> Arc<Program> {
        Arc::new(compile(expression, variable).expect("an expression"))
    }

    fn mapping() -> Mapping {
        Mapping {
            username: Name { source: Source::Claim("sub".into()), prefix: String::new() },
            groups: None,
            uid: None,
            extra: vec![],
            claim_rules: vec![],
            user_rules: vec![],
        }
    }

    #[test]
    fn expressions_make_users() {
        let made = Mapping {
            username: Name {
                source: Source::Expression(program("claims.name + '@' + claims.org", "claims")),
                prefix: String::new(),
            },
            groups: Some(Name {
                source: Source::Expression(program("claims.roles.split(',')", "claims")),
                prefix: String::new(),
            }),
            uid: Some(Source::Claim("sub".into())),
            extra: vec![
                ("example.org/tenant".into(), program("claims.org", "claims")),
                ("example.org/none".into(), program("''", "claims")),
            ],
            ..mapping()
        };
        let user = user(&made, &json!({"name": "kim", "org": "x", "roles": "a,b", "sub": "7"})).expect("a user");
        assert_eq!((user.name.as_str(), user.uid.as_str()), ("kim@x", "7"));
        assert_eq!(user.groups, ["a", "b", "system:authenticated"]);
        assert_eq!(
            user.extra.into_iter().collect::<Vec<_>>(),
            [("example.org/tenant".to_owned(), vec!["x".to_owned()])]
        );
        super::user(&made, &json!({"name": "kim"})).expect_err("without what is named");
    }

    #[test]
    fn rules_keep_users_out() {
        let ruled = Mapping {
            claim_rules: vec![ClaimRule::Holds {
                program: program("claims.exp - claims.nbf <= 60", "claims"),
                expression: "claims.exp - claims.nbf <= 60".into(),
                message: "it lives too long".into(),
            }],
            user_rules: vec![UserRule {
                program: program("!user.username.startsWith('system:')", "user"),
                expression: "…".into(),
                message: "reserved".into(),
            }],
            ..mapping()
        };
        user(&ruled, &json!({"sub": "kim", "nbf": 0, "exp": 60})).expect("a user");
        let long = user(&ruled, &json!({"sub": "kim", "nbf": 0, "exp": 61})).expect_err("too long");
        assert!(long.ends_with("failed: it lives too long"), "{long}");
        let reserved = user(&ruled, &json!({"sub": "system:admin", "nbf": 0, "exp": 60})).expect_err("reserved");
        assert!(reserved.ends_with("failed: reserved"), "{reserved}");
        for claims in [json!({}), json!({"sub": ""}), json!({"sub": 7})] {
            user(&mapping(), &claims).expect_err("nobody");
        }
    }
}
