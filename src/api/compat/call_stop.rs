//! Ends a call (`/rest/httpsessions/callStop/v2.0`).

use super::fields::Fields;
use super::result::Refused;

/// The session whose call is to end.
///
/// # Errors
/// A parameter is wrong.
pub fn session(fields: &Fields) -> Result<String, Refused> {
    let session = fields.text("sessionid", 1..=256)?.ok_or(Refused::missing("sessionid"))?;
    fields.one_of("signal", &[("call_stop", ())])?.ok_or(Refused::missing("signal"))?;
    Ok(session.to_owned())
}
