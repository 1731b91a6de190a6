//! The RFCs' vectors, a second opinion, hostile challenges, and both sides against each other.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use proptest::prelude::*;
use rsip::headers::{ToTypedHeader, UntypedHeader};
use rsip::services::DigestGenerator;

use super::authenticator::About;
use super::parameters::{Malformed, Parameters};
use super::*;
use crate::message::Message;

const KEY: [u8; 32] = [7; 32];
const URI: &[u8] = b"sip:+8675512340001@x.example;user=phone";
const NOW: Duration = Duration::from_secs(1_000);

fn account(realm: &str, user: &str, password: &str) -> Account {
    Account {
        realm: realm.into(),
        user: user.into(),
        password: Password::new(password.as_bytes()),
        hashes: vec![Hash::Sha256, Hash::Md5],
    }
}

fn mufasa() -> Account {
    account("x.example", "Mufasa", "Circle of Life")
}

fn credentials(user: &str, password: &str, realm: Option<&str>) -> Arc<Credentials> {
    Arc::new(Credentials {
        user: user.into(),
        password: Password::new(password.as_bytes()),
        realm: realm.map(Into::into),
    })
}

fn answering() -> Answering {
    Answering::new(credentials("Mufasa", "Circle of Life", None))
}

fn authenticator() -> Authenticator {
    Authenticator::new(&KEY, Authenticator::VALID, Authenticator::CAPACITY)
}

fn take(answering: &mut Answering, lines: &[&[u8]]) -> Result<(), Unanswerable> {
    answering.take(Challenger::Server, lines.iter().copied(), 0x0123_4567_89ab_cdef)
}

fn authorize(answering: &mut Answering) -> Vec<u8> {
    authorize_for(answering, "INVITE", URI, b"")
}

fn authorize_for(answering: &mut Answering, method: &str, uri: &[u8], body: &[u8]) -> Vec<u8> {
    let mut headers = answering.authorizations(method, uri, body);
    assert_eq!(headers.len(), 1);
    assert_eq!(headers[0].0, "Authorization");
    headers.remove(0).1
}

const INVITE: About<'static> = About { method: b"INVITE", uri: URI, body: b"" };

fn judge(authenticator: &mut Authenticator, now: Duration, about: About<'_>, value: &[u8]) -> Verdict {
    authenticator.judge(now, &mufasa(), about, std::iter::once(value))
}

/// A peer that has just been challenged.
fn challenged(authenticator: &Authenticator, now: Duration, random: u64) -> Answering {
    let mut answering = answering();
    let challenge = authenticator.challenge(now, &mufasa(), random, false);
    take(&mut answering, &challenge.iter().map(Vec::as_slice).collect::<Vec<_>>()).unwrap();
    answering
}

fn only(value: &[u8]) -> Parameters {
    let mut all = parameters::read(value);
    assert_eq!(all.len(), 1, "{}", value.escape_ascii());
    all.remove(0).unwrap()
}

