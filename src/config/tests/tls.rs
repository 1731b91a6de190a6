//! `[sip.tls]`, a trunk's `tls` and `from`, and what stands in `listen`.

use tempfile::TempDir;

use super::*;
use crate::pki::{Authority, Issued};

/// Files of certificates in a folder of their own.
struct Folder {
    dir: TempDir,
    ours: Issued,
}

impl Folder {
    fn new() -> Folder {
        let authority = Authority::new("ours");
        let (ours, other) = (authority.issue("sip.example.net"), authority.issue("other.example.net"));
        let dir = TempDir::new().unwrap();
        for (name, text) in [
            ("ca.pem", &authority.pem()),
            ("chain.pem", &(ours.certificate.clone() + &authority.pem())),
            ("key.pem", &ours.key),
            ("other.pem", &other.certificate),
            ("other-key.pem", &other.key),
            ("no.pem", &"-----BEGIN CERTIFICATE-----\nno base64!\n-----END CERTIFICATE-----\n".to_owned()),
            ("strange.pem", &"-----BEGIN CERTIFICATE-----\nYWJj\n-----END CERTIFICATE-----\n".to_owned()),
            ("strange-key.pem", &"-----BEGIN PRIVATE KEY-----\nYWJj\n-----END PRIVATE KEY-----\n".to_owned()),
            ("empty.pem", &"nothing\n".to_owned()),
            ("large.pem", &"x".repeat((1 << 20) + 1)),
        ] {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        Folder { dir, ours }
    }

    fn parse(&self, text: &str) -> Result<Config, Vec<Complaint>> {
        parse(text, &self.dir.path().join("c.toml"))
    }

    /// What is complained of, without the folder.
    fn complaints(&self, text: &str) -> Vec<String> {
        let folder = format!("{}/", self.dir.path().display());
        let complaints = self.parse(text).err().unwrap_or_default();
        complaints.iter().map(|complaint| complaint.to_string().replace(&folder, "")).collect()
    }
}

/// The smallest that speaks TLS.
const PRIVATE: &str = r#"[sip]
listen = ["udp:127.0.0.1:5060", "tls:127.0.0.1:5061"]
[sip.tls]
certificate = "chain.pem"
key = "key.pem"
ca = "ca.pem"
[media]
bind = "127.0.0.1"
[[trunk]]
name = "one"
sources = ["192.0.2.0/24"]
targets = ["tls:192.0.2.10:5061"]
tls.server_name = "one.example"
[[trunk]]
name = "two"
targets = ["udp:192.0.2.20:5060", "tls:192.0.2.20:5061"]
tls = { ca = "ca.pem", certificate = "other.pem", key = "other-key.pem" }
"#;

/// What is broken in [`PRIVATE`], and every complaint that it earns.
const BROKEN: &[(&str, &str, &[&str])] = &[
    (
        "[sip.tls]\ncertificate = \"chain.pem\"\nkey = \"key.pem\"\nca = \"ca.pem\"\n",
        "",
        &["c.toml:2: sip.listen[1]: needs a certificate — write [sip.tls] with `certificate` and `key`"],
    ),
    (
        "certificate = \"chain.pem\"\nkey = \"key.pem\"\n",
        "",
        &[
            "c.toml:3: sip.tls.certificate: is missing — write e.g. `certificate = \"tls/chain.pem\"`: our own first, then those that vouch for it",
        ],
    ),
    (
        "key = \"key.pem\"\n",
        "",
        &["c.toml:4: sip.tls.certificate: is of no use without key — write key = \"FILE\" too"],
    ),
    (
        "\"chain.pem\"",
        "1",
        &["c.toml:4: sip.tls.certificate: is a number, not a text — put it in quotation marks: \"1\""],
    ),
    ("\"chain.pem\"", "\"\"", &["c.toml:4: sip.tls.certificate: `` is no path — write the path of a PEM file"]),
    (
        "\"chain.pem\"",
        "\"gone.pem\"",
        &["c.toml:4: sip.tls.certificate: gone.pem cannot be read: entity not found — write the path of a PEM file"],
    ),
    (
        "\"chain.pem\"",
        "\"key.pem\"",
        &["c.toml:4: sip.tls.certificate: key.pem holds no certificate — write the path of a PEM file"],
    ),
    (
        "\"chain.pem\"",
        "\"no.pem\"",
        &["c.toml:4: sip.tls.certificate: no.pem is no PEM file — write the path of a PEM file"],
    ),
    (
        "\"chain.pem\"",
        "\"large.pem\"",
        &["c.toml:4: sip.tls.certificate: large.pem is larger than 1 MB — write the path of a PEM file"],
    ),
    (
        "\"chain.pem\"",
        "\"strange.pem\"",
        &[
            "c.toml:4: sip.tls.certificate: holds a certificate that cannot be understood — write the files of one certificate and its key",
        ],
    ),
    (
        "\"key.pem\"",
        "\"chain.pem\"",
        &["c.toml:5: sip.tls.key: chain.pem holds no private key — write the path of a PEM file"],
    ),
    (
        "\"key.pem\"",
        "\"other-key.pem\"",
        &[
            "c.toml:5: sip.tls.key: holds the private key of another certificate — write the files of one certificate and its key",
        ],
    ),
    (
        "\"key.pem\"",
        "\"strange-key.pem\"",
        &[
            "c.toml:5: sip.tls.key: holds a private key that cannot be used — write the files of one certificate and its key",
        ],
    ),
    (
        "ca = \"ca.pem\"",
        "ca = \"strange.pem\"\nclient_ca = \"empty.pem\"",
        &[
            "c.toml:6: sip.tls.ca: strange.pem holds a certificate that cannot be understood — write the path of a PEM file",
            "c.toml:7: sip.tls.client_ca: empty.pem holds no certificate — write the path of a PEM file",
        ],
    ),
    (
        "ca = \"ca.pem\"",
        "require_client_certificate = true",
        &[
            "c.toml:6: sip.tls.require_client_certificate: needs client_ca — write client_ca = \"FILE\", the authorities whose certificates will do",
        ],
    ),
    (
        "key = \"key.pem\"",
        "key = \"key.pem\"\nserver_name = \"x\"",
        &[
            "c.toml:6: sip.tls.server_name: `server_name` is no key — known here: certificate, key, client_ca, require_client_certificate, ca",
        ],
    ),
    (
        "\"one.example\"",
        "\"one example\"",
        &[
            "c.toml:13: trunk[0].tls.server_name: `one example` is no name of a host — write what its certificate is valid for, e.g. \"sip.example.net\"",
        ],
    ),
    (
        ", key = \"other-key.pem\"",
        "",
        &["c.toml:17: trunk[1].tls.certificate: is of no use without key — write key = \"FILE\" too"],
    ),
    (
        "tls:192.0.2.20:5061",
        "tls:192.0.2.10:5061",
        &[
            "c.toml:16: trunk[1].targets[1]: trunk `one` wants another certificate of 192.0.2.10:5061 — write the same tls keys in both, or another address here",
        ],
    ),
    (
        "tls:192.0.2.20:5061",
        "tls:[2001:db8::1]:5061",
        &[
            "c.toml:16: trunk[1].targets[1]: we do not listen at tls with IPv6, so we cannot send from there — add \"tls:ADDRESS:PORT\" with an IPv6 address to listen in [sip]",
        ],
    ),
    (
        "tls:192.0.2.20:5061",
        "tls:192.0.2.20",
        &["c.toml:16: trunk[1].targets[1]: `tls:192.0.2.20` is no target — write the port too: tls:192.0.2.20:5061"],
    ),
    // TLS takes a port of TCP.
    (
        "\"udp:127.0.0.1:5060\", ",
        "\"udp:127.0.0.1:5060\", \"tcp:127.0.0.1:5061\", ",
        &["c.toml:2: sip.listen[2]: 127.0.0.1:5061 stands here twice — leave one of them out"],
    ),
    (
        "[media]",
        "[metrics]\nlisten = \"127.0.0.1:5061\"\n[media]",
        &["c.toml:8: metrics.listen: SIP listens at tls:127.0.0.1:5061 already — write another port"],
    ),
    // Listeners in a table.
    (
        "\"udp:127.0.0.1:5060\"",
        "{ adress = \"udp:127.0.0.1:5060\", advertised = \"a b\" }",
        &[
            "c.toml:2: sip.listen[0].address: is missing — write e.g. `address = \"udp:ADDRESS:PORT\"`",
            "c.toml:2: sip.listen[0].adress: `adress` is no key — did you mean `address`?",
            "c.toml:2: sip.listen[0].advertised: `a b` is no host — write \"HOST\" or \"HOST:PORT\"",
            "c.toml:16: trunk[1].targets[0]: we do not listen at udp with IPv4, so we cannot send from there — add \"udp:ADDRESS:PORT\" with an IPv4 address to listen in [sip]",
        ],
    ),
    (
        "\"udp:127.0.0.1:5060\"",
        "{ address = \"udp:0.0.0.0:5060\" }, { address = \"tcp:0.0.0.0:5060\", advertised = \"sip.example\" }",
        &[
            "c.toml:2: sip.listen[0]: peers cannot be told to send to 0.0.0.0 — write advertised = \"HOST\", the address that they reach this machine at",
        ],
    ),
    // From where.
    (
        "name = \"two\"",
        "name = \"two\"\nfrom = \"udp:127.0.0.1:5080\"",
        &[
            "c.toml:16: trunk[1].from: we do not listen at udp:127.0.0.1:5080 — write one of those of [sip]: udp:127.0.0.1:5060, tls:127.0.0.1:5061",
        ],
    ),
    (
        "name = \"two\"",
        "name = \"two\"\nfrom = [\"udp:127.0.0.1:5060\", \"tcp:127.0.0.1:5061\", \"udp\"]",
        &[
            "c.toml:16: trunk[1].from[1]: we do not listen at tcp:127.0.0.1:5061 — write one of those of [sip]: udp:127.0.0.1:5060, tls:127.0.0.1:5061",
            "c.toml:16: trunk[1].from[2]: `udp` is no address to listen at — write udp:ADDRESS:PORT, tcp:ADDRESS:PORT or tls:ADDRESS:PORT",
            "c.toml:17: trunk[1].targets[1]: none of `from` is TLS with IPv4 — write one in `from` too",
        ],
    ),
];

#[test]
fn every_mistake_is_named_with_its_line_its_key_and_the_mend() {
    let folder = Folder::new();
    assert_eq!(folder.complaints(PRIVATE), [""; 0]);
    for (good, bad, expected) in BROKEN {
        assert!(PRIVATE.contains(good), "{good}");
        assert_eq!(folder.complaints(&PRIVATE.replacen(good, bad, 1)), *expected, "{good} → {bad}");
    }
}

#[test]
fn no_complaint_and_no_debug_output_shows_a_key() {
    let folder = Folder::new();
    let secret: Vec<&str> = folder.ours.key.lines().filter(|line| !line.starts_with('-')).collect();
    let config = format!("{:?}", folder.parse(PRIVATE).unwrap());
    // The file of the key where others belong, and the key itself where its file's name belongs.
    let swapped = PRIVATE.replace("\"chain.pem\"", "\"key.pem\"").replace("\"ca.pem\"", "\"key.pem\"");
    let complaints = folder.complaints(&swapped).concat();
    assert!(!complaints.is_empty());
    for line in secret {
        assert!(!config.contains(line) && !complaints.contains(line), "{line}");
    }
}

#[test]
fn a_trunk_s_rule_is_its_own_and_the_default_is_that_of_sip() {
    let folder = Folder::new();
    let config = folder.parse(PRIVATE).unwrap();
    assert!(config.tls.server.is_some());
    let [one, two] = &config.tls.rules[..] else { panic!("two trunks") };
    assert_eq!(one.server_name.as_ref().unwrap().to_str(), "one.example");
    assert_eq!(two.server_name, None);
    assert_ne!(one.client, two.client, "one shows nothing");
    // Read again, it is the same.
    assert_eq!(folder.parse(PRIVATE).unwrap().tls.rules, config.tls.rules);
    let mut text = PRIVATE.replace(", certificate = \"other.pem\", key = \"other-key.pem\"", "");
    text = text.replace("tls.server_name = \"one.example\"\n", "");
    let rules = folder.parse(&text).unwrap().tls.rules;
    assert_eq!(rules[0], rules[1], "the same authorities by two ways");
}

#[test]
fn without_a_listener_for_tls_there_is_no_tls() {
    let tls = parse(SMALL, Path::new("c.toml")).unwrap().tls;
    assert!(tls.server.is_none());
    assert_eq!(tls.rules.len(), 2);
}

#[test]
fn the_shipped_file_in_full_is_good_where_its_files_are() {
    let folder = Folder::new();
    let at = |name: &str| folder.dir.path().join(name);
    for name in ["tls", "prompts"] {
        std::fs::create_dir(at(name)).unwrap();
    }
    for (from, to) in [
        ("chain.pem", "chain.pem"),
        ("key.pem", "key.pem"),
        ("ca.pem", "carriers.pem"),
        ("ca.pem", "ca.pem"),
        ("ca.pem", "carrier-1-ca.pem"),
        ("other.pem", "carrier-1-chain.pem"),
        ("other-key.pem", "carrier-1-key.pem"),
        ("ca.pem", "customers-ca.pem"),
        ("chain.pem", "https.pem"),
        ("key.pem", "https.key"),
    ] {
        std::fs::copy(at(from), at("tls").join(to)).unwrap();
    }
    let config = folder.parse(&shipped_in_full()).unwrap();
    assert!(config.tls.server.is_some());
    assert_eq!(config.tls.rules[0].server_name.as_ref().unwrap().to_str(), "sip.carrier.example");
    assert_eq!(config.numbers.len(), 99 + 1);
}

#[test]
fn a_listener_may_be_known_by_a_name_of_its_own() {
    let listen = r#"["udp:127.0.0.1:5060", { address = "udp:10.0.0.1:5060", advertised = "sip.example" },
        { address = "udp:0.0.0.0:5070", advertised = "[2001:db8::1]:5080" }, { address = "udp:127.0.0.1:0" }]"#;
    let text = SMALL.replace("[\"udp:127.0.0.1:5060\"]", listen);
    let config = parse(&text, Path::new("c.toml")).unwrap();
    let advertised: Vec<&str> = config.settings.listeners.iter().map(|listener| &*listener.advertised).collect();
    assert_eq!(advertised, ["127.0.0.1:5060", "sip.example:5060", "[2001:db8::1]:5080", "127.0.0.1:0"]);
    let text = text.replace("[media]", "advertised = \"all.example\"\n[media]");
    let config = parse(&text, Path::new("c.toml")).unwrap();
    let advertised: Vec<&str> = config.settings.listeners.iter().map(|listener| &*listener.advertised).collect();
    assert_eq!(advertised, ["all.example:5060", "sip.example:5060", "[2001:db8::1]:5080", "all.example:0"]);
}

