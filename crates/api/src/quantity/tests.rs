use proptest::prelude::*;

use super::*;

fn canonical(text: &str) -> String {
    Quantity::parse(text).unwrap_or_else(|e| panic!("{text}: {e}")).to_string()
}

#[test]
fn canonical_forms() {
    for (from, to) in [
        ("0", "0"),
        ("0Gi", "0"),
        ("0.5", "500m"),
        ("1000m", "1"),
        ("1024Mi", "1Gi"),
        ("1.5Gi", "1536Mi"),
        ("0.5Ki", "512"),
        ("1.1Ki", "1126400m"),
        ("1e3", "1e3"),
        ("1000e0", "1e3"),
        ("12e5", "1200e3"),
        ("1E", "1E"),
        ("-1.5", "-1500m"),
        ("+3k", "3k"),
        ("1500", "1500"),
        ("2000", "2k"),
        (".5", "500m"),
        ("5.", "5"),
        ("1n", "1n"),
        ("0.1n", "1n"),
        ("100000000000000000000", "9223372036854775807"),
        ("1Ei", "1Ei"),
        ("16Ei", "9223372036854775807"),
        ("1025", "1025"),
        ("1025Ki", "1025Ki"),
        ("0.0000000001", "1n"),
        ("1e-3", "1e-3"),
        ("3E2", "300"),
    ] {
        assert_eq!(canonical(from), to, "{from}");
    }
    for wrong in ["", "abc", "1.2.3", "1 Gi", "1gi", "1K", ".", "--1", "1e", "Gi", "1Zi", "0x1"] {
        assert!(Quantity::parse(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn values_round_away_from_zero() {
    let q = |t: &str| Quantity::parse(t).expect("a quantity");
    assert_eq!((q("1500m").value(), q("100u").milli(), q("-1.5").value()), (2, 1, -2));
    assert_eq!((q("128Mi").value(), q("2").milli()), (134_217_728, 2000));
    assert!(q("1Gi") > q("1G") && q("1000m") == q("1"));
    assert_eq!(q("1Gi").plus(q("1Mi")).to_string(), "1025Mi");
    assert_eq!(q("1").minus(q("250m")).to_string(), "750m");
    assert_eq!(Quantity::from_bytes(1 << 20).to_string(), "1Mi");
}

proptest! {
    #[test]
    fn writing_and_reading_keeps_the_value(whole in 0u64..1_000_000_000, fraction in 0u32..1_000_000_000, suffix in 0usize..13) {
        let suffix = ["", "n", "u", "m", "k", "M", "G", "Ki", "Mi", "Gi", "e3", "E-3", "Ti"][suffix];
        let text = format!("{whole}.{fraction:09}{suffix}");
        let quantity = Quantity::parse(&text).expect("a quantity");
        let again = Quantity::parse(&quantity.to_string()).expect("a quantity");
        prop_assert_eq!(quantity, again);
        prop_assert_eq!(quantity.to_string(), again.to_string());
    }

    #[test]
    fn order_is_that_of_the_numbers(a in -1_000_000i64..1_000_000, b in -1_000_000i64..1_000_000) {
        let (x, y) = (Quantity::from_milli(a), Quantity::from_milli(b));
        prop_assert_eq!(x.cmp(&y), a.cmp(&b));
        prop_assert_eq!(x.plus(y).milli(), a + b);
    }

    #[test]
    fn any_text_is_read_or_refused(text in "[-+]?[0-9.]{0,40}[a-zA-Z]{0,2}[-+0-9]{0,5}") {
        if let Ok(q) = Quantity::parse(&text) {
            prop_assert_eq!(Quantity::parse(&q.to_string()).expect("own output"), q);
        }
    }
}