fn value_of(header: &[u8], name: &str) -> Vec<u8> {
    only(header).get(name).unwrap_or_else(|| panic!("no {name}")).to_vec()
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

// ---- vectors

#[test]
fn the_example_of_rfc_2617_3_5() {
    let inputs = Inputs {
        algorithm: Algorithm::of(None).unwrap(),
        protection: Some(Protection { qop: Qop::Auth, count: b"00000001" }),
        user: b"Mufasa",
        realm: b"testrealm@host.com",
        nonce: b"dcd98b7102dd2f0e8b11d0f600bfb0c093",
        cnonce: b"0a4f113b",
        method: b"GET",
        uri: b"/dir/index.html",
        body: b"",
    };
    assert_eq!(text(&inputs.response(&Password::new(&b"Circle Of Life"[..]))), "6629fae49393a05397450978507c4ef1");
    // The example of RFC 2069 §2.4, as its erratum 749 has it.
    let inputs = Inputs { protection: None, cnonce: b"", ..inputs };
    assert_eq!(text(&inputs.response(&Password::new(&b"CircleOfLife"[..]))), "1949323746fe6a43ef61f9606e7febea");
}

#[test]
fn the_examples_of_rfc_7616_3_9_1_and_every_other_variant() {
    // The first of each five is the RFC's; the others were made with another implementation of the hashes.
    const MD5: [&str; 5] = [
        "8ca523f5e9506fed4657c9700eebdbec",
        "e783283f46242139c486a698fec7211d",
        "d1b8e2ac3f6782372de4bf3d8735b406",
        "4321e8772738f242cc32334079264d8c",
        "7b2cc3b30e75b4777ea31027084363fd",
    ];
    const SHA_256: [&str; 5] = [
        "753927fa0e85d155564e2e272a28d1802ca10daf4496794697cf8db5856cb6c1",
        "2fd51b3a77ad75bad6afad6003e818d767133c46d9e2749e7f5232ae1ea3efd7",
        "385d2de062660ced11876f42d9497c69cacf5caaf3d951dd424aee9f7157d563",
        "cade7e5b751d9c3c2f066a95f2405c5509ad0171cf93f117e98b7f0ebb212e57",
        "a1306b0595a6c7fe96c448631fb5cfbd5107bd1fe1da729d978dd7446b812363",
    ];
    for (hash, expected) in [(Hash::Md5, MD5), (Hash::Sha256, SHA_256)] {
        let variants = [
            (false, Some(Qop::Auth)),
            (true, Some(Qop::Auth)),
            (false, Some(Qop::AuthInt)),
            (true, Some(Qop::AuthInt)),
            (false, None),
        ];
        for ((session, qop), expected) in variants.into_iter().zip(expected) {
            let inputs = Inputs {
                algorithm: Algorithm { hash, session },
                protection: qop.map(|qop| Protection { qop, count: b"00000001" }),
                user: b"Mufasa",
                realm: b"http-auth@example.org",
                nonce: b"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v",
                cnonce: b"f2/wE4q74E6zIJEtWaHKaf5wv/H5QzzpXusqGemxURZJ",
                method: b"GET",
                uri: b"/dir/index.html",
                body: b"v=0\r\n",
            };
            let response = inputs.response(&Password::new(&b"Circle of Life"[..]));
            assert_eq!(text(&response), expected, "{hash:?} session {session} {qop:?}");
        }
    }
}

#[test]
fn the_challenges_of_rfc_7616_3_9_1_are_both_read_and_sha_256_is_answered() {
    let md5 = b"Digest realm=\"http-auth@example.org\", qop=\"auth, auth-int\", algorithm=MD5, \
        nonce=\"7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v\", opaque=\"FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS\"";
    let sha = text(md5).replace("MD5", "SHA-256").into_bytes();
    for lines in [[&md5[..], &sha], [&sha, &md5[..]]] {
        let mut answering = answering();
        take(&mut answering, &lines).unwrap();
        let header = authorize(&mut answering);
        for (name, value) in [
            ("username", "Mufasa"),
            ("realm", "http-auth@example.org"),
            ("nonce", "7ypf/xlj9XXwfDPEoM4URrv/xwf94BcCAzFZH4GiTo0v"),
            ("uri", text(URI)),
            ("algorithm", "SHA-256"),
            ("qop", "auth"),
            ("nc", "00000001"),
            ("cnonce", "0123456789abcdef"),
            ("opaque", "FQhe/qaU925kfnzjCev0ciny7QMkPqMAFRtzCUYo5tdS"),
        ] {
            assert_eq!(text(&value_of(&header, name)), value, "{name}");
        }
    }
}

// ---- UAC: which challenge, which header

#[test]
fn the_strongest_challenge_that_we_know_is_answered() {
    const MD5: &str = "Digest realm=\"m\", nonce=\"1\", qop=\"auth\"";
    const OLD: &str = "Digest realm=\"o\", nonce=\"2\"";
    const SHA: &str = "Digest realm=\"s\", nonce=\"3\", algorithm=SHA-256, qop=\"auth\"";
    const SESS: &str = "Digest realm=\"ss\", nonce=\"4\", algorithm=\"sha-256-SESS\", qop=\"auth\"";
    const FUTURE: &str = "Digest realm=\"f\", nonce=\"5\", algorithm=SHA-512-256, qop=\"auth\"";
    const INT: &str = "Digest realm=\"i\", nonce=\"6\", algorithm=SHA-256, qop=auth-int";
    let table: &[(&[&str], &str)] = &[
        (&[MD5], "m"),
        (&[OLD], "o"),
        (&[OLD, MD5], "m"),
        (&[MD5, OLD], "m"),
        (&[MD5, SHA], "s"),
        (&[SHA, MD5], "s"),
        (&[SESS, SHA], "ss"),
        (&[SHA, SESS], "s"),
        (&[INT, MD5], "i"),
        (&[FUTURE, MD5], "m"),
        (&["Basic realm=\"b\"", FUTURE, SHA], "s"),
        (&["Digest realm=\"broken", MD5], "m"),
        (&[MD5, "Digest realm=\"twice\", realm=\"twice\", nonce=\"7\", algorithm=SHA-256"], "m"),
    ];
    for (challenges, realm) in table {
        let joined = challenges.join(" , ");
        // Several lines, and all in one line.
        let lines: Vec<&[u8]> = challenges.iter().map(|line| line.as_bytes()).collect();
        let unclosed = challenges.iter().any(|challenge| challenge.matches('"').count() % 2 == 1);
        for lines in [&lines[..], &[joined.as_bytes()]] {
            if unclosed && lines.len() == 1 {
                continue;
            }
            let mut answering = answering();
            assert_eq!(take(&mut answering, lines), Ok(()), "{challenges:?}");
            assert_eq!(text(&value_of(&authorize(&mut answering), "realm")), *realm, "{challenges:?}");
        }
    }
}

#[test]
fn other_schemes_in_one_line_are_passed_over() {
    let line = b"Negotiate, NTLM TlRMTVNTUAAB==, Basic realm=\"b, Digest realm=\\\"no\\\"\", Digest realm=\"d\",nonce=\"n\", Bearer x=\"y\"";
    let mut answering = answering();
    take(&mut answering, &[line]).unwrap();
    assert_eq!(value_of(&authorize(&mut answering), "realm"), b"d");
}

#[test]
fn what_is_not_answered_says_why() {
    use Unanswerable::*;
    let table: &[(&[&str], Unanswerable)] = &[
        (&[], NoChallenge),
        (&[""], NoDigest),
        (&[" , ,"], NoDigest),
        (&["Basic realm=\"x\""], NoDigest),
        (&["Negotiate YII=="], NoDigest),
        (&["Digest"], Malformed),
        (&["Digest realm=\"a\""], Malformed),
        (&["Digest nonce=\"a\""], Malformed),
        (&["realm=\"a\", nonce=\"b\""], Malformed),
        (&["Digest realm=\"a\" nonce=\"b\""], Malformed),
        (&["Digest realm=\"a\", nonce=\"b"], Malformed),
        (&["Digest realm=\"a\", nonce=\"b\\\""], Malformed),
        (&["Digest realm=\"a\", nonce=\"b\"c"], Malformed),
        (&["Digest realm=\"a\", nonce=b c"], Malformed),
        (&["Digest realm=\"a\", nonce="], Malformed),
        (&["Digest realm=\"a\", nonce=\"b\", Nonce=\"c\""], Malformed),
        (&["Digest realm=\"a\", nonce=\"b\", x=1, X=1"], Malformed),
        (&["Digest realm=\"a\", nonce=\"b\", =1"], Malformed),
        (&["Digest realm=\"a\", nonce=\"b\", \"q\""], Malformed),
        (&["Digest realm=\"a\", nonce=\"b\0\""], Malformed),
        (&["Digest realm=\"a\", nonce=\"b\\\0\""], Malformed),
        (&["Digest realm=\"a\", nonce=\"b\u{7f}\""], Malformed),
        (&["Digest realm=\"a\", nonce=b\u{1}c"], Malformed),
        (&["Digest realm=\"a\", nonce=b\"c"], Malformed),
        (&["Digest realm=\"a\", nonce=\"b\", algorithm=SHA-512-256"], Unsupported),
        (&["Digest realm=\"a\", nonce=\"b\", algorithm=AKAv1-MD5"], Unsupported),
        (&["Digest realm=\"a\", nonce=\"b\", algorithm=\"\""], Unsupported),
        (&["Digest realm=\"a\", nonce=\"b\", qop=\"auth-conf\""], Unsupported),
        (&["Digest realm=\"a\", nonce=\"b\", qop=\"\""], Unsupported),
        (&["Digest realm=\"a\", nonce=\"b\", algorithm=MD5-sess"], Unsupported),
        (&["Digest realm=\"other\", nonce=\"b\""], OtherRealm),
        (&["Digest realm=\"A\", nonce=\"b\""], OtherRealm),
        (&["Digest realm=\"other\", nonce=\"b\"", "Basic realm=\"a\"", "Digest"], OtherRealm),
    ];
    for (lines, reason) in table {
        let mut answering = Answering::new(credentials("u", "p", Some("a")));
        let lines: Vec<&[u8]> = lines.iter().map(|line| line.as_bytes()).collect();
        assert_eq!(take(&mut answering, &lines), Err(*reason), "{lines:?}");
        assert!(answering.authorizations("INVITE", URI, b"").is_empty(), "nothing is sent for {reason}");
    }
}

#[test]
fn sizes_are_bounded() {
    let with = |parameter: &str| format!("Digest realm=\"a\", nonce=\"b\"{parameter}");
    let many = |count: usize| (0..count).map(|place| format!(", p{place}=1")).collect::<String>();
    let long = |length: usize| format!(", opaque=\"{}\"", "o".repeat(length));
    for (parameter, expected) in [
        (many(30), Ok(())),
        (many(31), Err(Unanswerable::Malformed)),
        (long(1_022), Ok(())),
        (long(1_023), Err(Unanswerable::Malformed)),
        (long(1_000_000), Err(Unanswerable::Malformed)),
        (many(100_000), Err(Unanswerable::Malformed)),
        (",".repeat(8_000), Ok(())),
    ] {
        let line = with(&parameter);
        assert_eq!(take(&mut answering(), &[line.as_bytes()]), expected, "{} bytes", line.len());
    }
    // The good one is the 17th: nobody looks that far.
    let bad = "Digest realm=\"a\"";
    let good = with("");
    for (before, expected) in [(15, Ok(())), (16, Err(Unanswerable::Malformed))] {
        let mut challenges = vec![bad; before];
        challenges.push(&good);
        let lines: Vec<&[u8]> = challenges.iter().map(|line| line.as_bytes()).collect();
        assert_eq!(take(&mut answering(), &lines), expected, "{before} lines");
        assert_eq!(take(&mut answering(), &[challenges.join(", ").as_bytes()]), expected, "{before} in one line");
    }
}

#[test]
fn blanks_folds_and_case_of_a_challenge_do_not_matter() {
    let line = b"dIGEST\r\n\t REALM = \"a\" ,\r\n NONCE=b,qop=\"AUTH-INT , Auth\", ALGORITHM=sha-256, x=\"\\\"\", , stale=FALSE";
    let mut answering = answering();
    take(&mut answering, &[line]).unwrap();
    let header = authorize(&mut answering);
    let expected = "Digest username=\"Mufasa\", realm=\"a\", nonce=\"b\", uri=\"sip:+8675512340001@x.example;user=phone\", \
        response=\"0000\", algorithm=SHA-256, cnonce=\"0123456789abcdef\", qop=auth, nc=00000001";
    let response = value_of(&header, "response");
    assert_eq!(text(&header).replace(text(&response), "0000"), expected);
}

#[test]
fn what_the_challenge_did_not_say_is_not_in_the_answer() {
    let mut answering = answering();
    take(&mut answering, &[b"Digest realm=\"a\", nonce=\"b\", opaque=\"\""]).unwrap();
    let header = authorize(&mut answering);
    let response = value_of(&header, "response");
    assert_eq!(response.len(), 32);
    assert_eq!(
        text(&header).replace(text(&response), "0000"),
        "Digest username=\"Mufasa\", realm=\"a\", nonce=\"b\", uri=\"sip:+8675512340001@x.example;user=phone\", \
         response=\"0000\", opaque=\"\""
    );
}

#[test]
fn auth_int_covers_the_body() {
    let mut answering = answering();
    take(&mut answering, &[b"Digest realm=\"a\", nonce=\"b\", qop=\"auth-int\""]).unwrap();
    let mut other = answering.clone();
    let one = value_of(&authorize_for(&mut answering, "INVITE", URI, b"v=0"), "response");
    let two = value_of(&authorize_for(&mut other, "INVITE", URI, b"v=1"), "response");
    assert_ne!(one, two);
}

/// A response as the core reads it.
fn response(status: u16, headers: &str) -> Message {
    let bytes = format!(
        "SIP/2.0 {status} No\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>;tag=2\r\n\
         Call-ID: 1\r\nCSeq: 1 INVITE\r\n{headers}Content-Length: 0\r\n\r\n"
    );
    Message::parse(Bytes::from(bytes), &crate::limits::Limits::default()).unwrap()
}

#[test]
fn a_server_and_a_proxy_may_both_ask_and_each_gets_its_own_header() {
    let mut answering = answering();
    let proxy = response(407, "Proxy-Authenticate: Digest realm=\"p\", nonce=\"1\", qop=\"auth\"\r\n");
    let server = response(401, "WWW-Authenticate: Digest realm=\"s\", nonce=\"2\"\r\n");
    answering.on_challenge(&proxy, 1).unwrap();
    let headers = answering.authorizations("INVITE", URI, b"");
    assert_eq!(headers.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["Proxy-Authorization"]);
    answering.on_challenge(&server, 2).unwrap();
    let headers = answering.authorizations("INVITE", URI, b"");
    let shown: Vec<_> = headers.iter().map(|(name, value)| (*name, value_of(value, "realm"))).collect();
    assert_eq!(shown, [("Authorization", b"s".to_vec()), ("Proxy-Authorization", b"p".to_vec())]);
    assert_eq!(value_of(&headers[1].1, "nc"), b"00000002");

    // The header that does not belong to the status is no challenge, and other statuses are none.
    let mut answering = Answering::new(credentials("u", "p", None));
    for response in [
        response(401, "Proxy-Authenticate: Digest realm=\"p\", nonce=\"1\"\r\n"),
        response(407, "WWW-Authenticate: Digest realm=\"p\", nonce=\"1\"\r\n"),
        response(403, "WWW-Authenticate: Digest realm=\"p\", nonce=\"1\"\r\n"),
        response(401, ""),
    ] {
        assert_eq!(answering.on_challenge(&response, 3), Err(Unanswerable::NoChallenge));
    }
}

// ---- UAC: again and again

fn ask(nonce: u32, stale: bool) -> Vec<u8> {
    let stale = if stale { ", stale=TRUE" } else { "" };
    format!("Digest realm=\"a\", nonce=\"n{nonce}\", qop=\"auth\"{stale}").into_bytes()
}

#[test]
fn the_nonce_count_goes_up_in_hexadecimal_and_begins_anew_with_a_nonce() {
    let mut answering = answering();
    take(&mut answering, &[&ask(1, false)]).unwrap();
    let mut responses = std::collections::BTreeSet::new();
    for count in 1..=20_u32 {
        let header = authorize(&mut answering);
        assert_eq!(value_of(&header, "nc"), format!("{count:08x}").into_bytes());
        responses.insert(value_of(&header, "response"));
    }
    assert_eq!(responses.len(), 20);
    take(&mut answering, &[&ask(2, true)]).unwrap();
    assert_eq!(value_of(&authorize(&mut answering), "nc"), b"00000001");
}

#[test]
fn a_second_challenge_means_that_the_credentials_are_wrong_unless_the_nonce_was_stale() {
    let mut answering = answering();
    take(&mut answering, &[&ask(1, false)]).unwrap();
    authorize(&mut answering);
    assert_eq!(take(&mut answering.clone(), &[&ask(2, false)]), Err(Unanswerable::Rejected));
    assert_eq!(take(&mut answering.clone(), &[&ask(1, false)]), Err(Unanswerable::Rejected));
    assert_eq!(take(&mut answering.clone(), &[&ask(1, true)]), Err(Unanswerable::SameNonce));
    assert_eq!(take(&mut answering, &[&ask(2, true)]), Ok(()));
    assert_eq!(value_of(&authorize(&mut answering), "nonce"), b"n2");
    assert_eq!(take(&mut answering.clone(), &[&ask(3, false)]), Err(Unanswerable::Rejected));
}

#[test]
fn a_peer_that_calls_every_nonce_stale_is_left_after_three() {
    let mut answering = answering();
    for nonce in 1..=3 {
        assert_eq!(take(&mut answering, &[&ask(nonce, nonce > 1)]), Ok(()));
        authorize(&mut answering);
    }
    assert_eq!(take(&mut answering, &[&ask(4, true)]), Err(Unanswerable::TooOften));
}

#[test]
fn once_accepted_a_nonce_may_end_as_often_as_it_likes_even_if_the_peer_forgets_to_say_stale() {
    let mut answering = answering();
    take(&mut answering, &[&ask(0, false)]).unwrap();
    authorize(&mut answering);
    for nonce in 1..100 {
        answering.on_accepted();
        assert_eq!(take(&mut answering, &[&ask(nonce, nonce % 2 == 0)]), Ok(()), "nonce {nonce}");
        assert_eq!(value_of(&authorize(&mut answering), "nonce"), format!("n{nonce}").into_bytes());
    }
    for nonce in 100..102 {
        assert_eq!(take(&mut answering, &[&ask(nonce, false)]), Ok(()));
        authorize(&mut answering);
    }
    assert_eq!(take(&mut answering, &[&ask(102, false)]), Err(Unanswerable::TooOften));
    // What was proven for one realm says nothing of another.
    answering.on_accepted();
    take(&mut answering, &[b"Digest realm=\"z\", nonce=\"n\", qop=\"auth\""]).unwrap();
    authorize(&mut answering);
    let again = b"Digest realm=\"z\", nonce=\"m\", qop=\"auth\"";
    assert_eq!(take(&mut answering, &[again]), Err(Unanswerable::Rejected));
}

#[test]
fn realms_that_take_turns_are_left_after_three() {
    let mut answering = answering();
    for realm in ["y", "z", "y"] {
        assert_eq!(take(&mut answering, &[format!("Digest realm=\"{realm}\", nonce=\"n\"").as_bytes()]), Ok(()));
        assert_eq!(value_of(&authorize(&mut answering), "realm"), realm.as_bytes());
    }
    assert_eq!(take(&mut answering, &[b"Digest realm=\"z\", nonce=\"n\""]), Err(Unanswerable::TooOften));
}

#[test]
fn two_first_requests_in_flight_may_both_be_asked() {
    let mut answering = answering();
    take(&mut answering, &[&ask(1, false)]).unwrap();
    take(&mut answering, &[&ask(2, false)]).unwrap();
    assert_eq!(value_of(&authorize(&mut answering), "nonce"), b"n2");
    // Nothing was sent with the third, so nothing can have been accepted with it.
    take(&mut answering, &[&ask(3, true)]).unwrap();
    answering.on_accepted();
    authorize(&mut answering);
    assert_eq!(take(&mut answering, &[&ask(4, false)]), Err(Unanswerable::Rejected));
}

#[test]
fn a_bye_that_crosses_a_re_invite_is_answered_when_the_nonce_of_both_has_ended() {
    for (stale, second) in [(true, 2), (true, 3), (false, 2), (false, 3)] {
        let mut answering = answering();
        take(&mut answering, &[&ask(1, false)]).unwrap();
        authorize(&mut answering);
        answering.on_accepted();
        authorize_for(&mut answering, "INVITE", URI, b"");
        authorize_for(&mut answering, "BYE", URI, b"");
        take(&mut answering, &[&ask(2, stale)]).unwrap();
        let invite = authorize_for(&mut answering, "INVITE", URI, b"");
        take(&mut answering, &[&ask(second, stale)]).unwrap();
        let bye = authorize_for(&mut answering, "BYE", URI, b"");
        let shown = [&invite, &bye].map(|header| (value_of(header, "nonce"), value_of(header, "nc")));
        let counted = if second == 2 { "00000002" } else { "00000001" };
        let expected = [(2, "00000001"), (second, counted)];
        assert_eq!(shown, expected.map(|(nonce, count)| (format!("n{nonce}").into_bytes(), count.as_bytes().to_vec())));
    }
}

// ---- UAS

#[test]
fn a_challenge_offers_what_the_account_takes_in_its_order() {
    let authenticator = authenticator();
    let shown: Vec<String> = authenticator
        .challenge(Duration::from_millis(10_000), &mufasa(), 0xabc, true)
        .into_iter()
        .map(|value| String::from_utf8(value).unwrap())
        .collect();
    let nonce = String::from_utf8(value_of(shown[0].as_bytes(), "nonce")).unwrap();
    assert!(nonce.starts_with("00000000000027100000000000000abc") && nonce.len() == 64, "{nonce}");
    assert_eq!(
        shown,
        [
            format!("Digest realm=\"x.example\", nonce=\"{nonce}\", algorithm=SHA-256, qop=\"auth\", stale=true"),
            format!("Digest realm=\"x.example\", nonce=\"{nonce}\", algorithm=MD5, qop=\"auth\", stale=true"),
        ]
    );
    let only_md5 = Account { hashes: vec![Hash::Md5], ..mufasa() };
    let shown = authenticator.challenge(NOW, &only_md5, 1, false);
    assert_eq!(shown.len(), 1);
    assert!(text(&shown[0]).ends_with(", algorithm=MD5, qop=\"auth\""));
}

/// A request as the core reads it.
fn request(method: &str, uri: &str, authorization: &[u8]) -> Message {
    let mut out = format!(
        "{method} {uri} SIP/2.0\r\nVia: SIP/2.0/UDP a;branch=z9hG4bK1\r\nFrom: <sip:a@b>;tag=1\r\nTo: <sip:a@b>\r\n\
         Call-ID: 1\r\nCSeq: 1 {method}\r\n"
    )
    .into_bytes();
    if !authorization.is_empty() {
        crate::message::write::header(&mut out, "Authorization", authorization);
    }
    crate::message::write::finish(&mut out, None, b"");
    Message::parse(Bytes::from(out), &crate::limits::Limits::default()).unwrap()
}

#[test]
fn a_request_is_missing_its_credentials_then_granted_and_its_repeat_is_a_replay() {
    let mut authenticator = authenticator();
    assert_eq!(authenticator.verify(NOW, &mufasa(), &request("INVITE", text(URI), b"")), Verdict::Missing);
    let mut answering = challenged(&authenticator, NOW, 1);
    let header = authorize(&mut answering);
    let message = request("INVITE", text(URI), &header);
    assert_eq!(authenticator.verify(NOW, &mufasa(), &message), Verdict::Granted);
    assert_eq!(authenticator.verify(NOW, &mufasa(), &message), Verdict::Replayed);
    let header = authorize(&mut answering);
    assert_eq!(authenticator.verify(NOW, &mufasa(), &request("INVITE", text(URI), &header)), Verdict::Granted);
    // Credentials for somebody else on the way are none for us, and leave those that are.
    let other = b"Digest username=\"u\", realm=\"other\", nonce=\"n\", uri=\"sip:a\", response=\"0\"";
    assert_eq!(authenticator.verify(NOW, &mufasa(), &request("INVITE", text(URI), other)), Verdict::Missing);
    let both = [&other[..], &authorize(&mut answering)];
    assert_eq!(authenticator.judge(NOW, &mufasa(), INVITE, both.into_iter()), Verdict::Granted);
    let none = authenticator.judge(NOW, &mufasa(), INVITE, [&b"Basic dTpw"[..]].into_iter());
    assert_eq!(none, Verdict::Missing);
}

#[test]
fn credentials_are_good_for_their_request_only() {
    let mut authenticator = authenticator();
    let header = authorize(&mut challenged(&authenticator, NOW, 1));
    for about in [
        About { method: b"BYE", ..INVITE },
        About { uri: b"sip:+8675512340002@x.example;user=phone", ..INVITE },
        About { uri: b"sip:x.example", ..INVITE },
        About { uri: b"urn:service:sos", ..INVITE },
        About { uri: b"", ..INVITE },
    ] {
        assert_eq!(judge(&mut authenticator, NOW, about, &header), Verdict::Wrong, "{}", about.uri.escape_ascii());
    }
    // The same user, rewritten on the way; each with a nonce of its own.
    for (random, uri) in [
        &b"sip:+8675512340001@192.0.2.1:5060"[..],
        b"sip:%2b8675512340001@x.example",
        b"sips:+8675512340001;phone-context=x@y",
        b"tel:+8675512340001",
    ]
    .into_iter()
    .enumerate()
    {
        let header = authorize(&mut challenged(&authenticator, NOW, 100 + u64::try_from(random).unwrap()));
        assert_eq!(judge(&mut authenticator, NOW, About { uri, ..INVITE }, &header), Verdict::Granted);
    }
    // No user says nothing against any.
    for (random, uri) in [&b"sip:x.example"[..], b"sip:y.example", INVITE.uri].into_iter().enumerate() {
        let mut answering = challenged(&authenticator, NOW, 200 + u64::try_from(random).unwrap());
        let header = authorize_for(&mut answering, "INVITE", b"sip:x.example", b"");
        assert_eq!(judge(&mut authenticator, NOW, About { uri, ..INVITE }, &header), Verdict::Granted);
    }
}

#[test]
fn wrong_credentials_are_wrong_with_any_nonce() {
    let mut authenticator = authenticator();
    let challenge = authenticator.challenge(NOW, &mufasa(), 1, false);
    for (user, password) in [("Mufasa", "circle of life"), ("mufasa", "Circle of Life"), ("", ""), ("Mufasa", "")] {
        let mut answering = Answering::new(credentials(user, password, None));
        take(&mut answering, &[&challenge[0]]).unwrap();
        let header = authorize(&mut answering);
        for now in [NOW, NOW + Duration::from_secs(3_600)] {
            assert_eq!(judge(&mut authenticator, now, INVITE, &header), Verdict::Wrong, "{user} {password}");
        }
    }
    assert_eq!(authenticator.remembered(), 0, "a stranger costs no memory");
}

#[test]
fn an_algorithm_that_was_not_offered_is_not_taken() {
    let strict = Account { hashes: vec![Hash::Sha256], ..mufasa() };
    let mut authenticator = authenticator();
    let challenge = text(&authenticator.challenge(NOW, &strict, 1, false)[0]).replace("SHA-256", "MD5");
    let mut answering = answering();
    take(&mut answering, &[challenge.as_bytes()]).unwrap();
    let header = authorize(&mut answering);
    assert_eq!(authenticator.judge(NOW, &strict, INVITE, [&header[..]].into_iter()), Verdict::Wrong);
    assert_eq!(authenticator.judge(NOW, &mufasa(), INVITE, [&header[..]].into_iter()), Verdict::Granted);
}

#[test]
fn a_nonce_is_good_for_its_time_its_realm_and_its_key() {
    let mut authenticator = authenticator();
    let mut answering = challenged(&authenticator, NOW, 1);
    let end = NOW + Authenticator::VALID;
    assert_eq!(judge(&mut authenticator, end, INVITE, &authorize(&mut answering)), Verdict::Granted);
    assert_eq!(authenticator.remembered(), 1);
    let late = end + Duration::from_millis(1);
    assert_eq!(judge(&mut authenticator, late, INVITE, &authorize(&mut answering)), Verdict::Stale);
    assert_eq!(authenticator.remembered(), 0, "what is too old is not remembered");
    // The clock began anew: the nonce is of the future.
    let early = NOW - Duration::from_millis(1);
    assert_eq!(judge(&mut authenticator, early, INVITE, &authorize(&mut answering)), Verdict::Stale);
    let mut other = Authenticator::new(&[8; 32], Authenticator::VALID, 10);
    assert_eq!(judge(&mut other, NOW, INVITE, &authorize(&mut answering)), Verdict::Stale);

    // Its realm: a nonce of one account is none of another.
    let challenge = authenticator.challenge(NOW, &account("y.example", "u", "p"), 1, false);
    let nonce = value_of(&challenge[0], "nonce");
    let line = format!("Digest realm=\"x.example\", nonce=\"{}\", qop=\"auth\"", text(&nonce));
    let mut answering = Answering::new(credentials("Mufasa", "Circle of Life", None));
    take(&mut answering, &[line.as_bytes()]).unwrap();
    assert_eq!(judge(&mut authenticator, NOW, INVITE, &authorize(&mut answering)), Verdict::Stale);
}

#[test]
fn nonce_counts_may_overtake_each_other_within_a_window_and_come_once() {
    let mut authenticator = authenticator();
    let mut answering = challenged(&authenticator, NOW, 1);
    let headers: Vec<_> = (0..200).map(|_| authorize(&mut answering)).collect();
    let mut check = |count: usize, verdict| {
        assert_eq!(judge(&mut authenticator, NOW, INVITE, &headers[count - 1]), verdict, "nc {count}");
    };
    for (count, verdict) in [
        (5, Verdict::Granted),
        (3, Verdict::Granted),
        (3, Verdict::Replayed),
        (5, Verdict::Replayed),
        (1, Verdict::Granted),
        (68, Verdict::Granted),
        (5, Verdict::Replayed),
        (4, Verdict::Replayed),
        (6, Verdict::Granted),
        (6, Verdict::Replayed),
        (67, Verdict::Granted),
        (200, Verdict::Granted),
        (137, Verdict::Granted),
        (136, Verdict::Replayed),
        (137, Verdict::Replayed),
        (2, Verdict::Replayed),
    ] {
        check(count, verdict);
    }
}

#[test]
fn without_a_count_a_nonce_is_good_for_one_request() {
    let mut authenticator = authenticator();
    let challenge = text(&authenticator.challenge(NOW, &mufasa(), 1, false)[0]).replace(", qop=\"auth\"", "");
    let mut answering = answering();
    take(&mut answering, &[challenge.as_bytes()]).unwrap();
    let header = authorize(&mut answering);
    assert!(only(&header).get("nc").is_none());
    assert_eq!(judge(&mut authenticator, NOW, INVITE, &header), Verdict::Granted);
    assert_eq!(judge(&mut authenticator, NOW, INVITE, &header), Verdict::Stale);
    // Nor is it good with one afterwards.
    let mut counting = challenged(&authenticator, NOW, 1);
    for _ in 0..3 {
        assert_eq!(judge(&mut authenticator, NOW, INVITE, &authorize(&mut counting)), Verdict::Replayed);
    }
}

#[test]
fn a_full_table_forgets_the_oldest_nonce_and_never_lets_a_replay_pass() {
    let mut authenticator = Authenticator::new(&KEY, Authenticator::VALID, 3);
    let mut shown = Vec::new();
    for place in 0..10 {
        let now = NOW + Duration::from_millis(place);
        // Two in the same millisecond are told apart by their random bits.
        for random in [1, 2] {
            let header = authorize(&mut challenged(&authenticator, now, random));
            assert_eq!(judge(&mut authenticator, now, INVITE, &header), Verdict::Granted);
            shown.push(header);
        }
        assert!(authenticator.remembered() <= 3);
    }
    assert_eq!((authenticator.remembered(), authenticator.forgettings()), (3, 17));
    let now = NOW + Duration::from_secs(1);
    let verdicts: Vec<_> = shown.iter().map(|header| judge(&mut authenticator, now, INVITE, header)).collect();
    assert_eq!(verdicts[..17], [Verdict::Stale; 17]);
    assert_eq!(verdicts[17..], [Verdict::Replayed; 3]);
    // An unused nonce as old as those that were forgotten: nobody knows any more that it is unused.
    let mut old = challenged(&authenticator, NOW, 3);
    assert_eq!(judge(&mut authenticator, now, INVITE, &authorize(&mut old)), Verdict::Stale);
    let mut new = challenged(&authenticator, now, 3);
    assert_eq!(judge(&mut authenticator, now, INVITE, &authorize(&mut new)), Verdict::Granted);
}

#[test]
fn credentials_that_cannot_be_read_are_malformed() {
    let mut authenticator = authenticator();
    let good = authorize(&mut challenged(&authenticator, NOW, 1));
    let good = text(&good);
    let response = String::from_utf8(value_of(good.as_bytes(), "response")).unwrap();
    let cases = [
        good.replace("username=", "user="),
        good.replace("realm=", "ream="),
        good.replace("nonce=\"0", "once=\"0"),
        good.replace("uri=", "url="),
        good.replace("response=", "respond="),
        good.replace("nc=00000001", "nc=1"),
        good.replace("nc=00000001", "nc=00000000"),
        good.replace("nc=00000001", "nc=0000000g"),
        good.replace("nc=00000001", "nc=000000001"),
        good.replace(", nc=00000001", ""),
        good.replace("cnonce=", "dnonce="),
        good.replace("qop=auth", "qop=auth-conf"),
        good.replace("qop=auth", "qop=\"auth,auth-int\""),
        good.replace("algorithm=SHA-256", "algorithm=SHA-512-256"),
        good.replace("algorithm=SHA-256", "algorithm=none"),
        good.replace("qop=auth, nc=00000001", "nc=00000001").replace("SHA-256", "SHA-256-sess"),
        format!("{good}, response=\"{response}\""),
        format!("{good}, x=\"unclosed"),
        format!("{good}, x=\"{}\"", "y".repeat(9_000)),
        good.replace("Mufasa", "Mufa\0sa"),
        "Digest".to_owned(),
    ];
    for case in cases {
        assert_ne!(case, good);
        let verdict = judge(&mut authenticator, NOW, INVITE, case.as_bytes());
        assert_eq!(verdict, Verdict::Malformed, "{}", &case[..case.len().min(400)]);
    }
    let unknown = format!("{good}, x=\"unknown\", y=z");
    assert_eq!(judge(&mut authenticator, NOW, INVITE, unknown.as_bytes()), Verdict::Granted);
}

/// What the digest protects, and the digest.
fn meaning(value: &[u8]) -> Option<Vec<(&'static str, Vec<u8>)>> {
    let shown = parameters::read(value).into_iter().next()?.ok()?;
    let names = ["username", "realm", "nonce", "uri", "response", "cnonce", "nc", "qop", "algorithm"];
    let of = |name: &'static str| {
        let value = shown.get(name).unwrap_or(if name == "algorithm" { b"MD5" } else { b"" });
        let is_word = name == "qop" || name == "algorithm";
        (name, if is_word { value.to_ascii_lowercase() } else { value.to_vec() })
    };
    Some(names.into_iter().map(of).collect())
}

