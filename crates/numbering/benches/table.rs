//! The binding table at size: how long a decision takes while the writer works, and what a binding costs in memory.
//!
//! A million pairs on 200 virtual numbers; one thread decides random calls of bound parties, another transfers, unbinds
//! and binds some 10,000 times a second. Single lookups are timed one by one, which adds the cost of reading the clock
//! (printed, not subtracted), and in blocks of 16, which hides it. `--smoke` and `--test` run the same in small.
//!
//! A lookup of a random pair waits for memory three or four times, so what a miss costs on this machine is printed as the
//! yardstick: one dependent read in 256 MiB. On cores that others use too, the tail beside the writer is the scheduler's.
#![allow(clippy::disallowed_methods, reason = "a bench's subject is time")]

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use numbering::{AppId, Axb, Binding, Bindings, Decision, Limits, Number, SubscriptionId, Table, VirtualNumber};

const PAIRS_PER_NUMBER: u64 = 5_000;
const CHANGES_PER_SECOND: u64 = 10_000;
const BLOCK: usize = 16;

struct Size {
    pairs: u64,
    lookups: usize,
}

fn main() {
    let small = std::env::args().any(|argument| argument == "--smoke" || argument == "--test");
    let size =
        if small { Size { pairs: 10_000, lookups: 20_000 } } else { Size { pairs: 1_000_000, lookups: 4_000_000 } };

    let before = resident_bytes();
    let (mut bindings, table) = Bindings::new(Limits::default());
    let started = Instant::now();
    fill(&mut bindings, size.pairs);
    let filled = started.elapsed();
    let after = resident_bytes();
    println!("pairs                    {:>12}", table.len());
    println!("bind                     {:>12.0} a second", size.pairs as f64 / filled.as_secs_f64());
    if let (Some(before), Some(after)) = (before, after) {
        println!("resident bytes a binding {:>12}", after.saturating_sub(before) / size.pairs);
    }

    println!("one dependent miss       {:>12} ns", time_miss(if small { 1 << 16 } else { 1 << 25 }));
    report("an empty timing", time_nothing(size.lookups / 4));
    report("lookup, no writer", time_lookups(&table, size.pairs, size.lookups, 1));
    report("in blocks of 16, no writer", time_lookups(&table, size.pairs, size.lookups, BLOCK));

    let done = AtomicBool::new(false);
    let changes = AtomicU64::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| write(&mut bindings, size.pairs, &done, &changes));
        let started = Instant::now();
        let start = changes.load(Ordering::Relaxed);
        let singles = time_lookups(&table, size.pairs, size.lookups, 1);
        let blocks = time_lookups(&table, size.pairs, size.lookups, BLOCK);
        let rate = (changes.load(Ordering::Relaxed) - start) as f64 / started.elapsed().as_secs_f64();
        done.store(true, Ordering::Relaxed);
        report("lookup, beside the writer", singles);
        report("in blocks of 16, beside it", blocks);
        println!("writer                   {rate:>12.0} changes a second");
    });
    if let (Some(before), Some(after)) = (before, resident_bytes()) {
        println!("resident bytes a binding {:>12} at the end", after.saturating_sub(before) / size.pairs);
    }
}

fn virtual_number(pair: u64) -> Number {
    Number::from_u64(8_675_510_000_000 + pair / PAIRS_PER_NUMBER).expect("13 digits")
}

fn party_a(pair: u64) -> Number {
    Number::from_u64(8_613_000_000_000 + pair).expect("13 digits")
}

fn party_b(pair: u64) -> Number {
    Number::from_u64(8_615_000_000_000 + pair).expect("13 digits")
}

/// Who takes B's place in a transfer.
fn party_c(pair: u64) -> Number {
    Number::from_u64(8_617_000_000_000 + pair).expect("13 digits")
}

fn binding(pair: u64) -> Binding {
    let id = SubscriptionId(u128::from(mix(pair)) << 64 | u128::from(pair));
    let axb = Axb::new(id, AppId(0), party_a(pair), virtual_number(pair), party_b(pair));
    Binding::Axb(Axb { record: true, ..axb })
}

