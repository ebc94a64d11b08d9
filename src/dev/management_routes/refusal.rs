//! What a handler says when it refuses.

use http::StatusCode;

use crate::dev::answer::Answer;

/// Of a handler: either side is an answer.
pub(super) type Result<T = Answer, E = Answer> = std::result::Result<T, E>;

pub(super) fn bad_request(message: &str) -> Answer {
    Answer::error(StatusCode::BAD_REQUEST, message)
}

pub(super) fn not_found(message: &str) -> Answer {
    Answer::error(StatusCode::NOT_FOUND, message)
}