#[test]
fn any_single_changed_byte_is_refused_or_changes_nothing() {
    for hash in [Hash::Md5, Hash::Sha256] {
        let account = Account { hashes: vec![hash], ..mufasa() };
        let challenge = authenticator().challenge(NOW, &account, 1, false);
        let mut answering = answering();
        take(&mut answering, &[&challenge[0]]).unwrap();
        let good = authorize(&mut answering);
        let right = meaning(&good).unwrap();
        let mut refused = 0;
        for place in 0..good.len() {
            for byte in 0..=u8::MAX {
                let mut changed = good.clone();
                changed[place] = byte;
                let verdict = authenticator().judge(NOW, &account, INVITE, [&changed[..]].into_iter());
                match verdict {
                    Verdict::Granted => {
                        assert_eq!(meaning(&changed).as_ref(), Some(&right), "{}", changed.escape_ascii())
                    }
                    Verdict::Missing | Verdict::Wrong | Verdict::Malformed => refused += 1,
                    // The hash would have to be right.
                    Verdict::Stale | Verdict::Replayed => panic!("{verdict:?}: {}", changed.escape_ascii()),
                }
            }
        }
        assert!(refused > 200 * 250, "{refused} of {} changes were refused", 256 * good.len());
    }
}

// ---- a second opinion

