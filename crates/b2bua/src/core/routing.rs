//! What the core tells [`Routes`](crate::routes::Routes) and asks of it: addresses and names of the configuration, OPTIONS that
//! are due, and what requests of ours met.

use std::sync::Arc;
use std::time::Duration;

use media::Side;
use sip::locate::{self, Outcome, Step};
use sip::message::{Message, Method, write};
use sip::transaction::Transport;

use super::{Core, flow_to, tag_of, unique_id};
use crate::call::Answered;
use crate::leg::{ALLOW, Head, LegKey, Owner};
use crate::routes::{self, Route, RouteCounters};

impl Core {
    /// These are the routes of a trunk from now on, its addresses among them: what the names of its targets lead to. Routes that
    /// stay keep their health; a trunk that is not configured has none.
    pub fn set_routes(&mut self, now: Duration, trunk: &str, mut routes: Vec<Route>) {
        let Some(id) = self.settings.trunk_named(trunk) else { return };
        let trunk = self.settings.trunk(id);
        routes.retain(|route| flow_to(&self.settings, trunk, route).is_some());
        self.routes.set(now, &trunk.name, trunk.probe_every, routes);
    }

    /// Addresses are routes at once. Of names, what was known stays until [`Core::set_routes`] says otherwise.
    pub(super) fn renew_routes(&mut self, now: Duration) {
        let settings = Arc::clone(&self.settings);
        let ways = settings.ways();
        self.routes.retain(now, |trunk| settings.trunk_named(trunk).is_some());
        for trunk in &settings.trunks {
            let mut routes = self.routes.of(&trunk.name);
            if routes.is_empty() || trunk.targets.iter().all(|target| target.name().is_none()) {
                routes.clear();
                for (place, target) in trunk.targets.iter().enumerate() {
                    if let Step::Done(Outcome { located: Ok(located), .. }) = locate::begin(target, &ways) {
                        routes.extend(Route::of_target(place, target, &located));
                    }
                }
            }
            self.routes.set(now, &trunk.name, trunk.probe_every, routes);
        }
    }

    /// What has been counted of the trunks' routes.
    #[must_use]
    pub fn route_counters(&self) -> RouteCounters {
        self.routes.counters()
    }

    pub(super) fn send_probe(&mut self, now: Duration, probe: &routes::Probe) {
        let trunk = self.settings.trunk_named(&probe.trunk).map(|trunk| self.settings.trunk(trunk));
        let Some(flow) = trunk.and_then(|trunk| flow_to(&self.settings, trunk, &probe.route)) else {
            self.routes.on_probe_lost(now, probe.id);
            return;
        };
        let tag = tag_of(self.tokens.draw());
        let call_id = unique_id(&mut self.tokens);
        let target = probe.route.host_port();
        let request = Probe {
            target: &target,
            transport: flow.transport,
            advertised: &self.settings.listeners[usize::from(flow.listener)].advertised,
            tag: &tag,
            call_id: &call_id,
            product_name: self.settings.product_name.as_deref(),
        };
        let owner = Owner::Probe(probe.id);
        self.layer.send_request(now, flow, Method::Options, owner, |out, via| {
            request.write(out, via);
            1
        });
    }

    /// A response to a request of ours says that somebody is there, or that he is busy.
    pub(super) fn on_heard(&mut self, now: Duration, owner: Owner, response: &Message) {
        let retry_after = || response.retry_after().map(|seconds| Duration::from_secs(u64::from(seconds)));
        match owner {
            Owner::Probe(route) if response.status() >= 200 => {
                self.routes.on_probe_answered(now, route, response.status(), retry_after());
            }
            Owner::Leg(LegKey { call, side: Side::B }) if response.method() == Method::Invite => {
                let call = self.calls.get_mut(call.index as usize).filter(|known| known.key == call);
                let Some((route, answered)) = call.and_then(|call| call.route.as_mut()) else { return };
                *answered = Answered(true);
                if response.status() != 503 {
                    self.routes.on_alive(now, *route);
                } else if let Some(retry_after) = retry_after() {
                    // RFC 3261 §21.5.4: without Retry-After it says nothing of the next call.
                    self.routes.on_overloaded(now, *route, retry_after);
                }
            }
            Owner::Probe(_) | Owner::Leg(_) | Owner::Text(_) => {}
        }
    }

    /// A request of ours had no final response, or could not be sent.
    pub(super) fn on_unheard(&mut self, now: Duration, owner: Owner, method: Method) {
        match owner {
            Owner::Probe(route) => self.routes.on_probe_lost(now, route),
            Owner::Leg(LegKey { call, side: Side::B }) if method == Method::Invite => {
                // An INVITE that rang and was cancelled may end in silence too.
                if let Some((route, Answered(false))) = self.call(call).and_then(|call| call.route) {
                    self.routes.on_unreachable(now, route);
                }
            }
            Owner::Leg(_) | Owner::Text(_) => {}
        }
    }
}

/// OPTIONS to a route (RFC 3261 §11). It names the trunk's target and us, and nobody else.
struct Probe<'a> {
    /// The target as the operator named it.
    target: &'a str,
    transport: Transport,
    /// `host:port` of ours.
    advertised: &'a str,
    tag: &'a [u8],
    call_id: &'a [u8],
    product_name: Option<&'a str>,
}

impl Probe<'_> {
    fn write(&self, out: &mut Vec<u8>, via: &[u8]) {
        let parameter = self.transport.uri_param();
        let (target, us) = (format!("sip:{}{parameter}", self.target), format!("sip:{}{parameter}", self.advertised));
        let head = Head {
            method: Method::Options,
            target: target.as_bytes(),
            from: us.as_bytes(),
            tag: self.tag,
            call_id: self.call_id,
            cseq: 1,
            max_forwards: 70,
        };
        head.write(out, via);
        write::header(out, "Contact", format!("<{us}>").as_bytes());
        write::header(out, "Accept", b"application/sdp");
        write::header(out, "Allow", ALLOW);
        if let Some(product) = self.product_name {
            write::header(out, "User-Agent", product.as_bytes());
        }
        write::finish(out, None, b"");
    }
}
