//! Where a recording can be fetched (`/rest/provision/voice/record/v1.0`): a redirection, since clients act on 301 only.

use super::fields::Fields;
use super::result::Refused;

/// The name of the recording that is asked for. `recordDomain` must be there, and is not looked at: there is one.
///
/// # Errors
/// A parameter is wrong.
pub fn name(fields: &Fields) -> Result<String, Refused> {
    fields.text("recordDomain", 1..=128)?.ok_or(Refused::missing("recordDomain"))?;
    let name = fields.tone("fileName")?.flatten().ok_or(Refused::missing("fileName"))?;
    Ok(name.to_string())
}
