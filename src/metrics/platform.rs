//! Of the registry, the stores and the API.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, OnceLock};

use numbering::Table;
use prometheus::{IntCounter, IntGauge};

use super::{Maker, raise, raise_all, set};
use crate::api::compat::Compat;
use crate::api::compat::result::Code;
use crate::api::server;
use crate::cdr;
use crate::notify::{self, Channel, FailedBy, deliver};
use crate::registry::Registry;

/// The labels of `axbridge_registry_work_total`.
const WORK: [&str; 2] = ["done", "refused"];
/// The labels of `axbridge_callers_total`.
const CALLERS: [&str; 3] = ["remembered", "passed_over", "lost"];
/// The labels of `axbridge_cdr_store_total`.
const CDRS: [&str; 3] = ["stored", "unspooled", "replayed"];
/// What becomes of notices: the second label of `axbridge_notices_total`.
const NOTICES: [&str; 6] = ["posted", "delivered", "failed", "given_up", "replayed", "lost"];
/// The labels of `axbridge_notices_store_total`.
const OUTBOX: [&str; 4] = ["committed", "refused", "unspooled", "restored"];
/// The labels of `axbridge_notices_receivers_total`.
const RECEIVERS: [&str; 2] = ["rested", "kept"];
/// The labels of `axbridge_http_connections_total`.
const CONNECTIONS: [&str; 4] = ["accepted", "refused", "timed_out", "tls_failed"];
/// The labels of `axbridge_api_gate_total`.
const GATE: [&str; 3] = ["nonces_forgotten", "locks", "sources_forgotten"];

pub(super) struct Platform {
    bindings: IntGauge,
    numbers: IntGauge,
    work: Vec<IntCounter>,
    commits: [IntCounter; 2],
    expired: IntCounter,
    parked: IntGauge,
    depth: IntGauge,
    callers: Vec<IntCounter>,
    cdrs: Vec<IntCounter>,
    notices: Vec<IntCounter>,
    pending: Vec<IntGauge>,
    outbox: Vec<IntCounter>,
    log: IntGauge,
    failures: Vec<IntCounter>,
    receivers: Vec<IntCounter>,
    questions: Vec<IntCounter>,
    in_flight: IntGauge,
    resting: IntGauge,
    answers: Vec<IntCounter>,
    gate: Vec<IntCounter>,
    connections: Vec<IntCounter>,
    open: IntGauge,
    watched: OnceLock<Watched>,
}

/// Whose counters are read.
pub struct Watched {
    /// The registry's.
    pub registry: Registry,
    /// How much is bound.
    pub table: Table,
    /// The stored call records'.
    pub cdrs: Arc<cdr::Counters>,
    /// What becomes of what customers are told.
    pub notices: Arc<notify::Counters>,
    /// What becomes of the messages that they are told by.
    pub deliveries: Arc<deliver::Counters>,
    /// The API's, where there is one.
    pub api: Option<(Arc<Compat>, Arc<server::Counters>)>,
}

impl Platform {
    #[rustfmt::skip]
    pub(super) fn new(made: &Maker) -> Platform {
        Platform {
            bindings: made.gauge("axbridge_bindings", "Bindings that hold"),
            numbers: made.gauge("axbridge_numbers", "Virtual numbers"),
            work: made.counters("axbridge_registry_work_total", "Requests to bind, change or look up: done, or refused because too many waited", "result", WORK),
            commits: made.pair_of_counters("axbridge_registry_commits_total", "Commits of the store", "result", ["done", "failed"]),
            expired: made.counter("axbridge_bindings_expired_total", "Bindings that have run out"),
            parked: made.gauge("axbridge_store_rows_left_out", "Rows of the store that could not be taken at the start"),
            depth: made.gauge("axbridge_registry_queue_depth", "Requests that wait for the registry"),
            callers: made.counters("axbridge_callers_total", "Who called A by an extension: remembered, nobody to be called back, lost for want of room", "result", CALLERS),
            cdrs: made.counters("axbridge_cdr_store_total", "Call records: in the store, not safe from a crash for want of room, found after one", "event", CDRS),
            notices: made.counters_of_two("axbridge_notices_total", "What customers are told: kept, delivered, attempts that failed, given up, replayed, lost", ["channel", "result"], Channel::ALL.map(Channel::as_str), NOTICES),
            pending: made.gauges("axbridge_notices_pending", "What customers have not been told yet", "channel", Channel::ALL.map(Channel::as_str)),
            outbox: made.counters("axbridge_notices_store_total", "Commits of the outbox, those that the disk did not take, notices that a crash would have lost for want of room, and those found after one", "event", OUTBOX),
            log: made.gauge("axbridge_notices_kept", "Rows of the outbox, those that have been delivered among them"),
            failures: made.counters("axbridge_notices_messages_failed_total", "Messages to customers' systems that were not taken, by why", "error", FailedBy::ALL.map(FailedBy::as_str)),
            receivers: made.counters("axbridge_notices_receivers_total", "Customers' systems that take nothing and are left alone for a while; messages that this system itself kept from being sent", "event", RECEIVERS),
            questions: made.counters("axbridge_text_questions_total", "Questions to customers' systems of what is to become of a text message: answered, nobody to ask, too many waited, not answered", "result", deliver::QUESTIONS),
            in_flight: made.gauge("axbridge_notices_messages_in_flight", "Messages to customers' systems that are on their way"),
            resting: made.gauge("axbridge_notices_receivers_resting", "Customers' systems that are left alone, since they take nothing"),
            answers: made.counters("axbridge_api_answers_total", "Answers of the customers' API", "code", Code::ALL.iter().map(|code| code.number())),
            gate: made.counters("axbridge_api_gate_total", "Limits that the authentication of the customers' API has reached", "event", GATE),
            connections: made.counters("axbridge_http_connections_total", "What happened to connections to the API", "event", CONNECTIONS),
            open: made.gauge("axbridge_http_connections", "Connections to the API that are open"),
            watched: OnceLock::new(),
        }
    }

