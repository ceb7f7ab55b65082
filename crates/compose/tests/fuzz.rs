//! Files that nobody meant: a fault has words and a place, and whatever is loaded is translated or refused.

#[path = "../../api/tests/fuzz/mutate.rs"]
mod mutate;
mod support;

use naru_compose::yaml;
use support::run;

const WORDS: &[&str] = &[
    "- ",
    ": ",
    "\n",
    "\n  ",
    "\n    ",
    "&a ",
    "*a",
    "<<: *a",
    "!reset ",
    "!override ",
    "${A}",
    "${A:-b}",
    "${A:?no}",
    "${A-${B}}",
    "$$",
    "${",
    "services:",
    "image: i",
    "build: .",
    "ports:",
    "volumes:",
    "networks:",
    "depends_on:",
    "deploy:",
    "1.10",
    "yes",
    "'",
    "\"",
    "|\n",
    ">-\n",
    "?",
    "#",
    "{",
    "}",
    "[",
    "]",
    ",",
    "80:80",
    "8000-9000:80/udp",
    "0.0.0.0::1",
    "1.5g",
    "10s",
    "~",
    "\t",
    "condition: service_healthy",
    "name: x",
    "-1",
    "99999999999999999999",
    "é",
    "\u{0}",
];

const SAMPLES: &[&str] = &[
    "name: shop\nservices:\n  web:\n    image: nginx:1\n    ports: ['8080:80', {target: 443, published: '8443'}]\n    environment:\n      A: b\n      \
     C: ${D:-e}\n    depends_on:\n      db: {condition: service_healthy}\n    volumes: [data:/data, './x:/x:ro']\n    deploy: {replicas: 2}\n  db:\n    \
     image: postgres\n    healthcheck: {test: [CMD, true], interval: 10s}\n    networks: [back]\nvolumes: {data: {}}\nnetworks: {back: {}}\n",
    "x-base: &base\n  image: i\n  restart: always\n  labels: [a=b]\nservices:\n  a:\n    <<: *base\n    command: sh -c \"echo $$A\"\n  b:\n    <<: *base\n    \
     scale: 3\n    mem_limit: 1.5g\n    cpus: 0.5\n    ulimits: {nofile: 1024}\n    profiles: [p]\n    secrets: [s]\n    configs: [{source: c, target: /c, mode: 0440}]\n\
     secrets: {s: {environment: S}}\nconfigs: {c: {content: hello}}\n",
    "a: &a [[[[1]]]]\nb: &b [[[[*a]]]]\nc: &c [[[[*b, *b]]]]\nd: [*c, *c, !reset x, !override {k: v}]\n---\nsecond: document\n",
];

#[test]
fn trees() {
    let mut samples: Vec<Vec<u8>> = SAMPLES.iter().map(|sample| sample.as_bytes().to_vec()).collect();
    for deep in [50, 99, 100, 101, 5000] {
        samples.push(format!("{}{}", "[".repeat(deep), "]".repeat(deep)).into_bytes());
        samples.push("- ".repeat(deep).into_bytes());
    }
    // Each alias lies deeper than the one before.
    let mut tower = format!("a0: &a0 {}{}\n", "[".repeat(90), "]".repeat(90));
    for floor in 1..60 {
        tower += &format!("a{floor}: &a{floor} {}*a{}{}\n", "[".repeat(90), floor - 1, "]".repeat(90));
    }
    let refusal = yaml::parse("compose.yaml", &tower).expect_err("it is too deep");
    assert!(refusal.to_string().contains("levels deep"), "{refusal}");
    samples.push(tower.into_bytes());
    mutate::bytes("trees", samples, WORDS, |text| {
        let text = String::from_utf8_lossy(text);
        match yaml::parse("compose.yaml", &text) {
            Ok(documents) => drop(documents.clone()),
            Err(error) => assert!(!error.to_string().is_empty()),
        }
    });
}

#[test]
fn projects() {
    mutate::text("projects", SAMPLES, WORDS, |text| match run(&[("compose.yaml", text)], |_| {}) {
        Ok(loaded) => {
            if let Err(error) = naru_compose::translate(&loaded.project) {
                assert!(!error.to_string().is_empty());
            }
        }
        Err(error) => assert!(!error.to_string().is_empty()),
    });
}
