//! What operators watch: counters, gauges and histograms, in Prometheus' text format at `/metrics`; `/healthz` beside it.
//!
//! ```text
//!   signalling ── set_core, set_queues …, a few times a second ──▶ ┐
//!   a call that ended ── on_call_ended ──────────────────────────▶ ├ Registry ─▶ GET /metrics
//!   relay, recording, CDR: their own atomics, read at a scrape ──▶ ┘
//! ```
//!
//! Labels are words out of closed lists, and names of the configured trunks and hosts of their targets: never a number, or
//! anything that a caller chooses, so that the number of time series is known beforehand. Hot paths touch nothing here.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use b2bua::cdr::Cdr;
use b2bua::observe::{Counters, Drop, Gauges};
use b2bua::outcome::Cause;
use b2bua::routes::{RouteCounters, RouteGauge, RouteState};
use b2bua::text::Outcome;
use media::Side;
use prometheus::{
    Encoder, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry, TextEncoder,
};
use sip::message::{Method, ParseError};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::Sleep;

use crate::cdr;
use crate::hep;
use crate::recording::{Failure, Recordings};
use crate::relay;
use crate::smsc;
use crate::transport::resolve;
use crate::transport::tcp;
use crate::transport::udp::UdpCounters;

/// Connections to the metrics' listener at once.
const CONNECTIONS: usize = 32;
/// How long one of them may live; a scraper opens another.
const LIFE: Duration = Duration::from_secs(60);
/// Bytes that one of them may send us.
const REQUESTS: usize = 64 * 1024;

/// Seconds from an INVITE to an alerting or an answer.
const SETUP: [f64; 13] = [0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 3.0, 5.0, 8.0, 13.0, 20.0, 30.0, 60.0];
/// Seconds of a conversation.
const TALK: [f64; 11] = [1.0, 5.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1800.0, 3600.0, 14_400.0];
/// Seconds within the relay.
const RELAY: [f64; 10] = [0.000_05, 0.000_1, 0.000_2, 0.000_5, 0.001, 0.002, 0.005, 0.01, 0.02, 0.1];

/// What becomes of RTP packets: the labels of `axbridge_rtp_packets_total`.
const PACKETS: [&str; 4] = ["received", "forwarded", "originated", "rtcp_received"];
/// Why packets went no further: the labels of `axbridge_rtp_unsent_total`.
const UNSENT: [&str; 4] = ["stray", "swallowed", "buffer_full", "refused"];
/// The labels of `axbridge_recordings_total`.
const RECORDINGS: [&str; 9] =
    ["started", "finished", "short", "refused_open", "refused_name", "abandoned", "queue_full", "repaired", "expired"];
/// The labels of `axbridge_queue_depth`.
const QUEUES: [&str; 5] = ["udp", "relay_orders", "relay_events", "cdr", "recording"];
/// The labels of `axbridge_udp_datagrams_total`.
const DATAGRAMS: [&str; 5] = ["received", "sent", "overflowed", "refused", "lost"];

/// The labels of `axbridge_trunk_route_events_total`.
const ROUTE_EVENTS: [&str; 6] = ["probe", "probe_lost", "taken_out", "returned", "busy", "left_out"];
/// The labels of `axbridge_dns_queries_total`.
const DNS_RESULTS: [&str; 4] = ["answered", "empty", "failed", "stale"];
/// The labels of `axbridge_dns_refused_total`.
const DNS_REFUSED: [&str; 3] = ["no_server", "forbidden", "left_out"];
/// The labels of `axbridge_dns_names`.
const DNS_NAMES: [&str; 3] = ["fresh", "stale", "unknown"];

mod platform;

use platform::Platform;
pub use platform::Watched;

/// Every metric of the process.
pub struct Metrics {
    registry: Registry,
    ready: AtomicBool,

    calls: Vec<IntCounter>,
    calls_begun: IntCounter,
    calls_active: IntGauge,
    calls_waiting: IntGauge,
    texts: Vec<IntCounter>,
    texts_active: IntGauge,
    overloaded: IntGauge,
    trunk_calls: IntGaugeVec,
    trunks: Mutex<Vec<Arc<str>>>,
    routes: IntGaugeVec,
    targets: Mutex<Vec<(Arc<str>, Arc<str>)>>,
    route_events: Vec<IntCounter>,
    dns_queries: Vec<IntCounter>,
    dns_refused: Vec<IntCounter>,
    dns_names: Vec<IntGauge>,
    dns: OnceLock<Arc<resolve::Counters>>,
    hep_packets: Vec<IntCounter>,
    hep: OnceLock<Arc<hep::Counters>>,
    smpp_bound: IntGaugeVec,
    smpp_sent: Vec<IntCounter>,
    smpp_received: Vec<IntCounter>,
    smpp_lost: IntCounter,
    smscs: OnceLock<Arc<smsc::Counters>>,
    post_dial_delay: Histogram,
    answer_delay: Histogram,
    hint_tone_delay: Histogram,
    call_duration: Histogram,