#[test]
fn rsip_comes_to_the_same_response() {
    for (algorithm, theirs) in
        [("MD5", rsip::headers::auth::Algorithm::Md5), ("SHA-256", rsip::headers::auth::Algorithm::Sha256)]
    {
        for qop in [", qop=\"auth\"", ""] {
            let line =
                format!("Digest realm=\"x.example\", nonce=\"abc/+=\", algorithm={algorithm}{qop}, opaque=\"o\"");
            let mut answering = answering();
            take(&mut answering, &[line.as_bytes()]).unwrap();
            // It counts in one byte and writes that in decimal, so that from the tenth request on it is wrong.
            for _ in 1..=9 {
                let header = authorize_for(&mut answering, "INVITE", b"sip:+8675512340001@x.example", b"");
                // It spells the algorithm without its hyphen.
                let header = text(&header).replace("SHA-256", "SHA256");
                let typed = rsip::headers::Authorization::new(header).typed().unwrap();
                assert_eq!(typed.algorithm, Some(theirs));
                let generator = DigestGenerator::from(&typed, "Circle of Life", &rsip::Method::Invite);
                assert!(generator.verify(&typed.response), "{typed}");
            }
        }
    }
}

#[test]
fn what_rsip_answers_is_granted() {
    use rsip::headers::auth::{Algorithm, AuthQop};
    for (place, algorithm) in [Algorithm::Sha256, Algorithm::Md5].into_iter().enumerate() {
        let mut authenticator = authenticator();
        let challenge = &authenticator.challenge(NOW, &mufasa(), 1, false)[place];
        let challenge = text(challenge).replace("SHA-256", "SHA256");
        let challenge = rsip::headers::WwwAuthenticate::new(challenge).typed().unwrap();
        assert_eq!((challenge.algorithm, challenge.qop), (Some(algorithm), Some(rsip::headers::auth::Qop::Auth)));
        let uri = rsip::Uri::try_from(text(URI)).unwrap();
        let qop = AuthQop::Auth { cnonce: "c".to_owned(), nc: 1 };
        let generator = DigestGenerator {
            username: "Mufasa",
            password: "Circle of Life",
            nonce: &challenge.nonce,
            uri: &uri,
            realm: &challenge.realm,
            method: &rsip::Method::Invite,
            qop: Some(&qop),
            algorithm,
        };
        let answer = rsip::typed::Authorization {
            scheme: challenge.scheme,
            username: "Mufasa".to_owned(),
            realm: challenge.realm.clone(),
            nonce: challenge.nonce.clone(),
            uri: uri.clone(),
            response: generator.compute(),
            algorithm: Some(algorithm),
            opaque: None,
            qop: Some(qop.clone()),
        };
        let header = answer.to_string().replace("SHA256", "SHA-256");
        assert_eq!(judge(&mut authenticator, NOW, INVITE, header.as_bytes()), Verdict::Granted, "{header}");
    }
}

