//! From rules to classic BPF.

use super::{
    profile::ProfileError,
    rules::{Action, Clause, Compare, Rules},
    table,
};

#[cfg(target_arch = "x86_64")]
const ARCHITECTURE: u32 = 0xc000_003e;
#[cfg(target_arch = "aarch64")]
const ARCHITECTURE: u32 = 0xc000_00b7;

const LOAD: u16 = 0x20;
const AND: u16 = 0x54;
const JUMP: u16 = 0x05;
const IF_EQUAL: u16 = 0x15;
const IF_GREATER: u16 = 0x25;
const IF_AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;

/// The kernel's own limit.
const LONGEST: usize = 4096;

/// Where a conditional jump leads, until the distances are known.
#[derive(Clone, Copy, PartialEq, Eq)]
enum To {
    Next,
    /// Past the comparison: it holds.
    Holds,
    /// To the next clause: it does not.
    Fails,
}

#[derive(Clone, Copy)]
struct Instruction {
    code: u16,
    yes: u8,
    no: u8,
    value: u32,
}

fn plain(code: u16, value: u32) -> Instruction {
    Instruction { code, yes: 0, no: 0, value }
}

/// What a range of numbers comes to.
#[derive(Clone, PartialEq, Eq)]
enum Decision {
    Act(Action),
    Weigh(Vec<Clause>),
}

/// Compiles; refuses what is longer than the kernel takes.
pub(super) fn assemble(rules: &Rules) -> Result<Vec<u8>, ProfileError> {
    let search = search(&ranges(rules), rules.otherwise);
    // Other system call tables (32-bit programs) have other numbers: none of the rules would mean what it says.
    let foreign = Action::Errno(libc::ENOSYS as u16).value();
    let mut all = vec![
        plain(LOAD, 4),
        Instruction { code: IF_EQUAL, yes: 1, no: 0, value: ARCHITECTURE },
        plain(RETURN, foreign),
        plain(LOAD, 0),
    ];
    all.extend(search);
    if all.len() > LONGEST {
        return Err(ProfileError::TooLong(all.len()));
    }
    let mut bytes = Vec::with_capacity(all.len() * 8);
    for i in all {
        bytes.extend_from_slice(&i.code.to_ne_bytes());
        bytes.extend_from_slice(&[i.yes, i.no]);
        bytes.extend_from_slice(&i.value.to_ne_bytes());
    }
    Ok(bytes)
}

/// Consecutive numbers with the same decision, as first number and decision. Starts at 0 and covers everything; the x32
/// table's numbers (from 0x4000_0000) fall into the unknown end.
fn ranges(rules: &Rules) -> Vec<(u32, Decision)> {
    let mut known: Vec<u32> = table::numbers().chain(rules.calls.keys().copied()).collect();
    known.sort_unstable();
    known.dedup();
    let mut out: Vec<(u32, Decision)> = vec![(0, Decision::Act(rules.unknown))];
    let mut add = |first: u32, decision: Decision| match out.last_mut() {
        Some((at, last)) if *at == first => *last = decision,
        Some((_, last)) if *last == decision => {}
        _ => out.push((first, decision)),
    };
    for (index, number) in known.iter().enumerate() {
        let decision = match rules.calls.get(number).map(Vec::as_slice) {
            None => Decision::Act(rules.otherwise),
            Some([first, ..]) if first.when.is_empty() => Decision::Act(first.action),
            Some(clauses) => Decision::Weigh(clauses.to_vec()),
        };
        add(*number, decision);
        if known.get(index + 1) != Some(&(number + 1)) {
            add(number + 1, Decision::Act(rules.unknown));
        }
    }
    out
}

