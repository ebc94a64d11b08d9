//! What an answer says about what was done.

use http::StatusCode;

use super::event::ManagementEvent;
use super::listener::Outcome;
use crate::client::error::{Error, Result};

/// What the answer to the call behind `event` says. Only Wacht's own word that nothing was done
/// counts as such: a revocation is lifted by it.
pub(super) fn outcome<T>(event: &ManagementEvent, answer: &Result<T>) -> Outcome {
    let error = match answer {
        Ok(_) => return Outcome::Done,
        // Refused before anything was sent.
        Err(Error::InvalidRequest(_) | Error::Config(_)) => return Outcome::Nothing,
        Err(error) => error,
    };
    // Without its envelope, an answer may be that of anything on the way.
    let Some((status, message)) = error.of_management() else {
        return Outcome::Indeterminate;
    };
    match status {
        // "… or already revoked", "… or inactive": somebody else was faster. For a gate that is
        // the same as having done it.
        StatusCode::NOT_FOUND
            if matches!(event, ManagementEvent::RevokeKey { .. })
                && message.starts_with("API key not found or") =>
        {
            Outcome::Done
        }
        // Wacht also answers 401 when it could not look at the management key, and neither a
        // time-out nor a limit says what was done before it.
        StatusCode::UNAUTHORIZED | StatusCode::REQUEST_TIMEOUT | StatusCode::TOO_MANY_REQUESTS => {
            Outcome::Indeterminate
        }
        status if status.is_client_error() => Outcome::Nothing,
        _ => Outcome::Indeterminate,
    }
}
