//! tshark, Wireshark's dissectors: another opinion on every byte that the daemon sends. What phones received is written
//! into a capture file; nothing is captured from an interface, which would take privileges.

use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

use crate::support::booth::Datagram;
use crate::support::output_of;

/// The file's link type: IP without anything before it.
const RAW_IP: u32 = 101;
/// From which severity on a remark is a complaint: `PI_WARN` of Wireshark's expert information.
const WARNING: u32 = 0x60_0000;

/// What a datagram is, says Wireshark.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Sip,
    Rtp,
    Rtcp,
}

/// What it says about a datagram.
#[derive(Debug)]
pub(crate) struct Dissected {
    /// Nothing when it is none of the three.
    pub(crate) kind: Option<Kind>,
    /// Where it is malformed, and warnings.
    pub(crate) complaints: Vec<String>,
}

/// Lets tshark read datagrams over IPv4. `folder` takes a file.
pub(crate) fn dissect(folder: &Path, datagrams: &[Datagram]) -> Vec<Dissected> {
    let file = folder.join("capture.pcap");
    fs::write(&file, capture(datagrams)).unwrap();
    // Ports say nothing here: each destination is told to be what the phone has it for.
    let mut arguments: Vec<String> = vec!["-n".into(), "-T".into(), "fields".into(), "-E".into(), "separator=|".into()];
    for field in ["_ws.col.Protocol", "_ws.malformed", "_ws.expert.severity", "_ws.expert.message"] {
        arguments.extend(["-e".into(), field.to_owned()]);
    }
    for port in
        datagrams.iter().filter(|datagram| datagram.bytes.is_ascii()).map(|datagram| datagram.destination.port())
    {
        let told = format!("udp.port=={port},sip");
        if !arguments.contains(&told) {
            arguments.extend(["-d".into(), told]);
        }
    }
    arguments.push("-r".into());
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let printed = String::from_utf8(output_of("tshark", &arguments, &file)).unwrap();
    printed.lines().map(dissected).collect()
}

fn dissected(line: &str) -> Dissected {
    let mut fields = line.splitn(4, '|');
    let mut next = || fields.next().unwrap_or_else(|| panic!("tshark prints {line:?}"));
    let [protocol, malformed, severities, remarks] = [next(), next(), next(), next()];
    let kind = match protocol {
        "SIP" | "SIP/SDP" => Some(Kind::Sip),
        "RTP" | "RTP EVENT" => Some(Kind::Rtp),
        "RTCP" => Some(Kind::Rtcp),
        _ => None,
    };
    let is_severe = |severity: &str| severity.parse::<u32>().is_ok_and(|severity| severity >= WARNING);
    let mut complaints = Vec::new();
    if !malformed.is_empty() || severities.split(',').any(is_severe) {
        complaints.push(format!("{malformed} {remarks}"));
    }
    Dissected { kind, complaints }
}

/// A file of the classic format, a millisecond between any two.
fn capture(datagrams: &[Datagram]) -> Vec<u8> {
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65_535, RAW_IP] {
        file.extend_from_slice(&u32::to_le_bytes(word));
    }
    for (place, Datagram { source, destination, bytes }) in (0_u32..).zip(datagrams) {
        let length = 28 + bytes.len() as u32;
        for word in [place / 1_000, place % 1_000 * 1_000, length, length] {
            file.extend_from_slice(&word.to_le_bytes());
        }
        // RFC 791: no options, no fragments, 64 hops, UDP. Checksums of 0 are not looked at.
        file.extend_from_slice(&[0x45, 0]);
        file.extend_from_slice(&(length as u16).to_be_bytes());
        file.extend_from_slice(&[0, 0, 0, 0, 64, 17, 0, 0]);
        for address in [source, destination] {
            file.extend_from_slice(&octets(address));
        }
        // RFC 768
        for half in [source.port(), destination.port(), (length - 20) as u16, 0] {
            file.extend_from_slice(&half.to_be_bytes());
        }
        file.extend_from_slice(bytes);
    }
    file
}

fn octets(address: &SocketAddr) -> [u8; 4] {
    match address.ip() {
        IpAddr::V4(address) => address.octets(),
        IpAddr::V6(address) => panic!("the phones of these tests speak IPv4, not {address}"),
    }
}