#[test]
fn what_goes_to_a_trunk_leaves_by_the_listener_that_it_knows_us_by() {
    let text = SMALL
        .replace(
            "[\"udp:127.0.0.1:5060\"]",
            "[\"udp:[::1]:5060\", \"udp:10.0.0.1:5060\", \"tcp:10.0.0.1:5060\", \"udp:10.0.0.2:5060\", \"tcp:10.0.0.2:5060\"]",
        )
        .replace("name = \"one\"", "name = \"one\"\nfrom = [\"udp:10.0.0.2:5060\"]");
    let settings = parse(&text, Path::new("c.toml")).unwrap().settings;
    let (v4, v6) = ("192.0.2.10".parse().unwrap(), "2001:db8::1".parse().unwrap());
    let [one, two] = &settings.trunks[..] else { panic!("two trunks") };
    assert_eq!((&one.from[..], &two.from[..]), (&[3][..], &[][..]));
    for (trunk, transport, peer, expected) in [
        (one, Transport::Udp, v4, Some(3)),
        // What it does not name leaves by the first that fits.
        (one, Transport::Tcp, v4, Some(2)),
        (one, Transport::Udp, v6, Some(0)),
        (two, Transport::Udp, v4, Some(1)),
        (two, Transport::Tcp, v6, None),
        (two, Transport::Tls, v4, None),
    ] {
        assert_eq!(settings.listener_to(trunk, transport, peer), expected, "{transport:?} {peer}");
    }
    // One may stand without a list.
    let single = text.replace("from = [\"udp:10.0.0.2:5060\"]", "from = \"udp:10.0.0.1:5060\"");
    assert_eq!(parse(&single, Path::new("c.toml")).unwrap().settings.trunks[0].from, [1]);
}

#[test]
fn a_pipe_is_refused_and_not_waited_for() {
    let folder = Folder::new();
    let pipe = folder.dir.path().join("pipe");
    assert!(std::process::Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    for file in ["chain.pem", "key.pem", "ca.pem"] {
        let complaints = folder.complaints(&PRIVATE.replace(&format!("\"{file}\""), "\"pipe\""));
        assert!(complaints.iter().any(|complaint| complaint.contains(": pipe is no file")), "{file}: {complaints:#?}");
    }
}
