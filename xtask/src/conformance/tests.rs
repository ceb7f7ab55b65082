use super::{Line, page, parse, tests_in, untrue};

const TABLE: &str = "# what it is\n\n[sig-cli] labels\n  a/tests/it.rs: labels_come\n  but: not on windows\n\
    [sig-auth] keys [Serial]\n  not yet: nobody makes them\n";

const SOURCE: &str = "fn helper() {}\n#[tokio::test(flavor = \"multi_thread\")]\n#[ignore]\nasync fn labels_come() {\n    \
    fn inner() {}\n}\n\n#[test]\nfn other() {}\n";

fn source(file: &str) -> Option<String> {
    (file == "a/tests/it.rs").then(|| SOURCE.to_owned())
}

#[test]
fn tests_are_functions_that_are_marked() {
    assert_eq!(tests_in(SOURCE).collect::<Vec<_>>(), ["labels_come", "other"]);
}

#[test]
fn a_table_is_read_and_shown() {
    let behaviours = parse(TABLE).unwrap();
    assert_eq!((behaviours[1].group, behaviours[1].name), ("auth", "keys [Serial]"));
    assert_eq!(behaviours[0].proof[1], Line::But("not on windows"));
    assert!(untrue(&behaviours, source).is_empty());
    let page = page(&behaviours);
    assert!(page.contains("| cli | 1 | 0 | 1 | 0 |") && page.contains("| auth | 1 | 0 | 0 | 1 |"), "{page}");
    assert!(page.contains("| labels | [`labels_come`](../a/tests/it.rs) (a it); but: not on windows |"), "{page}");
    assert!(page.contains("| keys [Serial] | **not yet**: nobody makes them |"), "{page}");
}

#[test]
fn what_is_claimed_and_not_there_is_told() {
    for (from, to, why) in [
        ("labels_come", "helper", "no test helper in a/tests/it.rs"),
        ("a/tests/it.rs", "b.rs", "no test labels_come in b.rs"),
        ("  not yet: nobody makes them\n", "", "needs either tests or one `not yet`: keys"),
        ("  but: not on windows", "  not yet: why", "needs either tests or one `not yet`: labels"),
        ("[sig-auth] keys [Serial]", "[sig-cli] labels", "twice: labels"),
    ] {
        let table = TABLE.replace(from, to);
        let problems = untrue(&parse(&table).unwrap(), source);
        assert!(problems.iter().any(|problem| problem.contains(why)), "{why}: {problems:?}");
    }
    for wrong in ["  a.rs: b\n", "[sig-cli] a\n  because\n", "[sig-cli] a\nb.rs: c\n"] {
        assert!(parse(wrong).is_err(), "{wrong}");
    }
}
