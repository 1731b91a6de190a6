//! Kamailio: a carrier's proxy that stays in the way of every call (Record-Route, loose routes), over UDP and TCP.

use std::fmt::Write as _;
use std::fs;
use std::net::{SocketAddr, TcpStream};

use super::agent::Home;
use super::process::Process;
use crate::support::until;

/// A running Kamailio that sends each number's calls to one place.
pub(crate) struct Kamailio {
    // Before the folder: fields are dropped in this order.
    process: Process,
    _home: Home,
}

/// An address for a Kamailio, which is known before it runs.
pub(crate) struct Place {
    home: Home,
    pub(crate) address: SocketAddr,
}

impl Place {
    pub(crate) fn new() -> Place {
        let home = Home::new();
        let address = SocketAddr::from((home.host, home.port()));
        Place { home, address }
    }
}

impl Kamailio {
    /// Starts it and waits until it serves. `routes` are numbers and the URIs that take their calls.
    pub(crate) fn start(place: Place, routes: &[(&str, String)]) -> Kamailio {
        let Place { home, address } = place;
        let mut config = format!(
            "#!KAMAILIO\ndebug=1\nlog_stderror=yes\nfork=yes\nchildren=1\ntcp_children=1\nauto_aliases=no\n\
             dns=no\nrev_dns=no\nlisten=udp:{address}\nlisten=tcp:{address}\n"
        );
        for module in ["pv", "tm", "sl", "rr", "maxfwd", "siputils", "textops", "xlog"] {
            let _ = writeln!(config, "loadmodule \"{module}.so\"");
        }
        config.push_str(ROUTE);
        for (number, target) in routes {
            let _ = writeln!(config, "    if ($rU == \"{number}\") {{ $du = \"{target}\"; t_relay(); exit; }}");
        }
        config.push_str("    sl_send_reply(\"404\", \"Nobody's\");\n}\n");
        fs::write(home.folder().join("kamailio.cfg"), config).unwrap();

        let path = home.path();
        let file = |name: &str| format!("{path}/{name}");
        let arguments = ["-DD", "-E", "-f", &file("kamailio.cfg"), "-w", path, "-Y", path, "-P", &file("pid")];
        let mut process = Process::start("kamailio", home.folder(), "kamailio", &arguments);
        // It binds TCP after UDP, and both before it begins to work: what comes meanwhile waits in the sockets.
        until("Kamailio serves", || {
            process.assert_alive();
            TcpStream::connect(address).ok()
        });
        Kamailio { process, _home: home }
    }

    /// Ends it and returns what it printed: a line for each request that it passed on.
    pub(crate) fn end(self) -> String {
        self.process.end()
    }
}

/// Until the numbers are told apart.
const ROUTE: &str = r#"
request_route {
    if (!mf_process_maxfwd_header("10")) { sl_send_reply("483", "Too Many Hops"); exit; }
    if (has_totag()) {
        if (loose_route()) {
            xlog("L_ALERT", "loose $rm by $proto\n");
            t_relay();
            exit;
        }
        if (is_method("ACK")) {
            if (t_check_trans()) { t_relay(); }
            exit;
        }
        xlog("L_ALERT", "lost $rm\n");
        sl_send_reply("404", "Not Here");
        exit;
    }
    if (is_method("CANCEL")) {
        if (t_check_trans()) { t_relay(); }
        exit;
    }
    t_check_trans();
    record_route();
    xlog("L_ALERT", "first $rm by $proto\n");
"#;
