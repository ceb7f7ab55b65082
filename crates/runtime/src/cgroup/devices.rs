//! Which devices a container may open: rule lines on v1, an assembled eBPF program on v2.

use std::str::FromStr;

/// One rule in the kernel's words, `c 1:3 rwm`, with `*` for any number and `a` for both kinds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Rule {
    kind: char,
    major: Option<u32>,
    minor: Option<u32>,
    access: String,
}

/// Allowed to every container: making any node, and opening the harmless ones, as OCI runtimes do.
pub(super) const STANDARD: [&str; 10] = [
    "c *:* m",
    "b *:* m",
    "c 1:3 rwm",
    "c 1:5 rwm",
    "c 1:7 rwm",
    "c 1:8 rwm",
    "c 1:9 rwm",
    "c 5:0 rwm",
    "c 5:2 rwm",
    "c 136:* rwm",
];

impl FromStr for Rule {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("device rule {text:?}: expected for example \"c 10:200 rwm\"");
        let number = |t: &str| if t == "*" { Ok(None) } else { t.parse().map(Some).map_err(|_| wrong()) };
        let mut parts = text.split_whitespace();
        let kind = match parts.next() {
            Some("a") => 'a',
            Some("b") => 'b',
            Some("c") => 'c',
            _ => return Err(wrong()),
        };
        let (major, minor) = match parts.next() {
            Some(numbers) => {
                let (major, minor) = numbers.split_once(':').ok_or_else(wrong)?;
                (number(major)?, number(minor)?)
            }
            None if kind == 'a' => (None, None),
            None => return Err(wrong()),
        };
        let access = parts.next().unwrap_or("rwm");
        if access.is_empty() || access.chars().any(|c| !"rwm".contains(c)) || parts.next().is_some() {
            return Err(wrong());
        }
        Ok(Self { kind, major, minor, access: access.to_owned() })
    }
}

// eBPF: one instruction is opcode, registers (dst | src << 4), signed 16-bit offset, 32-bit immediate.
const fn instruction(code: u8, dst: u8, src: u8, offset: i16, value: i32) -> u64 {
    code as u64 | (dst as u64) << 8 | (src as u64) << 12 | (offset as u16 as u64) << 16 | (value as u32 as u64) << 32
}

/// A program that allows what any rule allows and refuses the rest.
pub(super) fn program(rules: &[Rule]) -> Vec<u64> {
    const LOAD_WORD: u8 = 0x61;
    const MOVE: u8 = 0xbf;
    const MOVE_VALUE: u8 = 0xb7;
    const AND_VALUE: u8 = 0x57;
    const SHIFT_RIGHT: u8 = 0x77;
    const NOT_EQUAL: u8 = 0x55;
    const EXIT: u8 = 0x95;
    // struct bpf_cgroup_dev_ctx { access_type: (access << 16) | kind, major, minor }; r1 points to it.
    let mut out = vec![
        instruction(LOAD_WORD, 2, 1, 0, 0),
        instruction(AND_VALUE, 2, 0, 0, 0xffff),
        instruction(LOAD_WORD, 3, 1, 0, 0),
        instruction(SHIFT_RIGHT, 3, 0, 0, 16),
        instruction(LOAD_WORD, 4, 1, 4, 0),
        instruction(LOAD_WORD, 5, 1, 8, 0),
    ];
    for rule in rules {
        let mut tests = Vec::new();
        match rule.kind {
            'b' => tests.push((2, 1)),
            'c' => tests.push((2, 2)),
            _ => {}
        }
        tests.extend(rule.major.map(|m| (4, m as i32)));
        tests.extend(rule.minor.map(|m| (5, m as i32)));
        let bit = |letter, value| if rule.access.contains(letter) { value } else { 0 };
        let refused = 7 & !(bit('m', 1) | bit('r', 2) | bit('w', 4));
        // r0 = asked access without what the rule allows; anything left: next rule.
        let head = if refused == 0 { 0 } else { 3 };
        let length = tests.len() + head + 2;
        let mut at = 0;
        for (register, value) in tests {
            at += 1;
            out.push(instruction(NOT_EQUAL, register, 0, (length - at) as i16, value));
        }
        if refused != 0 {
            out.push(instruction(MOVE, 0, 3, 0, 0));
            out.push(instruction(AND_VALUE, 0, 0, 0, refused));
            at += 3;
            out.push(instruction(NOT_EQUAL, 0, 0, (length - at) as i16, 0));
        }
        out.push(instruction(MOVE_VALUE, 0, 0, 0, 1));
        out.push(instruction(EXIT, 0, 0, 0, 0));
    }
    out.push(instruction(MOVE_VALUE, 0, 0, 0, 0));
    out.push(instruction(EXIT, 0, 0, 0, 0));
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Runs a program as the kernel would.
    fn allows(program: &[u64], kind: i32, access: i32, major: i32, minor: i32) -> bool {
        let context = [access << 16 | kind, major, minor];
        let mut registers = [0i64; 6];
        let mut at = 0usize;
        loop {
            let word = program[at];
            let (code, dst, src) = (word as u8, (word >> 8 & 15) as usize, (word >> 12 & 15) as usize);
            let (offset, value) = ((word >> 16) as i16, (word >> 32) as i32 as i64);
            at += 1;
            match code {
                0x61 => registers[dst] = i64::from(context[offset as usize / 4]),
                0xbf => registers[dst] = registers[src],
                0xb7 => registers[dst] = value,
                0x57 => registers[dst] &= value,
                0x77 => registers[dst] >>= value,
                0x55 if registers[dst] != value => at = (at as i64 + i64::from(offset)) as usize,
                0x55 => {}
                0x95 => return registers[0] == 1,
                other => panic!("opcode {other:#x}"),
            }
        }
    }

    #[test]
    fn program_allows_what_the_rules_allow() {
        let mut rules: Vec<Rule> = STANDARD.iter().map(|r| r.parse().unwrap()).collect();
        rules.push("b 8:1 r".parse().unwrap());
        let program = program(&rules);
        assert!(allows(&program, 2, 2, 1, 3), "/dev/null cannot be read");
        assert!(allows(&program, 1, 1, 8, 0), "nodes cannot be made");
        assert!(!allows(&program, 1, 2, 8, 0), "a disk can be read");
        assert!(allows(&program, 1, 2, 8, 1) && !allows(&program, 1, 4, 8, 1), "read-only rule");
        assert!(!allows(&program, 2, 2, 10, 200), "an unlisted device can be read");
    }

    #[test]
    fn malformed_rules_are_named() {
        for bad in ["", "x 1:3 rwm", "c 1 rwm", "c 1:3 rwx", "c 1:3 rwm more"] {
            assert!(bad.parse::<Rule>().is_err(), "{bad:?} was accepted");
        }
    }
}