    requests: Vec<IntCounter>,
    responses: Vec<IntCounter>,
    messages_sent: IntCounter,
    parse_errors: Vec<IntCounter>,
    dropped: Vec<IntCounter>,
    transactions: [IntGauge; 2],
    datagrams: Vec<IntCounter>,
    tcp_events: Vec<IntCounter>,
    tcp_connections: IntGauge,

    ports: [IntGauge; 2],
    rtp_packets: Vec<IntCounter>,
    rtp_unsent: Vec<IntCounter>,
    rtp_lost: [IntCounter; 2],
    rtp_refused: [IntCounter; 2],
    forward: Histogram,
    lateness: Histogram,
    relay_sessions: IntGauge,
    relay_wakeups: IntCounter,
    relay_faults: IntCounter,
    relay_stalls: IntCounter,
    relay: OnceLock<Vec<Arc<relay::Counters>>>,

    recordings: Vec<IntCounter>,
    recording_failures: Vec<IntCounter>,
    recording_bytes: IntCounter,
    recordings_open: IntGauge,
    recording_disk_full: IntGauge,
    cdrs: [IntCounter; 2],
    queues: Vec<IntGauge>,
    written: OnceLock<(Arc<cdr::Counters>, Recordings)>,
    platform: Platform,
}

impl Default for Metrics {
    fn default() -> Metrics {
        Metrics::new()
    }
}

impl Metrics {
    /// Every metric, at zero.
    #[must_use]
    #[rustfmt::skip]
    pub fn new() -> Metrics {
        let made = Maker { registry: Registry::new() };
        made.gauges("axbridge_build_info", "Always 1; its label is the version", "version", [env!("CARGO_PKG_VERSION")])
            .iter().for_each(|one| one.set(1));
        let [client, server] = made.pair_of_gauges("axbridge_transactions_active", "SIP transactions alive", "side", ["client", "server"]);
        let [bound, in_use] = made.pair_of_gauges("axbridge_ports", "RTP ports that are bound, and those of them that calls use", "state", ["bound", "in_use"]);
        Metrics {
            ready: AtomicBool::new(false),

            calls: made.counters("axbridge_calls_total", "Calls that have ended, by why", "outcome", Cause::ALL.map(|cause| cause.row().label)),
            calls_begun: made.counter("axbridge_calls_begun_total", "Calls that have begun, refused or not"),
            calls_active: made.gauge("axbridge_calls_active", "Calls in progress"),
            calls_waiting: made.gauge("axbridge_calls_waiting", "New calls that wait for their turn, some milliseconds each"),
            texts: made.counters("axbridge_texts_total", "Text messages that have been answered, by what became of them", "outcome", Outcome::ALL.map(|outcome| outcome.row().label)),
            texts_active: made.gauge("axbridge_texts_active", "Text messages in progress"),
            overloaded: made.gauge("axbridge_overloaded", "1 while more new calls come than can be served, and some are refused"),
            trunk_calls: made.gauge_vec("axbridge_trunk_calls_active", "Calls in progress that came from a trunk or go to it", "trunk"),
            trunks: Mutex::new(Vec::new()),
            routes: made.gauge_vec_of("axbridge_trunk_routes", "Where a trunk takes calls, by the host of the target", &["trunk", "target", "state"]),
            targets: Mutex::new(Vec::new()),
            route_events: made.counters("axbridge_trunk_route_events_total", "What happened to routes: OPTIONS sent and lost, silent, answered again, 503 with Retry-After, beyond the limit", "event", ROUTE_EVENTS),
            dns_queries: made.counters("axbridge_dns_queries_total", "Questions to the DNS, by their answers; stale: the last good one served in place of none", "result", DNS_RESULTS),
            dns_refused: made.counters("axbridge_dns_refused_total", "What the DNS said and we did not take: names without a server, addresses that nothing may be sent to, what is beyond limits", "reason", DNS_REFUSED),
            dns_names: made.gauges("axbridge_dns_names", "Names among the targets of trunks", "state", DNS_NAMES),
            dns: OnceLock::new(),
            hep_packets: made.counters("axbridge_hep_packets_total", "Copies of SIP messages for the collector", "result", ["sent", "lost"]),
            hep: OnceLock::new(),
            smpp_bound: made.gauge_vec("axbridge_smpp_bound", "1 while texts flow between a trunk's short message service centre and us", "trunk"),
            smpp_sent: made.counters("axbridge_smpp_sent_total", "Short messages to an SMSC, by what became of them; throttled ones were sent again", "result", smsc::Counters::SENT),
            smpp_received: made.counters("axbridge_smpp_received_total", "Short messages from an SMSC: all of them, and what some of those were", "kind", smsc::Counters::RECEIVED),
            smpp_lost: made.counter("axbridge_smpp_sessions_lost_total", "Sessions with an SMSC that were lost, or did not come about"),
            smscs: OnceLock::new(),
            post_dial_delay: made.histogram("axbridge_post_dial_delay_seconds", "From A's INVITE to the first 18x", &SETUP),
            answer_delay: made.histogram("axbridge_answer_delay_seconds", "From A's INVITE to B's answer", &SETUP),
            hint_tone_delay: made.histogram("axbridge_hint_tone_delay_seconds", "From B's answer until the parties are joined, the hint tone between", &SETUP),
            call_duration: made.histogram("axbridge_call_duration_seconds", "From B's answer to the end", &TALK),

            requests: made.counters("axbridge_sip_requests_total", "SIP requests received", "method", Method::ALL.map(Method::as_str)),
            responses: made.counters("axbridge_sip_responses_total", "SIP responses received", "class", ["1xx", "2xx", "3xx", "4xx", "5xx", "6xx"]),
            messages_sent: made.counter("axbridge_sip_sent_total", "SIP messages sent"),
            parse_errors: made.counters("axbridge_sip_parse_errors_total", "SIP messages that cannot be read", "kind", ParseError::ALL.iter().map(|error| error.label())),
            dropped: made.counters("axbridge_dropped_total", "Requests and calls turned away because of a limit or a rule", "limit", Drop::ALL.map(Drop::label)),
            transactions: [client, server],
            datagrams: made.counters("axbridge_udp_datagrams_total", "SIP datagrams: received, sent, not sent because the queue was full, refused by the kernel, lost because they were read too late", "event", DATAGRAMS),
            tcp_events: made.counters("axbridge_tcp_events_total", "What happened to SIP connections", "event", tcp::Event::ALL.map(tcp::Event::label)),
            tcp_connections: made.gauge("axbridge_tcp_connections", "SIP connections open"),

            ports: [bound, in_use],
            rtp_packets: made.counters("axbridge_rtp_packets_total", "Packets of calls: received, forwarded, originated (prompts and reports), RTCP received", "direction", PACKETS),
            rtp_unsent: made.counters("axbridge_rtp_unsent_total", "Packets that went no further: of no call, not to be heard, no room in the kernel, refused by it", "reason", UNSENT),
            rtp_lost: made.pair_of_counters("axbridge_rtp_lost_total", "Packets lost on the way to us, of calls that have ended", "leg", ["a", "b"]),
            rtp_refused: made.pair_of_counters("axbridge_rtp_refused_total", "Packets turned away (wrong source, no RTP), of calls that have ended", "leg", ["a", "b"]),
            forward: made.histogram("axbridge_rtp_forward_seconds", "From the wake-up that found a packet until its batch had been sent", &RELAY),
            lateness: made.histogram("axbridge_timer_lateness_seconds", "By how much media deadlines were handled late", &RELAY),
            relay_sessions: made.gauge("axbridge_relay_sessions_active", "Media sessions open"),
            relay_wakeups: made.counter("axbridge_relay_wakeups_total", "Wake-ups of the media threads"),
            relay_faults: made.counter("axbridge_relay_faults_total", "Media sessions that a fault ended"),
            relay_stalls: made.counter("axbridge_relay_stalls_total", "Times that the relay and the signalling loop had to wait for each other"),
            relay: OnceLock::new(),

            recordings: made.counters("axbridge_recordings_total", "What became of recordings", "result", RECORDINGS),
            recording_failures: made.counters("axbridge_recording_failures_total", "What the disk did not take", "kind", Failure::ALL.map(Failure::label)),
            recording_bytes: made.counter("axbridge_recording_bytes_total", "Bytes of audio written"),
            recordings_open: made.gauge("axbridge_recordings_open", "Recordings being written"),
            recording_disk_full: made.gauge("axbridge_recording_disk_full", "1 while the disk has no room for recordings"),
            cdrs: made.pair_of_counters("axbridge_cdrs_total", "Call detail records", "result", ["written", "lost"]),
            queues: made.gauges("axbridge_queue_depth", "What waits in a queue", "queue", QUEUES),
            written: OnceLock::new(),
            platform: Platform::new(&made),

            registry: made.registry,
        }
    }

