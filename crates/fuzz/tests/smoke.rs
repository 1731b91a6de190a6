//! Every target over its seeds and some thousands of their mutants: the same on every run, in a few seconds.
//!
//! What this cannot find, libFuzzer may: see the crate's README.

use fuzz::{Mutations, TARGETS, seeds};

const MUTANTS: usize = 4_000;

/// A mutant of `calls` is a world and takes as long as some dozen of the others.
const WORLDS: usize = 1_000;

fn run(name: &str) {
    run_mutants(name, MUTANTS);
}

fn run_mutants(name: &str, mutants: usize) {
    let (_, target) = TARGETS.iter().find(|(known, _)| *known == name).expect("a target");
    let seeds = seeds(name);
    assert!(seeds.len() >= 6, "{name}: too little to begin with");
    for input in seeds.iter().cloned().chain(Mutations::new(&seeds, 1).take(mutants)) {
        let broken = std::panic::catch_unwind(|| target(&input)).is_err();
        assert!(!broken, "{name} on these bytes: b\"{}\"", input.escape_ascii());
    }
}

#[test]
fn messages() {
    run("message");
}

#[test]
fn streams() {
    run("stream");
}

#[test]
fn descriptions() {
    run("sdp");
}

#[test]
fn media() {
    run("rtp");
}

#[test]
fn files() {
    run("wav");
}

#[test]
fn numbers() {
    run("number");
}

#[test]
fn calls() {
    run_mutants("calls", WORLDS);
}

#[test]
fn every_target_is_run_and_nothing_and_a_lot_is_survived() {
    assert_eq!(TARGETS.len(), 8);
    for (_, target) in TARGETS {
        target(b"");
        for byte in [0, b'\r', b'\n', b' ', b'"', b'<', 255] {
            target(&vec![byte; 70_000]);
        }
    }
}

#[test]
fn sessions() {
    run("smpp");
}
