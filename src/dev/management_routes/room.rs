//! Where a call is answered: the state, and the deployment it is about.

use http::StatusCode;
use percent_encoding::percent_decode_str;
use serde::Deserialize;

use super::refusal::Result;
use crate::dev::answer::Answer;
use crate::dev::call::{Call, Unread};
use crate::dev::state::State;

pub(super) struct Room<'a> {
    pub(super) state: &'a mut State,
    pub(super) deployment: i64,
    pub(super) call: &'a Call,
}

impl Room<'_> {
    pub(super) fn body<T: for<'de> Deserialize<'de>>(&self) -> Result<T> {
        if !self.call.is_json() {
            return Err(Answer::generic(StatusCode::UNSUPPORTED_MEDIA_TYPE));
        }
        let body = self.call.body.as_ref().map_err(|unread| match unread {
            Unread::TooLarge => Answer::generic(StatusCode::PAYLOAD_TOO_LARGE),
            Unread::Broken => Answer::generic(StatusCode::BAD_REQUEST),
        })?;
        T::deserialize(&mut serde_json::Deserializer::from_slice(body)).map_err(|error| {
            Answer::generic(match error.is_data() {
                true => StatusCode::UNPROCESSABLE_ENTITY,
                false => StatusCode::BAD_REQUEST,
            })
        })
    }

    pub(super) fn query(&self) -> Result<Vec<(String, String)>> {
        let decode = |text: &str| {
            let text = text.replace('+', " ");
            percent_decode_str(&text)
                .decode_utf8()
                .map(|text| text.into_owned())
        };
        let pairs = self.call.uri.query().unwrap_or_default().split('&');
        pairs
            .filter(|pair| !pair.is_empty())
            .map(|pair| {
                let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
                Ok((decode(name)?, decode(value)?))
            })
            .collect::<Result<_, std::str::Utf8Error>>()
            .map_err(|_| Answer::generic(StatusCode::BAD_REQUEST))
    }
}