    // ---- told by the signalling loop --------------------------------------------------------------------------

    /// A call has ended.
    pub fn on_call_ended(&self, cdr: &Cdr) {
        // The table is as long as the census of causes.
        if let Some(place) = Cause::ALL.iter().position(|cause| *cause == cdr.cause) {
            self.calls[place].inc();
        }
        let between = |histogram: &Histogram, from: Option<Duration>, to: Option<Duration>| {
            if let (Some(from), Some(to)) = (from, to) {
                histogram.observe(to.saturating_sub(from).as_secs_f64());
            }
        };
        between(&self.post_dial_delay, Some(cdr.call_in), cdr.alerting);
        between(&self.answer_delay, Some(cdr.call_in), cdr.answered);
        between(&self.hint_tone_delay, cdr.answered, cdr.joined);
        between(&self.call_duration, cdr.answered, Some(cdr.ended));
        for side in Side::BOTH {
            let leg = &cdr.media.legs[side.index()];
            self.rtp_lost[side.index()].inc_by(leg.lost);
            self.rtp_refused[side.index()].inc_by(leg.refused);
        }
    }

    /// What the core has counted, and what is alive in it. From the first time on, `/healthz` says that we serve.
    pub fn set_core(&self, counters: &Counters, gauges: &Gauges) {
        raise_all(&self.requests, counters.requests);
        raise_all(&self.responses, counters.responses);
        raise_all(&self.parse_errors, counters.parse_errors.iter().copied());
        raise_all(&self.dropped, counters.dropped);
        raise(&self.messages_sent, counters.sent);
        raise(&self.calls_begun, counters.calls_begun);
        set(&self.calls_active, gauges.calls);
        set(&self.calls_waiting, gauges.waiting);
        raise_all(&self.texts, counters.texts);
        set(&self.texts_active, gauges.texts);
        set(&self.overloaded, usize::from(gauges.is_overloaded));
        set(&self.transactions[0], gauges.transactions.0);
        set(&self.transactions[1], gauges.transactions.1);
        set(&self.ports[1], gauges.ports_in_use);
        self.set_trunks(&gauges.trunk_calls);
        self.ready.store(true, Ordering::Relaxed);
    }