// ---- properties

/// No control, no line end, and exactly one `Digest` with the parameters of an answer.
fn well_formed(header: &[u8]) -> Result<(), TestCaseError> {
    prop_assert!(header.iter().all(|byte| *byte >= b' ' && *byte != 127), "{}", header.escape_ascii());
    let read = parameters::read(header);
    let [Ok(shown)] = &read[..] else {
        return Err(TestCaseError::fail(format!("{}", header.escape_ascii())));
    };
    let all = ["username", "realm", "nonce", "uri", "response", "algorithm", "cnonce", "qop", "nc", "opaque"];
    let names: Vec<&str> = shown.names().map(text).collect();
    prop_assert_eq!(names[..5].to_vec(), all[..5].to_vec());
    prop_assert!(names.iter().all(|name| all.contains(name)), "{}", header.escape_ascii());
    Ok(())
}

proptest! {
    #[test]
    fn what_we_answer_we_grant(
        realm in "\\PC{0,40}",
        user in "\\PC{0,40}",
        password in proptest::collection::vec(any::<u8>(), 0..60),
        number in "\\+[0-9]{3,15}",
        key in any::<[u8; 32]>(),
        randoms in any::<(u64, u64)>(),
        body in proptest::collection::vec(any::<u8>(), 0..40),
        hashes in proptest::sample::select(vec![vec![Hash::Sha256, Hash::Md5], vec![Hash::Md5], vec![Hash::Sha256]]),
        session in any::<bool>(),
        qop in proptest::sample::select(vec!["auth", "auth-int", "auth-int,auth"]),
        requests in 1_usize..5,
    ) {
        let password = Password::new(password);
        let account = Account { realm: realm.as_str().into(), user: user.as_str().into(), password: password.clone(), hashes };
        let mut authenticator = Authenticator::new(&key, Authenticator::VALID, 10);
        let uri = format!("sip:{number}@x.example");
        let about = About { method: b"INVITE", uri: uri.as_bytes(), body: &body };
        let credentials = Credentials { user: user.as_str().into(), password, realm: Some(realm.as_str().into()) };
        let mut answering = Answering::new(Arc::new(credentials));
        let mut challenge = authenticator.challenge(NOW, &account, randoms.0, false);
        for line in &mut challenge {
            let mut text = String::from_utf8(std::mem::take(line)).unwrap();
            let tail = text.len() - "qop=\"auth\"".len();
            text.replace_range(tail.., &format!("qop=\"{qop}\""));
            if session {
                let at = text.rfind(", qop=").unwrap();
                text.insert_str(at, "-sess");
            }
            *line = text.into_bytes();
        }
        let lines = challenge.iter().map(Vec::as_slice);
        prop_assert_eq!(answering.take(Challenger::Proxy, lines, randoms.1), Ok(()));
        for _ in 0..requests {
            let headers = answering.authorizations("INVITE", uri.as_bytes(), &body);
            prop_assert_eq!(headers[0].0, "Proxy-Authorization");
            well_formed(&headers[0].1)?;
            let judge = |authenticator: &mut Authenticator, about: About<'_>| {
                authenticator.judge(NOW, &account, about, [&headers[0].1[..]].into_iter())
            };
            prop_assert_eq!(judge(&mut authenticator, About { method: b"BYE", ..about }), Verdict::Wrong);
            if qop == "auth-int" {
                let other = [&body[..], b"x"].concat();
                prop_assert_eq!(judge(&mut authenticator, About { body: &other, ..about }), Verdict::Wrong);
            }
            prop_assert_eq!(judge(&mut authenticator, about), Verdict::Granted);
            prop_assert_eq!(judge(&mut authenticator, about), Verdict::Replayed);
        }
    }

    #[test]
    fn no_challenge_breaks_out_of_the_answer(
        lines in proptest::collection::vec(hostile(), 1..4),
        uri in proptest::collection::vec(any::<u8>(), 0..40),
        method in "\\PC{0,10}",
    ) {
        let mut answering = answering();
        if answering.take(Challenger::Server, lines.iter().map(Vec::as_slice), 1) == Ok(()) {
            for (_, value) in answering.authorizations(&method, &uri, &uri) {
                well_formed(&value)?;
            }
        }
    }

    #[test]
    fn no_credentials_are_granted_by_chance(lines in proptest::collection::vec(hostile(), 1..4)) {
        let verdict = authenticator().judge(NOW, &mufasa(), INVITE, lines.iter().map(Vec::as_slice));
        prop_assert!(matches!(verdict, Verdict::Missing | Verdict::Malformed | Verdict::Wrong), "{verdict:?}");
    }

    #[test]
    fn a_value_goes_through_its_quotes_unchanged(value in "\\PC{0,100}") {
        let line = parameters::Writer::new().quoted("a", value.as_bytes()).quoted("b", b"").finish();
        let read = parameters::read(&line);
        prop_assert_eq!(read.len(), 1);
        let shown: Result<&Parameters, &Malformed> = read[0].as_ref();
        prop_assert_eq!(shown.unwrap().get("a"), Some(value.as_bytes()));
        prop_assert_eq!(shown.unwrap().get("b"), Some(&b""[..]));
    }
}