/// The accumulator holds the number.
fn search(ranges: &[(u32, Decision)], otherwise: Action) -> Vec<Instruction> {
    match ranges {
        [] => vec![plain(RETURN, otherwise.value())],
        [(_, Decision::Act(action))] => vec![plain(RETURN, action.value())],
        [(_, Decision::Weigh(clauses))] => weigh(clauses, otherwise),
        _ => {
            let (low, high) = ranges.split_at(ranges.len() / 2);
            let (low, high_code) = (search(low, otherwise), search(high, otherwise));
            let middle = high[0].0;
            let mut out = Vec::with_capacity(low.len() + high_code.len() + 2);
            if let Ok(distance) = u8::try_from(low.len()) {
                out.push(Instruction { code: IF_AT_LEAST, yes: distance, no: 0, value: middle });
            } else {
                // Too far for a conditional jump.
                out.push(Instruction { code: IF_AT_LEAST, yes: 0, no: 1, value: middle });
                out.push(plain(JUMP, low.len() as u32));
            }
            out.extend(low);
            out.extend(high_code);
            out
        }
    }
}

fn weigh(clauses: &[Clause], otherwise: Action) -> Vec<Instruction> {
    let mut out = Vec::new();
    for clause in clauses {
        let mut parts: Vec<Vec<(Instruction, To, To)>> =
            clause.when.iter().map(|(argument, comparison)| compare(*argument, *comparison)).collect();
        parts.push(vec![(plain(RETURN, clause.action.value()), To::Next, To::Next)]);
        let length: usize = parts.iter().map(Vec::len).sum();
        let mut at = 0;
        for part in parts {
            let holds = at + part.len();
            for (mut instruction, yes, no) in part {
                at += 1;
                // A clause is some dozens of instructions at most: the distances fit.
                let distance = |to| match to {
                    To::Next => 0,
                    To::Holds => (holds - at) as u8,
                    To::Fails => (length - at) as u8,
                };
                if instruction.code & 0x07 == 0x05 {
                    (instruction.yes, instruction.no) = (distance(yes), distance(no));
                }
                out.push(instruction);
            }
        }
    }
    out.push(plain(RETURN, otherwise.value()));
    out
}

/// Arguments are compared by halves: the high one first.
fn compare(argument: u8, comparison: Compare) -> Vec<(Instruction, To, To)> {
    let offset = 16 + 8 * u32::from(argument);
    let (low, high) = (offset, offset + 4);
    let load = |at| (plain(LOAD, at), To::Next, To::Next);
    let test = |code, value: u64, yes, no| (plain(code, value as u32), yes, no);
    let upper = |value: u64| value >> 32;
    match comparison {
        Compare::Equal(v) => vec![
            load(high),
            test(IF_EQUAL, upper(v), To::Next, To::Fails),
            load(low),
            test(IF_EQUAL, v, To::Next, To::Fails),
        ],
        Compare::NotEqual(v) => vec![
            load(high),
            test(IF_EQUAL, upper(v), To::Next, To::Holds),
            load(low),
            test(IF_EQUAL, v, To::Fails, To::Next),
        ],
        Compare::Masked { mask, value } => vec![
            load(high),
            (plain(AND, upper(mask) as u32), To::Next, To::Next),
            test(IF_EQUAL, upper(value), To::Next, To::Fails),
            load(low),
            (plain(AND, mask as u32), To::Next, To::Next),
            test(IF_EQUAL, value, To::Next, To::Fails),
        ],
        Compare::Greater(v) | Compare::GreaterOrEqual(v) => {
            let code = if matches!(comparison, Compare::Greater(_)) { IF_GREATER } else { IF_AT_LEAST };
            vec![
                load(high),
                test(IF_GREATER, upper(v), To::Holds, To::Next),
                test(IF_EQUAL, upper(v), To::Next, To::Fails),
                load(low),
                test(code, v, To::Next, To::Fails),
            ]
        }
        Compare::Less(v) | Compare::LessOrEqual(v) => {
            let code = if matches!(comparison, Compare::Less(_)) { IF_AT_LEAST } else { IF_GREATER };
            vec![
                load(high),
                test(IF_GREATER, upper(v), To::Fails, To::Next),
                test(IF_EQUAL, upper(v), To::Next, To::Holds),
                load(low),
                test(code, v, To::Fails, To::Next),
            ]
        }
    }
}