    fn set_trunks(&self, calls: &[(Arc<str>, u32)]) {
        let mut known = self.trunks.lock().unwrap_or_else(PoisonError::into_inner);
        if !known.iter().eq(calls.iter().map(|(name, _)| name)) {
            // A reload: a trunk that is gone must not stay at its last value for ever.
            self.trunk_calls.reset();
            *known = calls.iter().map(|(name, _)| Arc::clone(name)).collect();
        }
        for (name, count) in calls {
            self.trunk_calls.with_label_values(&[name]).set(i64::from(*count));
        }
    }

    /// What has been counted of the trunks' routes, and how many there are.
    pub fn set_routes(&self, counters: RouteCounters, routes: &[RouteGauge]) {
        let RouteCounters { probes, probes_lost, taken_out, returned, busy, left_out } = counters;
        raise_all(&self.route_events, [probes, probes_lost, taken_out, returned, busy, left_out]);
        let mut known = self.targets.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same =
            |(known, gauge): (&(Arc<str>, Arc<str>), &RouteGauge)| known.0 == gauge.trunk && known.1 == gauge.host;
        if known.len() != routes.len() || !known.iter().zip(routes).all(is_same) {
            // What is gone must not stay at its last value for ever.
            self.routes.reset();
            *known = routes.iter().map(|gauge| (Arc::clone(&gauge.trunk), Arc::clone(&gauge.host))).collect();
        }
        for gauge in routes {
            for state in RouteState::ALL {
                let labels = [&*gauge.trunk, &*gauge.host, state.label()];
                self.routes.with_label_values(&labels).set(i64::from(gauge.routes[state as usize]));
            }
        }
    }

    /// What waits to be sent over UDP, SIP connections, (orders, events) between the loop and the relay, CDRs that wait.
    pub fn set_queues(&self, udp: usize, connections: usize, relay: (usize, usize), cdrs: usize) {
        for (queue, depth) in self.queues.iter().zip([udp, relay.0, relay.1, cdrs]) {
            set(queue, depth);
        }
        set(&self.tcp_connections, connections);
    }

    /// RTP ports bound.
    pub fn set_bound_ports(&self, count: usize) {
        set(&self.ports[0], count);
    }

