//! Input that is nearly right: samples, changed here and there, one after another until the time is up.
//!
//! What is made depends on nothing but the number of the case, so a case that fails fails again. Each target has a thread
//! with a stack like that of the threads that answer requests; `NARU_LONG=1` looks for minutes rather than for seconds,
//! `NARU_FUZZ_SEED` begins elsewhere, and `NARU_FUZZ_SHOW=1` tells every input before it is tried, for faults that leave no
//! time to tell it afterwards.

use std::time::{Duration, Instant};

use serde_json::Value;

/// The stack of the program's threads that answer requests.
const STACK: usize = 8 << 20;
/// Inputs are not longer than this.
const LONGEST: usize = 64 << 10;
/// So many cases are tried however slow they are, and no more than so many however fast.
const CASES: std::ops::Range<u64> = 100..20_000;

/// Numbers that look like chance.
pub struct Chance(u64);

impl Chance {
    /// The numbers of a case.
    fn of(target: &str, seed: u64, case: u64) -> Chance {
        let mut state = 0xcbf2_9ce4_8422_2325_u64 ^ seed;
        for byte in target.bytes().chain(case.to_le_bytes()) {
            state = (state ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3);
        }
        Chance(state | 1)
    }

    /// One below a bound, which is not zero.
    pub fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % bound
    }

    /// One of several.
    pub fn one<'a, T>(&mut self, of: &'a [T]) -> &'a T {
        &of[self.below(of.len())]
    }
}

/// Tries `check` with one input after another; it fails by panicking.
fn drive<T: std::fmt::Debug>(
    target: &'static str,
    make: impl Fn(&mut Chance) -> T + Send + 'static,
    check: impl Fn(&T) + Send + 'static,
) {
    let long = std::env::var_os("NARU_LONG").is_some();
    let seed = std::env::var("NARU_FUZZ_SEED").ok().and_then(|seed| seed.parse().ok()).unwrap_or(0);
    let show = std::env::var_os("NARU_FUZZ_SHOW").is_some();
    let (time, most) = if long { (120, u64::MAX) } else { (2, CASES.end) };
    let work = move || {
        let end = Instant::now() + Duration::from_secs(time);
        let mut case = 0;
        while case < most && (case < CASES.start || Instant::now() < end) {
            let input = make(&mut Chance::of(target, seed, case));
            if show {
                eprintln!("{target} {case}: {input:?}");
            }
            let tried = Tried { target, case, input: &input };
            check(&input);
            drop(tried);
            case += 1;
        }
        eprintln!("{target}: {case} cases");
    };
    let thread = std::thread::Builder::new().name(target.to_owned()).stack_size(STACK).spawn(work).expect("a thread");
    assert!(thread.join().is_ok(), "{target} failed");
}

/// Tells the input when its check panics.
struct Tried<'t, T: std::fmt::Debug> {
    target: &'static str,
    case: u64,
    input: &'t T,
}

impl<T: std::fmt::Debug> Drop for Tried<'_, T> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("{}, case {}: {:?}", self.target, self.case, self.input);
        }
    }
}

/// A piece of input.
pub struct Bytes(pub Vec<u8>);

impl std::fmt::Debug for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "b\"{}\"", self.0.escape_ascii())
    }
}

/// Tries `check` with changed samples. `words` are what the language under test is made of.
pub fn bytes(
    target: &'static str,
    samples: Vec<Vec<u8>>,
    words: &'static [&'static str],
    check: impl Fn(&[u8]) + Send + 'static,
) {
    drive(
        target,
        move |chance| {
            let mut input = chance.one(&samples).clone();
            for _ in 0..chance.below(6) {
                change(chance, &mut input, &samples, words);
            }
            input.truncate(LONGEST);
            Bytes(input)
        },
        move |input| check(&input.0),
    );
}

/// As [`bytes`], for checks that take text.
#[allow(dead_code)]
pub fn text(
    target: &'static str,
    samples: &[&str],
    words: &'static [&'static str],
    check: impl Fn(&str) + Send + 'static,
) {
    let samples = samples.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    bytes(target, samples, words, move |input| check(&String::from_utf8_lossy(input)));
}

