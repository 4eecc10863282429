//! Claims as header values for the upstream. A claim that cannot be said whole is not said in part: the token
//! is refused.

use std::borrow::Cow;

use http::{HeaderName, HeaderValue};

use super::denied::Denied;
use crate::identity::Principal;
use crate::json::{Json, Object};

/// The headers that tell the upstream about `principal`, whose token says `claims`; absent claims, objects and nulls have none.
///
/// # Errors
/// [`Denied::Unspeakable`] if a value is empty, longer than [`MAX_VALUE`], not visible ASCII, begins or ends with a
/// blank, or is a list of anything but words.
pub(super) fn headers(
    principal: &Principal,
    claims: &Object<'_>,
    wanted: &[(HeaderName, String)],
) -> Result<Vec<(HeaderName, HeaderValue)>, Denied> {
    let mut headers = Vec::with_capacity(wanted.len());
    for (name, claim) in wanted {
        if let Some(text) = spoken(principal, claims, claim)? {
            headers.push((name.clone(), value(&text)?));
        }
    }
    Ok(headers)
}

fn spoken<'a>(
    principal: &'a Principal,
    claims: &'a Object<'_>,
    claim: &str,
) -> Result<Option<Cow<'a, str>>, Denied> {
    match claim {
        "scope" if principal.scopes.is_empty() => return Ok(None),
        "scope" => return Ok(Some(principal.scopes.to_string().into())),
        "client_id" => return Ok(principal.client_id.as_deref().map(Cow::Borrowed)),
        _ => {}
    }
    Ok(match claims.get(claim) {
        None | Some(Json::Null | Json::Object(_)) => None,
        Some(Json::Text(text)) => Some(Cow::Borrowed(text)),
        Some(Json::Bool(truth)) => Some(Cow::Borrowed(if *truth { "true" } else { "false" })),
        Some(Json::Number(number)) => Some(number.to_string().into()),
        Some(Json::List(words)) if words.is_empty() => None,
        Some(Json::List(words)) => Some(joined(words).ok_or(Denied::Unspeakable)?.into()),
    })
}

/// The words with a blank between them; none if one of them is not a word.
fn joined(words: &[Json<'_>]) -> Option<String> {
    let mut text = String::new();
    for word in words {
        let word = word.as_text().filter(|word| !word.is_empty() && !word.contains(' '))?;
        if !text.is_empty() {
            text.push(' ');
        }
        text.push_str(word);
    }
    Some(text)
}

fn value(text: &str) -> Result<HeaderValue, Denied> {
    let visible = text.bytes().all(|byte| matches!(byte, 0x20..=0x7E));
    if text.is_empty() || text.len() > MAX_VALUE || !visible || text.trim() != text {
        return Err(Denied::Unspeakable);
    }
    HeaderValue::from_str(text).map_err(|_| Denied::Unspeakable)
}

/// Longest value, bytes: a few of these fit into the header block of any upstream.
const MAX_VALUE: usize = 2048;