    /// What the SIP sockets have counted: the UDP listeners together, and the TCP connections by [`tcp::Event::ALL`].
    pub fn set_transports<'a>(
        &self,
        udp: impl IntoIterator<Item = &'a UdpCounters>,
        tcp: [u64; tcp::Event::ALL.len()],
    ) {
        let mut sum = [0; DATAGRAMS.len()];
        for one in udp {
            let parts = [one.received, one.sent, one.overflowed, one.refused, one.lost];
            sum.iter_mut().zip(parts).for_each(|(sum, part)| *sum += part);
        }
        raise_all(&self.datagrams, sum);
        raise_all(&self.tcp_events, tcp);
    }

    // ---- looked at when scraped -------------------------------------------------------------------------------

    /// Where the relay puts its times.
    #[must_use]
    pub fn relay_meters(&self) -> relay::Meters {
        relay::Meters { forward: self.forward.clone(), lateness: self.lateness.clone() }
    }

    /// Whose counters to read: the media threads'. The first call counts.
    pub fn watch_relay(&self, workers: Vec<Arc<relay::Counters>>) {
        let _ = self.relay.set(workers);
    }

    /// Whose counters to read: the CDR writer's and the recording writer's. The first call counts.
    pub fn watch(&self, cdrs: &Arc<cdr::Counters>, recordings: &Recordings) {
        let _ = self.written.set((Arc::clone(cdrs), recordings.clone()));
    }

    /// Whose counters to read: those of the task that looks names up. The first call counts.
    pub fn watch_dns(&self, counters: &Arc<resolve::Counters>) {
        let _ = self.dns.set(Arc::clone(counters));
    }

    /// Whose counters to read: those of the copies for a collector. The first call counts.
    pub fn watch_hep(&self, counters: &Arc<hep::Counters>) {
        let _ = self.hep.set(Arc::clone(counters));
    }

    /// Whose counters to read: those of the short message service centres. The first call counts.
    pub fn watch_smscs(&self, counters: &Arc<smsc::Counters>) {
        let _ = self.smscs.set(Arc::clone(counters));
    }

    /// Whose counters to read: those of the registry, the stores and the API. The first call counts.
    pub fn watch_platform(&self, watched: Watched) {
        self.platform.watch(watched);
    }

    /// Everything in Prometheus' text format.
    #[must_use]
    pub fn render(&self) -> Vec<u8> {
        if let Some(workers) = self.relay.get() {
            self.read_relay(&relay::Totals::of(workers.iter().map(|worker| &**worker)));
        }
        if let Some((cdrs, recordings)) = self.written.get() {
            self.read_recordings(recordings);
            raise(&self.cdrs[0], cdrs.written.load(Ordering::Relaxed));
            raise(&self.cdrs[1], cdrs.lost.load(Ordering::Relaxed));
        }
        if let Some(smscs) = self.smscs.get() {
            raise_all(&self.smpp_sent, smscs.sent());
            raise_all(&self.smpp_received, smscs.received());
            raise(&self.smpp_lost, smscs.lost());
            // A trunk that is gone must not stay at its last value for ever.
            self.smpp_bound.reset();
            for (trunk, bound) in smscs.bound() {
                self.smpp_bound.with_label_values(&[&trunk]).set(i64::from(bound));
            }
        }
        if let Some(hep) = self.hep.get() {
            raise_all(&self.hep_packets, [&hep.sent, &hep.lost].map(|counter| counter.load(Ordering::Relaxed)));
        }
        if let Some(dns) = self.dns.get() {
            let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            raise_all(&self.dns_queries, [&dns.answered, &dns.empty, &dns.failed, &dns.stale].map(read));
            raise_all(&self.dns_refused, [&dns.unlocated, &dns.forbidden, &dns.left_out].map(read));
            let names = [&dns.names_fresh, &dns.names_stale, &dns.names_unknown].map(read);
            for (gauge, count) in self.dns_names.iter().zip(names) {
                gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
            }
        }
        self.platform.read();
        let mut text = Vec::with_capacity(32 * 1024);
        if let Err(error) = TextEncoder::new().encode(&self.registry.gather(), &mut text) {
            tracing::error!(%error, "the metrics cannot be written");
        }
        text
    }

    fn read_relay(&self, sum: &relay::Totals) {
        raise_all(&self.rtp_packets, [sum.received, sum.forwarded, sum.originated, sum.control]);
        raise_all(&self.rtp_unsent, [sum.stray, sum.swallowed, sum.send_full, sum.send_failed]);
        raise(&self.relay_wakeups, sum.turns);
        raise(&self.relay_faults, sum.faults);
        raise(&self.relay_stalls, sum.stalled + sum.waited);
        self.relay_sessions.set(i64::try_from(sum.sessions).unwrap_or(i64::MAX));
    }

    fn read_recordings(&self, recordings: &Recordings) {
        let counters = recordings.counters();
        let results = [
            &counters.started,
            &counters.finished,
            &counters.dropped_short,
            &counters.refused_open,
            &counters.refused_name,
            &counters.abandoned,
            &counters.queue_full,
            &counters.repaired,
            &counters.expired,
        ];
        raise_all(&self.recordings, results.map(|counter| counter.load(Ordering::Relaxed)));
        raise_all(&self.recording_failures, Failure::ALL.map(|failure| counters.failed_io(failure)));
        raise(&self.recording_bytes, counters.bytes.load(Ordering::Relaxed));
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.recordings_open.set(gauge(counters.open.load(Ordering::Relaxed)));
        self.recording_disk_full.set(gauge(counters.disk_full.load(Ordering::Relaxed)));
        if let Some(queue) = self.queues.last() {
            set(queue, recordings.depth());
        }
    }
}

/// Brings a counter to what somebody else has counted. It never goes back.
fn raise(counter: &IntCounter, to: u64) {
    counter.inc_by(to.saturating_sub(counter.get()));
}

fn raise_all(counters: &[IntCounter], to: impl IntoIterator<Item = u64>) {
    for (counter, to) in counters.iter().zip(to) {
        raise(counter, to);
    }
}

fn set(gauge: &IntGauge, value: usize) {
    gauge.set(i64::try_from(value).unwrap_or(i64::MAX));
}

/// Makes metrics and registers them. Names and labels are fixed above, so that every mistake in them shows in every test.
struct Maker {
    registry: Registry,
}

