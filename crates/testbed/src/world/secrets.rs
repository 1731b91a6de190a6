//! What belongs to one phone alone: what it is set up with, and what it makes up on the way.

use numbering::Number;

use super::World;
use crate::ladder;
use crate::leak::{Kind, Secrets};
use crate::setup::SIP_PORT;

impl World {
    /// What a phone has just made up: Call-ID, tag, branch, SDP session.
    pub(super) fn learn_secrets(&mut self, place: usize, bytes: &[u8]) {
        let message = String::from_utf8_lossy(bytes);
        let name = self.slots[place].phone.config().name.clone();
        let secrets = &mut self.secrets[place];
        if let Some(call_id) = ladder::header(&message, "Call-ID") {
            secrets.add_text(&name, Kind::CallId, call_id);
        }
        let is_request = !message.starts_with("SIP/2.0 ");
        let own = if is_request { "From" } else { "To" };
        if let Some((_, tag)) = ladder::header(&message, own).and_then(|value| value.split_once(";tag=")) {
            secrets.add_text(&name, Kind::Tag, tag);
        }
        if is_request
            && let Some((_, branch)) = ladder::header(&message, "Via").and_then(|via| via.split_once("branch=z9hG4bK"))
        {
            secrets.add_text(&name, Kind::Tag, branch.split(';').next().unwrap_or(branch));
        }
        if let Some(origin) = message.split("\r\n").find_map(|line| line.strip_prefix("o="))
            && let Some(session) = origin.split(' ').nth(1)
        {
            secrets.add_text(&name, Kind::SdpSession, session);
        }
    }
}

/// What a phone is set up with and nobody else may learn.
pub(super) fn secrets_of(config: &phone::Config) -> Secrets {
    let mut secrets = Secrets::new();
    let name = &config.name;
    if let Ok(number) = Number::parse(&config.number) {
        secrets.add_number(name, number);
    }
    if let Some(display) = &config.display_name {
        secrets.add_text(name, Kind::DisplayName, display);
    }
    if let Some(agent) = &config.user_agent {
        secrets.add_text(name, Kind::UserAgent, agent);
    }
    if let Some(cname) = &config.cname {
        secrets.add_text(name, Kind::Cname, cname);
    }
    for address in std::iter::once(config.contact).chain(config.rtp_addresses()) {
        secrets.add_text(name, Kind::Host, &address.ip().to_string());
        if address.port() != SIP_PORT {
            secrets.add_port(name, address.port());
        }
    }
    for (_, value) in &config.headers {
        secrets.add_text(name, Kind::Canary, value);
    }
    for line in config.sdp_session_lines.iter().chain(&config.sdp_media_lines) {
        secrets.add_text(name, Kind::Canary, line.split_once([':', '=']).map_or(line, |(_, value)| value));
    }
    for hop in &config.record_route {
        secrets.add_text(name, Kind::Host, hop);
    }
    for line in config.streams_before.iter().chain(&config.streams_after) {
        secrets.add_text(name, Kind::Canary, line);
    }
    if let Some(credentials) = &config.credentials {
        secrets.add_text(name, Kind::Canary, &credentials.password);
    }
    if let Some(canary) = &config.canary {
        secrets.add_text(name, Kind::Canary, canary);
    }
    secrets.add_text(name, Kind::Canary, &format!("kingfisher-{name}"));
    secrets
}