    /// The first call counts.
    pub(super) fn watch(&self, watched: Watched) {
        let _ = self.watched.set(watched);
    }

    pub(super) fn read(&self) {
        let Some(watched) = self.watched.get() else { return };
        let read = |counter: &AtomicU64| counter.load(Relaxed);
        let registry = watched.registry.counters();
        set(&self.bindings, watched.table.len());
        set(&self.numbers, watched.table.numbers());
        raise_all(&self.work, [&registry.transactions, &registry.refused].map(read));
        raise(&self.commits[0], read(&registry.commits));
        raise(&self.commits[1], read(&registry.failed));
        raise(&self.expired, read(&registry.expired));
        set(&self.parked, usize::try_from(read(&registry.parked)).unwrap_or(usize::MAX));
        set(&self.depth, watched.registry.depth());
        let callers = [&registry.callers, &registry.callers_passed_over, &registry.callers_lost];
        raise_all(&self.callers, callers.map(read));
        let cdrs = &watched.cdrs;
        raise_all(&self.cdrs, [&cdrs.stored, &cdrs.unspooled, &cdrs.replayed].map(read));
        let notices = &watched.notices;
        let by_channel = Channel::ALL.iter().enumerate().flat_map(|(place, _)| {
            let of = [
                &notices.posted,
                &notices.delivered,
                &notices.failed,
                &notices.given_up,
                &notices.replayed,
                &notices.lost,
            ];
            of.map(|counters| read(&counters[place]))
        });
        raise_all(&self.notices, by_channel);
        for (gauge, pending) in self.pending.iter().zip(&notices.pending) {
            set(gauge, usize::try_from(read(pending)).unwrap_or(usize::MAX));
        }
        let of_outbox = [&notices.commits, &notices.refused, &notices.unspooled, &notices.restored];
        raise_all(&self.outbox, of_outbox.map(read));
        set(&self.log, usize::try_from(read(&notices.rows)).unwrap_or(usize::MAX));
        let deliveries = &watched.deliveries;
        raise_all(&self.failures, deliveries.failed.iter().map(read));
        raise_all(&self.receivers, [&deliveries.rests, &deliveries.kept].map(read));
        raise_all(&self.questions, deliveries.questions.iter().map(read));
        set(&self.in_flight, usize::try_from(read(&deliveries.in_flight)).unwrap_or(usize::MAX));
        set(&self.resting, usize::try_from(read(&deliveries.resting)).unwrap_or(usize::MAX));
        let Some((compat, server)) = &watched.api else { return };
        raise_all(&self.answers, compat.answers().map(|(_, count)| count));
        let gate = compat.gate().counters();
        raise_all(&self.gate, [gate.nonces_forgotten, gate.locks, gate.sources_forgotten]);
        let connections = [&server.connections, &server.refused, &server.timed_out, &server.tls_failed];
        raise_all(&self.connections, connections.map(read));
        set(&self.open, usize::try_from(read(&server.open)).unwrap_or(usize::MAX));
    }
}