impl Maker {
    fn register<M: prometheus::core::Collector + Clone + 'static>(&self, metric: prometheus::Result<M>) -> M {
        let metric = metric.expect("the name and the labels are well-formed: they are constants");
        self.registry.register(Box::new(metric.clone())).expect("each name is registered once");
        metric
    }

    fn counter(&self, name: &str, help: &str) -> IntCounter {
        self.register(IntCounter::new(name, help))
    }

    fn gauge(&self, name: &str, help: &str) -> IntGauge {
        self.register(IntGauge::new(name, help))
    }

    fn histogram(&self, name: &str, help: &str, buckets: &[f64]) -> Histogram {
        self.register(Histogram::with_opts(HistogramOpts::new(name, help).buckets(buckets.to_vec())))
    }

    fn gauge_vec(&self, name: &str, help: &str, label: &str) -> IntGaugeVec {
        self.gauge_vec_of(name, help, &[label])
    }

    fn gauge_vec_of(&self, name: &str, help: &str, labels: &[&str]) -> IntGaugeVec {
        self.register(IntGaugeVec::new(Opts::new(name, help), labels))
    }

    /// One counter for each value of the label, all there from the start.
    fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Vec<IntCounter> {
        let all = self.register(IntCounterVec::new(Opts::new(name, help), &[label]));
        values.into_iter().map(|value| all.with_label_values(&[value])).collect()
    }

    /// One counter for each pair of values of two labels: all of the second for the first of the first, and so on.
    fn counters_of_two(
        &self,
        name: &str,
        help: &str,
        labels: [&str; 2],
        first: impl IntoIterator<Item = &'static str>,
        second: impl IntoIterator<Item = &'static str> + Clone,
    ) -> Vec<IntCounter> {
        let all = self.register(IntCounterVec::new(Opts::new(name, help), &labels));
        let pairs = first.into_iter().flat_map(|first| second.clone().into_iter().map(move |second| [first, second]));
        pairs.map(|pair| all.with_label_values(&pair)).collect()
    }

    fn gauges(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = &'static str>,
    ) -> Vec<IntGauge> {
        let all = self.gauge_vec(name, help, label);
        values.into_iter().map(|value| all.with_label_values(&[value])).collect()
    }

    fn pair_of_counters(&self, name: &str, help: &str, label: &str, values: [&'static str; 2]) -> [IntCounter; 2] {
        let all = self.register(IntCounterVec::new(Opts::new(name, help), &[label]));
        values.map(|value| all.with_label_values(&[value]))
    }

    fn pair_of_gauges(&self, name: &str, help: &str, label: &str, values: [&'static str; 2]) -> [IntGauge; 2] {
        let all = self.gauge_vec(name, help, label);
        values.map(|value| all.with_label_values(&[value]))
    }
}

// ---- HTTP -----------------------------------------------------------------------------------------------------

/// `/metrics` and `/healthz`.
pub fn router(metrics: Arc<Metrics>) -> Router {
    Router::new().route("/metrics", get(scrape)).route("/healthz", get(health)).with_state(metrics)
}

async fn scrape(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    ([(header::CONTENT_TYPE, prometheus::TEXT_FORMAT)], metrics.render())
}

async fn health(State(metrics): State<Arc<Metrics>>) -> impl IntoResponse {
    if metrics.ready.load(Ordering::Relaxed) {
        (StatusCode::OK, "ok\n")
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, "starting\n")
    }
}

/// Serves [`router`] on a listener for ever. Connections, their life and what they may send are limited.
pub async fn serve(listener: TcpListener, metrics: Arc<Metrics>) {
    let limited = Limited { listener, permits: Arc::new(Semaphore::new(CONNECTIONS)), life: LIFE };
    if let Err(error) = axum::serve(limited, router(metrics)).await {
        tracing::error!(%error, "the metrics are served no more");
    }
}

/// A listener that accepts no more connections than it has permits, each for a while only.
struct Limited {
    listener: TcpListener,
    permits: Arc<Semaphore>,
    life: Duration,
}