/// Pieces that challenges and credentials are made of, in any order, with anything between them.
fn hostile() -> impl Strategy<Value = Vec<u8>> {
    let pieces: Vec<&'static [u8]> = vec![
        b"Digest ",
        b"Basic ",
        b"realm=",
        b"nonce=",
        b"opaque=",
        b"qop=",
        b"algorithm=",
        b"stale=",
        b"username=",
        b"uri=",
        b"response=",
        b"cnonce=",
        b"nc=",
        b"\"",
        b"\\",
        b",",
        b", ",
        b"=",
        b" ",
        b"\r\n ",
        b"\r\n",
        b"\n",
        b"\0",
        b"\x7f",
        b"\"a\"",
        b"\"x.example\"",
        b"auth",
        b"auth-int",
        b"MD5",
        b"SHA-256",
        b"MD5-sess",
        b"true",
        b"Mufasa",
        b"00000001",
        b"\xff",
        b"\xe4\xb8\xad",
        b"\"\\\"\"",
        b"\"\\",
        b"Digest realm=\"a\", nonce=\"b\"",
        b", qop=\"auth\"",
        b", opaque=\"\\\\\\\"\"",
        b"\r\nX-Canary: 1",
    ];
    let piece = prop_oneof![
        8 => proptest::sample::select(pieces).prop_map(<[u8]>::to_vec),
        1 => proptest::collection::vec(any::<u8>(), 0..6),
    ];
    let begun =
        proptest::sample::select(vec![&b""[..], b"Digest realm=\"a\", nonce=\"b\"", b"Digest realm=\"x.example\", "]);
    (begun, proptest::collection::vec(piece, 0..30)).prop_map(|(begun, pieces)| [begun, &pieces.concat()].concat())
}

// ---- secrets

#[test]
fn no_password_is_printed() {
    let mut answering = Answering::new(credentials("Mufasa", "kingfisher", None));
    take(&mut answering, &[&ask(1, false)]).unwrap();
    let printed = format!(
        "{answering:?} {:?} {:?} {:#?}",
        authenticator(),
        account("a", "b", "kingfisher"),
        credentials("u", "kingfisher", None)
    );
    assert!(!printed.contains("kingfisher") && !printed.contains("107, 105, 110"), "{printed}");
    assert!(!printed.contains("[7, 7"), "{printed}");
}

#[test]
fn labels_are_distinct() {
    let mut labels: Vec<_> = Unanswerable::ALL.iter().map(|reason| reason.label()).collect();
    assert!(Unanswerable::ALL.is_sorted());
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Unanswerable::ALL.len());
    let mut labels: Vec<_> = Verdict::ALL.iter().map(|verdict| verdict.label()).collect();
    labels.sort_unstable();
    labels.dedup();
    assert_eq!(labels.len(), Verdict::ALL.len());
}
