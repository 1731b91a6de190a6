//! Routes (RFC 3261 §12.1, §12.2.1.1): what proxies between X and the phone would have put in, and what X makes of it.
//!
//! ```text
//!   calling  INVITE + Record-Route P1, P2 ─▶ X: its responses repeat them, its requests have Route P1, P2
//!   called   18x, 200 + Record-Route P1, P2 ─▶ X: its requests have Route P2, P1
//!            loose (;lr): Request-URI is our Contact         strict: Request-URI is the first hop, our Contact comes last
//! ```

use rsip::Uri;

use crate::call::Dialog;
use crate::wire::Received;
use crate::{Phone, Start};

/// The elements of a header that is a list of name-addrs; no URI of ours has a comma.
fn hops(received: &Received, header: &str) -> Vec<String> {
    received.tokens(header).map(str::to_owned).collect()
}

/// The URI in `<…>`.
fn uri_of(hop: &str) -> &str {
    let inside = hop.split_once('<').map_or(hop, |(_, after)| after);
    inside.split('>').next().unwrap_or(inside)
}

fn written(uri: &str) -> String {
    Uri::try_from(uri).map_or_else(|_| uri.to_owned(), |uri| uri.to_string())
}

impl Phone {
    /// Record-Route of an INVITE of ours, or of our responses to one.
    pub(crate) fn record_route(&self) -> Vec<(String, String)> {
        self.config.record_route.iter().map(|hop| ("Record-Route".to_owned(), hop.clone())).collect()
    }

    /// A response that makes a dialog must say again what the proxies of our INVITE put in.
    pub(crate) fn check_record_route(&mut self, status: u16, received: &Received) {
        let found = hops(received, "Record-Route");
        if found != self.config.record_route {
            self.breach(format!("{status}: Record-Route {found:?}, not {:?}", self.config.record_route));
        }
    }

    /// A request within the dialog must take the way that was recorded, to where our Contact said.
    pub(crate) fn check_route(&mut self, request: &Received, dialog: &Dialog) {
        let mut set = self.config.record_route.clone();
        if !dialog.owner {
            set.reverse();
        }
        let contact = self.contact_of(dialog);
        let mut target = uri_of(&contact).to_owned();
        if let Some(first) = set.first()
            && !first.contains(";lr")
        {
            target = uri_of(first).to_owned();
            set.remove(0);
            set.push(contact);
        }
        let found = hops(request, "Route");
        let same = found.len() == set.len() && found.iter().zip(&set).all(|(a, b)| uri_of(a) == uri_of(b));
        if !same {
            self.breach(format!("{}: Route {found:?}, not {set:?}", request.name()));
        }
        if let Start::Request(uri) = &request.start
            && uri.to_string() != written(&target)
        {
            self.breach(format!("{}: Request-URI {uri}, not {target}", request.name()));
        }
    }
}