impl Listener for Limited {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        let permit = Arc::clone(&self.permits).acquire_owned().await.expect("the semaphore is never closed");
        // Waits and tries again where there are no descriptors left.
        let (stream, peer) = Listener::accept(&mut self.listener).await;
        let end = Box::pin(tokio::time::sleep(self.life));
        (Connection { stream, end, left: REQUESTS, _permit: permit }, peer)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends when its time is up or when it has sent too much.
struct Connection {
    stream: TcpStream,
    end: Pin<Box<Sleep>>,
    left: usize,
    _permit: OwnedSemaphorePermit,
}

impl AsyncRead for Connection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        if self.left == 0 || self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buffer))?;
        self.left = self.left.saturating_sub(buffer.filled().len() - before);
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::ErrorKind::TimedOut.into()));
        }
        Pin::new(&mut self.stream).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpStream as Scraper;

    use media::LegTotals;

    use super::*;

    fn text(metrics: &Metrics) -> String {
        String::from_utf8(metrics.render()).unwrap()
    }

    fn value(metrics: &Metrics, series: &str) -> f64 {
        let text = text(metrics);
        let found = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        found.unwrap_or_else(|| panic!("no {series} in\n{text}")).parse().unwrap()
    }

    fn cdr() -> Cdr {
        let seconds = |seconds| Some(Duration::from_secs(seconds));
        let mut media = media::Totals::default();
        media.legs[1] = LegTotals { lost: 3, refused: 4, ..LegTotals::default() };
        Cdr {
            session_id: "0".into(),
            app: None,
            app_name: None,
            binding: None,
            caller_is: None,
            trunk_in: "carrier".into(),
            trunk_out: None,
            caller: None,
            x: None,
            callee: None,
            mode: None,
            shown: None,
            asked: None,
            extension: None,
            digits: None,
            user_text: None,
            call_in: Duration::from_secs(100),
            forwarded: seconds(100),
            alerting: seconds(102),
            answered: seconds(110),
            joined: seconds(113),
            ended: Duration::from_secs(170),
            cause: Cause::HungUp,
            released_by: None,
            status_a: 200,
            status_b: 200,
            q850_b: None,
            recording: None,
            media,
        }
    }

    #[test]
    fn a_call_that_ended_is_counted_and_timed() {
        let metrics = Metrics::new();
        metrics.on_call_ended(&cdr());
        metrics.on_call_ended(&Cdr { alerting: None, answered: None, joined: None, cause: Cause::Busy, ..cdr() });
        for (series, expected) in [
            ("axbridge_calls_total{outcome=\"hung_up\"}", 1.0),
            ("axbridge_calls_total{outcome=\"busy\"}", 1.0),
            ("axbridge_calls_total{outcome=\"internal\"}", 0.0),
            ("axbridge_post_dial_delay_seconds_count", 1.0),
            ("axbridge_post_dial_delay_seconds_sum", 2.0),
            ("axbridge_answer_delay_seconds_sum", 10.0),
            ("axbridge_hint_tone_delay_seconds_sum", 3.0),
            ("axbridge_call_duration_seconds_sum", 60.0),
            ("axbridge_rtp_lost_total{leg=\"b\"}", 6.0),
            ("axbridge_rtp_refused_total{leg=\"b\"}", 8.0),
            ("axbridge_rtp_lost_total{leg=\"a\"}", 0.0),
        ] {
            assert_eq!(value(&metrics, series), expected, "{series}");
        }
    }

    #[test]
    fn the_core_s_counters_are_taken_over_and_never_go_back() {
        let metrics = Metrics::new();
        let mut counters = Counters::default();
        counters.requests[Method::Invite as usize] = 5;
        counters.responses[1] = 7;
        counters.dropped[Drop::Stranger as usize] = 2;
        counters.parse_errors[0] = 9;
        counters.texts[Outcome::Delivered as usize] = 8;
        let gauges = Gauges { calls: 3, texts: 4, transactions: (1, 2), ports_in_use: 6, ..Gauges::default() };
        for _ in 0..2 {
            metrics.set_core(&counters, &gauges);
        }
        counters.requests[Method::Invite as usize] = 4;
        metrics.set_core(&counters, &gauges);
        let first_error = format!("axbridge_sip_parse_errors_total{{kind=\"{}\"}}", ParseError::ALL[0].label());
        for (series, expected) in [
            ("axbridge_sip_requests_total{method=\"INVITE\"}", 5.0),
            ("axbridge_sip_responses_total{class=\"2xx\"}", 7.0),
            ("axbridge_dropped_total{limit=\"stranger\"}", 2.0),
            (&first_error, 9.0),
            ("axbridge_calls_active", 3.0),
            ("axbridge_texts_total{outcome=\"delivered\"}", 8.0),
            ("axbridge_texts_active", 4.0),
            ("axbridge_transactions_active{side=\"server\"}", 2.0),
            ("axbridge_ports{state=\"in_use\"}", 6.0),
        ] {
            assert_eq!(value(&metrics, series), expected, "{series}");
        }
    }

    #[test]
    fn a_trunk_that_is_gone_has_no_series_any_more() {
        let metrics = Metrics::new();
        let with = |trunks: &[(&str, u32)]| Gauges {
            trunk_calls: trunks.iter().map(|(name, calls)| (Arc::from(*name), *calls)).collect(),
            ..Gauges::default()
        };
        metrics.set_core(&Counters::default(), &with(&[("one", 1), ("two", 2)]));
        assert_eq!(value(&metrics, "axbridge_trunk_calls_active{trunk=\"two\"}"), 2.0);
        metrics.set_core(&Counters::default(), &with(&[("one", 4)]));
        assert_eq!(value(&metrics, "axbridge_trunk_calls_active{trunk=\"one\"}"), 4.0);
        assert!(!text(&metrics).contains("trunk=\"two\""));
    }

    #[test]
    fn routes_are_shown_by_trunk_and_target_and_go_when_they_are_gone() {
        let metrics = Metrics::new();
        let gauge = |host: &str, routes| RouteGauge { trunk: "one".into(), host: host.into(), routes };
        let counters = RouteCounters { probes: 9, taken_out: 2, ..RouteCounters::default() };
        metrics.set_routes(counters, &[gauge("sip.a", [2, 0, 1]), gauge("10.0.0.1", [0, 1, 0])]);
        for (series, expected) in [
            ("axbridge_trunk_routes{state=\"up\",target=\"sip.a\",trunk=\"one\"}", 2.0),
            ("axbridge_trunk_routes{state=\"down\",target=\"sip.a\",trunk=\"one\"}", 1.0),
            ("axbridge_trunk_routes{state=\"busy\",target=\"10.0.0.1\",trunk=\"one\"}", 1.0),
            ("axbridge_trunk_route_events_total{event=\"probe\"}", 9.0),
            ("axbridge_trunk_route_events_total{event=\"taken_out\"}", 2.0),
        ] {
            assert_eq!(value(&metrics, series), expected, "{series}");
        }
        metrics.set_routes(counters, &[gauge("sip.a", [3, 0, 0])]);
        assert_eq!(value(&metrics, "axbridge_trunk_routes{state=\"up\",target=\"sip.a\",trunk=\"one\"}"), 3.0);
        assert!(!text(&metrics).contains("10.0.0.1"));
        let dns = Arc::new(resolve::Counters::default());
        dns.stale.store(4, Ordering::Relaxed);
        dns.names_unknown.store(5, Ordering::Relaxed);
        metrics.watch_dns(&dns);
        assert_eq!(value(&metrics, "axbridge_dns_queries_total{result=\"stale\"}"), 4.0);
        assert_eq!(value(&metrics, "axbridge_dns_names{state=\"unknown\"}"), 5.0);
    }

    #[test]
    fn queues_ports_and_transports_show_what_they_were_told() {
        let metrics = Metrics::new();
        metrics.set_queues(1, 2, (3, 4), 5);
        metrics.set_bound_ports(64);
        let udp = UdpCounters { received: 10, sent: 11, overflowed: 12, refused: 13, lost: 14 };
        let mut tcp = [0; tcp::Event::ALL.len()];
        tcp[tcp::Event::ClosedFraming as usize] = 6;
        metrics.set_transports([&udp, &udp], tcp);
        for (series, expected) in [
            ("axbridge_queue_depth{queue=\"udp\"}", 1.0),
            ("axbridge_queue_depth{queue=\"relay_events\"}", 4.0),
            ("axbridge_queue_depth{queue=\"cdr\"}", 5.0),
            ("axbridge_tcp_connections", 2.0),
            ("axbridge_ports{state=\"bound\"}", 64.0),
            ("axbridge_udp_datagrams_total{event=\"overflowed\"}", 24.0),
            ("axbridge_udp_datagrams_total{event=\"lost\"}", 28.0),
            ("axbridge_tcp_events_total{event=\"closed_framing\"}", 6.0),
        ] {
            assert_eq!(value(&metrics, series), expected, "{series}");
        }
    }

    #[test]
    fn every_metric_has_help_and_the_number_of_series_is_bounded() {
        let metrics = Metrics::new();
        metrics.set_core(&Counters::default(), &Gauges::default());
        let text = text(&metrics);
        let names = text.lines().filter(|line| line.starts_with("# TYPE")).count();
        assert_eq!(text.lines().filter(|line| line.starts_with("# HELP")).count(), names);
        let series = text.lines().filter(|line| !line.starts_with('#')).count();
        assert!((100..500).contains(&series), "{series} series");
        assert!(text.contains(concat!("axbridge_build_info{version=\"", env!("CARGO_PKG_VERSION"), "\"} 1")));
    }

    // ---- HTTP -------------------------------------------------------------------------------------------------

    /// The metrics served by a runtime of their own, which ends with the bench.
    struct Served {
        address: SocketAddr,
        metrics: Arc<Metrics>,
        _runtime: tokio::runtime::Runtime,
    }

    fn served(life: Duration) -> Served {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).unwrap();
        let address = listener.local_addr().unwrap();
        let metrics = Arc::new(Metrics::new());
        let limited = Limited { listener, permits: Arc::new(Semaphore::new(2)), life };
        let router = router(Arc::clone(&metrics));
        runtime.spawn(async move { axum::serve(limited, router).await });
        Served { address, metrics, _runtime: runtime }
    }

    fn connect(served: &Served) -> Scraper {
        let stream = Scraper::connect(served.address).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
        stream
    }

    fn fetch(served: &Served, path: &str) -> String {
        let mut stream = connect(served);
        write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        answer
    }

    #[test]
    fn a_scrape_gets_the_text_and_health_waits_for_the_core() {
        let served = served(LIFE);
        assert!(fetch(&served, "/healthz").starts_with("HTTP/1.1 503"));
        served.metrics.set_core(&Counters::default(), &Gauges::default());
        assert!(fetch(&served, "/healthz").starts_with("HTTP/1.1 200"));
        let answer = fetch(&served, "/metrics");
        assert!(answer.starts_with("HTTP/1.1 200") && answer.contains("text/plain; version=0.0.4"));
        assert!(answer.contains("\naxbridge_calls_active 0\n"));
        assert!(fetch(&served, "/").starts_with("HTTP/1.1 404"));
    }

    #[test]
    fn a_connection_that_says_nothing_is_closed_and_makes_room() {
        let served = served(Duration::from_millis(50));
        let mut idle = [connect(&served), connect(&served)];
        // Both permits are taken; this one is served when their time is up.
        assert!(fetch(&served, "/metrics").starts_with("HTTP/1.1 200"));
        for stream in &mut idle {
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            assert!(!rest.starts_with(b"HTTP/1.1 200"));
        }
    }

    #[test]
    fn a_request_without_end_is_cut_off() {
        let served = served(LIFE);
        let mut stream = connect(&served);
        stream.set_write_timeout(Some(Duration::from_secs(10))).unwrap();
        let cut = (0..10_000).any(|_| stream.write_all(&[b'x'; 1024]).is_err());
        assert!(cut, "ten megabytes of nothing were taken");
    }
}