fn change(chance: &mut Chance, input: &mut Vec<u8>, samples: &[Vec<u8>], words: &[&str]) {
    let at = chance.below(input.len() + 1);
    let to = at + chance.below((input.len() - at + 1).min(40));
    let word = |chance: &mut Chance| chance.one(words).as_bytes().to_vec();
    match chance.below(10) {
        0 if at < input.len() => input[at] ^= 1 << chance.below(8),
        1 if at < input.len() => input[at] = chance.below(256) as u8,
        2 => drop(input.drain(at..to)),
        3 => {
            let again = input[at..to].to_vec();
            drop(input.splice(to..to, again));
        }
        4 | 5 => drop(input.splice(at..at, word(chance))),
        6 => {
            // What stands between two signs is a word: another one in its place.
            let is_word = |byte: &u8| byte.is_ascii_alphanumeric();
            let end = input[at..].iter().position(|byte| !is_word(byte)).map_or(input.len(), |end| at + end);
            let start = input[..at].iter().rposition(|byte| !is_word(byte)).map_or(0, |start| start + 1);
            drop(input.splice(start..end, word(chance)));
        }
        7 => {
            let other = chance.one(samples);
            let from = chance.below(other.len() + 1);
            input.truncate(at);
            input.extend_from_slice(&other[from..]);
        }
        8 => drop(input.splice(at..at, word(chance).repeat(1 + chance.below(400)))),
        _ => {
            let times = 1 + chance.below(400);
            let (open, close) = chance.one(&[("[", "]"), ("{\"a\":", "}"), ("(", ")"), ("- ", ""), ("!", "")]);
            drop(input.splice(to..to, close.repeat(times).into_bytes()));
            drop(input.splice(at..at, open.repeat(times).into_bytes()));
        }
    }
}

/// Tries `check` with changed values: parts of one sample are put into another, left out, and renamed.
#[allow(dead_code)]
pub fn values(target: &'static str, samples: Vec<Value>, check: impl Fn(&[Value; 2]) + Send + 'static) {
    let mut parts = vec![Value::Null, true.into(), 0.into(), (-1).into(), i64::MAX.into(), 1.5.into(), "".into()];
    let mut names = vec![String::new(), "$patch".to_owned(), "f:".to_owned(), "k:{}".to_owned()];
    samples.iter().for_each(|sample| collect(sample, &mut parts, &mut names));
    drive(
        target,
        move |chance| {
            [(); 2].map(|()| {
                let mut value = chance.one(&samples).clone();
                for _ in 0..chance.below(5) {
                    change_value(chance, &mut value, &parts, &names);
                }
                value
            })
        },
        check,
    );
}

fn collect(value: &Value, parts: &mut Vec<Value>, names: &mut Vec<String>) {
    parts.push(value.clone());
    match value {
        Value::Object(map) => {
            names.extend(map.keys().cloned());
            map.values().for_each(|value| collect(value, parts, names));
        }
        Value::Array(items) => items.iter().for_each(|item| collect(item, parts, names)),
        _ => {}
    }
}

fn change_value(chance: &mut Chance, value: &mut Value, parts: &[Value], names: &[String]) {
    let down = chance.below(4) > 0;
    match value {
        Value::Object(map) if !map.is_empty() && down => {
            let at = chance.below(map.len());
            if let Some(inner) = map.values_mut().nth(at) {
                change_value(chance, inner, parts, names);
            }
        }
        Value::Array(items) if !items.is_empty() && down => {
            let at = chance.below(items.len());
            change_value(chance, &mut items[at], parts, names);
        }
        Value::Object(map) => {
            let name = chance.one(names).clone();
            match chance.below(4) {
                0 => drop(map.remove(&name)),
                1 if !map.is_empty() => {
                    let old = map.keys().nth(chance.below(map.len())).cloned().unwrap_or_default();
                    let inner = map.remove(&old).unwrap_or_default();
                    map.insert(name, inner);
                }
                2 => *value = chance.one(parts).clone(),
                _ => drop(map.insert(name, chance.one(parts).clone())),
            }
        }
        Value::Array(items) => match chance.below(3) {
            0 => drop(items.pop()),
            1 => items.push(items.first().cloned().unwrap_or_default()),
            _ => items.push(chance.one(parts).clone()),
        },
        scalar => *scalar = chance.one(parts).clone(),
    }
}