fn fill(bindings: &mut Bindings, pairs: u64) {
    for pair in 0..pairs {
        let x = virtual_number(pair);
        if pair % PAIRS_PER_NUMBER == 0 {
            let number = VirtualNumber::new(x, AppId(0), None);
            bindings.add_number(number).expect("each X is added once");
        }
        bindings.bind(binding(pair)).expect("every number stands in one pair only");
    }
}

/// A transfer there and back, then a binding ended and made again, at a steady rate.
fn write(bindings: &mut Bindings, pairs: u64, done: &AtomicBool, changes: &AtomicU64) {
    let started = Instant::now();
    let mut random = 7;
    let mut made = 0;
    while !done.load(Ordering::Relaxed) {
        random = mix(random);
        let pair = random % pairs;
        let id = binding(pair).id();
        for b in [party_c(pair), party_b(pair)] {
            let to_b = |binding: &mut Binding| {
                if let Binding::Axb(axb) = binding {
                    axb.b = b;
                }
            };
            bindings.modify(id, to_b).expect("nobody else has this number");
        }
        bindings.unbind(id).expect("it is bound");
        bindings.bind(binding(pair)).expect("its numbers are free again");
        made += 4;
        changes.store(made, Ordering::Relaxed);
        let due = Duration::from_nanos(made * 1_000_000_000 / CHANGES_PER_SECOND);
        if let Some(early) = due.checked_sub(started.elapsed()) {
            std::thread::sleep(early);
        }
    }
}

/// Nanoseconds a lookup, sorted. Callers are random, so that nearly every lookup misses the caches.
fn time_lookups(table: &Table, pairs: u64, lookups: usize, block: usize) -> Vec<u32> {
    let mut random = 1_u64;
    let mut calls = Vec::with_capacity(block);
    let mut connected = 0_usize;
    let mut times = Vec::with_capacity(lookups / block);
    for _ in 0..lookups / block {
        calls.clear();
        for _ in 0..block {
            random = mix(random);
            let pair = random % pairs;
            let caller = if random >> 63 == 0 { party_a(pair) } else { party_b(pair) };
            calls.push((virtual_number(pair), caller));
        }
        let started = Instant::now();
        for (x, caller) in &calls {
            let decision = black_box(table.decide(*x, Some(*caller)));
            connected += usize::from(matches!(decision, Decision::Connect { .. }));
        }
        times.push((started.elapsed().as_nanos() / block as u128) as u32);
    }
    // Only who is transferred away or unbound at this instant is refused.
    assert!(connected * 100 >= lookups / block * block * 99, "{connected} of {lookups} connected");
    times.sort_unstable();
    times
}

/// What reading the clock costs.
fn time_nothing(count: usize) -> Vec<u32> {
    let mut times: Vec<u32> = (0..count).map(|_| black_box(Instant::now()).elapsed().as_nanos() as u32).collect();
    times.sort_unstable();
    times
}

/// Nanoseconds of one read in a walk through `words` words in random order, each telling where the next one is.
fn time_miss(words: usize) -> u128 {
    let mut next: Vec<usize> = (0..words).collect();
    let mut random = 3;
    // Sattolo's shuffle: one cycle through all.
    for last in (1..words).rev() {
        random = mix(random);
        next.swap(last, random as usize % last);
    }
    let steps = words.min(1_000_000);
    let started = Instant::now();
    let end = (0..steps).fold(0, |at, _| next[at]);
    black_box(end);
    started.elapsed().as_nanos() / steps as u128
}

fn report(name: &str, times: Vec<u32>) {
    let at = |share: f64| times.get((times.len() as f64 * share) as usize).copied().unwrap_or_default();
    let mean = times.iter().map(|time| f64::from(*time)).sum::<f64>() / times.len().max(1) as f64;
    println!(
        "{name:<27} mean {mean:>7.0}  p50 {:>6}  p90 {:>6}  p99 {:>6}  p99.9 {:>7} ns",
        at(0.5),
        at(0.9),
        at(0.99),
        at(0.999)
    );
}

/// SplitMix64.
fn mix(seed: u64) -> u64 {
    let mut mixed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ mixed >> 31
}

/// Pages of this process in memory; `None` where the system does not tell.
fn resident_bytes() -> Option<u64> {
    let line = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = line.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kibibytes: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kibibytes * 1024)
}
